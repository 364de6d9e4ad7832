package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"postern/internal/config"
	"postern/internal/event"
	"postern/internal/export"
	"postern/internal/secret"
	"postern/internal/webhook"
)

// makeExports makes what sends the history to other systems.
func (a *App) makeExports(context.Context) error {
	for _, e := range a.opt.Config.Exports {
		target, err := a.exportTarget(&e)
		if err != nil {
			return fmt.Errorf("export %s: %w", e.Name, err)
		}
		made := &export.Exporter{
			Name: e.Name, Streams: export.Streams, Target: target, Store: a.store, All: e.All, Logger: a.log,
			OnLag: func(target string, s export.Stream, records int64, age time.Duration) {
				a.metrics.lag(event.ExportName(target), string(s), records, age)
			},
			OnFailure: func(target string, s export.Stream, err error) {
				a.failures.set(event.ExportName(target), string(s), err)
			},
		}
		made.OnLeftOut = func(target string, s export.Stream) {
			a.metrics.leftOut.WithLabelValues(event.ExportName(target), string(s)).Inc()
		}
		if len(e.Streams) > 0 {
			made.Streams = nil
			for _, s := range e.Streams {
				made.Streams = append(made.Streams, export.Stream(s))
			}
		}
		for _, s := range made.Streams {
			a.metrics.leftOut.WithLabelValues(event.ExportName(e.Name), string(s)) // 0 is there from the start
		}
		a.exports = append(a.exports, made)
	}
	return nil
}

func (a *App) exportTarget(e *config.Export) (export.Target, error) {
	if e.Kind == "file" {
		return export.NewFile(export.FileConfig{Path: e.To, Size: int64(e.RotateSize), Age: e.RotateAge.Duration, Keep: e.RotateKeep}), nil
	}
	conf, err := exportTLS(e)
	if err != nil {
		return nil, err
	}
	switch e.Kind {
	case "syslog":
		host, _, err := net.SplitHostPort(e.To)
		if err != nil {
			return nil, err
		}
		conf.ServerName = host
		return export.NewSyslog(export.SyslogConfig{Addr: e.To, TLS: conf, Hostname: a.opt.Config.Hostname, PID: os.Getpid()}), nil
	case "otlp":
		headers, err := headerFile(e.SecretFile)
		if err != nil {
			return nil, err
		}
		return export.NewOTLP(export.OTLPConfig{
			URL: e.To, Headers: headers, Hostname: a.opt.Config.Hostname, Version: a.opt.Version, Client: exportClient(conf),
		}), nil
	}
	return hookTarget(e, conf)
}

// hookTarget posts to a URL with the guard of customers' webhooks; private = true
// lets it dial any name and address, on the URL's own port.
func hookTarget(e *config.Export, conf *tls.Config) (export.Target, error) {
	text, err := os.ReadFile(e.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("read secret_file: %w", err)
	}
	var secrets [][]byte
	for _, line := range strings.Fields(string(text)) {
		s, err := webhook.ParseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("secret_file: %w", err)
		}
		secrets = append(secrets, s)
	}
	if len(secrets) == 0 {
		return nil, errors.New("secret_file has no secret")
	}
	u, err := url.Parse(e.To)
	if err != nil {
		return nil, err
	}
	c := webhook.Config{Roots: conf.RootCAs, Certificates: conf.Certificates, Private: e.Private}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		c.Ports = []int{port}
	}
	return &export.Hook{URL: e.To, Secrets: secrets, Client: webhook.NewClient(c)}, nil
}

// exportClient follows nobody elsewhere: the operator has named the target.
func exportClient(conf *tls.Config) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func exportTLS(e *config.Export) (*tls.Config, error) {
	roots, err := rootCAs(e.CAFile)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if e.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(e.Certificate, e.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// headerFile reads lines of "Header: value".
func headerFile(path string) (map[string]secret.Redacted, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read secret_file: %w", err)
	}
	out := map[string]secret.Redacted{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, errors.New("secret_file: a line is not \"Header: value\"")
		}
		out[strings.TrimSpace(name)] = secret.Redacted(strings.TrimSpace(value))
	}
	return out, nil
}

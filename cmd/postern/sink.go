package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/dns"
	"postern/internal/httpx"
	"postern/internal/sink"
)

// sinkFlags are the settings of a receiving server.
type sinkFlags struct {
	listen, http, hostname  string
	certificate, key        string
	domains, faults, server []string
	dir                     string
	noVerify, enforce       bool
	maxMessages             int
}

func (c *cli) sinkCommand() *cobra.Command {
	var f sinkFlags
	cmd := &cobra.Command{
		Use: "sink", Short: "A receiving server that verifies what it gets and delivers nothing", Args: cobra.NoArgs,
		Example: "  postern sink --listen 127.0.0.1:2526 --http 127.0.0.1:8026 --no-verify\n" +
			"  postern sink --fault \"rcpt,to=*@slow.test,first=2: 451 4.3.0 try again later\"",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.sink(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:2526", "where to listen for SMTP")
	flags.StringVar(&f.http, "http", "", "where to show the inbox as JSON (GET /inbox); nowhere if not given")
	flags.StringVar(&f.hostname, "hostname", "sink.invalid", "what it calls itself")
	flags.StringVar(&f.certificate, "cert", "", "certificate for STARTTLS, PEM")
	flags.StringVar(&f.key, "cert-key", "", "its key, PEM")
	flags.StringSliceVar(&f.domains, "domain", nil, "domains that it takes mail for; none: all")
	flags.StringArrayVar(&f.faults, "fault", nil, "misbehave: STAGE[,to=P][,from=P][,first=N][,delay=D][,drop][: CODE TEXT]")
	flags.StringSliceVar(&f.server, "dns", nil, "DNS servers; those of the system if none")
	flags.StringVar(&f.dir, "dir", "", "keep every message there in two files")
	flags.BoolVar(&f.noVerify, "no-verify", false, "do not check SPF, DKIM and DMARC")
	flags.BoolVar(&f.enforce, "enforce", false, "refuse what the author's domain asks to be rejected")
	flags.IntVar(&f.maxMessages, "max-messages", 0, "messages kept in memory (10000)")
	return cmd
}

func (c *cli) sink(ctx context.Context, f sinkFlags) error {
	conf := sink.Config{
		Hostname: f.hostname, Domains: f.domains, Verify: !f.noVerify, Enforce: f.enforce, Dir: f.dir, MaxMessages: f.maxMessages,
		Log: slog.New(slog.NewJSONHandler(c.err, nil)),
	}
	if (f.certificate == "") != (f.key == "") {
		return usageError("sink: give --cert and --cert-key together, or neither")
	}
	if f.certificate != "" {
		pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
		if err != nil {
			return fmt.Errorf("sink's certificate: %w", err)
		}
		conf.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	for _, text := range f.faults {
		fault, err := sink.ParseFault(text)
		if err != nil {
			return usageError("sink: " + err.Error())
		}
		conf.Faults = append(conf.Faults, fault)
	}
	if conf.Verify {
		resolver, err := dns.NewClient(dns.Config{Servers: f.server})
		if err != nil {
			return err
		}
		conf.Resolver = resolver
	}
	server, err := sink.New(conf)
	if err != nil {
		return err
	}
	return c.runSink(ctx, server, f)
}

// runSink serves until ctx ends, then lets sessions end.
func (c *cli) runSink(ctx context.Context, server *sink.Server, f sinkFlags) error {
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen for SMTP: %w", err)
	}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(context.WithoutCancel(ctx), listener) }()
	fmt.Fprintf(c.out, "smtp %s\n", listener.Addr())
	if f.http != "" {
		show := server.Inbox().Handler()
		handler := httpx.New(httpx.Options{Local: true}, []httpx.Route{{Method: "GET", Pattern: "/inbox", Handler: func(w http.ResponseWriter, r *http.Request) error {
			show.ServeHTTP(w, r)
			return nil
		}}})
		web, err := net.Listen("tcp", f.http)
		if err != nil {
			return errors.Join(fmt.Errorf("listen for HTTP: %w", err), listener.Close())
		}
		httpServer := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		defer httpServer.Close()
		go func() { failed <- httpServer.Serve(web) }()
		fmt.Fprintf(c.out, "http %s/inbox\n", web.Addr())
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := server.Drain(wait); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

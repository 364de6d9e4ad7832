package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// trustFlags say how a tool checks the certificate of the server it talks to.
type trustFlags struct {
	caFile   string
	insecure bool
	name     string
}

// tls makes the configuration for a server at addr.
func (t trustFlags) tls(addr string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usageError(fmt.Sprintf("%q is not HOST:PORT", addr))
	}
	if t.name != "" {
		host = t.name
	}
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.insecure}
	if t.caFile != "" {
		pem, err := os.ReadFile(t.caFile)
		if err != nil {
			return nil, fmt.Errorf("read authority's certificate: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate (PEM is expected)", t.caFile)
		}
	}
	return conf, nil
}

// on adds the flags to a command.
func (t *trustFlags) on(f *pflag.FlagSet) {
	f.StringVar(&t.caFile, "ca", "", "PEM certificate to judge the server by; the system's if not given")
	f.StringVar(&t.name, "server-name", "", "name that the server's certificate must have; the host if not given")
	f.BoolVar(&t.insecure, "insecure", false, "take any certificate: anyone on the way can read the key")
}

// keyFlags say where the key is, so that it stands neither in the process list
// nor in a shell's history.
type keyFlags struct{ env, file string }

// on adds the flags to a command.
func (k *keyFlags) on(f *pflag.FlagSet) {
	f.StringVar(&k.env, "key-env", "", "environment variable that holds the key")
	f.StringVar(&k.file, "key-file", "", "file that holds the key")
}

// read returns the key; "" if none was asked for.
func (k keyFlags) read() (string, error) {
	switch {
	case k.env != "" && k.file != "":
		return "", usageError("give --key-env or --key-file, not both")
	case k.env != "":
		key := os.Getenv(k.env)
		if key == "" {
			return "", fmt.Errorf("the variable %s is empty or not set", k.env)
		}
		return key, nil
	case k.file != "":
		b, err := os.ReadFile(k.file)
		if err != nil {
			return "", fmt.Errorf("read the key: %w", err)
		}
		return strings.TrimRight(string(b), "\r\n "), nil
	}
	return "", nil
}

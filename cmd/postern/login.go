package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"postern/internal/sasl"
	"postern/internal/secret"
)

// loginFlags say how to log in to an SMTP server.
type loginFlags struct {
	mechanism, user   string
	key               keyFlags
	cert, certKeyFile string
}

// sendMechanisms are the choices of --auth.
var sendMechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"}

// on adds the flags to a command.
func (l *loginFlags) on(f *pflag.FlagSet) {
	f.StringVar(&l.mechanism, "auth", "PLAIN", "mechanism: "+strings.Join(sendMechanisms, ", "))
	f.StringVar(&l.user, "user", "", "user name; apikey for PLAIN and LOGIN, the key's id for SCRAM and CRAM-MD5, none for the others")
	l.key.on(f)
	f.StringVar(&l.cert, "client-cert", "", "PEM certificate of the client, for EXTERNAL")
	f.StringVar(&l.certKeyFile, "client-key", "", "PEM key of --client-cert")
}

// read returns the key or token, "" if there is none, and gives conf the client's
// certificate.
func (l *loginFlags) read(conf *tls.Config) (string, error) {
	if l.mechanism = strings.ToUpper(l.mechanism); !slices.Contains(sendMechanisms, l.mechanism) {
		return "", usageError(fmt.Sprintf("--auth %q: want one of %s", l.mechanism, strings.Join(sendMechanisms, ", ")))
	}
	if (l.cert == "") != (l.certKeyFile == "") || l.cert == "" && l.mechanism == "EXTERNAL" {
		return "", usageError("give --client-cert and --client-key together; EXTERNAL needs both")
	}
	if l.cert != "" {
		pair, err := tls.LoadX509KeyPair(l.cert, l.certKeyFile)
		if err != nil {
			return "", fmt.Errorf("read the client's certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return l.key.read()
}

// wanted: without anything to prove oneself with there is no AUTH.
func (l *loginFlags) wanted(key string) bool { return key != "" || l.mechanism == "EXTERNAL" }

// run logs in. What is shown holds no part of the key.
func (l *loginFlags) run(d *dialogue, key, server string) error {
	m, shown, err := l.client(d, secret.Redacted(key), server)
	if err != nil {
		return err
	}
	return d.auth(m, shown)
}

// client makes the mechanism's client, and says what it will send.
func (l *loginFlags) client(d *dialogue, key secret.Redacted, server string) (sasl.Client, string, error) {
	user := l.user
	switch l.mechanism {
	case "EXTERNAL":
		return sasl.NewExternalClient(user), "by the client's certificate", nil
	case "XOAUTH2":
		return sasl.NewXOAuth2Client(user, key), "the token", nil
	case "OAUTHBEARER":
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			return nil, "", err
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, "", fmt.Errorf("port %q is not a number", port)
		}
		return sasl.NewOAuthBearerClient(user, key, host, n), "the token", nil
	case "PLAIN", "LOGIN":
		user = cmp.Or(user, "apikey")
		shown := "user " + user + " and the key"
		if l.mechanism == "LOGIN" {
			return sasl.NewLoginClient(user, key), shown, nil
		}
		return sasl.NewPlainClient(user, key), shown, nil
	}
	if user == "" { // the id is no secret: it is how the server finds what it keeps of the key
		k, err := secret.ParseKey(key.Reveal(), keyPrefix(key))
		if err != nil {
			return nil, "", usageError("--user is needed: what was given is no key that has an id")
		}
		user = k.IDText()
	}
	shown := "user " + user + ", and proof of the key"
	switch l.mechanism {
	case "CRAM-MD5":
		return sasl.NewCRAMMD5Client(user, key), shown, nil
	case "SCRAM-SHA-256-PLUS":
		b, err := d.binding()
		return sasl.NewSCRAMClient(user, key, b), shown, err
	}
	return sasl.NewSCRAMClient(user, key, sasl.SCRAMBinding{}), shown, nil
}

// keyPrefix is what a key begins with; installations may have their own.
func keyPrefix(key secret.Redacted) string {
	prefix, _, _ := strings.Cut(key.Reveal(), ".")
	return prefix
}

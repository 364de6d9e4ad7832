package cert

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"slices"
	"testing"
	"time"
)

// trusting is a client that trusts the authority of f.
func trusting(t testing.TB, f Files) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(f.Authority)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, ServerName: "relay.example.test", Time: func() time.Time { return now }}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	f := made(t)
	s := open(t, f, nil)
	for name, tt := range map[string]struct {
		minimum, client uint16
		ok              bool
	}{
		"TL-10 TLS 1.0":       {0, tls.VersionTLS10, false},
		"TL-10 TLS 1.1":       {0, tls.VersionTLS11, false},
		"TL-10 asked for 1.0": {tls.VersionTLS10, tls.VersionTLS10, false},
		"TL-12 TLS 1.2":       {0, tls.VersionTLS12, true},
		"TL-12 TLS 1.3":       {0, tls.VersionTLS13, true},
		"1.3 only":            {tls.VersionTLS13, tls.VersionTLS12, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := trusting(t, f)
			c.MinVersion, c.MaxVersion = tt.client, tt.client
			if _, err := handshake(t, s.TLSConfig(Use{Minimum: tt.minimum}), c); (err == nil) != tt.ok {
				t.Fatalf("handshake: %v, want success %v", err, tt.ok)
			}
		})
	}
}

// TL-11: every suite that crypto/tls knows is tried alone.
func TestTLSSuites(t *testing.T) {
	t.Parallel()
	f := made(t)
	s := open(t, f, nil)
	strict := []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	loose := append([]uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}, strict...)
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
			continue
		}
		for _, looser := range []bool{false, true} {
			want := slices.Contains(strict, suite.ID)
			if looser {
				want = slices.Contains(loose, suite.ID)
			}
			c := trusting(t, f)
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite.ID}
			if _, err := handshake(t, s.TLSConfig(Use{Looser: looser}), c); (err == nil) != want {
				t.Errorf("%s (looser %v): %v, want success %v", suite.Name, looser, err, want)
			}
		}
	}
}

// TL-15: a ticket of one listener is worth nothing on another.
func TestTicketsStayWithTheirListener(t *testing.T) {
	t.Parallel()
	f := made(t)
	s := open(t, f, nil)
	first, second := s.TLSConfig(Use{}), s.TLSConfig(Use{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := trusting(t, f)
		c.MaxVersion = version
		c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		resumed := func(server *tls.Config) bool {
			t.Helper()
			state, err := handshake(t, server, c)
			if err != nil {
				t.Fatal(err)
			}
			return state.DidResume
		}
		if resumed(first) {
			t.Fatal("resumed a session that never was")
		}
		if !resumed(first) {
			t.Fatal("no session is ever resumed: this test could not fail")
		}
		if resumed(second) {
			t.Errorf("version %x: a ticket of one listener was taken by another", version)
		}
	}
	c := trusting(t, f)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	none := s.TLSConfig(Use{NoTickets: true})
	for range 2 {
		if state, err := handshake(t, none, c); err != nil || state.DidResume {
			t.Errorf("without tickets: resumed %v, %v", state.DidResume, err)
		}
	}
}

// TL-15: only the protocol of the listener is agreed on.
func TestALPN(t *testing.T) {
	t.Parallel()
	f := made(t)
	s := open(t, f, nil)
	for name, tt := range map[string]struct {
		offer []string
		ok    bool
		want  string
	}{
		"none":        {nil, true, ""},
		"smtp":        {[]string{"smtp"}, true, "smtp"},
		"among":       {[]string{"h2", "smtp"}, true, "smtp"},
		"cross":       {[]string{"h2", "http/1.1"}, false, ""},
		"unknown":     {[]string{"imap"}, false, ""},
		"other case":  {[]string{"SMTP"}, false, ""},
		"longer name": {[]string{"smtps"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := trusting(t, f)
			c.NextProtos = tt.offer
			state, err := handshake(t, s.TLSConfig(Use{ALPN: []string{"smtp"}}), c)
			if (err == nil) != tt.ok || (tt.ok && state.NegotiatedProtocol != tt.want) {
				t.Fatalf("ALPN %v: agreed on %q, %v", tt.offer, state.NegotiatedProtocol, err)
			}
		})
	}
}

// TL-16: whatever name is asked for, the one certificate answers.
func TestAnyServerName(t *testing.T) {
	t.Parallel()
	f := made(t)
	s := open(t, f, nil)
	for _, name := range []string{"", "relay.example.test", "unknown.example", string(make([]byte, 300))} {
		got, err := s.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil || got != s.Certificate() {
			t.Errorf("name %q: %v, %v", name, got, err)
		}
	}
}

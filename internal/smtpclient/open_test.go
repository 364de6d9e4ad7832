package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
)

// wantError checks an *Error: "code stage flags".
func wantError(t testing.TB, err error, want string) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error %v is no *Error", err)
		return nil
	}
	got := smtp.Reply{Code: e.Code, Enhanced: e.Enhanced}.String() + " " + string(e.Stage)
	if e.Local {
		got += " local"
	}
	if e.Lost {
		got += " lost"
	}
	if got != want {
		t.Errorf("error %q (%v), want %q", got, e, want)
	}
	return e
}

func TestOpenRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		stage fakemx.Stage
		step  fakemx.Step
		want  string
	}{
		{"banner 4yz", fakemx.Banner, fakemx.Step{Reply: "421 4.3.2 Busy"}, "421 4.3.2 banner"},
		{"banner 5yz", fakemx.Banner, fakemx.Step{Reply: "554 5.7.1 Not you"}, "554 5.7.1 banner"},
		{"banner of another kind", fakemx.Banner, fakemx.Step{Reply: "250 Hello"}, "451 4.5.0 banner local"},
		{"no SMTP at all", fakemx.Banner, fakemx.Step{Raw: "HTTP/1.1 400 Bad Request\r\n\r\n"}, "451 4.5.0 banner local"},
		{"closed before the banner", fakemx.Banner, fakemx.Step{Close: true}, "451 4.4.2 banner local lost"},
		{"reset before the banner", fakemx.Banner, fakemx.Step{Delay: 50 * time.Millisecond, Reset: true}, "451 4.4.2 banner local lost"},
		{"closed within the banner", fakemx.Banner, fakemx.Step{Raw: "220-hello\r\n22", Close: true}, "451 4.4.2 banner local lost"},
		{"EHLO 4yz", fakemx.Ehlo, fakemx.Step{Reply: "450 4.7.1 Later"}, "450 4.7.1 ehlo"},
		{"EHLO 421", fakemx.Ehlo, fakemx.Step{Reply: "421 4.3.2 Busy", Close: true}, "421 4.3.2 ehlo"},
		{"EHLO 3yz", fakemx.Ehlo, fakemx.Step{Reply: "354 Go on"}, "451 4.5.0 ehlo local"},
		{"closed at EHLO", fakemx.Ehlo, fakemx.Step{Close: true}, "451 4.4.2 ehlo local lost"},
		{"two replies at once to EHLO", fakemx.StartTLS, fakemx.Step{Reply: "220 a\n220 b"}, "451 4.5.0 starttls local"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ext := append([]string{"STARTTLS"}, fakemx.DefaultExtensions...)
			mx := fakemx.Start(t, fakemx.Config{Extensions: ext, Script: at(tc.stage, 0, tc.step)})
			_, err := tryOpen(t, mx)
			e := wantError(t, err, tc.want)
			if e.Permanent() != (e.Code/100 == 5) {
				t.Error("Permanent does not fit the code")
			}
		})
	}
}

// A host that speaks before it is asked is out of step.
func TestOpenUnaskedReply(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.Banner, 0, fakemx.Step{Extra: "250 mx\r\n"})})
	_, err := tryOpen(t, mx)
	wantError(t, err, "451 4.5.0 ehlo local")
}

func TestOpenHELO(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.Ehlo, 0, fakemx.Step{Reply: "502 5.5.1 Unknown"})})
	s := open(t, mx)
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "250 2.0.0 end")
	s.Quit(t.Context())
	if got := mx.Lines(0); got[1] != "HELO client.example.test" || got[2] != "MAIL FROM:<a@example.test>" {
		t.Errorf("lines %q", got)
	}

	refuses := fakemx.Start(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
		if e.Stage == fakemx.Ehlo || e.Stage == fakemx.Helo {
			return fakemx.Step{Reply: "550 5.7.1 Not you"}
		}
		return fakemx.Step{}
	}})
	_, err := tryOpen(t, refuses)
	wantError(t, err, "550 5.7.1 ehlo")
	if n := len(refuses.Lines(0)); n != 2 {
		t.Errorf("%d greetings, want EHLO and HELO", n)
	}

	// HELO cannot lead to TLS, so it is not said where TLS must be had.
	_, err = tryOpen(t, refuses, func(o *Options) { o.TLS = TLSRequired })
	wantError(t, err, "550 5.7.1 ehlo")
	if n := len(refuses.Lines(1)); n != 1 {
		t.Errorf("%d greetings, want EHLO only", n)
	}
}

func TestOpenTLS(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	good := ca.Server(t, time.Hour, "mx.example.test")
	expired := ca.Server(t, -time.Minute, "mx.example.test")
	other := ca.Server(t, time.Hour, "other.example.test")
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	strict := good.Clone()
	strict.ClientAuth = tls.RequireAnyClientCert
	trusting := func(o *Options) {
		o.TLS, o.TLSConfig = TLSRequired, &tls.Config{ServerName: "mx.example.test", RootCAs: ca.Pool()}
	}
	required := func(o *Options) { o.TLS = TLSRequired }
	none := func(o *Options) { o.TLS = TLSNone }
	for _, tc := range []struct {
		name   string
		config fakemx.Config
		change func(*Options)
		err    string // "" means a session
		tls    bool
	}{
		{"opportunistic, offered", fakemx.Config{TLS: expired}, func(*Options) {}, "", true},
		{"opportunistic, not offered", fakemx.Config{}, func(*Options) {}, "", false},
		{"opportunistic, refused for now", fakemx.Config{TLS: good, Script: at(fakemx.StartTLS, 0, fakemx.Step{Reply: "454 4.7.0 No entropy"})}, func(*Options) {}, "", false},
		{"opportunistic, refused", fakemx.Config{TLS: good, Script: at(fakemx.StartTLS, 0, fakemx.Step{Reply: "502 5.5.1 What?"})}, func(*Options) {}, "", false},
		{"opportunistic, 421", fakemx.Config{TLS: good, Script: at(fakemx.StartTLS, 0, fakemx.Step{Reply: "421 4.7.0 Bye", Close: true})}, func(*Options) {}, "421 4.7.0 starttls", false},
		{"opportunistic, only old versions", fakemx.Config{TLS: old}, func(*Options) {}, "454 4.7.5 handshake local", false},
		{"none, offered", fakemx.Config{TLS: good}, none, "", false},
		{"required, offered", fakemx.Config{TLS: other}, required, "", true},
		{"required, not offered", fakemx.Config{}, required, "454 4.7.4 starttls local", false},
		{"required, refused", fakemx.Config{TLS: good, Script: at(fakemx.StartTLS, 0, fakemx.Step{Reply: "454 4.7.0 No"})}, required, "454 4.7.4 starttls local", false},
		{"verified, good", fakemx.Config{TLS: good}, trusting, "", true},
		{"verified, expired", fakemx.Config{TLS: expired}, trusting, "454 4.7.5 handshake local", false},
		{"verified, another name", fakemx.Config{TLS: other}, trusting, "454 4.7.5 handshake local", false},
		{"garbage for a handshake", fakemx.Config{TLS: good, Script: at(fakemx.Handshake, 0, fakemx.Step{Delay: 50 * time.Millisecond, Raw: "what?\r\n"})}, required, "454 4.7.5 handshake local", false},
		{"closed for a handshake", fakemx.Config{TLS: good, Script: at(fakemx.Handshake, 0, fakemx.Step{Close: true})}, required, "454 4.7.5 handshake local", false},
		{"wants a client certificate", fakemx.Config{TLS: strict}, required, "454 4.7.5 handshake local", false},
		{"EHLO refused under TLS", fakemx.Config{TLS: good, Script: at(fakemx.Ehlo, 1, fakemx.Step{Reply: "450 4.3.2 Later"})}, required, "450 4.3.2 ehlo", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mx := fakemx.Start(t, tc.config)
			s, err := tryOpen(t, mx, tc.change)
			if tc.err != "" {
				wantError(t, err, tc.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "250 2.0.0 end")
			if (s.TLS() != "") != tc.tls || (s.ConnectionState() != nil) != tc.tls || mx.Complete()[0].TLS != tc.tls {
				t.Errorf("TLS %q, the host saw TLS %v", s.TLS(), mx.Complete()[0].TLS)
			}
			if tc.tls && s.TLS() != "TLSv1.3 TLS_AES_128_GCM_SHA256" {
				t.Errorf("TLS is described as %q", s.TLS())
			}
			s.Quit(t.Context())
		})
	}
}

// What was learnt in the clear counts for nothing under TLS (RFC 3207 §4.2).
func TestOpenForgetsWhatWasSaidInTheClear(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	mx := fakemx.Start(t, fakemx.Config{
		TLS: ca.Server(t, time.Hour, "mx.example.test"),
		Script: func(e fakemx.Event) fakemx.Step {
			if e.Stage == fakemx.Ehlo && !e.TLS {
				return fakemx.Step{Reply: "250-evil.example.test\n250-PIPELINING\n250-SIZE 1\n250-AUTH PLAIN\n250 STARTTLS"}
			}
			return fakemx.Step{}
		},
	})
	s := open(t, mx)
	x := s.Extensions()
	if x.Size != 10485760 || len(x.Auth) != 0 || x.StartTLS {
		t.Errorf("extensions %+v", x)
	}
	if _, name := s.Names(); name != "mx.example.test" {
		t.Errorf("the host's name is %q", name)
	}
	s.Quit(t.Context())
}

func TestOpenImmediateTLS(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", ca.Server(t, time.Hour, "mx.example.test"))
	if err != nil {
		t.Fatal(err)
	}
	mx := fakemx.New(fakemx.Config{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := ln.Accept()
		ln.Close()
		if err == nil {
			mx.Serve(conn)
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), conn, Options{
		HeloName: "client.example.test", TLS: TLSImmediate,
		TLSConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "250 2.0.0 end")
	s.Quit(t.Context())
	<-served
}

func TestOpenAuth(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	ext := append([]string{"AUTH LOGIN PLAIN"}, fakemx.DefaultExtensions...)
	config := func(script func(fakemx.Event) fakemx.Step) fakemx.Config {
		return fakemx.Config{TLS: ca.Server(t, time.Hour, "mx.example.test"), Extensions: ext, Script: script}
	}
	auth := func(o *Options) { o.Auth = sasl.NewPlainClient("user", "pass word") }

	mx := fakemx.Start(t, config(nil))
	s := open(t, mx, auth)
	s.Quit(t.Context())
	if got, want := mx.Lines(0)[3], "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00user\x00pass word")); got != want {
		t.Errorf("said %q, want %q", got, want)
	}

	// Whatever the host says to AUTH is no verdict on the mail.
	for _, reply := range []string{"535 5.7.8 Wrong", "454 4.7.0 Later", "334 ", "250 What?", "334 !!!"} {
		mx := fakemx.Start(t, config(at(fakemx.Auth, 0, fakemx.Step{Reply: reply})))
		_, err := tryOpen(t, mx, auth)
		if e := wantError(t, err, "454 4.7.0 auth local"); strings.Contains(e.Error(), "pass") {
			t.Errorf("the error shows the secret: %v", e)
		}
	}

	clear := fakemx.Start(t, fakemx.Config{Extensions: ext})
	_, err := tryOpen(t, clear, auth)
	wantError(t, err, "454 4.7.0 auth local")
	for _, l := range clear.Lines(0) {
		if strings.HasPrefix(l, "AUTH") {
			t.Error("AUTH was said without TLS")
		}
	}

	unoffered := fakemx.Start(t, fakemx.Config{TLS: ca.Server(t, time.Hour, "mx.example.test")})
	_, err = tryOpen(t, unoffered, auth)
	wantError(t, err, "454 4.7.0 auth local")
}

func TestOpenBadOptions(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{})
	for _, name := range []string{"", "two words", "a\r\nMAIL FROM:<x@example.test>", "bücher.test", strings.Repeat("a", 300)} {
		_, err := tryOpen(t, mx, func(o *Options) { o.HeloName = name })
		wantError(t, err, "451 4.3.5 ehlo local")
	}
	_, err := tryOpen(t, mx, func(o *Options) { o.TLSConfig = nil })
	wantError(t, err, "451 4.3.5 starttls local")
}

func TestQuitWaitsForTheAnswer(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	said := make(chan string, 1)
	go func() {
		in := bufio.NewReader(server)
		server.Write([]byte("220 mx\r\n"))
		in.ReadString('\n')
		server.Write([]byte("250 mx\r\n"))
		line, _ := in.ReadString('\n')
		server.Write([]byte("221 Bye\r\n"))
		server.Close()
		said <- line
	}()
	s, err := New(context.Background(), client, Options{HeloName: "client.example.test"})
	if err != nil {
		t.Fatal(err)
	}
	s.Quit(t.Context())
	if line := <-said; line != "QUIT\r\n" || s.Usable() {
		t.Errorf("said %q, usable %v", line, s.Usable())
	}
	s.Quit(t.Context()) // again: harmless
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/cert"
)

// output collects what a command prints while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// certificate makes one for 127.0.0.1 and returns the files.
func certificate(t testing.TB) cert.Files {
	t.Helper()
	dir := t.TempDir()
	f := cert.Files{
		Authority: filepath.Join(dir, "ca.crt"), AuthorityKey: filepath.Join(dir, "ca.key"),
		Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"),
	}
	if err := cert.SelfSigned(f, []string{"sink.test", "127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return f
}

// startSink runs "postern sink" and returns its SMTP address.
func startSink(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, done := &output{}, make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{"sink", "--listen", "127.0.0.1:0", "--no-verify"}, args...), streams{out: out, err: &output{}})
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("sink ended with %d", code)
		}
	})
	address := regexp.MustCompile(`(?m)^smtp (\S+)$`)
	for begin := time.Now(); time.Since(begin) < awaitTime; time.Sleep(5 * time.Millisecond) {
		if m := address.FindStringSubmatch(out.String()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("sink does not say where it listens: %q", out.String())
	return ""
}

// command runs a command line to its end.
func command(t testing.TB, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), awaitTime)
	defer cancel()
	var o, e output
	code = run(ctx, args, streams{in: strings.NewReader(in), out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestSendShowsTheConversation(t *testing.T) {
	t.Parallel()
	mail := t.TempDir()
	f := certificate(t)
	addr := startSink(t, "--dir", mail, "--cert", f.Certificate, "--cert-key", f.Key)
	code, out, errs := command(t, "", "send", "--ca", f.Authority, "--from", "ann@acme.example", "--to", "bob@sink.test,eve@sink.test", "--subject", "größe", addr)
	if code != exitOK {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	for _, want := range []string{"C: EHLO ", "C: STARTTLS", "*: TLS 1.3 ", "C: MAIL FROM:<ann@acme.example> BODY=8BITMIME", "C: RCPT TO:<bob@sink.test>", "C: RCPT TO:<eve@sink.test>", "C: DATA", "S: 354", "S: 250 2.0.0 ", "C: QUIT", "S: 221"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not shown in:\n%s", want, out)
		}
	}
	files, _ := filepath.Glob(filepath.Join(mail, "*.eml"))
	if len(files) != 1 {
		t.Fatalf("the sink has %d messages", len(files))
	}
	text, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(text), "Subject: =?utf-8?q?gr=C3=B6=C3=9Fe?=\r\n") || !strings.Contains(string(text), "\r\n\r\nA test message") {
		t.Errorf("message %q, %v", text, err)
	}
}

func TestSendFileAndJSON(t *testing.T) {
	t.Parallel()
	mail := t.TempDir()
	addr := startSink(t, "--dir", mail, "--fault", "rcpt,to=*@full.test: 452 4.2.2 mailbox full")
	raw := "From: a@b.test\nSubject: x\n\n.leading dot\n"
	code, out, errs := command(t, raw, "send", "--json", "--file", "-", "--from", "a@b.test", "--to", "c@d.test", addr)
	var got sent
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK || !got.Accepted || !strings.HasPrefix(got.Reply, "2.0.0") {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	files, _ := filepath.Glob(filepath.Join(mail, "*.eml"))
	if len(files) != 1 {
		t.Fatalf("the sink has %d messages", len(files))
	}
	if text, _ := os.ReadFile(files[0]); !strings.HasSuffix(string(text), "From: a@b.test\r\nSubject: x\r\n\r\n.leading dot\r\n") {
		t.Errorf("message %q", text)
	}
	code, out, _ = command(t, raw, "send", "--json", "--from", "a@b.test", "--to", "c@full.test", addr)
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitFailed || got.Accepted || got.Error != "the server answered 452 4.2.2 mailbox full" {
		t.Errorf("a refused recipient: exit code %d, %s", code, out)
	}
	for want, args := range map[string][]string{
		"does not offer STARTTLS": {"--tls", "starttls"}, "a line end in": {"--subject", "x\r\nBcc: y@z.test"}, "must be one line": {"--helo", "a\r\nQUIT"},
	} {
		args = append([]string{"send", "--from", "a@b.test", "--to", "c@d.test", addr}, args...)
		if code, out, errs := command(t, "", args...); code == exitOK || !strings.Contains(errs, want) {
			t.Errorf("%q: %d %s%s", args, code, out, errs)
		}
	}
}

// authServer is a TLS server that takes one session and notes its commands.
func authServer(t testing.TB, f cert.Files) (addr string, commands func() []string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	seen := make(chan []string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		seen <- converse(conn)
	}()
	return l.Addr().String(), func() []string { return <-seen }
}

func converse(conn net.Conn) (lines []string) {
	_ = conn.SetDeadline(time.Now().Add(awaitTime))
	say := func(s string) { _, _ = conn.Write([]byte(s + "\r\n")) }
	say("220 relay.test ESMTP")
	for r := bufio.NewScanner(conn); r.Scan(); {
		lines = append(lines, r.Text())
		verb, _, _ := strings.Cut(r.Text(), " ")
		switch verb {
		case "EHLO":
			say("250-relay.test\r\n250 AUTH PLAIN")
		case "AUTH":
			say("535 5.7.8 Authentication failed \x1b[31m")
		default:
			say("502 5.5.1 no")
		}
	}
	return lines
}

func TestSendHidesTheKey(t *testing.T) {
	t.Parallel()
	f := certificate(t)
	const key = "SG.aaaaaaaaaaaaaaaaaaaaaa.secretsecretsecretsecretsecretsecretsecretsec"
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, commands := authServer(t, f)
	code, out, errs := command(t, "", "send", "--tls", "implicit", "--ca", f.Authority, "--key-file", file, "--from", "a@b.test", "--to", "c@d.test", addr)
	if code != exitFailed || !strings.Contains(errs, "the server answered 535 5.7.8 Authentication failed") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	blob := base64.StdEncoding.EncodeToString([]byte("\x00apikey\x00" + key))
	if got := commands(); len(got) < 2 || got[1] != "AUTH PLAIN "+blob {
		t.Errorf("the server saw %q", got)
	}
	if shown := out + errs; strings.Contains(shown, blob) || strings.Contains(shown, "secret") || !strings.Contains(shown, "AUTH PLAIN (user apikey and the key)") {
		t.Errorf("shown:\n%s", shown)
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("the server moves the cursor: %q", out)
	}
	// Never without TLS, and never to a stranger.
	plain := startSink(t)
	code, out, errs = command(t, "", "send", "--key-file", file, "--from", "a@b.test", "--to", "c@d.test", plain)
	if code != exitFailed || !strings.Contains(errs, "the key is not sent") || strings.Contains(out, "AUTH") {
		t.Errorf("without TLS: %d %s%s", code, out, errs)
	}
	addr, _ = authServer(t, f)
	code, out, errs = command(t, "", "send", "--tls", "implicit", "--key-file", file, "--from", "a@b.test", "--to", "c@d.test", addr)
	if code != exitFailed || !strings.Contains(errs, "TLS handshake") || strings.Contains(out, "AUTH") {
		t.Errorf("an unknown certificate: %d %s%s", code, out, errs)
	}
}

func TestKeyFlags(t *testing.T) {
	t.Setenv("A_KEY", "SG.x")
	for name, tt := range map[string]struct {
		flags     keyFlags
		want, err string
	}{
		"none":     {keyFlags{}, "", ""},
		"variable": {keyFlags{env: "A_KEY"}, "SG.x", ""},
		"unset":    {keyFlags{env: "NO_KEY"}, "", "NO_KEY is empty"},
		"both":     {keyFlags{env: "A_KEY", file: "x"}, "", "not both"},
		"no file":  {keyFlags{file: filepath.Join(t.TempDir(), "x")}, "", "read the key"},
	} {
		got, err := tt.flags.read()
		if got != tt.want || (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

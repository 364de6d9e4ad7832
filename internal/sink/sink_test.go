package sink

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
)

func certificate(tb testing.TB, name string) *tls.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
	}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// start runs a sink and returns it with its address.
func start(tb testing.TB, c Config) (*Server, string) {
	tb.Helper()
	if c.Hostname == "" {
		c.Hostname = "mx.inbox.test"
	}
	s, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return s, ln.Addr().String()
}

func dial(tb testing.TB, addr string) *smtp.Client {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c, err := smtp.NewClient(conn, "mx.inbox.test")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// send hands one message in and returns where it was refused, "" if it was not.
func send(c *smtp.Client, from string, to []string, raw string) (stage string, err error) {
	if err := c.Mail(from); err != nil {
		return "mail", err
	}
	taken := 0
	for _, a := range to {
		if err = c.Rcpt(a); err == nil {
			taken++
		}
	}
	if taken == 0 {
		return "rcpt", err
	}
	w, err := c.Data()
	if err != nil {
		return "data", err
	}
	if _, err := io.WriteString(w, raw); err != nil {
		return "body", err
	}
	if err := w.Close(); err != nil {
		return "end", err
	}
	return "", nil
}

func TestSinkTakesAndVerifies(t *testing.T) {
	t.Parallel()
	k := keys()
	dnsWorld := world()
	dnsWorld.Addrs["relay.postern.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	dir := filepath.Join(t.TempDir(), "mail")
	s, addr := start(t, Config{TLS: certificate(t, "mx.inbox.test"), Domains: []string{"Inbox.test."}, Verify: true, Enforce: true, Resolver: dnsWorld, Dir: dir})
	c := dial(t, addr)
	if err := c.Hello("relay.postern.test"); err != nil {
		t.Fatal(err)
	}
	if ok, _ := c.Extension("AUTH"); ok {
		t.Error("AUTH is offered")
	}
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	if ok, _ := c.Extension("AUTH"); ok {
		t.Error("AUTH is offered under TLS")
	}
	raw := sign(t, sign(t, strings.Replace(plain, "Hello Bob.", ".dots\r\n..\r\n.\r\nend", 1), "acme.test", "s1", k.rsa), "acme.test", "s1e", k.ed)
	if stage, err := send(c, "ann@acme.test", []string{"bob@inbox.test", "x@elsewhere.test", "eve@sub.inbox.test"}, raw); err != nil {
		t.Fatal(stage, err)
	}
	list := s.Inbox().List()
	if len(list) != 1 {
		t.Fatalf("%d messages", len(list))
	}
	m := list[0]
	if !bytes.Equal(m.Raw, []byte(raw)) {
		t.Errorf("the octets changed:\n%q\n%q", m.Raw, raw)
	}
	if m.SPF != "pass" || m.DKIM != "pass" || m.DMARC != "pass" || len(m.Signatures) != 2 {
		t.Errorf("verified as %s %s %s %v", m.SPF, m.DKIM, m.DMARC, m.Signatures)
	}
	if m.MailFrom != "ann@acme.test" || strings.Join(m.RcptTo, " ") != "bob@inbox.test eve@sub.inbox.test" || m.Helo != "relay.postern.test" {
		t.Errorf("envelope %q %q %q", m.MailFrom, m.RcptTo, m.Helo)
	}
	if !strings.HasPrefix(m.TLS, "TLSv1.3 TLS_") {
		t.Errorf("TLS %q", m.TLS)
	}
	checkFiles(t, dir, raw)

	// A forged author whose domain says p=reject.
	stage, err := send(c, "eve@nothing.test", []string{"bob@inbox.test"}, plain)
	if e, ok := errors.AsType[*textproto.Error](err); stage != "end" || !ok || e.Code != 550 || !strings.HasPrefix(e.Msg, "5.7.1 ") {
		t.Errorf("a forged message: %s %v", stage, err)
	}
	if stage, err := send(c, "eve@nothing.test", []string{"x@elsewhere.test"}, plain); stage != "rcpt" {
		t.Errorf("mail for another domain: %s %v", stage, err)
	}
	if n := s.Inbox().Total(); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func checkFiles(t *testing.T, dir, raw string) {
	t.Helper()
	eml, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(eml) != 1 {
		t.Fatalf("files %v, %v", eml, err)
	}
	if b, err := os.ReadFile(eml[0]); err != nil || string(b) != raw {
		t.Errorf("%s holds %q, %v", eml[0], b, err)
	}
	b, err := os.ReadFile(strings.TrimSuffix(eml[0], ".eml") + ".json")
	var m Message
	if err != nil || json.Unmarshal(b, &m) != nil || m.MailFrom != "ann@acme.test" || len(m.Raw) != 0 || m.File != eml[0] {
		t.Errorf("%s, %v", b, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSinkWithoutVerification(t *testing.T) {
	t.Parallel()
	s, addr := start(t, Config{})
	c := dial(t, addr)
	if ok, _ := c.Extension("STARTTLS"); ok {
		t.Error("STARTTLS is offered without a certificate")
	}
	for range 3 {
		if stage, err := send(c, "", []string{"anyone@anywhere.test"}, "no header at all\r\n"); err != nil {
			t.Fatal(stage, err)
		}
	}
	m := s.Inbox().List()[2]
	if m.SPF+m.DKIM+m.DMARC+m.TLS+m.MailFrom != "" || string(m.Raw) != "no header at all\r\n" {
		t.Errorf("got %+v", m)
	}
}

func TestSinkFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		want  []string // stage and code of each of three messages; "": taken
	}{
		{"mail: 451 4.3.0 later", []string{"mail 451", "mail 451", "mail 451"}},
		{"rcpt,first=1: 452 4.2.2 full", []string{"rcpt 452", "", ""}},
		{"rcpt,to=*@other.test: 550 5.1.1 no", []string{"", "", ""}},
		{"data,from=*@acme.test,first=2: 450 4.7.1 grey", []string{"data 450", "data 450", ""}},
		{"end,to=bob@inbox.test: 554 5.7.1 spam", []string{"end 554", "end 554", "end 554"}},
		{"end,delay=20ms", []string{"", "", ""}},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			f, err := ParseFault(tt.fault)
			if err != nil {
				t.Fatal(err)
			}
			s, addr := start(t, Config{Faults: []Fault{f}})
			c := dial(t, addr)
			taken := int64(0)
			for i, want := range tt.want {
				begin := time.Now()
				stage, err := send(c, "ann@acme.test", []string{"bob@inbox.test"}, plain)
				got := ""
				if e, ok := errors.AsType[*textproto.Error](err); ok {
					got = stage + " " + string(rune('0'+e.Code/100)) + string(rune('0'+e.Code/10%10)) + string(rune('0'+e.Code%10))
				} else if err != nil {
					got = err.Error()
				} else if taken++; time.Since(begin) < f.Delay {
					t.Errorf("message %d came back early", i)
				}
				if got != want {
					t.Errorf("message %d: %q, want %q", i, got, want)
				}
				if err := c.Reset(); err != nil {
					t.Fatal(err)
				}
			}
			if n := s.Inbox().Total(); n != taken {
				t.Errorf("keeps %d, said 250 to %d", n, taken)
			}
		})
	}
}

func TestSinkBreaksConnections(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"connect", "helo", "mail", "rcpt", "data", "end"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			f, err := ParseFault(at + ",drop,first=1")
			if err != nil {
				t.Fatal(err)
			}
			s, addr := start(t, Config{Faults: []Fault{f}})
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.WriteString(conn, "EHLO x.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@inbox.test>\r\nDATA\r\n")
			_, _ = io.WriteString(conn, "hello\r\n.\r\n")
			got, _ := io.ReadAll(conn)
			if strings.Contains(string(got), "421") || strings.Contains(string(got), "taken") || (at == "connect") != (len(got) == 0) {
				t.Errorf("was told %q", got)
			}
			if n := s.Inbox().Total(); n != 0 {
				t.Errorf("keeps %d", n)
			}
			s.faults.mu.Lock()
			left := len(s.faults.conns)
			s.faults.mu.Unlock()
			if left > 1 { // the session may still be ending
				t.Errorf("remembers %d connections", left)
			}
			if stage, err := send(dial(t, addr), "", []string{"b@inbox.test"}, plain); err != nil {
				t.Errorf("the next one: %s %v", stage, err)
			}
		})
	}
}

func TestSinkFullDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mail")
	s, addr := start(t, Config{Dir: dir})
	if err := os.RemoveAll(dir); err != nil { // nothing can be written any more
		t.Fatal(err)
	}
	stage, err := send(dial(t, addr), "", []string{"b@inbox.test"}, plain)
	if e, ok := errors.AsType[*textproto.Error](err); stage != "end" || !ok || e.Code/100 != 4 || strings.Contains(e.Msg, dir) {
		t.Errorf("got %s %v", stage, err)
	}
	if n := s.Inbox().Total(); n != 0 {
		t.Errorf("keeps %d that it refused", n)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"no resolver":           {Hostname: "a.test", Verify: true},
		"enforce unverified":    {Hostname: "a.test", Enforce: true},
		"a fault of nothing":    {Hostname: "a.test", Faults: []Fault{{Stage: AtMail}}},
		"a directory in a file": {Hostname: "a.test", Dir: filepath.Join(os.Args[0], "x")},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: was made", name)
		}
	}
	if _, err := New(Config{Hostname: "a.test", Verify: true, Resolver: &dns.Static{}}); err != nil {
		t.Error(err)
	}
}

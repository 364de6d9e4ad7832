package smtpclient

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
)

// The receiver here is another project's implementation of the RFCs.
type backend struct {
	mu  sync.Mutex
	got []received
}

type received struct {
	From, Body, Ret, EnvID string
	UTF8                   bool
	Kind                   string
	Rcpt                   []string
	Notify                 []string
	ORcpt                  []string
}

func (b *backend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &receiving{b: b}, nil }

type receiving struct {
	b  *backend
	at received
}

func (r *receiving) Reset()        { r.at = received{} }
func (r *receiving) Logout() error { return nil }

func (r *receiving) Mail(from string, o *gosmtp.MailOptions) error {
	r.at = received{From: from, Ret: string(o.Return), EnvID: o.EnvelopeID, UTF8: o.UTF8, Kind: string(o.Body)}
	return nil
}

func (r *receiving) Rcpt(to string, o *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "gone") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	}
	r.at.Rcpt = append(r.at.Rcpt, to)
	for _, n := range o.Notify {
		r.at.Notify = append(r.at.Notify, string(n))
	}
	if o.OriginalRecipient != "" {
		r.at.ORcpt = append(r.at.ORcpt, o.OriginalRecipient)
	}
	return nil
}

func (r *receiving) Data(in io.Reader) error {
	body, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	r.at.Body = string(body)
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.b.got = append(r.b.got, r.at)
	return nil
}

func (b *backend) last(t *testing.T, n int) received {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.got) != n {
		t.Fatalf("%d messages arrived, want %d", len(b.got), n)
	}
	return b.got[n-1]
}

func TestAgainstGoSMTP(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	b := &backend{}
	server := gosmtp.NewServer(b)
	server.Domain, server.MaxMessageBytes, server.MaxLineLength = "mx.example.test", 10<<20, 1<<20
	server.EnableSMTPUTF8, server.EnableDSN, server.EnableBINARYMIME = true, true, true
	server.TLSConfig = ca.Server(t, time.Hour, "mx.example.test")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(ln) }()
	defer func() { server.Close(); <-served }()

	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), conn, Options{
		HeloName: "client.example.test", TLS: TLSRequired,
		TLSConfig: &tls.Config{ServerName: "mx.example.test", RootCAs: ca.Pool()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Quit(context.Background())

	tx := message(testMessage, "b@example.test", "gone@example.test", "ä@example.test")
	tx.Body, tx.SMTPUTF8, tx.Ret, tx.EnvID = smtp.Body8Bit, true, "FULL", "id + 1"
	tx.Recipients[0].Notify, tx.Recipients[0].ORcpt = smtp.NotifySuccess|smtp.NotifyFailure, "rfc822;Bob@example.test"
	want(t, s.Send(t.Context(), tx), "250 2.0.0 end", "550 5.1.1 rcpt", "250 2.0.0 end")
	if diff := cmp.Diff(received{
		From: "a@example.test", Body: testMessage, Ret: "FULL", EnvID: "id + 1", UTF8: true, Kind: "8BITMIME",
		Rcpt: []string{"b@example.test", "ä@example.test"}, Notify: []string{"SUCCESS", "FAILURE"}, ORcpt: []string{"Bob@example.test"},
	}, b.last(t, 1)); diff != "" {
		t.Error(diff)
	}

	// Random canonical content arrives octet for octet, by DATA and by BDAT.
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		content := randomContent(r)
		tx := message(content, "b@example.test")
		tx.Prefix = []byte("X-First: 1\r\n")
		if i%3 == 0 {
			tx.Body = smtp.BodyBinary
		}
		want(t, s.Send(t.Context(), tx), "250 2.0.0 end")
		if got := b.last(t, i+2).Body; got != "X-First: 1\r\n"+content {
			t.Fatalf("content %.100q arrived as %.100q", content, got)
		}
	}
}

// randomContent is made of what framing trips over.
func randomContent(r *rand.Rand) string {
	pieces := []string{".", "..", "\r\n", "\r\n.", "\r\n.\r\n", "x", "\xff", "RSET\r\n", strings.Repeat("y", 997), strings.Repeat("z\r\n", 9000)}
	var b strings.Builder
	for range r.IntN(40) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String() + "\r\n"
}

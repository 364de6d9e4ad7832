package relayproc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
)

// This file is all that this package knows of the product: command lines,
// configuration and the shape of its JSON.

func (w *World) initArgs() []string {
	return []string{"init", "--dir", w.Dir, "--hostname", hostname, "--owner", "owner@" + Domain, "--store-url", w.StoreURL, "--json"}
}

func (w *World) serveArgs() []string { return []string{"serve", "--config", w.Config} }

var keyForm = regexp.MustCompile(`SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}`)

func findKey(t testing.TB, out []byte) string {
	t.Helper()
	key := keyForm.Find(out)
	if key == nil {
		t.Fatalf("init printed no key:\n%s", out)
	}
	return string(key)
}

// configText is the configuration. A section in Options.Config replaces the one
// of the same name here, since TOML allows each only once.
func (w *World) configText(cert string) string {
	sections := []struct{ name, text string }{
		{"", fmt.Sprintf("hostname = %q\ndata_dir = %q\ncontact = %q\n", hostname, w.Dir, "owner@"+Domain)},
		{"[store]", fmt.Sprintf("url = %q\nmin_free = \"1MiB\"\n", w.StoreURL)},
		{"[tls]", fmt.Sprintf("certificate = %q\nkey = %q\n", cert+".crt", cert+".key")},
		{"[[listener]]", fmt.Sprintf("name = \"submission\"\nrole = \"submission\"\naddresses = [\"127.0.0.1:%d\"]\ntls = \"starttls\"\n"+
			"[[listener]]\nname = \"submissions\"\nrole = \"submission\"\naddresses = [\"127.0.0.1:%d\"]\ntls = \"implicit\"\n", w.smtpPort, w.smtpsPort)},
		{"[queue]", "intervals = [\"1s\", \"1s\", \"2s\"]\ndrain_time = \"20s\"\n"},
		{"[deliver]", fmt.Sprintf("port = %d\nallow_networks = [\"127.0.0.0/8\"]\ndns_servers = [\"127.0.0.1:%d\"]\nipv6 = false\n",
			w.Sink.Addr().Port, w.Zone.Addr().Port)},
		{"[http]", "listen = [\"127.0.0.1:0\"]\n"},
		{"[admin]", "listen = \"\"\n"},
	}
	var b strings.Builder
	for _, s := range sections {
		if s.name != "" && strings.Contains("\n"+w.Options.Config, "\n"+s.name+"\n") {
			continue
		}
		b.WriteString(s.name + "\n" + s.text)
	}
	return b.String() + w.Options.Config
}

// certificate writes a self-signed certificate of the relay's name to files.
func certificate(t testing.TB, dir string) (base string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname},
		NotBefore: time.Now().AddDate(-20, 0, 0), NotAfter: time.Now().AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	base = filepath.Join(dir, "relay")
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	must(t, os.WriteFile(base+".crt", crt, 0o600))
	must(t, os.WriteFile(base+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(crt)
	return base, roots
}

// Event is what a test reads of one of the relay's events.
type Event struct {
	Epoch     int64     `json:"epoch"`
	Seq       int64     `json:"seq"`
	At        time.Time `json:"at"`
	Kind      string    `json:"event"`
	Message   string    `json:"message_id"`
	Recipient string    `json:"recipient"`
	Data      struct {
		Subject    string   `json:"subject"`
		Recipients []string `json:"recipients"`
		Reply      string   `json:"reply"`
		Reason     string   `json:"reason"`
		Duplicate  bool     `json:"possibly_delivered"`
	} `json:"data"`
}

// Events returns all events of the relay, oldest first, over the socket that the
// command line uses too.
func (w *World) Events(t testing.TB) []Event {
	t.Helper()
	var all []Event
	for after := (url.Values{}); ; {
		after.Set("limit", "10000")
		var page struct{ Result []Event }
		w.admin(t, "/events", after, &page)
		if len(page.Result) == 0 {
			return all
		}
		all = append(all, page.Result...)
		last := page.Result[len(page.Result)-1]
		after = url.Values{"after_epoch": {fmt.Sprint(last.Epoch)}, "after_seq": {fmt.Sprint(last.Seq)}}
	}
}

// Message is what a test reads of one queued message.
type Message struct {
	Message struct {
		ID      string `json:"id"`
		State   string `json:"state"`
		Reason  string `json:"reason"`
		Subject string `json:"subject"`
		Crashes int    `json:"crashes"`
		// EnvelopeFrom is empty for what postern itself writes.
		EnvelopeFrom string `json:"envelope_from"`
	} `json:"message"`
	Recipients []struct {
		Address           string `json:"address"`
		Attempts          int    `json:"attempts"`
		PossiblyDelivered bool   `json:"possibly_delivered"`
		LastReply         string `json:"last_reply"`
	} `json:"recipients"`
}

// Queue returns the queued messages that clients handed in, 1,000 at most:
// without letters of postern's own.
func (w *World) Queue(t testing.TB) []Message {
	t.Helper()
	var page struct{ Result []Message }
	w.admin(t, "/queue", url.Values{"limit": {"1000"}}, &page)
	return slices.DeleteFunc(page.Result, func(m Message) bool { return m.Message.EnvelopeFrom == "" })
}

// admin asks the running relay over its admin.sock.
func (w *World) admin(t testing.TB, path string, query url.Values, into any) {
	t.Helper()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(w.Dir, "admin.sock"))
		},
	}}
	resp, err := client.Get("http://postern/admin/v1" + path + "?" + query.Encode())
	if err != nil {
		t.Fatalf("ask the relay for %s: %v\n%s", path, err, w.LogTail(2000))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("ask the relay for %s: %d %s %v", path, resp.StatusCode, b, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("answer for %s: %v", path, err)
	}
}

// ledgerID finds the ledger's id in a subject.
func ledgerID(subject string) string {
	return strings.TrimPrefix(strings.TrimSpace(subject), "ledger ")
}

// Marks returns the relay's records of "possibly delivered" as the ledger wants
// them.
func Marks(events []Event) []ledger.Mark {
	ids := map[string]string{}
	for _, e := range events {
		if e.Kind == "received" {
			ids[e.Message] = ledgerID(e.Data.Subject)
		}
	}
	var marks []ledger.Mark
	for _, e := range events {
		if e.Kind == "recovered" {
			marks = append(marks, ledger.Mark{ID: ids[e.Message], Recipient: e.Recipient, At: e.At})
		}
	}
	return marks
}

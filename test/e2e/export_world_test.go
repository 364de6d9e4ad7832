package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testAuthority is a certificate authority and a certificate of it for 127.0.0.1,
// as files.
type testAuthority struct{ ca, cert, key string }

func newTestAuthority(t testing.TB) testAuthority {
	t.Helper()
	dir := t.TempDir()
	a := testAuthority{filepath.Join(dir, "ca.crt"), filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")}
	file := func(path, kind string, der []byte) {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k
	}
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, keys[0].Public(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	file(a.ca, "CERTIFICATE", der)
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, keys[1].Public(), keys[0]); err != nil {
		t.Fatal(err)
	}
	file(a.cert, "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(keys[1]); err != nil {
		t.Fatal(err)
	}
	file(a.key, "PRIVATE KEY", der)
	return a
}

// exportTraffic makes records of each stream: a key, good and refused logins, and
// messages that arrive. It returns when the last has.
func (r *identityRelay) exportTraffic(t testing.TB, name string, messages int) {
	t.Helper()
	k := r.addKey(t, name)
	s := r.talk(t, "127.0.90.1", "export.example").in(k.APIKey)
	subject := ""
	for range messages {
		subject = token("export")
		wantReply(t, "send", s.send(subject, r.From, r.To), "250")
	}
	s.conn.Close()
	// A name that tries to end its field.
	s = r.talk(t, "127.0.90.2", "export.example")
	wantReply(t, "a wrong login", s.login(`evil"] {"forged":"`+name+`"} \n<13>1 -`, "x"), "535 ")
	s.conn.Close()
	r.arrives(t, subject)
}

// again ends the process as a crash does and starts another.
func (r *identityRelay) again(t testing.TB) {
	t.Helper()
	if err := r.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.process.done
	os.Remove(filepath.Join(r.dir, "admin.sock")) // of the dead one: serve waits for the new
	r.serve(t, filepath.Join(r.dir, "postern.toml"))
}

// kept are the records that the relay's own API shows: by the id that exports have
// for events and changes, by what they say for logins.
func (r *identityRelay) kept(t testing.TB) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, e := range lines[struct{ Epoch, Seq int64 }](t, r, "events", "--limit", "10000") {
		all[fmt.Sprintf("event-%d-%d", e.Epoch, e.Seq)] = true
	}
	for _, c := range lines[struct {
		Seq     int64
		Account string `json:"account_id"`
	}](t, r, "log", "--changes", "--limit", "1000") {
		all[changeID(c.Account, c.Seq)] = true
	}
	for _, l := range lines[json.RawMessage](t, r, "log", "--limit", "1000") {
		all[loginSays(t, l)] = true
	}
	return all
}

func changeID(account string, seq int64) string {
	if account == "" {
		return fmt.Sprintf("change-%d", seq)
	}
	return fmt.Sprintf("change-%s-%d", account, seq)
}

// loginSays is what tells a login record from others.
func loginSays(t testing.TB, text []byte) string {
	t.Helper()
	var l struct {
		At                  time.Time
		Addr, Result, Tried string
		Count               int64
	}
	if err := json.Unmarshal(text, &l); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return fmt.Sprintf("login %s %s %s %q %d", l.At.UTC().Format(time.RFC3339Nano), l.Addr, l.Result, l.Tried, l.Count)
}

// exported is one record as a receiver has it.
type exported struct {
	Stream, ID, Name string
	Record           json.RawMessage
}

// says is the name of a record in kept.
func (e exported) says(t testing.TB) string {
	t.Helper()
	if e.Stream == "logins" {
		return loginSays(t, e.Record)
	}
	return e.ID
}

// wantAll waits until a receiver has all that the relay keeps, and checks that it
// has nothing else and something of each stream.
func (r *identityRelay) wantAll(t testing.TB, what string, has func() []exported) {
	t.Helper()
	// Login records leave when they are 65 seconds old.
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(2 * time.Second) {
		kept := r.kept(t)
		got, streams := map[string]bool{}, map[string]int{}
		for _, e := range has() {
			got[e.says(t)] = true
			streams[e.Stream]++
		}
		var missing []string
		for id := range kept {
			if !got[id] {
				missing = append(missing, id)
			}
		}
		if len(missing) == 0 && streams["logins"] >= 2 && streams["changes"] >= 2 && streams["events"] >= 4 {
			kept = r.kept(t) // more may have come meanwhile
			for id := range got {
				if !kept[id] {
					t.Errorf("%s has %s, which the API does not show", what, id)
				}
			}
			t.Logf("%s: all of %d records; with repetitions %v", what, len(kept), streams)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %v and lacks %d of %d records:\n%s\nthe log ends:\n%s", what, streams, len(missing), len(kept), strings.Join(missing[:min(len(missing), 20)], "\n"), r.tail())
		}
	}
}

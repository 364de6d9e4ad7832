package sender

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dkim"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/store"
)

func newPEM(tb testing.TB, a dkim.Algorithm) []byte {
	tb.Helper()
	der, err := dkim.GenerateKey(a)
	if err != nil {
		tb.Fatal(err)
	}
	return dkim.FormatPEM(der)
}

// TestImport: a key that the owner has takes over like one that was made here.
func TestImport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		auto     *bool
		selector string
		alg      dkim.Algorithm
		old      string
	}{
		"free slot":             {automatic, "s2", dkim.RSA, "s1"},
		"selector of its own":   {automatic, "mail", dkim.RSA, "s1"},
		"manual":                {manual, "2024", dkim.RSA, "s1"},
		"Ed25519":               {manual, "ed", dkim.Ed25519, "s1e"},
		"Ed25519 in its slot":   {automatic, "s2e", dkim.Ed25519, "s1e"},
		"upper end of the name": {manual, strings.Repeat("a", maxSelector), dkim.RSA, "s1"},
	} {
		w := newKeyWorld(t, 2, NewDomain{Automatic: c.auto})
		text := newPEM(t, c.alg)
		if err := w.s.ImportKey(t.Context(), testBy, w.d.ID, c.selector, text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		k := w.key(c.selector)
		if !k.Imported || !waiting(&k) || k.Generation != 1 || (c.alg == dkim.RSA) != (k.Bits == 2048) {
			t.Errorf("%s: %+v", name, describe(k))
		}
		if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); c.alg == dkim.RSA && relay.KindOf(err) != relay.Conflict {
			t.Errorf("%s: two rotations at once: %v", name, err)
		}
		w.ownerPublishes()
		w.pass(2 * time.Hour)
		k, old := w.key(c.selector), w.key(c.old)
		if !signs(&k) || !retired(&old) {
			t.Errorf("%s: %+v, old %+v", name, describe(k), describe(old))
		}
		got, err := w.s.ExportKey(t.Context(), testBy, w.d.ID, c.selector)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: exported another key, %v", name, err)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: manual})
	ctx := t.Context()
	good := newPEM(t, dkim.RSA)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)})
	for name, c := range map[string]struct {
		selector string
		text     []byte
		kind     relay.Kind
		says     string
	}{
		"no selector":          {"", good, relay.Invalid, "selector"},
		"dots":                 {"a.b", good, relay.Invalid, "selector"},
		"hyphen at the end":    {"a-", good, relay.Invalid, "selector"},
		"upper case":           {"Mail", good, relay.Invalid, "selector"},
		"too long":             {strings.Repeat("a", maxSelector+1), good, relay.Invalid, "selector"},
		"slot of the other":    {"s2e", good, relay.Invalid, "other algorithm"},
		"slot of the other, 2": {"s2", newPEM(t, dkim.Ed25519), relay.Invalid, "other algorithm"},
		"in use":               {"s1", good, relay.Conflict, "in use"},
		"weak":                 {"mail", weak, relay.Invalid, "1024 bits"},
		"no key":               {"mail", []byte("x"), relay.Invalid, "no PEM block"},
	} {
		err := w.s.ImportKey(ctx, testBy, w.d.ID, c.selector, c.text)
		e, ok := errors.AsType[*relay.Error](err)
		if !ok || e.Kind != c.kind || !strings.Contains(e.Public, c.says) || strings.Contains(e.Public, "dkim:") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.keys()) != 2 {
		t.Errorf("%d keys", len(w.keys()))
	}
	// A key is used once: twice in a row, and after it was revealed.
	if err := w.s.ImportKey(ctx, testBy, w.d.ID, "mail", good); err != nil {
		t.Fatal(err)
	}
	if err := w.s.ImportKey(ctx, testBy, w.d.ID, "mail2", newPEM(t, dkim.RSA)); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "under way") {
		t.Errorf("two rotations at once: %v", err)
	}
	if err := w.s.Cancel(ctx, testBy, w.d.ID); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	w.st.keys[w.d.ID] = put(w.keys(), func() relay.DKIMKey {
		k := w.key("mail")
		k.Revealed = base64.StdEncoding.EncodeToString(block.Bytes)
		return k
	}())
	if err := w.s.ImportKey(ctx, testBy, w.d.ID, "mail", good); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "used once") {
		t.Errorf("a revealed key: %v", err)
	}
	// The slot of a withdrawn one is free.
	if err := w.s.ImportKey(ctx, testBy, w.d.ID, "mail", newPEM(t, dkim.RSA)); err != nil || w.key("mail").Generation != 2 {
		t.Errorf("%+v, %v", describe(w.key("mail")), err)
	}
}

// TestImportIsBounded: rows of selectors stay for ever.
func TestImportIsBounded(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: manual})
	text := newPEM(t, dkim.Ed25519)
	for i := range 100 {
		err := w.s.ImportKey(t.Context(), testBy, w.d.ID, "x"+string(rune('a'+i%26))+string(rune('a'+i/26)), text)
		if err == nil {
			err = w.s.Cancel(t.Context(), testBy, w.d.ID)
			text = newPEM(t, dkim.Ed25519)
		}
		if err != nil {
			if relay.KindOf(err) != relay.Conflict || len(w.keys()) != maxKeys {
				t.Errorf("%d keys: %v", len(w.keys()), err)
			}
			return
		}
	}
	t.Error("there is no end")
}

// failingLog cannot record.
type failingLog struct{ *keyStore }

var errLog = errors.New("disk full")

func (failingLog) RecordChange(context.Context, store.By, relay.Change) error { return errLog }

// TestExportIsRecorded: nobody has a private key before it is written down that
// they took it.
func TestExportIsRecorded(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: manual})
	if _, err := w.s.ExportKey(t.Context(), testBy, w.d.ID, "s1"); err != nil {
		t.Fatal(err)
	}
	last := w.st.log[len(w.st.log)-1]
	if last.Action != "dkim.export" || last.Subject != "s1._domainkey.acme.test" || last.By != testBy.Who || last.Account != acme {
		t.Errorf("%+v", last.Change)
	}
	w.s.Store = failingLog{w.st}
	if text, err := w.s.ExportKey(t.Context(), testBy, w.d.ID, "s1"); !errors.Is(err, errLog) || text != nil {
		t.Errorf("%q, %v", text, err)
	}
	w.s.Store = w.st.domainMemory // keeps no record at all
	if text, err := w.s.ExportKey(t.Context(), testBy, w.d.ID, "s1"); err == nil || text != nil {
		t.Errorf("%q, %v", text, err)
	}
	w.s.Store = w.st
	for _, sel := range []string{"s9", ""} {
		if _, err := w.s.ExportKey(t.Context(), testBy, w.d.ID, sel); relay.KindOf(err) != relay.NotFound {
			t.Errorf("%q: %v", sel, err)
		}
	}
}

// TestKeysInStore runs a rotation over the real store, which has rules of its own.
func TestKeysInStore(t *testing.T) {
	t.Parallel()
	sealer := testSealer(t)
	st, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = st.Close()
	})
	account := relay.Account{ID: relay.AccountID{ID: relay.NewID(zoneNow)}, Name: "acme", CreatedAt: zoneNow}
	if err := st.CreateAccount(t.Context(), testBy, account); err != nil {
		t.Fatal(err)
	}
	w := newKeyWorld(t, 2, NewDomain{Automatic: automatic}) // for its name servers and its clock
	now := zoneNow
	s := &Domains{Store: st, Sealer: sealer, Zone: w.s.Zone, Authority: w, Settings: testSettings, Now: func() time.Time { return now }}
	d, _, err := s.Add(t.Context(), testBy, NewDomain{Account: account.ID, Name: "acme.test", Automatic: automatic})
	if err != nil {
		t.Fatal(err)
	}
	if d, err = st.ProveDomain(t.Context(), testBy, d.ID, now); err != nil || d.State != relay.DomainVerified {
		t.Fatalf("%+v, %v", d, err)
	}
	yes := true
	if d, err = s.Update(t.Context(), testBy, d.ID, DomainUpdate{Reveal: &yes}); err != nil {
		t.Fatal(err)
	}
	keys := func() []relay.DKIMKey {
		keys, err := st.DKIMKeys(t.Context(), d.ID)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	follow := func() {
		for i := range w.servers {
			w.servers[i] = published{}
			for _, k := range keys() {
				w.servers[i][keyHost(w.d, k.Selector)] = k.Record
			}
		}
	}
	pass := func(until time.Duration) {
		for end := now.Add(until); now.Before(end); now = now.Add(time.Hour) {
			follow()
			c := relay.DomainCheck{Domain: d.ID, At: now, Valid: true, NextAt: now.Add(24 * time.Hour)}
			for _, r := range Records(s.Zone, d, keys()) {
				c.Records = append(c.Records, relay.RecordCheck{DNSRecord: r, Valid: true})
			}
			if err := s.Advance(t.Context(), d, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	pass(2 * time.Hour)
	if _, err := s.Rotate(t.Context(), testBy, d.ID, RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	pass(testSettings.KeyOverlap + 6*time.Hour)
	for _, k := range keys() {
		second := k.Selector == "s2" || k.Selector == "s2e"
		if second != signs(&k) || second != (k.Revealed == "") || second != k.WithdrawnAt.IsZero() || second != (len(k.Sealed) > 0) {
			t.Errorf("%+v", describe(k))
		}
	}
	if _, err := s.ExportKey(t.Context(), testBy, d.ID, "s2"); err != nil {
		t.Error(err)
	}
	changes, err := st.Changes(t.Context(), store.ChangeFilter{Account: account.ID})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, c := range changes {
		if strings.HasPrefix(c.Action, "dkim.") {
			actions = append(actions, c.Action)
		}
		if strings.Contains(string(c.After), "sealed") {
			t.Errorf("%s: the record of changes holds a private key", c.Action)
		}
	}
	want := []string{"dkim.seen", "dkim.switch", "dkim.rotate", "dkim.seen", "dkim.seen", "dkim.switch", "dkim.switch", "dkim.withdraw", "dkim.withdraw", "dkim.reveal", "dkim.reveal", "dkim.export"}
	if !slices.Equal(actions, want) {
		t.Errorf("%q, want %q", actions, want)
	}
	s.Authority = following{follow, w}
	if r, err := s.Rotate(t.Context(), testBy, d.ID, RotateOptions{Now: true}); err != nil || !r.Switched {
		t.Errorf("%+v, %v", r.Switched, err)
	}
	for _, k := range keys() {
		if first := k.Selector == "s1" || k.Selector == "s1e"; first != signs(&k) || first && k.Generation != 2 || !first && k.WithdrawnAt.IsZero() {
			t.Errorf("after the second: %+v", describe(k))
		}
	}
}

// following are name servers that answer from the store, as ours does.
type following struct {
	follow func()
	Asker
}

func (f following) Ask(ctx context.Context, name, typ string) (dns.Asked, error) {
	f.follow()
	return f.Asker.Ask(ctx, name, typ)
}

package sender

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"postern/internal/dkim"
	"postern/internal/relay"
	"postern/internal/secret"
)

// signerWorld is a directory of domains whose keys a test changes.
type signerWorld struct {
	tb     testing.TB
	sealer *secret.Sealer
	now    time.Time

	mu      sync.Mutex
	domains map[relay.DomainID]relay.Domain
	keys    map[relay.DomainID][]relay.DKIMKey
}

func newSignerWorld(tb testing.TB) *signerWorld {
	tb.Helper()
	return &signerWorld{tb: tb, sealer: testSealer(tb), now: zoneNow,
		domains: map[relay.DomainID]relay.Domain{}, keys: map[relay.DomainID][]relay.DKIMKey{}}
}

func testSealer(tb testing.TB) *secret.Sealer {
	tb.Helper()
	s, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (w *signerWorld) Domain(id relay.DomainID) (relay.Domain, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, ok := w.domains[id]
	return d, ok
}

func (w *signerWorld) AllDKIMKeys(id relay.DomainID) []relay.DKIMKey {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.keys[id])
}

func (w *signerWorld) DKIMKeys(id relay.DomainID) (out []relay.DKIMKey) {
	for _, k := range w.AllDKIMKeys(id) {
		if signs(&k) {
			out = append(out, k)
		}
	}
	return out
}

// domain adds a domain with one Ed25519 key that signs.
func (w *signerWorld) domain(n byte, name string) relay.DomainID {
	id := relay.DomainID{ID: relay.ID{n}}
	w.domains[id] = relay.Domain{ID: id, Name: name, State: relay.DomainVerified}
	w.keys[id] = []relay.DKIMKey{w.key(id, "s1e", 1)}
	return id
}

func (w *signerWorld) key(id relay.DomainID, selector string, generation int64) relay.DKIMKey {
	w.tb.Helper()
	s := &Domains{Sealer: w.sealer, Now: func() time.Time { return w.now }}
	k, err := s.newKey(id, selector, relay.DKIMEd25519, 0)
	if err != nil {
		w.tb.Fatal(err)
	}
	k.Active, k.Generation, k.ActivatedAt = true, generation, w.now
	return k
}

func (w *signerWorld) edit(id relay.DomainID, selector string, f func(*relay.DKIMKey)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.keys[id] {
		if w.keys[id][i].Selector == selector {
			f(&w.keys[id][i])
		}
	}
}

func (w *signerWorld) signer(c SignerConfig) *Signer {
	w.tb.Helper()
	c.Directory, c.Sealer, c.GoOnly, c.Now = w, w.sealer, true, func() time.Time { return w.now }
	s, err := NewSigner(c)
	if err != nil {
		w.tb.Fatal(err)
	}
	return s
}

// text is a store.Content.
type text string

func (t text) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(t))), nil
}
func (t text) Size() int64 { return int64(len(t)) }

const mail = text("From: a@acme.test\r\nTo: b@example.net\r\nSubject: hi\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@acme.test>\r\n\r\nhello\r\n")

// verifies checks every signature on a message with a verifier that is not ours.
func verifies(msg string, lookup func(string) ([]string, error)) error {
	vs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		return err
	}
	if len(vs) == 0 {
		return errors.New("no signature")
	}
	for _, v := range vs {
		if v.Err != nil {
			return v.Err
		}
	}
	return nil
}

func TestSignerSigns(t *testing.T) {
	t.Parallel()
	w := newSignerWorld(t)
	id := w.domain(1, "acme.test")
	w.keys[id] = append(w.keys[id], w.key(id, "s2e", 3))
	s := w.signer(SignerConfig{})
	m := &relay.Message{Domain: id}
	fields, with, err := s.Sign(t.Context(), m, mail)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"s1e._domainkey.acme.test#1", "s2e._domainkey.acme.test#3"}; !slices.Equal(with, want) {
		t.Errorf("signed with %q, want %q", with, want)
	}
	if err := verifies(string(fields)+string(mail), func(name string) ([]string, error) {
		for _, k := range w.AllDKIMKeys(id) {
			if name == keyHost(w.domains[id], k.Selector) {
				return []string{k.Record}, nil
			}
		}
		return nil, errors.New("no such name")
	}); err != nil {
		t.Error(err)
	}
}

// TestSignerRefuses: ID-25. Never unsigned, and never with a key that receivers
// cannot find: the message waits.
func TestSignerRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(w *signerWorld, id relay.DomainID)
		says  string
	}{
		"unknown domain": {func(w *signerWorld, id relay.DomainID) { delete(w.domains, id) }, "no longer exists"},
		"no key":         {func(w *signerWorld, id relay.DomainID) { w.keys[id] = nil }, dkim.ErrNoKeys.Error()},
		"unreadable key": {func(w *signerWorld, id relay.DomainID) { w.keys[id][0].Sealed[20] ^= 1 }, "open key s1e"},
		"a key of another domain": {func(w *signerWorld, id relay.DomainID) {
			w.keys[id][0].Sealed = w.key(relay.DomainID{ID: relay.ID{9}}, "s1e", 1).Sealed
		}, "open key s1e"},
		"another record": {func(w *signerWorld, id relay.DomainID) { w.keys[id][0].Record = w.key(id, "s1e", 1).Record }, "not that of its record"},
		"one key of two": {func(w *signerWorld, id relay.DomainID) {
			w.keys[id] = append(w.keys[id], w.key(id, "s2e", 1))
			w.keys[id][1].Sealed = nil
		}, "open key s2e"},
		"paused": {func(w *signerWorld, id relay.DomainID) {
			w.domains[id] = relay.Domain{ID: id, Name: "acme.test", State: relay.DomainPaused, Reason: "s1 is gone."}
		}, "paused, its DNS records are gone: s1 is gone."},
		"failed": {func(w *signerWorld, id relay.DomainID) {
			w.domains[id] = relay.Domain{ID: id, Name: "acme.test", State: relay.DomainFailed}
		}, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSignerWorld(t)
			id := w.domain(1, "acme.test")
			c.spoil(w, id)
			fields, with, err := w.signer(SignerConfig{}).Sign(t.Context(), &relay.Message{Domain: id}, mail)
			if err == nil || fields != nil || with != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, %q, %v", fields, with, err)
			}
			// What its owner can mend is theirs to know, and nothing else.
			if e, ok := errors.AsType[*relay.Error](err); ok != (name == "paused" || name == "failed") || ok && !strings.Contains(e.Public, "acme.test is "+name) {
				t.Errorf("public %v: %v", ok, err)
			}
		})
	}
}

// TestSignatureCurrent: which stored signatures may still leave.
func TestSignatureCurrent(t *testing.T) {
	t.Parallel()
	const good = "s1e._domainkey.acme.test#1"
	for name, c := range map[string]struct {
		with []string
		edit func(k *relay.DKIMKey)
		now  time.Duration // later
		want bool
	}{
		"signs":           {with: []string{good}, want: true},
		"retired":         {with: []string{good}, edit: func(k *relay.DKIMKey) { k.Active, k.RetiredAt = false, zoneNow }, now: 6*24*time.Hour - 1, want: true},
		"record ends":     {with: []string{good}, edit: func(k *relay.DKIMKey) { k.Active, k.RetiredAt = false, zoneNow }, now: 6 * 24 * time.Hour},
		"withdrawn":       {with: []string{good}, edit: func(k *relay.DKIMKey) { withdraw(k, zoneNow) }},
		"stopped":         {with: []string{good}, edit: func(k *relay.DKIMKey) { k.Active, k.ActivatedAt = false, time.Time{} }},
		"slot reused":     {with: []string{good}, edit: func(k *relay.DKIMKey) { k.Generation = 2 }},
		"old entry":       {with: []string{"s1e._domainkey.acme.test"}},
		"none":            {},
		"another domain":  {with: []string{"s1e._domainkey.globex.test#1"}},
		"one of two gone": {with: []string{good, "s1._domainkey.acme.test#1"}},
	} {
		w := newSignerWorld(t)
		id := w.domain(1, "acme.test")
		if c.edit != nil {
			w.edit(id, "s1e", c.edit)
		}
		w.now = w.now.Add(c.now)
		m := &relay.Message{Domain: id, SignedWith: c.with}
		s := w.signer(SignerConfig{Overlap: 7 * 24 * time.Hour})
		if got := s.Current(m); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		// Mail of a domain that may not send is not sent because it was signed before.
		for _, state := range []relay.DomainState{relay.DomainPaused, relay.DomainFailed} {
			w.domains[id] = relay.Domain{ID: id, Name: "acme.test", State: state}
			if s.Current(m) {
				t.Errorf("%s: current although %s", name, state)
			}
		}
		delete(w.domains, id)
		if s.Current(m) {
			t.Errorf("%s: current without a domain", name)
		}
	}
}

// TestSignerForgets: unsealed keys are bounded, and one that changed is not used.
func TestSignerForgets(t *testing.T) {
	t.Parallel()
	w := newSignerWorld(t)
	s := w.signer(SignerConfig{MaxKeys: 3})
	var ids []relay.DomainID
	for n := range byte(10) {
		ids = append(ids, w.domain(n+1, "d"+string('0'+rune(n))+".test"))
	}
	for range 2 {
		for _, id := range ids {
			if _, _, err := s.Sign(t.Context(), &relay.Message{Domain: id}, mail); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.keys.held != 3 || len(s.keys.domains) != 3 || s.keys.used.Len() != 3 {
		t.Errorf("%d keys of %d domains held", s.keys.held, len(s.keys.domains))
	}
	last := ids[9]
	w.keys[last] = []relay.DKIMKey{w.key(last, "s1e", 2)} // the slot has another key now
	fields, with, err := s.Sign(t.Context(), &relay.Message{Domain: last}, mail)
	if err != nil || with[0] != "s1e._domainkey.d9.test#2" {
		t.Fatalf("%q, %v", with, err)
	}
	record := w.keys[last][0].Record
	if err := verifies(string(fields)+string(mail), func(string) ([]string, error) { return []string{record}, nil }); err != nil {
		t.Errorf("signed with the key before: %v", err)
	}
	w.keys[last] = append(w.keys[last], w.key(last, "s2e", 1))
	w.edit(last, "s1e", func(k *relay.DKIMKey) { withdraw(k, w.now) })
	if _, _, err := s.Sign(t.Context(), &relay.Message{Domain: last}, mail); err != nil {
		t.Fatal(err)
	}
	if held := s.keys.of(last); len(held) != 1 || held[0].selector != "s2e" || s.keys.held != 3 {
		t.Errorf("a withdrawn key stays in memory: %d of the domain, %d in all", len(held), s.keys.held)
	}
}

// TestSignerFromManyGoroutines is for the race detector.
func TestSignerFromManyGoroutines(t *testing.T) {
	t.Parallel()
	w := newSignerWorld(t)
	s := w.signer(SignerConfig{MaxKeys: 2})
	var ids []relay.DomainID
	for n := range byte(4) {
		ids = append(ids, w.domain(n+1, "d"+string('0'+rune(n))+".test"))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, id := range ids {
		wg.Go(func() {
			for range 20 {
				m := &relay.Message{Domain: id}
				_, with, err := s.Sign(t.Context(), m, mail)
				if err != nil {
					t.Error(err)
				}
				if m.SignedWith = with; !s.Current(m) {
					t.Error("not current")
				}
			}
		})
	}
}

// BenchmarkSigner signs a short message by one key: held in memory, and unsealed
// anew, as for domains beyond MaxKeys.
func BenchmarkSigner(b *testing.B) {
	w := newSignerWorld(b)
	maker := &Domains{Sealer: w.sealer, Now: func() time.Time { return w.now }}
	for _, alg := range []relay.DKIMAlgorithm{relay.DKIMEd25519, relay.DKIMRSA} {
		var ids []relay.DomainID
		for n := range byte(2) {
			id := w.domain(n+1, "acme.test")
			k, err := maker.newKey(id, "s1", alg, dkim.RSABits)
			if err != nil {
				b.Fatal(err)
			}
			k.Active, k.ActivatedAt = true, w.now
			w.keys[id] = []relay.DKIMKey{k}
			ids = append(ids, id)
		}
		for what, held := range map[string]int{"held": 2, "unsealed": 1} {
			b.Run(string(alg)+"/"+what, func(b *testing.B) {
				s, err := NewSigner(SignerConfig{Directory: w, Sealer: w.sealer, Now: func() time.Time { return w.now }, MaxKeys: held})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ { // the two in turns
					if _, _, err := s.Sign(b.Context(), &relay.Message{Domain: ids[i%2]}, mail); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

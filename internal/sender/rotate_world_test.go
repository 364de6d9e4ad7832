package sender

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// keyStore is a domainMemory that keeps what the store promises about keys, fails
// when it is told to, and has a record of changes.
type keyStore struct {
	*domainMemory
	tb      testing.TB
	now     func() time.Time
	log     []store.StoredChange
	crash   func() crash // nil: never
	changed func()       // after each change of keys
}

// crash is what becomes of a change when the process dies.
type crash int

const (
	noCrash crash = iota
	notStored
	butStored
)

var errCrash = errors.New("the process died")

func (m *keyStore) ChangeDKIMKeys(ctx context.Context, by store.By, id relay.DomainID, action string, edit func([]relay.DKIMKey) ([]relay.DKIMKey, error)) error {
	c := noCrash
	if m.crash != nil {
		c = m.crash()
	}
	if c == notStored {
		return errCrash
	}
	old, err := m.DKIMKeys(ctx, id)
	if err != nil {
		return err
	}
	// The edit may run more than once: that must make no difference.
	if _, err := edit(slices.Clone(old)); err != nil {
		return err
	}
	if err := m.domainMemory.ChangeDKIMKeys(ctx, by, id, action, edit); err != nil {
		return err
	}
	keys, err := m.DKIMKeys(ctx, id)
	if err != nil {
		return err
	}
	m.hold(old, keys)
	d, err := m.Domain(ctx, id)
	if err != nil {
		return err
	}
	m.write(by, d.Account, action, "DKIM keys of "+d.Name)
	if m.changed != nil {
		m.changed()
	}
	if c == butStored {
		return errCrash
	}
	return nil
}

// hold fails the test where a change breaks a rule of the store or of a key's life.
func (m *keyStore) hold(old, keys []relay.DKIMKey) {
	m.tb.Helper()
	for i := range old {
		k := at(keys, old[i].Selector)
		switch {
		case k == nil:
			m.tb.Fatalf("selector %s is deleted", old[i].Selector)
		case k.Generation != old[i].Generation && k.Generation != old[i].Generation+1:
			m.tb.Fatalf("selector %s: generation %d after %d", k.Selector, k.Generation, old[i].Generation)
		case k.Generation != old[i].Generation && old[i].Active:
			m.tb.Fatalf("selector %s is replaced while it signs", k.Selector)
		case k.Generation == old[i].Generation && len(k.Sealed) > 0 && string(k.Sealed) != string(old[i].Sealed):
			m.tb.Fatalf("selector %s: another private key in one generation", k.Selector)
		}
	}
	if err := soundKeys(keys); err != nil {
		m.tb.Fatal(err)
	}
	had := slices.ContainsFunc(old, func(k relay.DKIMKey) bool { return signs(&k) })
	if has := slices.ContainsFunc(keys, func(k relay.DKIMKey) bool { return signs(&k) }); had && !has {
		m.tb.Fatal("no key signs any more")
	}
}

// soundKeys holds keys to what is true at every moment.
func soundKeys(keys []relay.DKIMKey) error {
	signing := map[relay.DKIMAlgorithm]int{}
	for i := range keys {
		k := &keys[i]
		states := 0
		for _, is := range []bool{waiting(k), signs(k), off(k), retired(k), !k.WithdrawnAt.IsZero()} {
			if is {
				states++
			}
		}
		switch {
		case states != 1:
			return fmt.Errorf("selector %s is in %d states: %+v", k.Selector, states, k)
		case k.WithdrawnAt.IsZero() != (len(k.Sealed) > 0) && !toReveal(k):
			return fmt.Errorf("selector %s: withdrawn at %s with a private key of %d octets", k.Selector, k.WithdrawnAt, len(k.Sealed))
		case k.WithdrawnAt.IsZero() == strings.HasSuffix(k.Record, "; p="):
			return fmt.Errorf("selector %s: withdrawn at %s and record %q", k.Selector, k.WithdrawnAt, k.Record)
		case k.Revealed != "" && k.WithdrawnAt.IsZero():
			return fmt.Errorf("selector %s is revealed and not withdrawn", k.Selector)
		}
		if signs(k) {
			signing[k.Algorithm]++
		}
	}
	for alg, n := range signing {
		if n > 1 {
			return fmt.Errorf("%d keys sign with %s", n, alg)
		}
	}
	return nil
}

func at(keys []relay.DKIMKey, selector string) *relay.DKIMKey {
	for i := range keys {
		if keys[i].Selector == selector {
			return &keys[i]
		}
	}
	return nil
}

func (m *keyStore) write(by store.By, account relay.AccountID, action, subject string) {
	m.log = append(m.log, store.StoredChange{ID: int64(len(m.log) + 1), Change: relay.Change{
		At: m.now(), Account: account, By: by.Who, From: by.From, Action: action, Subject: subject}})
}

func (m *keyStore) RecordChange(_ context.Context, by store.By, c relay.Change) error {
	m.write(by, c.Account, c.Action, c.Subject)
	return nil
}

func (m *keyStore) Changes(_ context.Context, f store.ChangeFilter) (out []store.StoredChange, err error) {
	for _, c := range m.log {
		if c.Account == f.Account && (f.Action == "" || c.Action == f.Action) && !c.At.Before(f.Since) {
			out = append(out, c)
		}
	}
	return out, nil
}

// actions lists what the record of changes has.
func (m *keyStore) actions() (out []string) {
	for _, c := range m.log {
		out = append(out, c.Action)
	}
	return out
}

// published is what one name server answers: TXT values by name.
type published map[string]string

// keyWorld is one domain, its keys, the DNS around it and a clock.
type keyWorld struct {
	tb  testing.TB
	now time.Time
	st  *keyStore
	s   *Domains
	d   relay.Domain

	owner   published // what the owner of a manual domain publishes
	servers []published
	before  []published // what each server may still be quoted with from caches
	synced  []time.Time // since when each server answers so
	frozen  []time.Time // until when each does not follow

	alerts  []string
	letters []string
}

// newKeyWorld adds a domain with its first keys and has them seen.
func newKeyWorld(tb testing.TB, servers int, n NewDomain) *keyWorld {
	tb.Helper()
	w := &keyWorld{tb: tb, now: zoneNow, owner: published{}}
	for range servers {
		w.servers, w.before = append(w.servers, published{}), append(w.before, published{})
		w.synced, w.frozen = append(w.synced, w.now), append(w.frozen, w.now)
	}
	w.st = &keyStore{domainMemory: newDomainMemory(), tb: tb, now: func() time.Time { return w.now }}
	w.restart(nil)
	n.Account, n.Name = acme, "acme.test"
	d, _, err := w.s.Add(tb.Context(), testBy, n)
	if err != nil {
		tb.Fatal(err)
	}
	if w.d, err = w.st.change(d.ID, "test", func(d *relay.Domain) { d.State = relay.DomainVerified }); err != nil {
		tb.Fatal(err)
	}
	w.ownerPublishes()
	w.syncAll()
	if err := w.check(); err != nil {
		tb.Fatal(err)
	}
	return w
}

// testSettings are short where that makes no difference.
var testSettings = Settings{KeyOverlap: 6 * 24 * time.Hour, RSABits: 1024}

// restart is what a new process knows: the store and the sealing key.
func (w *keyWorld) restart(sealer *secret.Sealer) {
	if w.s != nil {
		sealer = w.s.Sealer
	}
	if sealer == nil {
		sealer = testSealer(w.tb)
	}
	settings := testSettings
	if w.s != nil {
		settings = w.s.Settings
	}
	w.s = &Domains{Store: w.st, Sealer: sealer, Zone: Zone{Name: testZone, Hostname: testHost}, Authority: w, Settings: settings, Now: func() time.Time { return w.now },
		Alert: func(_ relay.Tenant, a relay.Alert) { w.alerts = append(w.alerts, a.Text) },
		Tell: func(_ context.Context, _ relay.Tenant, subject, text string) error {
			w.letters = append(w.letters, subject+"\n"+text)
			return nil
		}}
}

func (w *keyWorld) keys() []relay.DKIMKey {
	w.tb.Helper()
	keys, err := w.st.DKIMKeys(context.Background(), w.d.ID)
	if err != nil {
		w.tb.Fatal(err)
	}
	return keys
}

func (w *keyWorld) key(selector string) relay.DKIMKey {
	w.tb.Helper()
	if k := at(w.keys(), selector); k != nil {
		return *k
	}
	w.tb.Fatalf("no selector %s", selector)
	return relay.DKIMKey{}
}

// directory is what a node's view of the store shows.
func (w *keyWorld) directory() *fakeZoneDirectory {
	return &fakeZoneDirectory{domains: []relay.Domain{w.d}, keys: map[relay.DomainID][]relay.DKIMKey{w.d.ID: w.keys()}}
}

// wanted is what the name servers are to answer, once they follow, at the names
// where receivers' questions end.
func (w *keyWorld) wanted() published {
	if !w.d.Automatic {
		return w.owner
	}
	out := published{}
	source := ZoneSource{Zone: w.s.Zone, Directory: w.directory(), Overlap: testSettings.KeyOverlap, Now: func() time.Time { return w.now }}
	for _, sel := range w.selectors() {
		rs, _ := source.Records(w.s.Zone.KeyHost(w.d, sel))
		for _, r := range rs {
			out[keyHost(w.d, sel)] = r.Data
		}
	}
	return out
}

func (w *keyWorld) selectors() []string {
	sel := SelectorsOf(w.d)
	out := slices.Concat(sel.RSA[:], sel.Ed25519[:])
	for _, k := range w.keys() {
		if !slices.Contains(out, k.Selector) {
			out = append(out, k.Selector)
		}
	}
	return out
}

// ownerPublishes does what a manual domain's owner was told.
func (w *keyWorld) ownerPublishes() {
	for _, k := range w.keys() {
		if host := keyHost(w.d, k.Selector); k.WithdrawnAt.IsZero() {
			w.owner[host] = k.Record
		} else {
			delete(w.owner, host)
		}
	}
}

// sync lets server i answer what is wanted now.
func (w *keyWorld) sync(i int) {
	if next := w.wanted(); fmt.Sprint(next) != fmt.Sprint(w.servers[i]) {
		w.before[i], w.servers[i], w.synced[i] = w.servers[i], published{}, w.now
		for name, v := range next {
			w.servers[i][name] = v
		}
	}
}

func (w *keyWorld) syncAll() {
	for i := range w.servers {
		w.sync(i)
	}
}

// Ask implements Asker. In the zone of a relay, a selector's name ends in an alias.
func (w *keyWorld) Ask(_ context.Context, name, typ string) (dns.Asked, error) {
	var out dns.Asked
	selector, _, _ := strings.Cut(name, ".")
	for i, s := range w.servers {
		t := dns.Told{Server: fmt.Sprintf("ns%d.example.test", i), Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Err: dns.ErrNotFound, Authoritative: true}
		if v, ok := s[keyHost(w.d, selector)]; ok && typ == "TXT" {
			t.Err, t.TXT = nil, [][]string{{v}}
		}
		out.Told = append(out.Told, t)
	}
	return out, nil
}

// look is a check as Examine makes it.
func (w *keyWorld) look() relay.DomainCheck {
	c := relay.DomainCheck{Domain: w.d.ID, At: w.now, NextAt: w.now.Add(24 * time.Hour), Valid: true}
	for _, r := range Records(w.s.Zone, w.d, w.keys()) {
		rc := relay.RecordCheck{DNSRecord: r, Valid: true}
		if r.Type == "TXT" && strings.Contains(r.Host, "._domainkey.") {
			for _, s := range w.servers {
				rc.Valid = rc.Valid && s[r.Host] == r.Data
			}
		}
		c.Records = append(c.Records, rc)
	}
	return c
}

// check checks the domain and lets its keys advance.
func (w *keyWorld) check() error {
	c := w.look()
	if err := w.st.PutDomainCheck(context.Background(), c); err != nil {
		return err
	}
	return w.s.Advance(context.Background(), w.d, c)
}

// checkIn checks the domain after some time, in which no name server follows.
func (w *keyWorld) checkIn(d time.Duration) {
	w.tb.Helper()
	w.now = w.now.Add(d)
	if err := w.check(); err != nil {
		w.tb.Fatal(err)
	}
}

// opened is a selector's private key.
func (w *keyWorld) opened(selector string) []byte {
	w.tb.Helper()
	der, err := w.s.Sealer.Open(w.key(selector).Sealed, keyPlace(w.d.ID, selector))
	if err != nil {
		w.tb.Fatal(err)
	}
	return der
}

// pass lets time pass, an hour at a step, with everything answering.
func (w *keyWorld) pass(d time.Duration) {
	w.tb.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(time.Hour, end.Sub(w.now)))
		w.syncAll()
		if err := w.check(); err != nil {
			w.tb.Fatal(err)
		}
	}
}

// sent is a message on its way.
type sent struct {
	m       relay.Message
	fields  string
	accept  time.Time
	attempt time.Time
	verify  []time.Time // when it is verified
}

// lifetime is how long mail is queued: a day less than an old key stays.
const lifetime = 5 * 24 * time.Hour

// answers are all that a verifier may get of a name now: from any server, and from
// a cache that asked one before it followed.
func (w *keyWorld) answers(name string) (out []string) {
	add := func(v string) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	for i := range w.servers {
		add(w.servers[i][name])
		if v, ok := w.before[i][name]; ok && w.now.Before(w.synced[i].Add(keyTTL)) {
			add(v)
		}
	}
	return out
}

// arrive verifies a message as every verifier could that asks now.
func (w *keyWorld) arrive(l *sent) error {
	for i := 0; ; i++ {
		var more atomic.Bool // the verifier asks for all keys at once
		err := verifies(l.fields+string(mail), func(name string) ([]string, error) {
			vs := w.answers(name)
			if i+1 < len(vs) {
				more.Store(true)
			}
			if v := vs[min(i, len(vs)-1)]; v != "" {
				return []string{v}, nil
			}
			return nil, errors.New("no such name")
		})
		if err != nil || !more.Load() {
			return err
		}
	}
}

func randomOf(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

package credit

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"postern/internal/relay"
	"postern/internal/store"
)

// memory is a store that keeps what is committed.
type memory struct {
	mu    sync.Mutex
	used  map[relay.ID]store.Used
	reads int
	fail  error
	wait  chan struct{} // reads end when it is closed; nil: at once
}

func newMemory() *memory { return &memory{used: map[relay.ID]store.Used{}} }

func (m *memory) commit(ds []relay.UsageDelta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range ds {
		u, ok := m.used[d.Subject]
		if !ok {
			u = store.Used{Minutes: map[int64]int64{}, Days: map[int64]int64{}}
		}
		u.Minutes[d.Minute] += d.N
		u.Days[d.Day] += d.N
		u.Ever += d.N
		m.used[d.Subject] = u
	}
}

func (m *memory) Used(_ context.Context, id relay.ID, minute, day int64) (store.Used, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.wait != nil {
		<-m.wait
	}
	if m.fail != nil {
		return store.Used{}, m.fail
	}
	u := m.used[id]
	out := store.Used{Minutes: maps.Clone(u.Minutes), Days: maps.Clone(u.Days), Ever: u.Ever}
	maps.DeleteFunc(out.Minutes, func(k, _ int64) bool { return k < minute })
	maps.DeleteFunc(out.Days, func(k, _ int64) bool { return k < day })
	return out, nil
}

// heard is one alert as the callback got it.
type heard struct {
	tenant relay.Tenant
	key    relay.KeyID
	alert  relay.Alert
}

// world is a ledger with a clock of its own.
type world struct {
	t      testing.TB
	store  *memory
	ledger *Ledger
	now    time.Time
	claim  Claim

	mu    sync.Mutex
	heard []heard
}

var (
	acmeID = relay.AccountID{ID: relay.ID{1, 15: 1}}
	newsID = relay.SubuserID{ID: relay.ID{2, 15: 2}}
	keyID  = relay.KeyID{ID: relay.ID{3, 15: 3}}
)

// start is a Monday.
var start = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, change func(*Claim)) *world {
	w := &world{t: t, store: newMemory(), now: start}
	w.claim = Claim{
		Account: relay.Account{ID: acmeID, Name: "acme"},
		Subuser: &relay.Subuser{ID: newsID, Account: acmeID, Name: "news"},
		Key:     &relay.Key{ID: keyID, Account: acmeID, Subuser: newsID, Name: "build"},
	}
	if change != nil {
		change(&w.claim)
	}
	w.restart()
	return w
}

// restart begins with nothing in memory.
func (w *world) restart() {
	w.ledger = New(Config{Store: w.store, Now: func() time.Time { return w.now }, Alert: func(t relay.Tenant, k relay.KeyID, a relay.Alert) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.heard = append(w.heard, heard{t, k, a})
	}})
}

func (w *world) reserve(n int64) (Reservation, error) {
	c := w.claim
	c.N = n
	return w.ledger.Reserve(w.t.Context(), c)
}

// send reserves, commits and settles.
func (w *world) send(n int64) (Reservation, error) {
	r, err := w.reserve(n)
	if err == nil {
		w.store.commit(r.Deltas())
		r.Settle()
	}
	return r, err
}

// sends is a send that must go now.
func (w *world) sends(n int64) {
	w.t.Helper()
	if r, err := w.send(n); err != nil || !r.DueAt().IsZero() {
		w.t.Fatalf("%d at %v: due %v, %v", n, w.now, r.DueAt(), err)
	}
}

// refused is a send that must be refused.
func (w *world) refused(n int64) *Exceeded {
	w.t.Helper()
	r, err := w.send(n)
	e, ok := errors.AsType[*Exceeded](err)
	if !ok {
		w.t.Fatalf("%d at %v: due %v, %v; want it refused", n, w.now, r.DueAt(), err)
	}
	return e
}

func (w *world) usage(subject string, window relay.Window) relay.Usage {
	w.t.Helper()
	us, err := w.ledger.Usage(w.t.Context(), w.claim.Account, w.claim.Subuser, w.claim.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, u := range us {
		if u.Subject == subject && u.Window == window {
			return u
		}
	}
	w.t.Fatalf("no usage of %s %s in %+v", subject, window, us)
	return relay.Usage{}
}

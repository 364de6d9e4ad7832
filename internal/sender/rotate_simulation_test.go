package sender

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

func signerOf(w *keyWorld) *Signer {
	w.tb.Helper()
	s, err := NewSigner(SignerConfig{Directory: storeView{w}, Sealer: w.s.Sealer, GoOnly: true, Now: func() time.Time { return w.now }, Overlap: testSettings.KeyOverlap})
	if err != nil {
		w.tb.Fatal(err)
	}
	return s
}

// storeView is a directory that is never behind.
type storeView struct{ w *keyWorld }

func (v storeView) Domain(relay.DomainID) (relay.Domain, bool)       { return v.w.d, true }
func (v storeView) AllDKIMKeys(id relay.DomainID) []relay.DKIMKey    { return v.w.keys() }
func (v storeView) DKIMKeys(id relay.DomainID) (out []relay.DKIMKey) { return signing(v.w.keys()) }

func signing(keys []relay.DKIMKey) (out []relay.DKIMKey) {
	for _, k := range keys {
		if signs(&k) {
			out = append(out, k)
		}
	}
	return out
}

// lateView is a node that sees the store as it was a while ago.
type lateView struct {
	d    relay.Domain
	keys []relay.DKIMKey
}

func (v *lateView) Domain(relay.DomainID) (relay.Domain, bool)     { return v.d, true }
func (v *lateView) AllDKIMKeys(relay.DomainID) []relay.DKIMKey     { return v.keys }
func (v *lateView) DKIMKeys(id relay.DomainID) (_ []relay.DKIMKey) { return signing(v.keys) }

// TestNoMessageFails: ID-26. Keys rotate as often as they can, while messages are
// signed, wait in the queue up to its lifetime, and are verified when they arrive
// and an hour later, by whoever asks any of the name servers or has asked it
// within the TTL. Name servers lag for days, the process dies between any two
// steps, the owner of a manual domain takes days, the node that signs is behind.
// Not one message fails.
func TestNoMessageFails(t *testing.T) {
	t.Parallel()
	seeds := []uint64{rand.Uint64()}
	for seed := range uint64(3) {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		sim := newSimulation(t, rand.New(rand.NewPCG(seed, 1)))
		for sim.w.now.Before(zoneNow.Add(40 * 24 * time.Hour)) {
			if err := sim.tick(); err != nil {
				t.Fatalf("seed %d, %s after the start: %v\n%s", seed, sim.w.now.Sub(zoneNow), err, story(sim.w))
			}
		}
		if sim.verified < 100 || sim.rotations < 1 {
			t.Fatalf("seed %d: only %d verified and %d rotations", seed, sim.verified, sim.rotations)
		}
	}
}

// story is what became of the keys.
func story(w *keyWorld) string {
	var b strings.Builder
	for _, c := range w.st.log {
		fmt.Fprintf(&b, "%s %s\n", c.At.Sub(zoneNow), c.Action)
	}
	for _, k := range w.keys() {
		fmt.Fprintf(&b, "%+v\n", describe(k))
	}
	return b.String()
}

type simulation struct {
	w    *keyWorld
	r    *rand.Rand
	node *lateView
	sign *Signer
	mail []*sent
	// ownerAt is when the owner does what they were told; zero: nothing to do.
	ownerAt   time.Time
	busyUntil time.Time

	verified, rotations int
}

func newSimulation(t *testing.T, r *rand.Rand) *simulation {
	x := &simulation{r: r}
	x.w = newKeyWorld(t, 1+r.IntN(3), NewDomain{Automatic: ptr(r.IntN(2) == 0)})
	x.w.st.crash = func() crash {
		if r.IntN(4) == 0 {
			return crash(1 + r.IntN(2))
		}
		return noCrash
	}
	x.w.s.Settings.RotateEvery = 24 * time.Hour
	x.restart()
	return x
}

// restart loses all that a process knows.
func (x *simulation) restart() {
	x.w.restart(nil)
	x.node = &lateView{x.w.d, x.w.keys()}
	x.sign = signerOf(x.w)
	x.sign.cfg.Directory = x.node
}

func (x *simulation) tick() error {
	w, r := x.w, x.r
	step := 3 * time.Hour
	if r.IntN(2) == 0 || w.now.Before(x.busyUntil) { // around a switch, every minute counts
		step = 4 * time.Minute
	}
	w.now = w.now.Add(30*time.Second + randomOf(r, step))
	x.dns()
	if due := w.st.due[w.d.ID]; !w.now.Before(due) || r.IntN(20) == 0 {
		before := w.keys()
		if err := w.check(); errors.Is(err, errCrash) {
			x.restart()
		} else if err != nil {
			return err
		}
		if t := w.s.turns(w.d, before, w.keys()); len(t.retired) > 0 {
			x.rotations++
			x.busyUntil = w.now.Add(20 * time.Minute)
		}
	}
	if r.IntN(3) > 0 { // the node follows within hours
		x.node.keys = w.keys()
	}
	if len(x.mail) < 20 {
		x.mail = append(x.mail, &sent{m: relay.Message{Domain: w.d.ID}, accept: w.now, attempt: w.now.Add(time.Duration(r.IntN(2)) * randomOf(r, time.Hour))})
	}
	return x.queue()
}

// dns moves the name servers, and the owner of a manual domain.
func (x *simulation) dns() {
	w, r := x.w, x.r
	if x.ownerAt.IsZero() {
		x.ownerAt = w.now.Add(randomOf(r, 3*24*time.Hour))
	} else if !w.now.Before(x.ownerAt) {
		w.ownerPublishes()
		x.ownerAt = time.Time{}
	}
	for i := range w.servers {
		switch {
		case w.now.Before(w.frozen[i]):
		case r.IntN(60) == 0: // it loses touch for days
			w.frozen[i] = w.now.Add(randomOf(r, 4*24*time.Hour))
		case r.IntN(3) > 0:
			w.sync(i)
		}
	}
}

// queue tries what is due, and verifies what has arrived.
func (x *simulation) queue() error {
	w := x.w
	var left []*sent
	for _, l := range x.mail {
		if len(l.verify) == 0 && !w.now.Before(l.attempt) {
			if !x.sign.Current(&l.m) {
				fields, with, err := x.sign.Sign(context.Background(), &l.m, mail)
				if err != nil {
					return err
				}
				l.fields, l.m.Signatures, l.m.SignedWith = string(fields), fields, with
			}
			if l.attempt = w.now.Add(randomOf(x.r, 12*time.Hour)); x.r.IntN(4) == 0 || l.attempt.After(l.accept.Add(lifetime)) {
				l.verify = []time.Time{w.now, w.now.Add(time.Hour)}
			}
		}
		if len(l.verify) > 0 && !w.now.Before(l.verify[0]) {
			if err := w.arrive(l); err != nil {
				return fmt.Errorf("accepted %s ago, signed with %q: %w", w.now.Sub(l.accept), l.m.SignedWith, err)
			}
			x.verified++
			if l.verify = l.verify[1:]; len(l.verify) == 0 {
				continue
			}
		}
		left = append(left, l)
	}
	x.mail = left
	return nil
}

// TestAdvanceIsIdempotent: the same check again changes nothing more.
func TestAdvanceIsIdempotent(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: automatic})
	if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		w.now = w.now.Add(time.Hour)
		w.syncAll()
		c := w.look()
		if err := w.s.Advance(t.Context(), w.d, c); err != nil {
			t.Fatal(err)
		}
		steps := len(w.st.log)
		for range 3 {
			if err := w.s.Advance(t.Context(), w.d, c); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.st.log) != steps {
			t.Fatalf("done again: %q", w.st.actions()[steps:])
		}
	}
	if n := len(w.st.log); n > 8 {
		t.Errorf("%d changes: %q", n, slices.Compact(w.st.actions()))
	}
}

package auth

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

var (
	ann = relay.UserID{ID: relay.ID{'u', 1}}
	bob = relay.UserID{ID: relay.ID{'u', 2}}
)

func person(addr, mechanism string, who relay.UserID) PersonTry {
	return PersonTry{
		Addr: netip.MustParseAddr(addr), Agent: "Browser/1", TLS: "TLSv1.3 X", Listener: "https", Mechanism: mechanism, Tried: "ann",
		Tenant: relay.Tenant{Account: acme}, User: who,
	}
}

func (w *world) personIn(addr string, who relay.UserID) {
	w.PersonDone(context.Background(), person(addr, PersonTOTP, who), relay.LoginOK, "")
}

func TestPersonRecord(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	ctx := context.Background()
	at := person("::ffff:192.0.2.7", PersonPassword, ann)
	at.Partial = true
	w.PersonDone(ctx, at, relay.LoginOK, "monitor")
	want := relay.Login{
		At: t0, Protocol: "console", Listener: "https", Mechanism: "PASSWORD", Tried: "ann", Detail: "monitor; the second factor follows",
		Tenant: relay.Tenant{Account: acme}, Addr: netip.MustParseAddr("192.0.2.7"), Network: "192.0.2.0/24", Helo: "Browser/1", TLS: "TLSv1.3 X",
		Result: relay.LoginOK, Count: 1,
	}
	if got := w.rec.last(); got != want {
		t.Errorf("record\n%+v, want\n%+v", got, want)
	}
	if len(w.rec.seen) != 0 {
		t.Error("half a login is an access")
	}
	w.personIn("192.0.2.7", ann)
	if len(w.rec.seen) != 1 || !w.rec.seen[0].Allowed || w.rec.seen[0].Method != "Console" {
		t.Errorf("accesses %+v", w.rec.seen)
	}
	w.PersonDone(ctx, person("192.0.2.7", PersonPassword, ann), relay.LoginAccess, "")
	if len(w.rec.seen) != 2 || w.rec.seen[1].Allowed {
		t.Errorf("accesses %+v", w.rec.seen)
	}
	// What a stranger types where the name belongs may be a password, or worse.
	for typed, want := range map[string]string{
		"a password of mine which is long": "a password of mine which is long", "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHI": "SG.abcdefghijklmnopqrstuv.[hidden]",
		"a\r\nb\x1b[31m": "a??b?[31m", strings.Repeat("ab ", 100): strings.Repeat("ab ", 22)[:64],
	} {
		at := person("192.0.2.8", PersonPassword, relay.UserID{})
		at.Tried, at.Agent = typed, "x\r\ny"+strings.Repeat("z", 1000)
		w.PersonDone(ctx, at, relay.LoginUnknown, "")
		if l := w.rec.last(); l.Tried != want || strings.ContainsAny(l.Helo, "\r\n") || len(l.Helo) > 255 {
			t.Errorf("%q: recorded %q, %q", typed, l.Tried, l.Helo)
		}
	}
}

// AC-01: refused addresses are told so, with the time; known people are let
// through from there.
func TestPersonFromRefusedAddress(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	ctx := context.Background()
	w.personIn("192.0.2.7", ann)
	for range 30 {
		w.PersonDone(ctx, person("192.0.2.7", PersonPassword, relay.UserID{}), relay.LoginUnknown, "")
	}
	err := w.PersonAllowed(ctx, person("192.0.2.7", PersonPassword, bob))
	if relay.KindOf(err) != relay.RateLimited || RetryAfter(err) < time.Second || w.rec.last().Result != relay.LoginThrottled {
		t.Errorf("%v after %v", err, RetryAfter(err))
	}
	if err := w.PersonAllowed(ctx, person("192.0.2.7", PersonPassword, ann)); err != nil {
		t.Errorf("who is known there: %v", err)
	}
	// But a neighbour must not find out who that is.
	if instead := w.PersonDone(ctx, person("192.0.2.7", PersonPassword, ann), relay.LoginWrong, ""); relay.KindOf(instead) != relay.RateLimited || RetryAfter(instead) < time.Second {
		t.Errorf("a wrong password of who is known there: %v", instead)
	}
	if instead := w.PersonDone(ctx, person("198.51.100.1", PersonPassword, ann), relay.LoginWrong, ""); instead != nil {
		t.Errorf("from an address that is not refused: %v", instead)
	}
	if err := w.cfg.Guard.Set(relay.Ban{Scope: relay.BanAddress, Subject: "192.0.2.7", Until: t0.Add(time.Hour), By: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := w.PersonAllowed(ctx, person("192.0.2.7", PersonPassword, ann)); relay.KindOf(err) != relay.RateLimited {
		t.Errorf("a ban by hand: %v", err)
	}
}

// Guessing at a person shuts that person for strange places, and nobody else:
// neither from where they are known, nor the keys of the account.
func TestPersonGuessedAt(t *testing.T) {
	w := newWorld(t, nil)
	g := w.guard(GuardConfig{})
	ctx := context.Background()
	key, _ := w.apiKey(t, nil)
	w.personIn("192.0.2.7", ann)
	for i := range 40 {
		at := person(fmt.Sprintf("10.0.%d.1", i), PersonPassword, ann)
		if w.PersonAllowed(ctx, at) == nil {
			w.PersonDone(ctx, at, relay.LoginWrong, "")
		}
	}
	err := w.PersonAllowed(ctx, person("10.1.0.1", PersonPassword, ann))
	if relay.KindOf(err) != relay.Unauthenticated || RetryAfter(err) != 0 {
		t.Errorf("from a strange place: %v", err)
	}
	for what, at := range map[string]PersonTry{
		"from home": person("192.0.2.7", PersonPassword, ann), "from beside home": person("192.0.2.200", PersonPassword, ann),
		"somebody else": person("10.1.0.1", PersonPassword, bob), "with a passkey": person("10.1.0.1", PersonPasskey, ann),
	} {
		if err := w.PersonAllowed(ctx, at); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := w.plain("apikey", key.Text()); err != nil {
		t.Errorf("a key of the account: %v", err)
	}
	if len(w.alerts) != 1 || w.alerts[0].Kind != relay.AlertGuessing || !strings.Contains(w.alerts[0].Text, "person ann") {
		t.Errorf("alerts %+v", w.alerts)
	}
	// A stolen password alone makes no place known.
	at := person("10.1.0.1", PersonPassword, ann)
	at.Partial = true
	w.PersonDone(ctx, at, relay.LoginOK, "")
	if g.knowsPerson(placeOf(at.Addr), ann, w.now) {
		t.Error("half a login made a place known")
	}
	// A known place that brings too many wrong ones is as any other.
	for range 30 {
		w.PersonDone(ctx, person("192.0.2.7", PersonPassword, ann), relay.LoginWrong, "")
	}
	if g.knowsPerson(placeOf(netip.MustParseAddr("192.0.2.7")), ann, w.now) {
		t.Error("a known place may guess without end")
	}
	w.PersonForgiven(ann)
	if err := w.PersonAllowed(ctx, person("10.2.0.1", PersonPassword, ann)); err != nil {
		t.Errorf("forgiven: %v", err)
	}
}

// AC-04: ten codes in any 60 minutes, counted before they are looked at; for known
// and for strange places each.
func TestPersonCodesPerHour(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	ctx := context.Background()
	w.personIn("192.0.2.7", ann)
	var wait sync.WaitGroup
	var mu sync.Mutex
	allowed := 0
	for i := range 50 {
		wait.Go(func() {
			at := person(fmt.Sprintf("10.0.%d.1", i), PersonTOTP, ann)
			if w.cfg.Guard.takeCode(ann, w.cfg.Guard.knowsPerson(placeOf(at.Addr), ann, w.now), w.now) == 0 {
				mu.Lock()
				allowed++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if allowed != 10 {
		t.Errorf("%d codes at once, want 10", allowed)
	}
	strange, recovery := person("10.0.0.1", PersonTOTP, ann), person("10.0.0.1", PersonRecovery, ann)
	w.now = w.now.Add(20 * time.Minute)
	for _, at := range []PersonTry{strange, recovery} {
		if err := w.PersonAllowed(ctx, at); relay.KindOf(err) != relay.RateLimited || RetryAfter(err) != 40*time.Minute {
			t.Errorf("%s: %v, again in %v", at.Mechanism, err, RetryAfter(err))
		}
	}
	for i := range 100 { // right ones do not count
		if err := w.PersonAllowed(ctx, person("192.0.2.7", PersonTOTP, ann)); err != nil {
			t.Fatalf("code %d from home: %v", i, err)
		}
		w.personIn("192.0.2.7", ann)
	}
	// They survive a restart.
	h := newGuarded(GuardConfig{})
	h.now = w.now
	if err := h.Load(w.cfg.Guard.Save()); err != nil {
		t.Fatal(err)
	}
	if after := h.takeCode(ann, false, w.now); after != 40*time.Minute {
		t.Errorf("after a restart: again in %v", after)
	}
	w.now = w.now.Add(40 * time.Minute)
	if err := w.PersonAllowed(ctx, strange); err != nil {
		t.Errorf("an hour later: %v", err)
	}
}

func TestPersonExempt(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	ctx := context.Background()
	for range 200 {
		for _, m := range []string{PersonPassword, PersonTOTP} {
			if err := w.PersonAllowed(ctx, person("192.0.2.7", m, ann)); err != nil {
				t.Fatal(err)
			}
			w.PersonDone(ctx, person("192.0.2.7", m, ann), relay.LoginWrong, "")
		}
	}
	without := newWorld(t, nil)
	if err := without.PersonAllowed(ctx, person("192.0.2.7", PersonTOTP, ann)); err != nil {
		t.Errorf("without a guard: %v", err)
	}
	without.PersonDone(ctx, person("192.0.2.7", PersonTOTP, ann), relay.LoginWrong, "")
	without.PersonForgiven(ann)
}

func TestPersonAdmitted(t *testing.T) {
	w := newWorld(t, nil)
	ctx := context.Background()
	home := &relay.AccessList{Rules: []relay.AccessRule{{Network: netip.MustParsePrefix("192.0.2.0/24")}}}
	w.dir.access[0] = home
	if ok, _ := w.PersonAdmitted(ctx, person("192.0.2.7", "", ann)); !ok {
		t.Error("from home")
	}
	if ok, _ := w.PersonAdmitted(ctx, person("198.51.100.1", "", ann)); ok {
		t.Error("from elsewhere")
	}
	w.dir.access[0] = &relay.AccessList{Rules: home.Rules, Monitor: true}
	if ok, note := w.PersonAdmitted(ctx, person("198.51.100.1", "", ann)); !ok || note != "monitor: the access list of the account would refuse" {
		t.Errorf("%v %q", ok, note)
	}
}

// What the version before saved is read: it knew no people.
func TestGuardLoadsTheFormatBefore(t *testing.T) {
	g := newGuarded(GuardConfig{})
	g.login("198.51.100.7", keyOf(1))
	state := g.Save()
	old := append([]byte(guardMagic1), state[len(guardMagic):len(state)-8]...) // without the empty table and the checksum
	old = binary.BigEndian.AppendUint32(old, crc32.ChecksumIEEE(old))
	h := newGuarded(GuardConfig{})
	if err := h.Load(old); err != nil {
		t.Fatal(err)
	}
	if !h.knows(placeOf(netip.MustParseAddr("198.51.100.7")), keyOf(1), h.now) {
		t.Error("who is known was lost")
	}
}

// The table of people stays small, and so does what is saved of it.
func TestPeopleAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	g := w.guard(GuardConfig{})
	for i := range 20_000 {
		at := person("10.0.0.1", PersonPassword, relay.UserID{ID: relay.ID{byte(i >> 8), byte(i), 1}})
		g.wrongPassword(g.stand(at.Addr, w.now), at, w.now)
	}
	if n := g.people.size(); n > 65_536/16 || n < 2048 {
		t.Errorf("%d people", n)
	}
	if n := len(g.Save()); n > maxState/2 {
		t.Errorf("%d octets are saved", n)
	}
}

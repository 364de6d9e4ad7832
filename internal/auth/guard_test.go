package auth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// guarded is a Guard with a clock in hand.
type guarded struct {
	*Guard
	now    time.Time
	alerts []relay.Alert
	about  []relay.Tenant
}

func newGuarded(cfg GuardConfig) *guarded {
	g := &guarded{now: t0}
	cfg.Now = func() time.Time { return g.now }
	cfg.Alert = func(t relay.Tenant, _ relay.KeyID, a relay.Alert) {
		g.alerts, g.about = append(g.alerts, a), append(g.about, t)
	}
	g.Guard = NewGuard(cfg)
	return g
}

var t0 = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// try is one attempt that fails, if it is looked at. It reports whether it was.
func (g *guarded) try(addr string, k *relay.Key) (looked bool, hold time.Duration) {
	s := g.stand(netip.MustParseAddr(addr), g.now)
	if k == nil {
		looked = !s.refused()
		if looked {
			hold = g.failed(s, nil, g.now)
		}
		return looked, hold
	}
	if looked = g.admits(s, k, g.now); looked {
		hold = g.failed(s, k, g.now)
	} else if !s.refused() {
		hold = g.failed(s, nil, g.now)
	}
	return looked, hold
}

func (g *guarded) login(addr string, k *relay.Key) bool {
	s := g.stand(netip.MustParseAddr(addr), g.now)
	ok := g.admits(s, k, g.now)
	if ok {
		g.succeeded(s, k, g.now)
	}
	return ok
}

func keyOf(n byte) *relay.Key {
	return &relay.Key{ID: relay.KeyID{ID: relay.ID{'k', n}}, Account: relay.AccountID{ID: relay.ID{'a', 1}}}
}

// AU-25: from one address guessing gets slow, then nothing; its neighbours do not notice.
func TestGuessingFromOneAddress(t *testing.T) {
	for _, tt := range []struct{ name, from, also, other string }{
		{"IPv4", "192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"},
		{"IPv6", "2001:db8:1:2::7", "2001:db8:1:2:ffff::1", "2001:db8:1:3::7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuarded(GuardConfig{})
			var last time.Duration
			looked := 0
			for i := range 60 {
				from := tt.from
				if i%2 == 1 {
					from = tt.also // the same party
				}
				ok, hold := g.try(from, nil)
				if ok {
					looked++
					if hold < last || (looked < g.slowFrom()) != (hold == 0) || hold > longestHold {
						t.Errorf("failure %d is held back %v after %v", looked, hold, last)
					}
					last = hold
				}
				g.now = g.now.Add(100 * time.Millisecond)
			}
			if looked != 20 {
				t.Errorf("%d fast failures were looked at, want 20", looked)
			}
			if ok, _ := g.try(tt.other, nil); !ok || g.Delay(netip.MustParseAddr(tt.other)) != 0 {
				t.Error("a neighbour is refused")
			}
			if d := g.Delay(netip.MustParseAddr(tt.from)); d != longestTar {
				t.Errorf("a refused address waits %v for the greeting", d)
			}
			if len(g.alerts) != 1 || g.alerts[0].Kind != relay.AlertBan {
				t.Errorf("alerts %v", g.alerts)
			}
		})
	}
}

// Each refusal lasts longer than the one before; quiet is forgiven.
func TestRefusalsGrowAndEnd(t *testing.T) {
	g := newGuarded(GuardConfig{})
	var lasted []time.Duration
	for range 5 {
		for ok := true; ok; ok, _ = g.try("192.0.2.7", nil) {
		}
		b := g.Bans(g.now)
		if len(b) != 1 || b[0].Subject != "192.0.2.7" || b[0].Scope != relay.BanAddress || b[0].Failures < 20 {
			t.Fatalf("bans %+v", b)
		}
		lasted = append(lasted, b[0].Until.Sub(g.now))
		g.now = b[0].Until
	}
	if got := fmt.Sprint(lasted); got != "[1m0s 2m0s 4m0s 8m0s 16m0s]" {
		t.Errorf("lasted %s", got)
	}
	// An hour of trying: still few guesses.
	g2, looked := newGuarded(GuardConfig{}), 0
	for range 3600 {
		if ok, _ := g2.try("192.0.2.7", nil); ok {
			looked++
		}
		g2.now = g2.now.Add(time.Second)
	}
	if looked > 60 {
		t.Errorf("%d guesses in an hour", looked)
	}
	g.now = g.now.Add(48 * time.Hour)
	if d := g.Delay(netip.MustParseAddr("192.0.2.7")); d != 0 {
		t.Errorf("two quiet days later the greeting waits %v", d)
	}
}

// A network gets eight times what an address gets.
func TestGuessingFromOneNetwork(t *testing.T) {
	g := newGuarded(GuardConfig{})
	looked := 0
	for round := range 10 {
		for i := range 250 {
			if ok, _ := g.try(fmt.Sprintf("192.0.2.%d", i), nil); ok {
				looked++
			}
		}
		_ = round
	}
	if looked != 160 {
		t.Errorf("%d failures were looked at, want 160", looked)
	}
	if ok, _ := g.try("192.0.3.1", nil); !ok {
		t.Error("the next network is refused")
	}
}

// AU-26: guessing one key from everywhere is caught, and who is known goes on.
func TestGuessingOneKeyFromEverywhere(t *testing.T) {
	g := newGuarded(GuardConfig{})
	victim := keyOf(1)
	const owner, neighbour, newPlace = "198.51.100.7", "198.51.100.200", "203.0.113.9"
	if !g.login(owner, victim) {
		t.Fatal("the owner is not let in")
	}
	looked := 0
	for i := range 2000 {
		if ok, _ := g.try(fmt.Sprintf("10.%d.%d.1", i/250, i%250), victim); ok {
			looked++
		}
	}
	if looked != 50 {
		t.Errorf("%d guesses were looked at, want 50", looked)
	}
	for range 100 {
		if !g.login(owner, victim) || !g.login(neighbour, victim) {
			t.Fatal("a known place is locked out")
		}
	}
	if g.login(newPlace, victim) {
		t.Error("an unknown place may try while the key is guessed at")
	}
	if ok, _ := g.try("10.99.99.1", keyOf(2)); !ok {
		t.Error("another key of the account is closed too")
	}
	if len(g.alerts) != 1 || g.alerts[0].Kind != relay.AlertGuessing || g.about[0].Account != victim.Account {
		t.Errorf("alerts %v", g.alerts)
	}
	b := g.Bans(g.now)
	if len(b) != 1 || b[0].Scope != relay.BanKey || b[0].Subject != victim.ID.String() {
		t.Errorf("bans %+v", b)
	}
	if !g.Lift(relay.BanKey, victim.ID.String()) || !g.login(newPlace, victim) {
		t.Error("lifting does not open the key")
	}
	g.now = g.now.Add(91 * 24 * time.Hour)
	if g.knows(placeOf(netip.MustParseAddr(owner)), victim, g.now) {
		t.Error("a place is known for ever")
	}
}

// AU-26: the same over all keys of an account.
func TestGuessingOneAccount(t *testing.T) {
	g := newGuarded(GuardConfig{KeyFailures: 10})
	looked := 0
	for i := range 1000 {
		if ok, _ := g.try(fmt.Sprintf("10.%d.%d.1", i/250, i%250), keyOf(byte(i%100))); ok {
			looked++
		}
	}
	if looked != 100 {
		t.Errorf("%d guesses were looked at, want 100", looked)
	}
}

// AU-26: a neighbour of the owner, in the same network, can guess as little as
// anybody, and does not shut the owner's own address out.
func TestGuessingFromTheOwnersNetwork(t *testing.T) {
	g := newGuarded(GuardConfig{})
	victim := keyOf(1)
	g.login("198.51.100.7", victim)
	looked := 0
	for i := range 250 {
		if i == 7 {
			continue
		}
		if ok, _ := g.try(fmt.Sprintf("198.51.100.%d", i), victim); ok {
			looked++
		}
	}
	if looked > 100 {
		t.Errorf("%d guesses from the owner's network", looked)
	}
	if !g.login("198.51.100.7", victim) {
		t.Error("the owner's address is locked out by its neighbours")
	}
}

// Behind one address (NAT) a broken client does not lock out the good ones, and
// a good key does not buy guesses.
func TestSharedAddress(t *testing.T) {
	g := newGuarded(GuardConfig{})
	const nat = "192.0.2.1"
	good, broken := keyOf(1), keyOf(2)
	g.login(nat, good)
	for range 100 {
		g.try(nat, broken)
	}
	if !g.login(nat, good) {
		t.Error("the good client is locked out")
	}
	if g.login(nat, &relay.Key{ID: relay.KeyID{ID: relay.ID{9}}, Account: relay.AccountID{ID: relay.ID{9}}}) {
		t.Error("a key that is not known there is tried at a refused address")
	}
	g = newGuarded(GuardConfig{})
	looked := 0
	for range 600 {
		g.login(nat, good)
		if ok, _ := g.try(nat, nil); ok {
			looked++
		}
		g.now = g.now.Add(time.Second)
	}
	if looked > 60 {
		t.Errorf("%d guesses between good logins in ten minutes", looked)
	}
}

// Where others log in, somebody new does not have to wait for a day because a
// broken client goes on and on.
func TestNewcomersBehindASharedAddress(t *testing.T) {
	g := newGuarded(GuardConfig{})
	const nat = "192.0.2.1"
	newcomer := &relay.Key{ID: relay.KeyID{ID: relay.ID{9}}, Account: relay.AccountID{ID: relay.ID{9}}}
	var shut time.Duration
	for range 24 * 60 {
		g.now = g.now.Add(time.Minute)
		if s := g.stand(netip.MustParseAddr(nat), g.now); g.admits(s, newcomer, g.now) {
			shut = 0
		} else if shut += time.Minute; shut > 6*time.Minute {
			t.Fatalf("a newcomer is refused for %v", shut)
		}
		g.login(nat, keyOf(1))
		for range 5 {
			g.try(nat, keyOf(2))
		}
	}
	if len(g.alerts) == 0 {
		t.Error("the broken client was never refused")
	}
}

// Who shares an address with a client that fails does not wait for the greeting,
// now or after a restart; strangers' addresses, and those that a person shut out,
// do.
func TestGreetingsBehindASharedAddress(t *testing.T) {
	g := newGuarded(GuardConfig{})
	nat, stranger := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	g.login(nat.String(), keyOf(1))
	for range 100 { // slow first, then refused
		g.try(nat.String(), nil)
		if d := g.Delay(nat); d != 0 {
			t.Fatalf("a neighbour of who fails waits %v", d)
		}
		g.try(stranger.String(), nil)
	}
	if _, hold := g.try(nat.String(), keyOf(1)); hold < time.Second {
		t.Errorf("what fails there is held back %v only", hold)
	}
	if d := g.Delay(stranger); d != longestTar {
		t.Errorf("an address that nobody logged in from waits %v", d)
	}
	h := newGuarded(GuardConfig{})
	if err := h.Load(g.Save()); err != nil || h.Delay(nat) != 0 || h.Delay(stranger) != longestTar {
		t.Errorf("after a restart %v, %v (%v)", h.Delay(nat), h.Delay(stranger), err)
	}
	if err := g.Set(relay.Ban{Scope: relay.BanAddress, Subject: nat.String(), Until: t0.Add(time.Hour)}); err != nil || g.Delay(nat) != longestTar {
		t.Errorf("an address that a person shut out waits %v (%v)", g.Delay(nat), err)
	}
	g = newGuarded(GuardConfig{})
	g.login(nat.String(), keyOf(1))
	g.now = g.now.Add(welcomeFor)
	for range 10 {
		g.try(nat.String(), nil)
	}
	if g.Delay(nat) == 0 {
		t.Error("a success of yesterday still counts")
	}
	// A key or account whose id is zero is not anybody.
	if g.knows(placeOf(nat), &relay.Key{}, g.now) {
		t.Error("a place is known to a key without an id")
	}
}

// A place that its key's row names is known before it was ever seen.
func TestPlacesThatTheKeyNames(t *testing.T) {
	for name, tt := range map[string]struct {
		key  func(*relay.Key)
		want bool
	}{
		"nothing":         {func(*relay.Key) {}, false},
		"last use":        {func(k *relay.Key) { k.LastUsedFrom, k.LastUsedAt = "198.51.100.7", t0.Add(-time.Hour) }, true},
		"last use, old":   {func(k *relay.Key) { k.LastUsedFrom, k.LastUsedAt = "198.51.100.7", t0.Add(-100*24*time.Hour) }, false},
		"last use, other": {func(k *relay.Key) { k.LastUsedFrom, k.LastUsedAt = "198.51.100.8", t0 }, false},
		"small network":   {func(k *relay.Key) { k.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }, true},
		"cloud region":    {func(k *relay.Key) { k.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.0.0/16")} }, true},
		"whole provider":  {func(k *relay.Key) { k.Networks = []netip.Prefix{netip.MustParsePrefix("198.0.0.0/8")} }, false},
		"IPv6":            {func(k *relay.Key) { k.Networks = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")} }, false},
		"whole world":     {func(k *relay.Key) { k.Networks = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(GuardConfig{})
			victim := keyOf(1)
			for i := range 60 {
				g.try(fmt.Sprintf("10.0.%d.1", i), victim)
			}
			tt.key(victim)
			if got := g.login("198.51.100.7", victim); got != tt.want {
				t.Errorf("let in %v", got)
			}
			if tt.want {
				looked := 0
				for range 100 {
					if ok, _ := g.try("198.51.100.7", victim); ok {
						looked++
					}
				}
				if looked > 25 {
					t.Errorf("%d guesses from there", looked)
				}
			}
		})
	}
}

func TestManualBans(t *testing.T) {
	g := newGuarded(GuardConfig{})
	k := keyOf(1)
	g.login("192.0.2.7", k)
	until := t0.Add(time.Hour)
	for _, bad := range []relay.Ban{
		{Scope: relay.BanNetwork, Subject: "0.0.0.0/0", Until: until}, {Scope: relay.BanNetwork, Subject: "::/3", Until: until},
		{Scope: relay.BanAddress, Subject: "192.0.2.0/24", Until: until}, {Scope: relay.BanAddress, Subject: "nobody", Until: until},
		{Scope: relay.BanKey, Subject: k.ID.String(), Until: until}, {Scope: relay.BanAddress, Subject: "192.0.2.7", Until: t0},
		{Scope: relay.BanNetwork, Subject: "::ffff:0:0/90", Until: until},
	} {
		if err := g.Set(bad); !errors.Is(err, ErrBan) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, b := range []relay.Ban{
		{Scope: relay.BanAddress, Subject: "::ffff:192.0.2.7", Until: until, By: "anna"},
		{Scope: relay.BanNetwork, Subject: "10.0.0.0/8", Until: until},
		{Scope: relay.BanAddress, Subject: "2001:db8::5", Until: until},
	} {
		if err := g.Set(b); err != nil {
			t.Fatal(err)
		}
	}
	if g.login("192.0.2.7", k) || g.login("10.255.0.1", k) || g.login("2001:db8::99", k) || !g.login("192.0.2.8", k) {
		t.Error("the bans are not what was set: even a known place is shut out, and nothing else")
	}
	subjects := []string{}
	for _, b := range g.Bans(g.now) {
		if !b.Manual {
			t.Errorf("not manual: %+v", b)
		}
		subjects = append(subjects, b.Subject)
	}
	if got := strings.Join(subjects, " "); got != "192.0.2.7 2001:db8::/64 10.0.0.0/8" {
		t.Errorf("listed %s", got)
	}
	if g.Lift(relay.BanNetwork, "192.0.2.7") || !g.Lift(relay.BanAddress, "192.0.2.7") || !g.login("192.0.2.7", k) {
		t.Error("not lifted, or by the wrong name")
	}
	g.now = until
	if !g.login("10.255.0.1", k) || len(g.Bans(g.now)) != 0 {
		t.Error("a ban outlives its end")
	}
}

// Who is shut out or let in again is told of, so that it is kept before a crash.
func TestGuardTellsOfChanges(t *testing.T) {
	g := newGuarded(GuardConfig{})
	told := func(what string, want bool) {
		t.Helper()
		select {
		case <-g.Changed():
			if !want {
				t.Errorf("%s is told of", what)
			}
		default:
			if want {
				t.Errorf("%s is not told of", what)
			}
		}
	}
	g.login("192.0.2.7", keyOf(1))
	for range 19 {
		g.try("192.0.2.7", nil)
	}
	told("slowness", false)
	g.try("192.0.2.7", nil)
	told("a ban", true)
	g.try("192.0.2.7", nil)
	told("what is refused unseen", false)
	g.Lift(relay.BanAddress, "192.0.2.7")
	told("lifting it", true)
	ban := relay.Ban{Scope: relay.BanAddress, Subject: "192.0.2.7", Until: t0.Add(time.Hour)}
	if err := g.Set(ban); err != nil {
		t.Fatal(err)
	}
	told("a person's ban", true)
	g.Lift(relay.BanAddress, "192.0.2.7")
	told("lifting that", true)
	for i := range 50 {
		g.try(fmt.Sprintf("10.0.%d.1", i), keyOf(1))
	}
	told("a key that is guessed at", true)
}

func TestGuardExempts(t *testing.T) {
	g := newGuarded(GuardConfig{Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	for range 200 {
		if ok, hold := g.try("127.0.0.1", keyOf(1)); !ok || hold != 0 {
			t.Fatal("an exempt address is refused or slowed")
		}
	}
	if s := g.stand(netip.Addr{}, g.now); s.refused() || g.failed(s, nil, g.now) != 0 {
		t.Error("an attempt without an address")
	}
}

func TestGuardSurvivesRestart(t *testing.T) {
	g := newGuarded(GuardConfig{})
	victim := keyOf(1)
	g.login("198.51.100.7", victim)
	for i := range 60 {
		g.try(fmt.Sprintf("10.0.%d.1", i), victim)
		g.try("192.0.2.7", nil)
	}
	if err := g.Set(relay.Ban{Scope: relay.BanNetwork, Subject: "203.0.113.0/24", Until: t0.Add(time.Hour), By: "anna"}); err != nil {
		t.Fatal(err)
	}
	state := g.Save()
	h := newGuarded(GuardConfig{})
	if err := h.Load(state); err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(g.Bans(t0)), fmt.Sprint(h.Bans(t0)); a != b || len(h.Bans(t0)) != 3 {
		t.Errorf("bans\n%s\n%s", a, b)
	}
	if !h.login("198.51.100.7", victim) || h.login("10.9.9.9", victim) || h.login("203.0.113.1", victim) {
		t.Error("who is known, or refused, was lost")
	}
	if err := h.Load(nil); err != nil || len(h.Bans(t0)) != 0 {
		t.Error("what was never saved is not nobody")
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "cut": state[:len(state)-1], "longer": append(state[:len(state):len(state)], 0), "a bit": flip(state, len(state)/2), "the version": flip(state, 4),
	} {
		h.try("192.0.2.7", nil)
		if err := h.Load(bad); !errors.Is(err, ErrGuardState) || h.addresses.size() != 0 {
			t.Errorf("%s: %v, %d entries", name, err, h.addresses.size())
		}
	}
}

func flip(b []byte, i int) []byte {
	c := append([]byte(nil), b...)
	c[i] ^= 1
	return c
}

// However many strangers come, the tables and what is saved of them stay small.
func TestGuardIsBounded(t *testing.T) {
	g := newGuarded(GuardConfig{Entries: 4096})
	for i := range 20_000 {
		from := netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1})
		s := g.stand(from, g.now)
		k := &relay.Key{ID: relay.KeyID{ID: relay.ID{byte(i >> 16), byte(i >> 8), byte(i)}}}
		k.Account.ID = k.ID.ID
		g.failed(s, k, g.now)
		if i%4 == 0 {
			g.succeeded(s, k, g.now)
		}
	}
	for name, n := range map[string][2]int{
		"addresses": {g.addresses.size(), 4096}, "known": {g.known.size(), 4096}, "networks": {g.networks.size(), 2048},
		"keys": {g.keys.size(), 1024}, "accounts": {g.accounts.size(), 1024},
	} {
		if n[0] > n[1] || n[0] < n[1]/2 {
			t.Errorf("%d %s, want at most %d, and that nearly", n[0], name, n[1])
		}
	}
	if n := len(g.Save()); n > maxState {
		t.Errorf("%d octets are saved", n)
	}
}

func FuzzGuardLoad(f *testing.F) {
	g := newGuarded(GuardConfig{Entries: 256})
	g.login("198.51.100.7", keyOf(1))
	for i := range 60 {
		g.try(fmt.Sprintf("10.0.%d.1", i), keyOf(1))
		g.try("2001:db8::1", nil)
	}
	if err := g.Set(relay.Ban{Scope: relay.BanAddress, Subject: "203.0.113.1", Until: t0.Add(time.Hour)}); err != nil {
		f.Fatal(err)
	}
	f.Add(g.Save()[len(guardMagic):])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, middle []byte) {
		g := newGuarded(GuardConfig{Entries: 256})
		if err := g.Load(sealState(middle)); err != nil {
			if !errors.Is(err, ErrGuardState) || g.addresses.size()+g.known.size() != 0 || len(g.Bans(t0)) != 0 {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, b := range g.Bans(t0) {
			if !b.Manual && b.Until.After(t0.Add(24*time.Hour)) {
				t.Fatalf("a ban until %v", b.Until)
			}
		}
		g.try("10.0.0.1", keyOf(1))
		if err := g.Load(g.Save()); err != nil {
			t.Fatalf("what was loaded does not load again: %v", err)
		}
	})
}

// sealState makes a state of what stands between its first word and its
// checksum, so that a fuzzer reaches what is behind them.
func sealState(middle []byte) []byte {
	b := append([]byte(guardMagic), middle[:max(len(middle)-4, 0)]...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

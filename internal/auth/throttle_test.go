package auth

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

func holdOf(err error) time.Duration {
	if h, ok := errors.AsType[interface {
		error
		HoldBack() time.Duration
	}](err); ok {
		return h.HoldBack()
	}
	return 0
}

// AU-25: one address: slower, then nothing, by every mechanism; who is known goes on.
func TestThrottledAddress(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	known, _ := w.apiKey(t, nil)
	fresh, _ := w.apiKey(t, func(k *relay.Key) { k.Account = relay.AccountID{ID: relay.ID{9}} }) // places are known to accounts
	w.expect(t, "known", w.plain("apikey", known.Text()), relay.LoginOK, smtp.Reply{})
	last := time.Duration(0)
	for i := range 20 {
		err := w.plain("apikey", "nonsense")
		if h := holdOf(err); h < last || i >= 5 && h < 500*time.Millisecond {
			t.Errorf("failure %d is held back %v after %v", i+1, h, last)
		} else {
			last = h
		}
	}
	asked := w.dir.asked
	for _, m := range mechanisms {
		err := w.login(m.Mechanism, m.client(fresh.IDText(), fresh.Text()))
		w.expect(t, m.Name, err, relay.LoginThrottled, ReplyThrottled)
		if holdOf(err) < minHold {
			t.Errorf("%s: held back %v", m.Name, holdOf(err))
		}
	}
	w.expect(t, "nonsense", w.plain("apikey", "nonsense"), relay.LoginThrottled, ReplyThrottled)
	if w.dir.asked > asked+6 {
		t.Errorf("%d look-ups", w.dir.asked-asked)
	}
	w.expect(t, "known", w.plain("apikey", known.Text()), relay.LoginOK, smtp.Reply{})
	// A wrong secret for the known key reads like one for any other: who shares the
	// address cannot find out which keys are used from it.
	wrong, err := secret.NewSecret("SG", known.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.expect(t, "known, wrong", w.plain("apikey", wrong.Text()), relay.LoginWrong, ReplyThrottled)
	w.now = w.now.Add(time.Minute)
	w.expect(t, "later", w.plain("apikey", fresh.Text()), relay.LoginOK, smtp.Reply{})
}

// AU-26: a key that is guessed at from everywhere answers strangers as before, is
// not compared any more, and lets known places in.
func TestThrottledKey(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	key, row := w.apiKey(t, nil)
	w.expect(t, "owner", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	wrong, _ := secret.NewSecret("SG", key.ID)
	from := func(i int, pass secret.Redacted) error {
		at := w.attempt("PLAIN")
		at.Addr = netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		return w.converse(sasl.Plain, sasl.NewPlainClient("apikey", pass), at)
	}
	for i := range 60 {
		want := relay.LoginWrong
		if i >= 50 {
			want = relay.LoginThrottled
		}
		w.expect(t, "guess", from(i, wrong.Text()), want, ReplyRefused)
		if l := w.rec.last(); l.Key != row.ID || l.Tenant.Account != acme {
			t.Errorf("record %+v", l)
		}
	}
	w.expect(t, "right secret, unknown place", from(1000, key.Text()), relay.LoginThrottled, ReplyRefused)
	w.expect(t, "owner", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	if len(w.alerts) != 1 || w.alerts[0].Kind != relay.AlertGuessing {
		t.Errorf("alerts %+v", w.alerts)
	}
}

// What is no guess at a key does not count against it; all refusals count alike
// against the address, or its slowness would tell them apart.
func TestWhatCounts(t *testing.T) {
	past := t0.Add(-time.Hour)
	stranger, _ := newWorld(t, nil).apiKey(t, nil)
	for name, tt := range map[string]struct {
		change       func(*relay.Key)
		given        func(secret.Key) (string, secret.Redacted)
		address, key float64
	}{
		"wrong": {given: func(k secret.Key) (string, secret.Redacted) {
			o, _ := secret.NewSecret("SG", k.ID)
			return "apikey", o.Text()
		}, address: 1, key: 1},
		"unknown":   {given: func(secret.Key) (string, secret.Redacted) { return "apikey", stranger.Text() }, address: 1},
		"malformed": {given: func(secret.Key) (string, secret.Redacted) { return "apikey", "x" }, address: 1},
		"person":    {given: func(secret.Key) (string, secret.Redacted) { return "anna", "x" }, address: 1},
		"expired":   {change: func(k *relay.Key) { k.ExpiresAt = past }, address: 1},
		"revoked":   {change: func(k *relay.Key) { k.RevokedAt = past }, address: 1},
		"disabled":  {change: func(k *relay.Key) { k.DisabledAt = past }, address: 1},
		"canary":    {change: func(k *relay.Key) { k.Canary = true }, address: 1},
		"network":   {change: func(k *relay.Key) { k.Networks = prefixes("10.0.0.0/8") }, address: 1},
		"scope":     {change: func(k *relay.Key) { k.Scopes = nil }},
		"good":      {},
	} {
		w := newWorld(t, nil)
		g := w.guard(GuardConfig{})
		key, row := w.apiKey(t, tt.change)
		user, pass := "apikey", key.Text()
		if tt.given != nil {
			user, pass = tt.given(key)
		}
		w.plain(user, pass)
		var address, id float64
		g.addresses.see(placeOf(mustAddr(home)), func(t *tally) { address = t.score })
		g.keys.see(row.ID.ID, func(t *tally) { id = t.score })
		if address != tt.address || id != tt.key {
			t.Errorf("%s: %v against the address, %v against the key", name, address, id)
		}
	}
	w := newWorld(t, nil)
	g := w.guard(GuardConfig{})
	w.Cleartext(w.attempt("PLAIN"))
	w.Ended(w.attempt("PLAIN"), relay.LoginAborted)
	w.Ended(w.attempt("PLAIN"), relay.LoginMalformed)
	g.addresses.see(placeOf(mustAddr(home)), func(tl *tally) {
		if tl.score != 3 {
			t.Errorf("cleartext, aborted and malformed attempts count %v", tl.score)
		}
	})
	if len(w.rec.logins) != 3 || w.rec.logins[0].Result != relay.LoginCleartext {
		t.Errorf("records %+v", w.rec.logins)
	}
}

// AU-25: many connections at once buy no more guesses than there are attempts
// under way when the limit is reached.
func TestThrottleInParallel(t *testing.T) {
	g := NewGuard(GuardConfig{})
	const clients = 16
	var looked atomic.Int64
	var wg sync.WaitGroup
	key := keyOf(1)
	for range clients {
		wg.Go(func() {
			for range 100 {
				now := time.Now()
				if s := g.stand(mustAddr(home), now); g.admits(s, key, now) {
					looked.Add(1)
					g.failed(s, key, now)
				}
				g.Delay(mustAddr(home))
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			g.Bans(time.Now())
			g.Save()
			g.Lift(relay.BanNetwork, "10.0.0.0/24")
		}
	})
	wg.Wait()
	if n := looked.Load(); n < 20 || n > 20+clients {
		t.Errorf("%d guesses were looked at", n)
	}
}

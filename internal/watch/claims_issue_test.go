package watch

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// Hours of the day and the week are those of the account's time zone, over a change
// of summer time too, and its findings tell the time so.
func TestHoursAreTheAccounts(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 4)
	w.zone = zone.String()
	p := w.program("shop", "192.0.2.7")
	w.run(p, func(w *world, p *program, at time.Time, _, _ int) {
		if local := at.In(zone); !weekend(local) && local.Hour() >= 8 && local.Hour() < 18 {
			w.some(p, at, w.spread(12, 2))
		}
	}, 0, 80)
	w.none(w.watch()) // on 8 March 2026 an hour is left out
	night := time.Date(2026, 3, 26, 3, 5, 0, 0, zone)
	for i := range 7 {
		w.send(p, night.Add(time.Duration(i)*5*time.Minute).UTC(), 1)
	}
	f := w.only(w.watch(), relay.WatchHours, p.Key)
	w.says(f, "between 08:00 and 18:00", "Thursday 26 March 2026 03:25 EDT")
	if f.Subject != "03:00" || !strings.Contains(f.Title, "03:00") {
		t.Errorf("%s: %s", f.Subject, f.Title)
	}
}

// What strangers can open findings by has a bound: of canaries tried from everywhere
// the oldest make room, and the newest is there.
func TestOpenFindingsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}) }
	const n = maxOpen + 50
	var p *program
	for i := range n {
		if i%canaryHosts == 0 {
			p = w.program("canary", "192.0.2.7")
		}
		w.login(p, w.at(1, float64(i)/n), addr(i), relay.LoginCanary)
	}
	e := w.engine()
	fs, err := e.Observe(t.Context(), nil, w.logins)
	if err != nil || len(fs) != n {
		t.Fatalf("%d findings, %v", len(fs), err)
	}
	open := e.Open()
	if len(open) != maxOpen || open[len(open)-1].Subject != addr(n-1).String() {
		t.Errorf("%d are open, the last about %s", len(open), open[len(open)-1].Subject)
	}
	if c, err := e.Changes(); err != nil || len(c.Findings) != n {
		t.Errorf("%d are kept, want all: %v", len(c.Findings), err)
	}
}

// The webhook is signed with both secrets while they change, and then with the new
// one alone.
func TestWebhookSecretsEnd(t *testing.T) {
	t.Parallel()
	d, _, a, now := newDesk()
	var used [][]byte
	a.Post = func(_ context.Context, _ string, secrets [][]byte, _ string, _ []byte) error {
		used = secrets
		return nil
	}
	fresh, old := []byte("new"), []byte("old")
	set := relay.WatchSettings{NoMail: true, Webhook: "https://hooks.example.test/", Secrets: [][]byte{fresh, old}, SecretUntil: now.Add(24 * time.Hour)}
	for i, want := range [][][]byte{{fresh, old}, {fresh}} {
		d.finding(byte(i+1), relay.WatchTell)
		if err := a.Work(t.Context(), func(relay.AccountID) relay.WatchSettings { return set }); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.Join(used, []byte(" ")), bytes.Join(want, []byte(" "))) {
			t.Errorf("signed with %q, want %q", used, want)
		}
		*now = now.Add(24 * time.Hour)
	}
}

// A letter goes to those whom the account names, or else to its owner; what is of no
// account goes to the operator, and to nobody else.
func TestWhoIsTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mailTo []string
		of     relay.AccountID
		want   string
	}{
		"named":        {[]string{"sec@example.test"}, relay.AccountID{ID: relay.ID{9}}, "sec@example.test"},
		"nobody named": {nil, relay.AccountID{ID: relay.ID{9}}, "owner@example.test"},
		"no account":   {nil, relay.AccountID{}, "root@example.test"},
	} {
		d, l, a, _ := newDesk()
		f := d.finding(1, relay.WatchTell)
		f.Tenant.Account = c.of
		if err := a.Work(t.Context(), func(relay.AccountID) relay.WatchSettings { return relay.WatchSettings{MailTo: c.mailTo} }); err != nil {
			t.Fatal(err)
		}
		if len(l.mails) != 1 || !strings.HasPrefix(l.mails[0], c.want+": ") {
			t.Errorf("%s: told %q, want %s", name, l.mails, c.want)
		}
	}
}

// What lets nobody in is left as it is: nothing is there to slow, hold or stop.
func TestNothingIsDoneToWhatIsShut(t *testing.T) {
	t.Parallel()
	for name, shut := range map[string]func(k *relay.Key){
		"revoked": func(k *relay.Key) { k.RevokedAt = began }, "a canary": func(k *relay.Key) { k.Canary = true },
	} {
		for _, answer := range []relay.WatchAnswer{relay.WatchSlow, relay.WatchHold, relay.WatchStop} {
			d, l, a, _ := newDesk()
			shut(&d.key)
			before := fmt.Sprint(d.key)
			d.finding(1, answer)
			if err := a.Work(t.Context(), asked); err != nil || fmt.Sprint(d.key) != before || len(d.by) != 0 || len(l.mails) != 1 {
				t.Errorf("%s, %s: %v, changed by %q, %d letters", name, answer, err, d.by, len(l.mails))
			}
		}
	}
}

// Two cities that are near each other are no journey, however soon after one another:
// databases of places are off by as much.
func TestNearPlacesAreNoJourney(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]int{"198.51.100.9": 0, "198.18.0.9": 1} { // Hamburg is 255 km from Berlin, Paris 880
		w := newWorld(t, 2)
		p := w.program("shop", "192.0.2.7")
		home, away := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr(to)
		for d := range 80 {
			w.login(p, w.at(float64(d), 9), []netip.Addr{home, away}[d/2%2], relay.LoginOK)
		}
		w.login(p, w.at(81, 9), home, relay.LoginOK)
		w.login(p, w.at(81, 9.05), away, relay.LoginOK)
		if fs := w.watch(withAtlas); len(fs) != want || want > 0 && fs[0].Rule != relay.WatchTravel {
			t.Errorf("to %s: %+v", to, fs)
		}
	}
}

// Each answer is for rules whose finding it fits: no key is stopped because
// strangers guessed at it.
func TestAnswersFitTheirRules(t *testing.T) {
	t.Parallel()
	for _, r := range relay.WatchRules {
		bends := r != relay.WatchCanary && r != relay.WatchSpread && r != relay.WatchSweep && r != relay.WatchDomain
		for _, answer := range []relay.WatchAnswer{relay.WatchSlow, relay.WatchHold, relay.WatchStop} {
			if err := CheckSetting(r, relay.WatchRuleSetting{Answer: answer}); (err == nil) != bends {
				t.Errorf("%s %s: %v", r, answer, err)
			}
		}
		for _, answer := range []relay.WatchAnswer{relay.WatchRecord, relay.WatchTell} {
			if err := CheckSetting(r, relay.WatchRuleSetting{Answer: answer}); err != nil {
				t.Errorf("%s %s: %v", r, answer, err)
			}
		}
		if err := CheckSetting(r, relay.WatchRuleSetting{Answer: "shout"}); relay.KindOf(err) != relay.Invalid {
			t.Errorf("%s: %v", r, err)
		}
	}
}

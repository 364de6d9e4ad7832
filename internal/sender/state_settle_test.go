package sender

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
)

// told records what owners are told.
type told struct {
	mu      sync.Mutex
	alerts  []relay.Alert
	tenants []relay.Tenant
	letters []string
	err     error
}

func (l *told) listen(s *Domains) {
	s.Alert = func(t relay.Tenant, a relay.Alert) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.alerts, l.tenants = append(l.alerts, a), append(l.tenants, t)
	}
	s.Tell = func(_ context.Context, _ relay.Tenant, subject, text string) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.letters = append(l.letters, subject+"\n\n"+text)
		return l.err
	}
}

// take returns the states that were told since, and forgets them.
func (l *told) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, a := range l.alerts {
		if a.Kind != relay.AlertDomain {
			continue
		}
		out = append(out, a.Domain+" "+a.State)
	}
	l.alerts = nil
	return strings.Join(out, ", ")
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// index is a DomainIndex over memory.
type index struct{ m *domainMemory }

func (i index) DomainByToken(token string) (relay.Domain, bool) {
	i.m.mu.Lock()
	defer i.m.mu.Unlock()
	for _, d := range i.m.domains {
		if d.Token == token {
			return d, true
		}
	}
	return relay.Domain{}, false
}

func (i index) DomainsNamed(name string) (out []relay.Domain) {
	i.m.mu.Lock()
	defer i.m.mu.Unlock()
	for _, d := range i.m.domains {
		if d.Name == name {
			out = append(out, d)
		}
	}
	return out
}

func (b *testBench) check(tb testing.TB) (relay.DomainCheck, relay.Domain) {
	tb.Helper()
	c, err := b.s.Check(context.Background(), testBy, b.d.ID)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := b.m.Domain(context.Background(), b.d.ID)
	if err != nil {
		tb.Fatal(err)
	}
	return c, d
}

// The life of a domain, from its first check to the end and back.
func TestDomainLife(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	at := &clock{at: b.d.CreatedAt}
	b.s.Now, b.s.Settings = at.now, stateSet
	var l told
	l.listen(b.s)
	host := b.rec("dkim1").Host
	expect := func(what string, state relay.DomainState, failing bool, told string) {
		t.Helper()
		c, d := b.check(t)
		if d.State != state || d.FailingSince.IsZero() == failing {
			t.Errorf("%s: %s, failing since %s", what, d.State, d.FailingSince)
		}
		if got := l.take(); got != told {
			t.Errorf("%s: told %q, want %q", what, got, told)
		}
		stored, err := b.m.DomainCheck(context.Background(), b.d.ID)
		if err != nil || !stored.At.Equal(at.now()) || !stored.NextAt.After(stored.At) || stored.Valid != c.Valid {
			t.Errorf("%s: stored %+v, %v", what, stored, err)
		}
	}
	b.lab.drop(host)
	expect("not published", relay.DomainPending, false, "")
	b.lab.publish(b.rs[1:2])
	at.pass(time.Hour)
	expect("published", relay.DomainVerified, false, "acme.test verified")
	at.pass(24 * time.Hour)
	expect("still there", relay.DomainVerified, false, "")
	b.lab.drop(host)
	expect("gone", relay.DomainVerified, true, "acme.test failing")
	at.pass(time.Hour)
	expect("within the grace", relay.DomainVerified, true, "")
	at.pass(48 * time.Hour)
	expect("after the grace", relay.DomainPaused, true, "acme.test paused")
	at.pass(72 * time.Hour)
	expect("after the pause", relay.DomainFailed, true, "acme.test failed")
	at.pass(999 * time.Hour)
	expect("long after", relay.DomainFailed, true, "")
	b.lab.publish(b.rs[1:2])
	expect("back", relay.DomainVerified, false, "acme.test verified")
	if len(l.letters) != 5 {
		t.Fatalf("%d letters", len(l.letters))
	}
	for i, says := range []string{"is verified", "Mail still goes until", "is paused", "refused for good (550)", "is verified"} {
		if !strings.Contains(l.letters[i], says) || strings.Contains(l.letters[i], "%!") {
			t.Errorf("letter %d: %s", i, l.letters[i])
		}
	}
	if !strings.Contains(l.letters[1], host) {
		t.Errorf("the letter does not say which record: %s", l.letters[1])
	}
	for _, tenant := range l.tenants {
		if tenant != (relay.Tenant{Account: acme}) {
			t.Errorf("told %+v", tenant)
		}
	}
}

func TestSilenceCountsAfterSevenDays(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	at := &clock{at: b.d.CreatedAt}
	b.s.Now, b.s.Settings = at.now, stateSet
	var l told
	l.listen(b.s)
	b.check(t)
	l.take()
	b.lab.fail(dns.ErrTemporary, b.lab.order...)
	for day := range 7 {
		if c, d := b.check(t); !c.Unknown || d.State != relay.DomainVerified || !d.FailingSince.IsZero() {
			t.Fatalf("day %d: %+v", day, d)
		}
		at.pass(24 * time.Hour)
	}
	if _, d := b.check(t); d.FailingSince.IsZero() || l.take() != "acme.test failing" || !strings.Contains(d.Reason, "not answered") {
		t.Errorf("after 7 days: %+v", d)
	}
	b.lab.fail(nil, b.lab.order...)
	if c, d := b.check(t); !d.FailingSince.IsZero() || l.take() != "acme.test recovered" || !c.UnknownSince.IsZero() {
		t.Errorf("answers again: %+v", d)
	}
	// An answer in between begins the count anew.
	b.lab.fail(dns.ErrTemporary, b.lab.order...)
	at.pass(24 * time.Hour)
	if c, d := b.check(t); !c.UnknownSince.Equal(c.At) || !d.FailingSince.IsZero() {
		t.Errorf("silent again: since %s", c.UnknownSince)
	}
}

func TestQuietAndBrokenLetters(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	var l told
	l.listen(b.s)
	l.err = errors.New("no mail today")
	if _, d := b.check(t); d.State != relay.DomainVerified || l.take() != "acme.test verified" {
		t.Errorf("a letter that cannot be sent: %+v", d)
	}
	yes := true
	if _, err := b.s.Update(context.Background(), testBy, b.d.ID, DomainUpdate{Quiet: &yes}); err != nil {
		t.Fatal(err)
	}
	l.letters = nil
	b.lab.drop(b.rec("dkim1").Host)
	b.check(t)
	if l.take() != "acme.test failing" || len(l.letters) != 0 {
		t.Errorf("a quiet domain: letters %q", l.letters)
	}
}

// ID-15: the first proven owner wins; a later proof is disputed until the first
// one's records are gone; never both.
func TestDispute(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	b.s.Settings, b.s.Directory = stateSet, index{b.m}
	var l told
	l.listen(b.s)
	b.check(t)
	l.take()
	second := &testBench{s: b.s, m: b.m, lab: b.lab}
	second.add(t, relay.Domain{Account: globex, Name: "acme.test", Automatic: true, State: relay.DomainPending, Label: "em99", ReturnPath: "em99.acme.test", Selector: "two"})
	second.rs = Records(b.s.Zone, second.d, second.keys)
	b.lab.publish(second.rs)
	if _, d := second.check(t); d.State != relay.DomainPending || !d.Disputed || l.take() != "acme.test disputed" {
		t.Errorf("a later proof: %+v", d)
	}
	if _, d := second.check(t); d.State != relay.DomainPending || l.take() != "" {
		t.Errorf("told twice, or %+v", d)
	}
	b.lab.drop(b.rec("dkim1").Host)
	b.check(t)
	l.take()
	_, won := second.check(t)
	lost, _ := b.m.Domain(context.Background(), b.d.ID)
	if won.State != relay.DomainVerified || won.Disputed || lost.Usable() || lost.State != relay.DomainFailed {
		t.Errorf("won %+v, lost %+v", won, lost)
	}
	if got := l.take(); got != "acme.test failed, acme.test verified" {
		t.Errorf("told %q", got)
	}
}

// ID-16: records that were left behind prove nothing for the next one who claims
// the name, whether another account or the same.
func TestDanglingAlias(t *testing.T) {
	t.Parallel()
	for _, automatic := range []bool{true, false} {
		b := newBench(t, automatic)
		b.s.Directory = index{b.m}
		b.check(t)
		if err := b.s.Remove(context.Background(), testBy, b.d.ID); err != nil {
			t.Fatal(err)
		}
		thief := &testBench{s: b.s, m: b.m, lab: b.lab}
		thief.add(t, relay.Domain{Account: globex, Name: "acme.test", Automatic: automatic, State: relay.DomainPending, Label: b.d.Label, ReturnPath: b.d.ReturnPath})
		c, d := thief.check(t)
		if c.Valid || d.Usable() {
			t.Errorf("automatic %v: proven by what another left behind: %+v", automatic, c)
		}
		all := fmt.Sprintf("%+v", c.Findings)
		if strings.Contains(all, "your account") {
			t.Errorf("automatic %v: says whose it is: %s", automatic, all)
		}
		own := &testBench{s: b.s, m: b.m, lab: b.lab}
		own.add(t, relay.Domain{Account: acme, Name: "acme.test", Automatic: automatic, State: relay.DomainPending, Label: b.d.Label, ReturnPath: b.d.ReturnPath})
		c, d = own.check(t)
		if c.Valid || d.Usable() {
			t.Errorf("automatic %v: proven by an earlier entry's records", automatic)
		}
		if all := fmt.Sprintf("%+v", c.Findings); automatic && !strings.Contains(all, "your account has removed") {
			t.Errorf("does not say that it was the account's own: %s", all)
		}
	}
}

func TestCheckErrors(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	ctx, cancel := context.WithCancel(context.Background())
	b.lab.before = cancel
	var results []string
	b.s.Checked = func(result string) { results = append(results, result) }
	if _, err := b.s.Check(ctx, testBy, b.d.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("cut short: %v", err)
	}
	if _, err := b.m.DomainCheck(context.Background(), b.d.ID); relay.KindOf(err) != relay.NotFound {
		t.Error("a check that was cut short is kept")
	}
	b.lab.before = nil
	b.m.fail = errors.New("disk full")
	if _, err := b.s.Check(context.Background(), testBy, b.d.ID); err == nil {
		t.Error("a store that fails")
	}
	b.m.fail = nil
	if err := b.s.Remove(context.Background(), testBy, b.d.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.s.Check(context.Background(), testBy, b.d.ID); relay.KindOf(err) != relay.NotFound {
		t.Errorf("a removed domain: %v", err)
	}
	if fmt.Sprint(results) != "[error]" { // neither the one cut short nor that of a removed domain counts
		t.Errorf("told as %q", results)
	}
	b.s.Authority = nil
	two := newBench(t, true)
	two.s.Authority = nil
	if _, err := two.s.Check(context.Background(), testBy, two.d.ID); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("nobody to ask with: %v", err)
	}
}

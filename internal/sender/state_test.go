package sender

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/internal/finding"
	"postern/internal/relay"
)

var (
	stateStart = time.Date(2026, 5, 4, 8, 0, 0, 0, time.UTC)
	stateSet   = Settings{CheckEvery: 24 * time.Hour, Grace: 48 * time.Hour, Pause: 72 * time.Hour}
)

func allThere(at time.Time) relay.DomainCheck { return relay.DomainCheck{At: at, Valid: true} }

func oneGone(at time.Time) relay.DomainCheck {
	return relay.DomainCheck{At: at, Records: []relay.RecordCheck{
		{DNSRecord: relay.DNSRecord{Key: "dkim1_ed25519"}, Reason: "not required"},
		{DNSRecord: relay.DNSRecord{Key: "dkim1", Required: true}, Reason: "The CNAME record is missing."},
	}}
}

func noAnswer(at, since time.Time) relay.DomainCheck {
	return relay.DomainCheck{At: at, Unknown: true, UnknownSince: since}
}

// Every state with every result, before and after each border.
func TestJudge(t *testing.T) {
	t.Parallel()
	hours := func(n int) time.Time { return stateStart.Add(time.Duration(n) * time.Hour) }
	never := time.Time{}
	for _, tt := range []struct {
		name    string
		state   relay.DomainState
		failing time.Time // since
		off     bool
		check   relay.DomainCheck
		prove   bool
		want    relay.DomainState // "": nothing is written
		since   time.Time
		turn    Turn
	}{
		{name: "pending, good", state: relay.DomainPending, check: allThere(hours(0)), prove: true, turn: TurnVerified},
		{name: "pending, bad", state: relay.DomainPending, check: oneGone(hours(0))},
		{name: "pending, unknown", state: relay.DomainPending, check: noAnswer(hours(0), hours(0))},
		{name: "pending, unknown for weeks", state: relay.DomainPending, check: noAnswer(hours(999), hours(0))},

		{name: "verified, good", state: relay.DomainVerified, check: allThere(hours(0))},
		{name: "verified, bad", state: relay.DomainVerified, check: oneGone(hours(0)), want: relay.DomainVerified, since: hours(0), turn: TurnFailing},
		{name: "verified, unknown", state: relay.DomainVerified, check: noAnswer(hours(0), hours(0))},
		{name: "verified, unknown for 7 days less a bit", state: relay.DomainVerified, check: noAnswer(hours(7*24-1), hours(0))},
		{name: "verified, unknown for 7 days", state: relay.DomainVerified, check: noAnswer(hours(7*24), hours(0)), want: relay.DomainVerified, since: hours(7 * 24), turn: TurnFailing},

		{name: "warning, good", state: relay.DomainVerified, failing: hours(0), check: allThere(hours(1)), prove: true, turn: TurnRecovered},
		{name: "warning, bad within the grace", state: relay.DomainVerified, failing: hours(0), check: oneGone(hours(47))},
		{name: "warning, bad after the grace", state: relay.DomainVerified, failing: hours(0), check: oneGone(hours(48)), want: relay.DomainPaused, since: hours(0), turn: TurnPaused},
		{name: "warning, bad long after all: paused first", state: relay.DomainVerified, failing: hours(0), check: oneGone(hours(999)), want: relay.DomainPaused, since: hours(0), turn: TurnPaused},
		{name: "warning, unknown after the grace", state: relay.DomainVerified, failing: hours(0), check: noAnswer(hours(60), hours(50))},
		{name: "warning, unknown for 7 days after the grace", state: relay.DomainVerified, failing: hours(0), check: noAnswer(hours(300), hours(50)), want: relay.DomainPaused, since: hours(0), turn: TurnPaused},

		{name: "paused, good", state: relay.DomainPaused, failing: hours(0), check: allThere(hours(50)), prove: true, turn: TurnRecovered},
		{name: "paused, bad", state: relay.DomainPaused, failing: hours(0), check: oneGone(hours(119))},
		{name: "paused, bad after the pause", state: relay.DomainPaused, failing: hours(0), check: oneGone(hours(120)), want: relay.DomainFailed, since: hours(0), turn: TurnFailed},
		{name: "paused, unknown after the pause", state: relay.DomainPaused, failing: hours(0), check: noAnswer(hours(130), hours(120))},

		{name: "failed, good", state: relay.DomainFailed, failing: hours(0), check: allThere(hours(999)), prove: true, turn: TurnVerified},
		{name: "failed, bad", state: relay.DomainFailed, failing: hours(0), check: oneGone(hours(999))},
		{name: "failed, unknown", state: relay.DomainFailed, failing: hours(0), check: noAnswer(hours(999), hours(0))},

		{name: "asserted, good", state: relay.DomainAsserted, check: allThere(hours(0))},
		{name: "asserted, bad", state: relay.DomainAsserted, check: oneGone(hours(0)), want: relay.DomainAsserted, since: hours(0), turn: TurnFailing},
		{name: "asserted and failing, bad for ever", state: relay.DomainAsserted, failing: hours(0), check: oneGone(hours(9999))},
		{name: "asserted and failing, good", state: relay.DomainAsserted, failing: hours(0), check: allThere(hours(1)), want: relay.DomainAsserted, since: never, turn: TurnRecovered},

		{name: "disabled, bad", state: relay.DomainVerified, off: true, check: oneGone(hours(0))},
		{name: "disabled, good", state: relay.DomainPending, off: true, check: allThere(hours(0))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := relay.Domain{Name: "acme.test", State: tt.state, FailingSince: tt.failing, CreatedAt: stateStart.Add(-settling)}
			if tt.off {
				d.DisabledAt = stateStart
			}
			v := Judge(d, tt.check, stateSet)
			if v.Prove != tt.prove || v.Turn != tt.turn || (v.Change != nil) != (tt.want != "") {
				t.Fatalf("%+v", v)
			}
			if v.Change == nil {
				return
			}
			if v.Change.State != tt.want || !v.Change.FailingSince.Equal(tt.since) {
				t.Errorf("%+v", *v.Change)
			}
			if failing := !tt.since.IsZero(); failing != (v.Change.Reason != "") {
				t.Errorf("reason %q", v.Change.Reason)
			}
		})
	}
}

// Who has just been vouched for has an hour to publish the records.
func TestJudgeLetsAssertedDomainsSettle(t *testing.T) {
	t.Parallel()
	d := relay.Domain{State: relay.DomainAsserted, CreatedAt: stateStart}
	early := oneGone(stateStart.Add(settling - time.Second))
	if v := Judge(d, early, stateSet); v.Change != nil || v.Turn != TurnNone {
		t.Errorf("within the hour: %+v", v)
	}
	if next := schedule(d, early, stateSet, 0.5); next.Sub(early.At) > settling {
		t.Errorf("looked at again only at %s", next)
	}
	if v := Judge(d, oneGone(stateStart.Add(settling)), stateSet); v.Turn != TurnFailing {
		t.Errorf("after it: %+v", v)
	}
}

func TestJudgeWithoutGrace(t *testing.T) {
	t.Parallel()
	d := relay.Domain{State: relay.DomainVerified}
	v := Judge(d, oneGone(stateStart), Settings{})
	if v.Turn != TurnFailing { // two failed checks, however short the grace
		t.Fatalf("the first: %+v", v)
	}
	d.FailingSince = v.Change.FailingSince
	if v = Judge(d, oneGone(stateStart), Settings{}); v.Change != nil {
		t.Errorf("the same check again: %+v", v)
	}
	if v = Judge(d, oneGone(stateStart.Add(time.Second)), Settings{}); v.Turn != TurnPaused {
		t.Errorf("the second: %+v", v)
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	if got := reasonOf(oneGone(stateStart)); got != "The CNAME record is missing." {
		t.Error(got)
	}
	c := relay.DomainCheck{Findings: []finding.Finding{{Severity: finding.Warning, Text: "x"}, {Severity: finding.Error, Text: "No such domain."}}}
	if got := reasonOf(c); got != "No such domain." {
		t.Error(got)
	}
	if got := reasonOf(relay.DomainCheck{}); got == "" {
		t.Error("no reason at all")
	}
	if got := reasonOf(noAnswer(stateStart.AddDate(0, 0, 8), stateStart)); !strings.Contains(got, "4 May 2026") {
		t.Error(got)
	}
}

// Whatever the DNS answers in whatever order: mail stops when it must, never
// because the DNS was silent for less than 7 days, and goes again with one good
// check.
func TestStatesHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := Settings{
			Grace: time.Duration(rapid.IntRange(0, 100).Draw(t, "grace")) * time.Hour,
			Pause: time.Duration(rapid.IntRange(0, 100).Draw(t, "pause")) * time.Hour,
		}
		d := relay.Domain{State: rapid.SampledFrom([]relay.DomainState{relay.DomainPending, relay.DomainVerified, relay.DomainAsserted}).Draw(t, "state")}
		first := d.State
		now := stateStart
		var silentSince, failing time.Time // of the model
		proven := d.State != relay.DomainPending
		for range rapid.IntRange(1, 60).Draw(t, "checks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 40*60).Draw(t, "minutes")) * time.Minute)
			before := d
			var c relay.DomainCheck
			counts := true // as a failure
			switch rapid.IntRange(0, 3).Draw(t, "answer") {
			case 0:
				c, silentSince, failing, proven, counts = allThere(now), time.Time{}, time.Time{}, true, false
			case 1:
				if silentSince.IsZero() {
					silentSince = now
				}
				c = noAnswer(now, silentSince)
				counts = now.Sub(silentSince) >= 7*24*time.Hour
			default:
				c, silentSince = oneGone(now), time.Time{}
			}
			if counts && failing.IsZero() && proven {
				failing = now
			}
			v := Judge(d, c, set)
			if v.Prove {
				d.State, d.FailingSince, d.Reason = relay.DomainVerified, time.Time{}, ""
			} else if v.Change != nil {
				d.State, d.FailingSince, d.Reason = v.Change.State, v.Change.FailingSince, v.Change.Reason
			}
			switch {
			case first == relay.DomainAsserted && d.State != relay.DomainAsserted:
				t.Fatalf("the operator's word was taken back: %s", d.State)
			case first == relay.DomainAsserted:
			case c.Valid && !d.Usable():
				t.Fatalf("not usable after a good check: %s", d.State)
			case !c.Valid && !counts && (d.State != before.State || !d.FailingSince.Equal(before.FailingSince)):
				t.Fatalf("silence moved %s to %s", before.State, d.State)
			case !proven && d.Usable():
				t.Fatal("usable without proof")
			case counts && proven && now.After(failing) && !now.Before(failing.Add(set.Grace)) && d.Usable():
				t.Fatalf("usable %s after the records went, grace %s", now.Sub(failing), set.Grace)
			case counts && before.State == relay.DomainPaused && !now.Before(failing.Add(set.Grace+set.Pause)) && d.State != relay.DomainFailed:
				t.Fatalf("%s after grace and pause", d.State)
			case counts && before.Usable() && !d.Usable() && before.FailingSince.IsZero():
				t.Fatal("stopped without a warning")
			}
		}
	})
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	at := stateStart
	for _, tt := range []struct {
		name string
		d    relay.Domain
		c    relay.DomainCheck
		want time.Duration
	}{
		{"just made", relay.Domain{State: relay.DomainPending, CreatedAt: at}, oneGone(at), time.Minute},
		{"a minute old", relay.Domain{State: relay.DomainPending, CreatedAt: at.Add(-time.Minute)}, oneGone(at), time.Minute},
		{"2 minutes old", relay.Domain{State: relay.DomainPending, CreatedAt: at.Add(-2 * time.Minute)}, oneGone(at), 3 * time.Minute},
		{"5 minutes old", relay.Domain{State: relay.DomainPending, CreatedAt: at.Add(-5 * time.Minute)}, noAnswer(at, at), 10 * time.Minute},
		{"an hour old", relay.Domain{State: relay.DomainPending, CreatedAt: at.Add(-time.Hour)}, oneGone(at), time.Hour},
		{"4 days old", relay.Domain{State: relay.DomainPending, CreatedAt: at.AddDate(0, 0, -4)}, oneGone(at), 24 * time.Hour},
		{"forgotten", relay.Domain{State: relay.DomainPending, CreatedAt: at.AddDate(0, 0, -31)}, oneGone(at), 7 * 24 * time.Hour},
		{"disputed", relay.Domain{State: relay.DomainPending, Disputed: true, CreatedAt: at.AddDate(0, 0, -90)}, allThere(at), 24 * time.Hour},
		{"verified", relay.Domain{State: relay.DomainVerified}, allThere(at), 24 * time.Hour},
		{"warning", relay.Domain{State: relay.DomainVerified, FailingSince: at}, oneGone(at), time.Hour},
		{"paused", relay.Domain{State: relay.DomainPaused, FailingSince: at}, oneGone(at), time.Hour},
		{"failed", relay.Domain{State: relay.DomainFailed, FailingSince: at}, oneGone(at), 24 * time.Hour},
		{"silent", relay.Domain{State: relay.DomainVerified}, noAnswer(at, at), time.Hour},
	} {
		for random, want := range map[float64]time.Duration{0: tt.want * 9 / 10, 0.5: tt.want, 1: tt.want * 11 / 10} {
			if got := schedule(tt.d, tt.c, stateSet, random).Sub(at); (got - want).Abs() > time.Microsecond {
				t.Errorf("%s, random %v: %s, want %s", tt.name, random, got, want)
			}
		}
	}
	if got := schedule(relay.Domain{State: relay.DomainVerified}, allThere(at), Settings{CheckEvery: time.Minute}, 0.5).Sub(at); got != time.Minute {
		t.Errorf("checked every %s", got)
	}
}

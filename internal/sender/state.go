package sender

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/finding"
	"postern/internal/relay"
)

// Turn is what became of a domain by a check. It decides what its owner is told.
type Turn string

// The turns.
const (
	TurnNone      Turn = ""          // nothing that anybody has to know
	TurnVerified  Turn = "verified"  // proven for the first time, or again after it had failed
	TurnRecovered Turn = "recovered" // its records are back
	TurnFailing   Turn = "failing"   // its records are gone, and mail still goes
	TurnPaused    Turn = "paused"    // mail is answered 450
	TurnFailed    Turn = "failed"    // mail is answered 550
	TurnDisputed  Turn = "disputed"  // proven, and another account has it
)

// Verdict is what a check means for a domain's state.
type Verdict struct {
	// Prove: the records are there. The store decides whether that makes it verified.
	Prove  bool
	Change *relay.DomainStateChange // nil: nothing to write
	Turn   Turn
}

// unknownFor is how long the DNS may not answer before it counts as if the
// records were gone.
const unknownFor = 7 * 24 * time.Hour

// settling is how long the owner of a domain that is used by the operator's word
// has to publish its records before anybody says that they are missing.
const settling = time.Hour

// maxReason bounds the reason that is kept with a domain's state.
const maxReason = 500

// Judge moves a domain's state by a check. It is pure: the same domain, check
// and settings give the same verdict.
//
//	pending   valid → proven
//	verified  not valid → stays, failing since then; again when Grace is over → paused
//	paused    not valid when Grace and Pause are over → failed
//	any       valid → proven
//	asserted  never stops; failing since is kept for its owner, from its second hour on
//
// What the DNS did not answer changes nothing, until it has not answered for 7
// days.
func Judge(d relay.Domain, c relay.DomainCheck, set Settings) Verdict {
	if !d.DisabledAt.IsZero() || !d.DeletedAt.IsZero() {
		return Verdict{}
	}
	if c.Valid {
		return judgeGood(d)
	}
	if c.Unknown && !longUnknown(c) {
		return Verdict{}
	}
	reason := reasonOf(c)
	failing := func(state relay.DomainState, since time.Time, turn Turn) Verdict {
		return Verdict{Change: &relay.DomainStateChange{State: state, FailingSince: since, Reason: reason}, Turn: turn}
	}
	switch d.State {
	case relay.DomainVerified, relay.DomainAsserted:
		if d.State == relay.DomainAsserted && c.At.Sub(d.CreatedAt) < settling {
			return Verdict{}
		}
		if d.FailingSince.IsZero() {
			return failing(d.State, c.At, TurnFailing)
		}
		if d.State == relay.DomainVerified && !c.At.Before(d.FailingSince.Add(set.Grace)) && c.At.After(d.FailingSince) {
			return failing(relay.DomainPaused, d.FailingSince, TurnPaused)
		}
	case relay.DomainPaused:
		if !c.At.Before(d.FailingSince.Add(set.Grace + set.Pause)) {
			return failing(relay.DomainFailed, d.FailingSince, TurnFailed)
		}
	default: // pending, failed: what is missing is in the check
		return Verdict{}
	}
	return Verdict{} // as it was; what exactly is missing now is in the check
}

// judgeGood is for a domain whose records are all there.
func judgeGood(d relay.Domain) Verdict {
	switch {
	case d.State == relay.DomainAsserted:
		// It stays the operator's word: proof by DNS could be lost, that cannot.
		if d.FailingSince.IsZero() && d.Reason == "" {
			return Verdict{}
		}
		return Verdict{Change: &relay.DomainStateChange{State: d.State}, Turn: TurnRecovered}
	case d.State == relay.DomainVerified && d.FailingSince.IsZero() && d.Reason == "":
		return Verdict{}
	case d.State == relay.DomainVerified || d.State == relay.DomainPaused:
		return Verdict{Prove: true, Turn: TurnRecovered}
	}
	return Verdict{Prove: true, Turn: TurnVerified}
}

// longUnknown reports whether the DNS has not answered for so long that it
// counts as a failure.
func longUnknown(c relay.DomainCheck) bool {
	return !c.UnknownSince.IsZero() && c.At.Sub(c.UnknownSince) >= unknownFor
}

// reasonOf says in one or two sentences why a check failed.
func reasonOf(c relay.DomainCheck) string {
	if c.Unknown {
		return "The domain's name servers have not answered since " + day(c.UnknownSince) + "."
	}
	var said []string
	for _, r := range c.Records {
		if r.Required && !r.Valid && r.Reason != "" && len(said) < 2 && !strings.Contains(strings.Join(said, ""), r.Reason) {
			said = append(said, r.Reason)
		}
	}
	if len(said) == 0 {
		for _, f := range c.Findings {
			if f.Severity == finding.Error {
				said = append(said, f.Text)
				break
			}
		}
	}
	if len(said) == 0 {
		return "Its DNS records are not as they should be."
	}
	return clean(strings.Join(said, " "), maxReason)
}

// day is a moment as people read it in a letter.
func day(t time.Time) string { return t.UTC().Format("2 January 2006 15:04 UTC") }

// schedule says when a domain is looked at next. random is in [0, 1) and spreads
// checks, so that domains made together are not checked together forever.
//
// Pending: after 1, 2, 5 and 15 minutes, then hourly for 3 days, daily for 30,
// weekly from then on. With records gone: hourly. Otherwise every CheckEvery.
func schedule(d relay.Domain, c relay.DomainCheck, set Settings, random float64) time.Time {
	every := set.CheckEvery
	if every <= 0 {
		every = 24 * time.Hour
	}
	age := c.At.Sub(d.CreatedAt)
	next := every
	switch {
	case !d.DisabledAt.IsZero():
	case d.State == relay.DomainPending && !d.Disputed:
		next = pendingWait(age)
	case d.State == relay.DomainAsserted && age < settling && !c.Valid:
		next = settling
	case c.Unknown, !d.FailingSince.IsZero() && d.State != relay.DomainFailed:
		next = min(every, time.Hour)
	}
	spread := time.Duration((random*2 - 1) * float64(next) / 10)
	return c.At.Add(next + spread)
}

func pendingWait(age time.Duration) time.Duration {
	for _, step := range []struct{ until, wait time.Duration }{
		{time.Minute, time.Minute}, {2 * time.Minute, time.Minute}, {4 * time.Minute, 3 * time.Minute}, {14 * time.Minute, 10 * time.Minute},
		{3 * 24 * time.Hour, time.Hour}, {30 * 24 * time.Hour, 24 * time.Hour},
	} {
		if age < step.until {
			return step.wait
		}
	}
	return 7 * 24 * time.Hour
}

// until says how long mail of a failing domain still goes.
func until(d relay.Domain, set Settings) string {
	switch d.State {
	case relay.DomainAsserted:
		return "Mail still goes: the operator vouches for the domain."
	case relay.DomainVerified:
		return fmt.Sprintf("Mail still goes until %s. If the records are not back by then, it is refused for now (450), and from %s for good (550).",
			day(d.FailingSince.Add(set.Grace)), day(d.FailingSince.Add(set.Grace+set.Pause)))
	case relay.DomainPaused:
		return fmt.Sprintf("New mail is answered with 450, and queued mail waits. From %s on mail is refused for good (550).", day(d.FailingSince.Add(set.Grace+set.Pause)))
	}
	return "Mail as this domain is refused."
}

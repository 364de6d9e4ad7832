package submit

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// fakeReports knows domains by their tokens and keeps what it is handed.
type fakeReports struct {
	domains map[string]relay.Domain
	taken   []string // domain, address and message
	fail    error
}

func (f *fakeReports) DomainByToken(token string) (relay.Domain, bool) {
	d, ok := f.domains[token]
	return d, ok
}

func (f *fakeReports) Take(_ context.Context, d relay.Domain, from netip.Addr, raw []byte) error {
	f.taken = append(f.taken, d.Name+" "+from.String()+" "+string(raw))
	return f.fail
}

const (
	liveToken    = "abcdefghijklmnopqrstuvwxyz"
	deletedToken = "222222222222222222222222aa"
)

// reportIntake takes reports for one live and one deleted domain.
func reportIntake(t *testing.T, change func(*IntakeConfig)) (*Intake, *fakeReports) {
	t.Helper()
	domain := func(name, token string, deleted time.Time) relay.Domain {
		return relay.Domain{ID: relay.DomainID{ID: relay.NewID(time.Now())}, Name: name, Token: token, DeletedAt: deleted}
	}
	f := &fakeReports{domains: map[string]relay.Domain{
		liveToken: domain("live.test", liveToken, time.Time{}), deletedToken: domain("gone.test", deletedToken, time.Now()),
		"": domain("none.test", "", time.Time{}),
	}}
	in, _ := newWorld(t, nil).intake(func(c *IntakeConfig) {
		c.Reports, c.ReportDomains, c.ReportHost = f, f, "dmarc.wl.test"
		if change != nil {
			change(c)
		}
	})
	return in, f
}

func TestReportRoutes(t *testing.T) {
	t.Parallel()
	in, _ := reportIntake(t, nil)
	off, _ := newWorld(t, nil).intake(nil)
	here, _ := reportIntake(t, func(c *IntakeConfig) { c.ReportHost = "" })
	for to, want := range map[string]bool{
		"dmarc-" + liveToken + "@dmarc.wl.test":                  true,
		"DMARC-" + strings.ToUpper(liveToken) + "@DMARC.wl.test": true,
		"dmarc-" + liveToken + "@relay.test":                     true,
		"dmarc-" + liveToken + "@em.acme.test":                   false, // a return path's host
		"dmarc-" + liveToken + "@wl.test":                        false,
		"dmarc-" + liveToken + "@x.dmarc.wl.test":                false,
		"dmarc-" + deletedToken + "@dmarc.wl.test":               false,
		"dmarc-" + liveToken[1:] + "@dmarc.wl.test":              false,
		"dmarc-" + liveToken + "x@dmarc.wl.test":                 false,
		"dmarc-zzzzzzzzzzzzzzzzzzzzzzzzzz@dmarc.wl.test":         false,
		"dmarc-@dmarc.wl.test":                                   false, // a domain without a token has no address
		"dmarc@dmarc.wl.test":                                    false,
		"postmaster@dmarc.wl.test":                               false,
	} {
		a, err := smtp.ParseAddress(to, true)
		if err != nil {
			t.Fatal(err)
		}
		r, err := in.Route(a, 0)
		if (err == nil) != want || want && r.report.Name != "live.test" {
			t.Errorf("%s: %v %v, want taken: %v", to, r.report.Name, err, want)
		}
		if !want && err != replyNoRelay {
			t.Errorf("%s: %v", to, err)
		}
		if _, err := off.Route(a, 0); err != replyNoRelay {
			t.Errorf("%s where reports are not taken: %v", to, err)
		}
		if _, err := here.Route(a, 0); (err == nil) != (want && a.ASCIIDomain() == "relay.test") {
			t.Errorf("%s without a zone: %v", to, err)
		}
	}
	if _, err := in.Route(addr("dmarc-"+liveToken+"@relay.test"), 1); err != replyOneAtATime {
		t.Errorf("a second recipient: %v", err)
	}
}

// The answer follows what became of the report: taken and dropped are 250, a
// store that fails makes the sender try again, and too much is 552.
func TestReportIsHandedOver(t *testing.T) {
	t.Parallel()
	in, f := reportIntake(t, nil)
	send := func(raw string) error {
		r, err := in.Route(addr("dmarc-"+liveToken+"@relay.test"), 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := in.Begin(Envelope{Source: relay.Source{Addr: netip.MustParseAddr("192.0.2.7")}}, []Route{r})
		if err != nil {
			t.Fatal(err)
		}
		b.Write([]byte(raw))
		reply, err := b.Commit(t.Context())
		if err == nil && reply.Code != 250 {
			t.Errorf("reply %v", reply)
		}
		return err
	}
	if err := send("Subject: x\r\n\r\nx\r\n"); err != nil {
		t.Error(err)
	}
	if want := "live.test 192.0.2.7 Subject: x\r\n\r\nx\r\n"; len(f.taken) != 1 || f.taken[0] != want {
		t.Errorf("handed over %q", f.taken)
	}
	f.fail = store.ErrFull
	if err := send("x"); err != replyFull {
		t.Errorf("a full store: %v", err)
	}
	f.fail = relay.E(relay.Unavailable, "later")
	if _, permanent := errors.AsType[smtp.Reply](send("x")); permanent {
		t.Error("no room: want an error that the session answers 451")
	}
	n := len(f.taken)
	// RX-18: too large is refused, and costs no more memory than was sent.
	if err := send(strings.Repeat("x", 1<<20+1)); err != replyTooLarge || len(f.taken) != n || in.held.Load() != 0 {
		t.Errorf("too large: %v, %d octets held", err, in.held.Load())
	}
}

// RX-18: a flood of reports uses up neither what bounces need nor what mail to the
// operator does.
func TestReportsHaveTheirOwnRate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	in, _ := reportIntake(t, func(c *IntakeConfig) {
		c.PerMinute, c.ReportsPerMinute, c.Now = 60, 30, func() time.Time { return now }
	})
	r, err := in.Route(addr("dmarc-"+liveToken+"@relay.test"), 0)
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for range 1000 {
		if _, err := in.Begin(Envelope{}, []Route{r}); err == nil {
			taken++
		} else if err != replyIntakeRate {
			t.Fatal(err)
		}
	}
	if taken != 30 {
		t.Errorf("%d reports, want 30", taken)
	}
	for _, other := range []Route{{bounce: true}, {local: "abuse"}} {
		if _, err := in.Begin(Envelope{}, []Route{other}); err != nil {
			t.Errorf("after the flood: %v", err)
		}
	}
	now = now.Add(10 * time.Second)
	if _, err := in.Begin(Envelope{}, []Route{r}); err != nil {
		t.Errorf("later: %v", err)
	}
}

// RX-18: reports that are handed in slowly take half of the room, and bounces find
// the rest.
func TestReportsLeaveRoom(t *testing.T) {
	t.Parallel()
	in, _ := reportIntake(t, func(c *IntakeConfig) { c.InFlight, c.MaxMessage = 1000, 1000 })
	r, err := in.Route(addr("dmarc-"+liveToken+"@relay.test"), 0)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(r Route) *Returned {
		b, err := in.Begin(Envelope{}, []Route{r})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var open []*Returned
	for range 5 {
		b := begin(r)
		if _, err := b.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		open = append(open, b)
	}
	more := begin(r)
	if _, err := more.Write(make([]byte, 100)); err != replyIntakeRoom {
		t.Errorf("over half: %v", err)
	}
	more.Abort()
	bounce := begin(Route{bounce: true})
	if _, err := bounce.Write(make([]byte, 500)); err != nil {
		t.Errorf("a bounce: %v", err)
	}
	bounce.Abort()
	for _, b := range open {
		b.Abort()
		b.Abort() // twice gives back once
	}
	if in.held.Load() != 0 || in.heldReports.Load() != 0 {
		t.Errorf("%d octets held, %d of reports", in.held.Load(), in.heldReports.Load())
	}
	again := begin(r)
	if _, err := again.Write(make([]byte, 500)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

package auth

import (
	"fmt"
	"sync"
	"time"

	"postern/internal/relay"
)

// notice is something that a person should hear of, kept until no lock is held.
type notice struct {
	tenant   relay.Tenant
	key      relay.KeyID
	subject  string
	failures int64
	until    int64 // 0: without end
	person   bool
}

func banNotice(subject string, t *tally) notice {
	return notice{subject: subject, failures: t.failures, until: t.until}
}

// tell raises the alerts of an attempt.
func (g *Guard) tell(told []notice, from place, now time.Time) {
	for _, n := range told {
		a := relay.Alert{Addr: from.String()}
		until := time.Unix(0, n.until).UTC().Format(time.RFC3339)
		switch {
		case n.person:
			a.Kind = relay.AlertGuessing
			end := "Until " + until
			if n.until == 0 {
				end = "Until the right one comes, or a new one is set by a mailed link,"
			}
			a.Text = fmt.Sprintf("Somebody guesses at %s: %d wrong passwords in a row. %s only places that they are known from may log in.", n.subject, n.failures, end)
		case n.tenant.Account.IsZero():
			if !g.alerts.pass(now) {
				continue // a flood from everywhere is one story; the bans are listed
			}
			a.Kind = relay.AlertBan
			a.Text = fmt.Sprintf("%s is refused until %s after %d failed logins. List and lift with access bans.", n.subject, until, n.failures)
		default:
			a.Kind = relay.AlertGuessing
			a.Text = fmt.Sprintf("Somebody guesses at %s: %d wrong secrets. Until %s only places that it is known from may log in.", n.subject, n.failures, until)
		}
		g.cfg.Alert(n.tenant, n.key, a)
	}
}

// brake lets so many through a minute.
type brake struct {
	mu     sync.Mutex
	minute int64
	n      int
}

// alertsPerMinute bounds the alerts about addresses, which strangers cause.
const alertsPerMinute = 20

func (b *brake) pass(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := now.Unix() / 60; m != b.minute {
		b.minute, b.n = m, 0
	}
	b.n++
	return b.n <= alertsPerMinute
}

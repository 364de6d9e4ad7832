package deliver

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/smtpclient"
)

// grant is leave for one source address that is being warmed up to send to some
// recipients of a site. Its methods do nothing on nil, which is what a warm
// address has.
type grant struct {
	addr netip.Addr
	up   relay.Warmup
	site string
	hour int64
	n    int
	used bool  // a host was asked to take the message
	bad  int64 // refusals for who sent, or how much
}

// full is a source address that may send no more to a site in this hour.
type full struct {
	addr    netip.Addr
	up      relay.Warmup
	site    string
	outcome *Outcome
}

// admit asks whether mail may leave from a source now. Those of the pending who
// may not yet are returned, and are pending no more. False: none may.
func (a *attempt) admit(src *source) (rest []int, ok bool) {
	w, route := a.d.cfg.Warmups, &a.req.Route
	// What a smarthost takes is its own affair: it is no stranger to us.
	if src.warmup.IsZero() || w == nil || route.via != nil || len(a.pending) == 0 {
		return nil, true
	}
	hour := hourOf(w.cfg.Now())
	n, warm := w.take(src.addr, src.warmup, route.Site, len(a.pending))
	if warm {
		return nil, true
	}
	if n < len(a.pending) {
		if a.full == nil {
			a.full = &full{addr: src.addr, up: src.warmup, site: route.Site,
				outcome: &Outcome{Reply: smtp.R(451, 4, 4, 5, "The source address is being warmed up"), LocalIP: src.addr}}
		}
		a.note(a.full.outcome)
	}
	if n == 0 {
		return nil, false
	}
	a.grant = &grant{addr: src.addr, up: src.warmup, site: route.Site, hour: hour, n: n}
	rest = a.pending[n:]
	a.pending = a.pending[:n:n]
	return rest, true
}

// endGrant accounts for the grant in use, if there is one.
func (a *attempt) endGrant() {
	if a.grant != nil {
		a.d.cfg.Warmups.end(a.grant)
		a.grant = nil
	}
}

// turnAway says why the undecided wait, and until when.
func (a *attempt) turnAway() {
	f, w := a.full, a.d.cfg.Warmups
	limit, next := w.turn(f, a.req.Message.Tenant, len(a.pending))
	at := next.Format("15:04")
	if next.Sub(w.cfg.Now()) > 12*time.Hour {
		at = next.Format("2006-01-02 15:04")
	}
	// RFC 3463 §3.5: X.4.5 mail system congestion.
	f.outcome.Reply = smtp.R(451, 4, 4, 5, fmt.Sprintf("%s is being warmed up: its %d recipients for the mail servers of %s in this hour are used; next at %s UTC",
		f.addr, limit, a.req.Route.Domain, at))
	// A little after the full hour, and not all at once.
	f.outcome.NextAt = next.Add(time.Second + time.Duration(a.req.Message.ID.ID[15])*time.Minute/256)
}

// use notes that a host was asked.
func (g *grant) use() {
	if g != nil {
		g.used = true
	}
}

// answered notes a host's word on a recipient.
func (g *grant) answered(r *smtpclient.Outcome) {
	if g != nil && !r.Local && unwelcome(r.Reply) {
		g.bad++
	}
}

// refused notes that a host would have no session.
func (g *grant) refused(e *smtpclient.Error) {
	if g != nil && !e.Local && !e.Lost && (e.Stage == smtpclient.StageBanner || unwelcome(e.Reply())) {
		g.bad++
	}
}

// unwelcome recognises a refusal for who sends or how much: one that asks for
// less, or one of policy. Greylisting is neither.
func unwelcome(r smtp.Reply) bool {
	if throttles(r) {
		return true
	}
	if !r.Temporary() && !r.Permanent() {
		return false
	}
	text := strings.ToLower(r.Text)
	for _, w := range greylistWords {
		if strings.Contains(text, w) {
			return false
		}
	}
	if r.Enhanced[1] == 7 { // RFC 3463 §3.8: security or policy
		return true
	}
	for _, w := range policyWords {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// policyWords are what receivers without enhanced codes say of senders that they
// do not want.
var policyWords = []string{"blocked", "blacklist", "blocklist", "block list", "reputation", "spam", "junk", "policy"}

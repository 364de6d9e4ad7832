package deliver

import (
	"context"
	"io"
	"strings"
	"time"

	"postern/internal/smtp"
	"postern/internal/smtpclient"
)

// used says how the use of a session ended for those who are still undecided.
type used uint8

const (
	usedUp    used = iota // the session broke, or did nothing for anybody: try elsewhere
	usedStale             // it was an idle one, and dead before anything was said in it
	usedFully             // it took all that the host takes in one: open another
)

// use sends the message over a session to as many of the undecided as it takes,
// in as many transactions as it needs (RFC 5321 §4.5.3.1.10), and keeps or ends
// the session.
func (a *attempt) use(t *target, s *smtpclient.Session, reused bool) used {
	where, how := a.at(t, s), usedUp
	for len(a.pending) > 0 && s.Usable() && a.ctx.Err() == nil {
		list := a.pending
		res, content := a.send(s, list)
		if content.err != nil {
			a.content = content.err
		}
		if reused && isStale(&res) {
			s.Close()
			return usedStale
		}
		reused = false
		a.grant.use()
		a.pending = a.pending[:0:0]
		for k, i := range list {
			a.book(i, where, &res.Outcomes[k], res.DSN)
		}
		if how = usedFully; len(a.pending) == len(list) || res.Err != nil {
			how = usedUp
			break
		}
	}
	a.keep(t, s)
	return how
}

// book takes one recipient's outcome of a transaction.
func (a *attempt) book(i int, o Outcome, r *smtpclient.Outcome, dsn bool) {
	o.Reply, o.Stage, o.Ambiguous = r.Reply, r.Stage, r.Ambiguous
	a.grant.answered(r)
	if r.TooMany || r.Open {
		a.note(&o)
		a.pending = append(a.pending, i)
		return
	}
	a.slow = a.slow || throttles(o.Reply)
	o.NoDSN = !dsn && r.Delivered()
	a.settle(i, o)
}

// send runs one transaction for the recipients at the given positions.
func (a *attempt) send(s *smtpclient.Session, list []int) (smtpclient.Result, *lazyContent) {
	m := a.req.Message
	content := &lazyContent{ctx: a.ctx, content: a.req.Content}
	defer content.close()
	tx := &smtpclient.Transaction{
		From:       m.ReturnPath,
		Recipients: make([]smtpclient.Recipient, len(list)),
		Body:       smtp.Body(m.Body),
		SMTPUTF8:   m.SMTPUTF8,
		RequireTLS: m.RequireTLS,
		Ret:        m.Ret,
		EnvID:      m.EnvID,
		Prefix:     a.req.Prefix, Content: content, ContentSize: a.req.Content.Size(),
		BeforeEnd: a.req.BeforeEnd,
	}
	for k, i := range list {
		r := &a.req.Recipients[i]
		tx.Recipients[k] = smtpclient.Recipient{Address: r.Address, Notify: smtp.Notify(r.Notify), ORcpt: r.ORcpt}
	}
	return s.Send(a.ctx, tx), content
}

// isStale recognises a session that the host had ended while it was idle: it
// broke, or said 421, in answer to the very first command, and nobody has an
// outcome of their own.
func isStale(res *smtpclient.Result) bool {
	e, ok := res.Err.(*smtpclient.Error)
	if !ok || e.Stage != smtpclient.StageMail && e.Stage != smtpclient.StageReset || !e.Lost && e.Code != 421 {
		return false
	}
	for i := range res.Outcomes {
		if o := &res.Outcomes[i]; !o.Open && !o.TooMany && !o.Local {
			return false
		}
	}
	return true
}

// keep parks a session that can go on, and ends one that cannot.
func (a *attempt) keep(t *target, s *smtpclient.Session) {
	switch {
	case a.ctx.Err() != nil && !s.Usable():
		s.Close()
	case !s.Usable() || s.Messages() >= a.d.cfg.MessagesPerSession:
		a.d.retire(s)
	default:
		if end := a.d.idle.park(t.key(), a.req.Route.Site, s, time.Now()); end != nil {
			a.d.retire(end)
		}
	}
}

// lazyContent opens a message when its first octet is wanted, which is after
// some host has agreed to take it.
type lazyContent struct {
	ctx     context.Context
	content Content
	rc      io.ReadCloser
	err     error
}

func (c *lazyContent) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.rc == nil {
		if c.rc, c.err = c.content.Open(c.ctx); c.err != nil {
			return 0, c.err
		}
	}
	n, err := c.rc.Read(p)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

func (c *lazyContent) close() {
	if c.rc != nil {
		c.rc.Close()
	}
}

// throttles recognises a refusal that asks for less mail: a temporary reply
// that says so in words or in its code. Greylisting is not one: it wants the
// same again, later.
func throttles(r smtp.Reply) bool {
	if !r.Temporary() {
		return false
	}
	text := strings.ToLower(r.Text)
	for _, w := range greylistWords {
		if strings.Contains(text, w) {
			return false
		}
	}
	// X.7.28: mail flood detected (RFC 7372 registry); X.3.2 with 421: not now.
	if r.Enhanced[1] == 7 && r.Enhanced[2] == 28 {
		return true
	}
	for _, w := range throttleWords {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

var greylistWords = []string{"greylist", "graylist", "grey list", "gray list", "grey-list"}

// throttleWords are what large receivers say when a sender is too fast.
var throttleWords = []string{
	"rate limit", "ratelimit", "rate-limit", "rate that", "throttl", "too many connections", "too many concurrent",
	"too many messages", "too many mails", "too many emails", "too much mail", "too fast", "slow down", "unusual rate",
	"connection limit", "concurrency", "connections from your", "exceeded the maximum", "message limit", "sending limit",
	"try fewer", "server busy", "temporarily deferred due to", "excessive", "unusually high", "volume",
}

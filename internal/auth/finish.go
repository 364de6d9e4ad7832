package auth

import (
	"time"

	"postern/internal/relay"
	"postern/internal/smtp"
)

// heldReply is a refusal that must not leave before a while has passed.
type heldReply struct {
	smtp.Reply
	hold time.Duration
}

// HoldBack is how long the reply is to be held back at least.
func (r heldReply) HoldBack() time.Duration { return r.hold }

// Unwrap makes the reply itself found.
func (r heldReply) Unwrap() error { return r.Reply }

// end closes an attempt on SMTP: the principal, or the reply.
func (t *trial) end() (*relay.Principal, error) {
	hold := t.finish()
	if t.result == relay.LoginOK {
		return t.who, nil
	}
	if t.reply == ReplyThrottled {
		hold = max(hold, minHold) // 454 would leave at once
	}
	if hold == 0 {
		return nil, t.reply
	}
	return nil, heldReply{t.reply, hold}
}

// finish counts the attempt, writes its record, and returns how long a refusal
// is to be held back beyond what all of them are.
func (t *trial) finish() (hold time.Duration) {
	if t.result != relay.LoginOK && t.stand.refused() && !t.uncounted.address {
		// Only who is known good was looked at from a refused address. Whether it was
		// must not show.
		t.reply = ReplyThrottled
	}
	if g := t.a.cfg.Guard; g != nil {
		switch {
		case t.result == relay.LoginOK:
			g.succeeded(t.stand, t.key, t.now)
		case !t.uncounted.address:
			var k *relay.Key
			if !t.uncounted.key {
				k = t.key
			}
			hold = g.failed(t.stand, k, t.now)
		case t.reply == ReplyThrottled:
			hold = t.a.cfg.Guard.holdFor(t.stand.level)
		}
	}
	t.record()
	return hold
}

func (t *trial) record() {
	l := relay.Login{
		At: t.now, Protocol: t.at.Protocol, Listener: t.at.Listener, Mechanism: t.at.Mechanism, Tried: t.tried,
		Detail: printable(t.notes, 200), Addr: t.at.Addr, Network: placeOf(t.at.Addr).network().String(),
		Helo: printable(t.at.Helo, 255), TLS: t.at.TLS, Result: t.result, Count: 1,
	}
	if t.key != nil {
		l.Key = t.key.ID
		l.Tenant = relay.Tenant{Account: t.key.Account, Subuser: t.key.Subuser}
	}
	t.a.cfg.Recorder.RecordLogin(l)
	t.a.cfg.Observer(t.at.Protocol, t.result)
	if t.result == relay.LoginOK {
		t.a.cfg.Recorder.RecordKeyUse(t.key.ID, t.now, l.Addr, t.at.Mechanism, l.Helo, t.previous)
	}
}

package smtpclient

import (
	"context"
	"time"

	"postern/internal/smtp"
)

// groupSize is how many octets of commands are sent before their replies are
// read. RFC 2920 §3.1: a client that sends on and on without reading can lock up
// both sides; this much, with its replies, fits any window.
const groupSize = 8 << 10

// Send runs one transaction. It always returns one outcome per recipient. The
// session may be used again if Usable says so; otherwise the caller closes it.
//
// When ctx is done, the transaction is broken off; once the end of the data is
// out, its reply is still awaited for Timeouts.Interrupt, because to break off
// then makes a duplicate.
func (s *Session) Send(ctx context.Context, t *Transaction) Result {
	x := &sending{s: s, t: t, ctx: ctx, out: make([]Outcome, len(t.Recipients))}
	if !s.Usable() {
		return x.end(local(StageMail, replyUnusable, nil))
	}
	if r := s.unsendable(t); r.Code != 0 {
		for i := range x.out {
			x.out[i] = ours(StageMail, r)
		}
		return x.end(nil)
	}
	if x.chosen, x.utf8 = s.choose(t, x.out); len(x.chosen) == 0 {
		return x.end(nil)
	}
	x.utf8 = x.utf8 || t.SMTPUTF8 || !ascii(t.From)
	s.started++
	defer s.begin(ctx)()
	s.until = time.Now().Add(s.opts.Timeouts.transaction(t.size()))
	err := x.envelope()
	if err == nil {
		err = x.content()
	}
	return x.end(err)
}

// sending is one call of Send.
type sending struct {
	s   *Session
	t   *Transaction
	ctx context.Context
	out []Outcome // a zero Reply: not decided yet

	utf8     bool  // the transaction needs SMTPUTF8
	chosen   []int // recipients to be sent, as positions in the transaction
	accepted []int // of these, those whose RCPT was accepted
	refused  bool  // MAIL was
	goAhead  bool  // 354 was said
	// ambiguous: the end of the data may have left.
	ambiguous bool
}

// end gives an outcome to whoever has none, and closes what cannot go on.
func (x *sending) end(err *Error) Result {
	res := Result{Outcomes: x.out, DSN: x.s.ext.DSN}
	if err == nil {
		return res
	}
	res.Err = err
	left := outcomeOf(err)
	left.Ambiguous = x.ambiguous
	left.Open = !x.ambiguous && err.Stage != StageBody && err.Stage != StageEnd
	for i := range x.out {
		if x.out[i].Reply.Code == 0 {
			x.out[i] = left
		}
	}
	if x.s.broken {
		x.s.Close()
	}
	return res
}

// settle gives recipients the same outcome.
func (x *sending) settle(who []int, stage Stage, r smtp.Reply) {
	for _, i := range who {
		x.out[i] = Outcome{Reply: r, Stage: stage}
	}
}

// command is one command of the envelope.
type command struct {
	stage Stage
	rcpt  int // for RCPT, the position in the transaction
}

// envelope sends everything up to DATA and reads the replies: all in one group
// where the host offered PIPELINING, else one by one.
func (x *sending) envelope() *Error {
	s := x.s
	list := make([]command, 0, len(x.chosen)+3)
	if s.dirty {
		list = append(list, command{stage: StageReset})
	}
	list = append(list, command{stage: StageMail})
	for _, i := range x.chosen {
		list = append(list, command{stage: StageRcpt, rcpt: i})
	}
	if x.t.Body != smtp.BodyBinary {
		list = append(list, command{stage: StageData})
	}
	for sent, done := 0, 0; ; {
		for sent < len(list) && x.wanted(list[sent], sent == done) && len(s.out) < groupSize && (s.ext.Pipelining || sent == done) {
			x.write(list[sent])
			sent++
		}
		if sent == done {
			return nil
		}
		if _, err := s.flush(x.ctx, list[done].stage); err != nil {
			return err
		}
		for ; done < sent; done++ {
			r, err := s.read(x.ctx, list[done].stage, x.timeout(list[done].stage))
			if err == nil {
				err = x.reply(list[done], r)
			}
			if err != nil {
				return err
			}
		}
	}
}

// wanted reports whether a command still makes sense. known: the replies to all
// before it are in.
func (x *sending) wanted(c command, known bool) bool {
	if x.refused {
		return false
	}
	return c.stage != StageData || !known || len(x.accepted) > 0
}

func (x *sending) write(c command) {
	switch c.stage {
	case StageReset:
		x.s.command("RSET")
	case StageMail:
		x.s.mailCommand(x.t, x.utf8)
	case StageRcpt:
		x.s.rcptCommand(&x.t.Recipients[c.rcpt], x.utf8)
	case StageData:
		x.s.command("DATA")
	}
}

func (x *sending) timeout(stage Stage) time.Duration {
	t := &x.s.opts.Timeouts
	switch stage {
	case StageReset:
		return t.Reset
	case StageMail:
		return t.Mail
	case StageRcpt:
		return t.Rcpt
	}
	return t.Data
}

// reply takes the reply to one command. An error ends the session: a 421, or a
// reply that cannot be one to this command, after which nothing later could be
// trusted to be in step.
func (x *sending) reply(c command, r smtp.Reply) *Error {
	s, ok, refusal := x.s, r.Code/100 == 2, r.Temporary() || r.Permanent()
	switch {
	case r.Code == 421:
		return remote(c.stage, r)
	case c.stage == StageData:
		ok = r.Code == 354
	case c.stage == StageReset && !ok:
		s.broken = true
		return s.unexpected(c.stage, r)
	}
	if !ok && !refusal {
		return s.unexpected(c.stage, r)
	}
	switch c.stage {
	case StageReset:
		s.dirty = false
	case StageMail:
		s.dirty = ok
		if x.refused = !ok; x.refused {
			x.settle(x.chosen, c.stage, r)
		}
	case StageRcpt:
		switch {
		case x.refused: // answers to what was pipelined behind a refused MAIL say nothing
		case ok:
			x.accepted = append(x.accepted, c.rcpt)
		default:
			x.out[c.rcpt] = Outcome{Reply: r, Stage: c.stage, TooMany: tooMany(r, len(x.accepted))}
		}
	case StageData:
		if x.goAhead = ok; !ok && !x.refused {
			x.settle(x.accepted, c.stage, r)
		}
	}
	return nil
}

// content sends the message if anybody is to have it.
func (x *sending) content() *Error {
	binary := x.t.Body == smtp.BodyBinary
	switch {
	case len(x.accepted) == 0 && x.goAhead:
		return x.loneDot()
	case len(x.accepted) == 0 || !binary && !x.goAhead:
		return nil
	case binary:
		return x.bdat()
	}
	return x.data()
}

// loneDot ends the data phase of a host that said 354 although it took no
// recipient. RFC 2920 §3.1: the client sends a single dot. What the host says
// to it is of no interest, only that it says something.
func (x *sending) loneDot() *Error {
	x.s.command(".")
	_, err := x.s.exchange(x.ctx, StageEnd, x.s.opts.Timeouts.Data)
	x.s.dirty = false
	if err != nil {
		x.s.broken = true // every recipient has its outcome already
	}
	return nil
}

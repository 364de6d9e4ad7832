package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"postern/internal/relay"
	"postern/internal/report"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
)

// past is what the event log says of a message that left.
type past struct {
	message    relay.Message
	recipients []string
	bounced    map[int]bool // by position
	handed     map[int]bool // a server took it, or may have
	told       map[forwarded]bool
}

// forwarded is a report that is passed on once: to which recipient, saying what.
type forwarded struct {
	n      int
	action report.Action
}

// reason is how a forwarded report stands in the event log.
func (f forwarded) reason() string { return "passed on: reported as " + string(f.action) }

// remember reads a message's past. ok is false when nothing is recorded of it
// any more: its events have passed their retention.
func (i *Intake) remember(ctx context.Context, id relay.MessageID) (p past, ok bool, err error) {
	events, err := i.cfg.Store.MessageHistory(ctx, id)
	if relay.KindOf(err) == relay.NotFound {
		return past{}, false, nil
	}
	if err != nil {
		return past{}, false, fmt.Errorf("history of %s: %w", id, err)
	}
	p.bounced, p.handed, p.told = map[int]bool{}, map[int]bool{}, map[forwarded]bool{}
	for _, e := range events {
		switch e.Kind {
		case relay.EventDelivered, relay.EventRecovered:
			p.handed[e.N] = true
		case relay.EventDeferred, relay.EventNotified:
			if err := p.recall(e); err != nil {
				return past{}, false, fmt.Errorf("history of %s: %w", id, err)
			}
		case relay.EventReceived:
			var d relay.EventData
			if err := json.Unmarshal(e.Data, &d); err != nil {
				return past{}, false, fmt.Errorf("history of %s: %w", id, err)
			}
			p.recipients = d.Recipients
			p.message = relay.Message{
				ID: id, Tenant: e.Tenant, Key: e.Key, EnvelopeFrom: d.EnvelopeFrom, HeaderFrom: d.From, Subject: d.Subject,
				HeaderID: d.HeaderID, AcceptedAt: e.At, Categories: d.Categories, UniqueArgs: d.UniqueArgs,
			}
			ok = true
		case relay.EventBounced:
			p.bounced[e.N] = true
		}
	}
	return p, ok, nil
}

// recall notes an attempt that may have handed a recipient over, and a report
// that was passed on.
func (p *past) recall(e relay.Event) error {
	var d relay.EventData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	if d.Ambiguous {
		p.handed[e.N] = true
	}
	for _, a := range []report.Action{report.Delayed, report.Delivered, report.Relayed, report.Expanded} {
		if f := (forwarded{e.N, a}); e.Kind == relay.EventNotified && d.Reason == f.reason() {
			p.told[f] = true
		}
	}
	return nil
}

// replyTooEarly answers a report about a recipient whose attempt has no recorded
// end yet. The return path is the message's, so that the servers of all its
// recipients know it: none of them may end a recipient that was not even tried.
// An honest report that is faster than our commit comes again.
var replyTooEarly = smtp.R(451, 4, 3, 0, "Nothing was handed over for that recipient yet; try again later")

// bounced acts on a message that came to a return path with a good MAC. What
// is no report about delivery (an answering machine, a person) is taken and
// dropped: nothing follows from it.
func (i *Intake) bounced(ctx context.Context, to Route, raw []byte) error {
	id := to.message
	rep, err := report.Parse(bytes.NewReader(raw))
	if err != nil {
		return smtp.R(554, 5, 6, 0, "The message has no readable header")
	}
	if (rep.Kind != report.KindDSN && rep.Kind != report.KindBounce) || len(rep.Recipients) == 0 {
		return nil
	}
	p, ok, err := i.remember(ctx, id)
	if err != nil || !ok {
		return err
	}
	var ended []int
	var events []relay.Event
	var outcomes []report.Outcome
	early := false
	for _, r := range rep.Recipients {
		n, addr := p.match(r, to.n)
		told := forwarded{n, r.Action}
		if n < 0 || p.bounced[n] || p.told[told] {
			continue // not a recipient of this message, or a report that we have
		}
		if !p.handed[n] {
			early = true
			continue
		}
		if r.Action == report.Failed {
			p.bounced[n] = true
			ended = append(ended, n)
			events = append(events, p.bounceEvent(i, n, rep, r))
		} else {
			p.told[told] = true
			events = append(events, p.event(i, relay.EventNotified, n, relay.EventData{Reason: told.reason()}))
		}
		a, err := smtp.ParseAddress(addr, true)
		if err != nil {
			continue
		}
		outcomes = append(outcomes, report.Outcome{
			Recipient: a, Action: r.Action, Status: r.Status, Reply: r.Diagnostic, RemoteMTA: first(r.RemoteMTA, rep.ReportingMTA),
		})
	}
	if len(outcomes) == 0 {
		if early {
			return replyTooEarly
		}
		return nil
	}
	notice, err := i.forward(&p.message, outcomes)
	if err != nil {
		return err
	}
	return i.cfg.Queue.End(ctx, id, ended, events, notice)
}

// forward makes the DSN for the original envelope sender; nil when none is due.
func (i *Intake) forward(m *relay.Message, outcomes []report.Outcome) (*store.Acceptance, error) {
	if m.EnvelopeFrom == "" || !sender.MayNotify(i.cfg.Directory, m.Tenant, m.EnvelopeFrom) {
		return nil, nil
	}
	head := fmt.Sprintf("From: %s\r\nSubject: %s\r\nMessage-ID: %s\r\n\r\n", m.HeaderFrom, report.Clean(m.Subject, maxSubject), report.Clean(m.HeaderID, 512))
	return i.cfg.Notifier.notice(m, report.Original{Head: []byte(head), UTF8: !ascii([]byte(head))}, outcomes)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// match finds the recipient that a report means: the one that the return path
// named, else by its original or final address, or because there is only one.
// -1: none.
func (p *past) match(r report.Recipient, named int) (int, string) {
	if named >= 0 && named < len(p.recipients) {
		return named, p.recipients[named]
	}
	for _, said := range []string{r.Original, r.Final} {
		want, err := smtp.ParseAddress(said, true)
		if err != nil {
			continue
		}
		for n, have := range p.recipients {
			if a, err := smtp.ParseAddress(have, true); err == nil && a.Key() == want.Key() {
				return n, have
			}
		}
	}
	if len(p.recipients) == 1 {
		return 0, p.recipients[0]
	}
	return -1, ""
}

func (p *past) bounceEvent(i *Intake, n int, rep *report.Report, r report.Recipient) relay.Event {
	m := &p.message
	return p.event(i, relay.EventBounced, n, relay.EventData{
		EnvelopeFrom: m.EnvelopeFrom, Enhanced: r.Status.String(), Reply: r.Diagnostic, Host: first(r.RemoteMTA, rep.ReportingMTA),
		Reason: "a bounce came back after delivery (" + string(r.Class) + ")", Categories: m.Categories, UniqueArgs: m.UniqueArgs,
	})
}

// event is one about a recipient, as of now.
func (p *past) event(i *Intake, kind relay.EventKind, n int, d relay.EventData) relay.Event {
	m := p.message
	m.AcceptedAt = i.cfg.Now().UTC()
	return event(kind, &m, n, p.recipients[n], d)
}

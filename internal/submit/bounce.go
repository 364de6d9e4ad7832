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
}

// remember reads a message's past. ok is false when nothing is recorded of it
// any more: its events have passed their retention.
func (i *Intake) remember(ctx context.Context, id relay.MessageID) (p past, ok bool, err error) {
	events, err := i.cfg.Store.MessageHistory(ctx, id)
	if err != nil {
		return past{}, false, fmt.Errorf("history of %s: %w", id, err)
	}
	p.bounced = map[int]bool{}
	for _, e := range events {
		switch e.Kind {
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
	for _, r := range rep.Recipients {
		n, addr := p.match(r, to.n)
		if n < 0 || (r.Action == report.Failed && p.bounced[n]) {
			continue // not a recipient of this message, or a bounce that we have
		}
		if r.Action == report.Failed {
			p.bounced[n] = true
			ended = append(ended, n)
			events = append(events, p.bounceEvent(i, n, rep, r))
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
	m := p.message
	m.AcceptedAt = i.cfg.Now().UTC()
	return event(relay.EventBounced, &m, n, p.recipients[n], relay.EventData{
		EnvelopeFrom: m.EnvelopeFrom, Enhanced: r.Status.String(), Reply: r.Diagnostic, Host: first(r.RemoteMTA, rep.ReportingMTA),
		Reason: "a bounce came back after delivery (" + string(r.Class) + ")", Categories: m.Categories, UniqueArgs: m.UniqueArgs,
	})
}

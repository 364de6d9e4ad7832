package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/credit"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
)

// ready is a message that was judged and found good, on its way to the commit.
type ready struct {
	in     *Incoming
	a      *store.Acceptance
	n      int64 // credits that it costs
	credit credit.Reservation

	lanes     []relay.Lane
	content   store.Content
	admission queue.Admission
	admitted  bool
}

// acceptance makes what is committed of a judged message.
func (in *Incoming) acceptance(ctx context.Context, d *judged) (*ready, error) {
	head := d.bytes()
	a := &store.Acceptance{Message: in.message(d, int64(len(head))), Head: head, Body: in.body}
	rcpts := in.recipients()
	r := &ready{in: in, a: a, n: int64(len(rcpts))}
	if err := in.s.checkRecipients(in.p, in.env.Recipients, len(rcpts)); err != nil {
		return nil, err
	}
	a.Events = append(a.Events, in.received250(&a.Message, d, rcpts))
	switch in.mode() {
	case relay.KeyTest:
		// Accepted and recorded, never delivered: nothing but events is stored.
		a.Body, a.Head = nil, nil
		for _, r := range rcpts {
			a.Events = append(a.Events, event(relay.EventDropped, &a.Message, r.N, r.Address, relay.EventData{Reason: "the key is in test mode"}))
		}
		in.Abort(ctx)
	case relay.KeyHold:
		a.Message.State, a.Message.Reason = relay.MessageHeld, "the key is in hold mode"
		a.Recipients = rcpts
		a.Events = append(a.Events, event(relay.EventHeld, &a.Message, -1, "", relay.EventData{Reason: a.Message.Reason}))
	default:
		a.Recipients = rcpts
		if at := in.env.SendAt; at.After(in.s.queueNow()) {
			a.Message.Reason = "the sender wants it sent later"
			a.Events = append(a.Events, event(relay.EventDeferred, &a.Message, -1, "", relay.EventData{Reason: a.Message.Reason, NextAt: at.UTC()}))
		}
	}
	return r, nil
}

func (in *Incoming) mode() relay.KeyMode {
	if in.p.Key == nil {
		return relay.KeyLive
	}
	return in.p.Key.Mode
}

// accept commits messages that were judged, all or none, and hands them to the
// queue.
func (s *Service) accept(ctx context.Context, all []*ready, idem *store.Idempotency) error {
	if err := s.reserve(ctx, all); err != nil {
		return err
	}
	for _, r := range all {
		s.admit(r)
	}
	if err := s.store(ctx, all, idem); err != nil {
		for _, r := range all {
			if r.credit.Cancel(); r.admitted {
				r.admission.Cancel()
			}
		}
		return err
	}
	// A crash here: the leases die with this process, recovery makes the mail due.
	for _, r := range all {
		r.credit.Settle()
		s.launch(r)
	}
	return nil
}

// store is the commit.
func (s *Service) store(ctx context.Context, all []*ready, idem *store.Idempotency) error {
	if len(all) == 1 && idem == nil {
		return s.cfg.Store.Accept(ctx, all[0].a)
	}
	as := make([]*store.Acceptance, len(all))
	for i, r := range all {
		as[i] = r.a
	}
	return s.cfg.Store.AcceptAll(ctx, as, idem)
}

// admit asks the queue to run the first attempt from memory, for a message that
// is to be sent at once: it is then committed as leased to this process. Without
// leave, it waits in the store.
func (s *Service) admit(r *ready) {
	a := r.a
	if len(a.Recipients) == 0 || a.Message.State != relay.MessageQueued {
		return
	}
	r.lanes = lanesOf(a)
	content, inMemory := contentOf(a)
	if !inMemory || a.Recipients[0].DueAt.After(s.queueNow()) {
		return
	}
	if r.admission, r.admitted = s.cfg.Queue.Admit(a.Message.Tenant, r.lanes, a.Message.Size); !r.admitted {
		return
	}
	r.content = content
	for i := range a.Recipients {
		a.Recipients[i].Lease, a.Recipients[i].Generation = s.cfg.Store.Epoch(), 1
	}
}

// launch tells the queue of a committed message.
func (s *Service) launch(r *ready) {
	if r.admitted {
		r.admission.Launch(&r.a.Message, r.a.Recipients, r.content)
		return
	}
	for _, l := range r.lanes {
		s.cfg.Queue.Waiting(l, r.a.Message.Tenant, r.a.Recipients[0].DueAt)
	}
}

func lanesOf(a *store.Acceptance) []relay.Lane {
	var lanes []relay.Lane
	for i := range a.Recipients {
		l := relay.Lane{Pool: a.Message.Pool, Site: a.Recipients[i].Site}
		if !slices.Contains(lanes, l) {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// memoryContent is a message whose octets are in memory.
type memoryContent struct{ head, body []byte }

func (c memoryContent) Size() int64 { return int64(len(c.head) + len(c.body)) }

func (c memoryContent) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader(c.head), bytes.NewReader(c.body))), nil
}

func contentOf(a *store.Acceptance) (store.Content, bool) {
	if a.Body == nil {
		return memoryContent{head: a.Head}, true
	}
	b, ok := a.Body.Bytes()
	return memoryContent{head: a.Head, body: b}, ok
}

func (in *Incoming) message(d *judged, headSize int64) relay.Message {
	now := in.s.now()
	body := relay.Body7Bit
	switch {
	case in.env.Body == smtp.BodyBinary:
		body = relay.BodyBinary
	case in.eight || d.eight:
		body = relay.Body8Bit
	}
	utf8 := d.utf8 || in.env.From.IsUTF8()
	for i := range in.env.Recipients {
		utf8 = utf8 || in.env.Recipients[i].Address.IsUTF8()
	}
	m := relay.Message{
		ID: in.id, Tenant: in.p.Tenant, Pool: d.pool.ID, Domain: d.decision.Domain.ID, State: relay.MessageQueued,
		EnvelopeFrom: in.env.From.String(), Body: body, SMTPUTF8: utf8, Ret: in.env.Ret, EnvID: in.env.EnvID,
		HeaderFrom: d.identity.From.Address.String(), Subject: d.subject, HeaderID: cut(d.id, 512),
		Size: headSize + in.body.Size(), Categories: d.categories, UniqueArgs: d.uniqueArgs,
		AcceptedAt: now, ExpiresAt: in.due().Add(in.s.lifetime(in.p.Tenant, d.pool)), Source: in.env.Source,
	}
	if in.p.Key != nil {
		m.Key = in.p.Key.ID
	}
	host := d.decision.Domain.ReturnPath
	if host == "" {
		host = in.s.returnHost()
	}
	m.ReturnPath = in.s.cfg.ReturnPaths.Make(in.id, host)
	return m
}

// returnHost is where bounces of domains without a return path of their own
// come back to: the system domain's.
func (s *Service) returnHost() string {
	if _, d, ok := s.cfg.Directory.System(); ok {
		if d.ReturnPath != "" {
			return d.ReturnPath
		}
		return d.Name
	}
	return s.cfg.Hostname
}

func (s *Service) lifetime(t relay.Tenant, pool relay.Pool) time.Duration {
	if pool.Retry.Lifetime > 0 {
		return pool.Retry.Lifetime
	}
	if a, ok := s.cfg.Directory.Account(t.Account); ok && a.Retry.Lifetime > 0 {
		return a.Retry.Lifetime
	}
	return s.cfg.Retry.Lifetime
}

// due is when the first attempt is due: now, or when the sender wants it.
func (in *Incoming) due() time.Time {
	now := in.s.queueNow()
	if at := in.env.SendAt.UTC().Truncate(time.Microsecond); at.After(now) {
		return at
	}
	return now
}

// recipients are the envelope's, in order, each mailbox once: the first mention
// of it counts.
func (in *Incoming) recipients() []relay.Recipient {
	due := in.due()
	seen := make(map[string]bool, len(in.env.Recipients))
	out := make([]relay.Recipient, 0, len(in.env.Recipients))
	for _, r := range in.env.Recipients {
		if k := r.Address.Key(); seen[k] {
			continue
		} else {
			seen[k] = true
		}
		out = append(out, relay.Recipient{
			Message: in.id, N: len(out), Address: r.Address.String(), Site: r.Address.ASCIIDomain(),
			Notify: r.Notify, ORcpt: r.ORcpt, DueAt: due,
		})
	}
	return out
}

func (in *Incoming) received250(m *relay.Message, d *judged, rcpts []relay.Recipient) relay.Event {
	data := relay.EventData{
		EnvelopeFrom: m.EnvelopeFrom, From: m.HeaderFrom, Subject: m.Subject, HeaderID: m.HeaderID, Size: m.Size,
		Categories: m.Categories, UniqueArgs: m.UniqueArgs, Source: &m.Source, Pool: d.pool.Name,
	}
	for _, r := range rcpts {
		data.Recipients = append(data.Recipients, r.Address)
	}
	if d.decision.Single {
		data.Rule = string(sender.AsSingle)
	}
	if len(d.api.Other) > 0 {
		data.Reason = "X-SMTPAPI keys that were ignored: " + strings.Join(d.api.Other, ", ")
	}
	return event(relay.EventReceived, m, -1, "", data)
}

func event(kind relay.EventKind, m *relay.Message, n int, rcpt string, d relay.EventData) relay.Event {
	b, err := json.Marshal(d)
	if err != nil { // strings, numbers and times only: cannot happen
		b = nil
	}
	return relay.Event{At: m.AcceptedAt, Kind: kind, Tenant: m.Tenant, Key: m.Key, Message: m.ID, N: n, Recipient: rcpt, Data: b}
}

func sameHost(a, b string) bool { return strings.EqualFold(a, b) }

func containsFold(list []string, s string) bool {
	for _, e := range list {
		if strings.EqualFold(e, s) {
			return true
		}
	}
	return false
}

// reservedName reports names that never lead to a mail exchanger of anybody
// else: single labels, localhost, numbers that some resolvers take for addresses.
func reservedName(d string) bool {
	if !strings.Contains(d, ".") || d == "localhost" || strings.HasSuffix(d, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(d); err == nil {
		return true
	}
	last := d[strings.LastIndexByte(d, '.')+1:]
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}

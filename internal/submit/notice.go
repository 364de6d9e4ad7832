package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"postern/internal/message"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/report"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
)

// Bodies makes bodies of octets in memory; *store.Store does.
type Bodies interface {
	BodyOf(id relay.MessageID, octets []byte) *store.Body
}

// Notifier composes the mail that postern itself sends: DSNs, and what strangers
// wrote to postmaster@ and abuse@. All of it leaves from the system account,
// with the null reverse-path, signed by the system domain, and counts against
// nobody's limits. It implements queue.Notifier.
type Notifier struct {
	Directory Directory
	Store     Bodies
	Hostname  string
	Lifetime  time.Duration    // of a notice in the queue
	Now       func() time.Time // nil: time.Now
	QueueNow  func() time.Time // the queue's time, for when a notice is due and expires; nil: Now
}

func (n *Notifier) now() time.Time {
	if n.Now == nil {
		return time.Now().UTC().Truncate(time.Microsecond)
	}
	return n.Now().UTC().Truncate(time.Microsecond)
}

func (n *Notifier) queueNow() time.Time {
	if n.QueueNow == nil {
		return n.now()
	}
	return n.QueueNow().UTC().Truncate(time.Microsecond)
}

// Compose implements queue.Notifier. Nobody is told where nobody asked, and
// never an address that the account may not use: that would be backscatter.
func (n *Notifier) Compose(ctx context.Context, no queue.Notice) (*store.Acceptance, error) {
	m := no.Message
	wanted := wantedBy(no)
	if len(wanted) == 0 || m.EnvelopeFrom == "" || !sender.MayNotify(n.Directory, m.Tenant, m.EnvelopeFrom) {
		return nil, nil
	}
	var outcomes []report.Outcome
	for _, r := range wanted {
		o, err := outcome(no.Kind, m, r)
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
	}
	original := report.Original{UTF8: m.SMTPUTF8}
	if no.Content != nil {
		var err error
		if original, err = readOriginal(ctx, no, m); err != nil {
			return nil, err
		}
	}
	return n.notice(m, original, outcomes)
}

// notice makes the DSN about a message and its acceptance.
func (n *Notifier) notice(m *relay.Message, original report.Original, outcomes []report.Outcome) (*store.Acceptance, error) {
	to, err := smtp.ParseAddress(m.EnvelopeFrom, true)
	if err != nil {
		return nil, fmt.Errorf("envelope sender of %s: %w", m.ID, err)
	}
	b, err := n.begin(to)
	if err != nil {
		return nil, err
	}
	head, body, utf8, err := report.Notice{
		ReportingMTA: n.Hostname, From: b.from, To: to, MessageID: b.headerID, Date: b.now,
		EnvID: m.EnvID, Arrival: m.AcceptedAt, Outcomes: outcomes, Original: original,
	}.Compose()
	if err != nil {
		return nil, err
	}
	return b.end(head, body, utf8 || original.UTF8)
}

// wantedBy are the recipients of a notice whose sender asked for it (RFC 3461
// §4.1): failures unless he said otherwise, delays and relays only on request.
func wantedBy(no queue.Notice) []queue.NoticeRecipient {
	want := map[queue.NoticeKind]relay.Notify{
		queue.NoticeFailed: relay.NotifyFailure, queue.NoticeDelayed: relay.NotifyDelay, queue.NoticeRelayed: relay.NotifySuccess,
	}[no.Kind]
	var out []queue.NoticeRecipient
	for _, r := range no.Recipients {
		n := r.Recipient.Notify
		if n&want != 0 || (n == relay.NotifyDefault && no.Kind == queue.NoticeFailed) {
			out = append(out, r)
		}
	}
	return out
}

func outcome(kind queue.NoticeKind, m *relay.Message, r queue.NoticeRecipient) (report.Outcome, error) {
	a, err := smtp.ParseAddress(r.Recipient.Address, true)
	if err != nil {
		return report.Outcome{}, fmt.Errorf("recipient %d of %s: %w", r.Recipient.N, m.ID, err)
	}
	o := report.Outcome{Recipient: a, Original: r.Recipient.ORcpt, RemoteMTA: r.Remote, LastAttempt: r.Recipient.LastAt}
	o.Status, _ = smtp.ParseEnhancedCode(r.Enhanced)
	if r.Remote != "" {
		o.Reply = r.Reply
	} else {
		o.Why = r.Reply
	}
	if r.Expired {
		o.Why = "it could not be delivered within its lifetime; the last answer was: " + r.Reply
	}
	switch kind {
	case queue.NoticeDelayed:
		o.Action, o.WillRetryUntil = report.Delayed, m.ExpiresAt
	case queue.NoticeRelayed:
		o.Action, o.Status = report.Relayed, smtp.EnhancedCode{2, 0, 0}
	default:
		o.Action = report.Failed
	}
	return o, nil
}

// readOriginal reads what a notice gives back: the header section, and the body
// where RET=FULL asks for it.
func readOriginal(ctx context.Context, no queue.Notice, m *relay.Message) (report.Original, error) {
	o := report.Original{UTF8: m.SMTPUTF8, Full: m.Ret == "FULL" && no.Kind == queue.NoticeFailed && no.Content.Size() <= report.MaxReturn}
	r, err := no.Content.Open(ctx)
	if err != nil {
		return o, fmt.Errorf("original of the notice: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxOriginal))
	if err != nil {
		return o, fmt.Errorf("original of the notice: %w", err)
	}
	h, err := message.ParseHeader(b, message.Limits{Bytes: maxOriginal, Fields: maxOriginal, Octets: message.AnyOctet})
	if err != nil {
		return report.Original{UTF8: m.SMTPUTF8}, nil // longer than is given back; the notice does without
	}
	o.Head = b[:h.Len()]
	if o.Full {
		o.Body = b[h.Len():]
	}
	return o, nil
}

// maxOriginal is how much of a message is read for a notice about it.
const maxOriginal = 1 << 20

// own is a message of ours being made.
type own struct {
	n        *Notifier
	now      time.Time
	id       relay.MessageID
	account  relay.Account
	domain   relay.Domain
	pool     relay.Pool
	from     message.Mailbox
	headerID string
	to       smtp.Address
}

var errNoSystem = errors.New("there is no system account with a domain and a pool")

func (n *Notifier) begin(to smtp.Address) (*own, error) {
	account, domain, ok := n.Directory.System()
	if !ok {
		return nil, errNoSystem
	}
	tenant := relay.Tenant{Account: account.ID}
	pool, ok := n.Directory.DefaultPool(tenant)
	if !ok {
		return nil, errNoSystem
	}
	from, err := smtp.ParseAddress("mailer-daemon@"+domain.Name, false)
	if err != nil {
		return nil, fmt.Errorf("system domain %q: %w", domain.Name, err)
	}
	now := n.now()
	o := &own{n: n, now: now, id: relay.MessageID{ID: relay.NewID(now)}, account: account, domain: domain, pool: pool, to: to}
	o.from = message.Mailbox{Name: "Mail Delivery System", Address: from}
	o.headerID = "<" + o.id.String() + "@" + domain.Name + ">"
	return o, nil
}

// end makes the acceptance of a composed message of ours. Its return path is
// null: nobody is told when it fails (RFC 5321 §4.5.5).
func (o *own) end(head, body []byte, utf8 bool) (*store.Acceptance, error) {
	kind := relay.Body7Bit
	if !ascii(head) || !ascii(body) {
		kind = relay.Body8Bit
	}
	lifetime := o.n.Lifetime
	if lifetime <= 0 {
		lifetime = queue.DefaultRetry.Lifetime
	}
	due := o.n.queueNow()
	m := relay.Message{
		ID: o.id, Tenant: relay.Tenant{Account: o.account.ID}, Pool: o.pool.ID, Domain: o.domain.ID, State: relay.MessageQueued,
		Body: kind, SMTPUTF8: utf8 && (kind == relay.Body8Bit || o.to.IsUTF8()), HeaderFrom: o.from.Address.String(), HeaderID: o.headerID,
		Size: int64(len(head) + len(body)), AcceptedAt: o.now, ExpiresAt: due.Add(lifetime),
		Source: relay.Source{Protocol: "internal"},
	}
	rcpt := relay.Recipient{
		Message: o.id, Address: o.to.String(), Site: o.to.ASCIIDomain(), Notify: relay.NotifyNever, DueAt: due,
	}
	return &store.Acceptance{
		Message: m, Recipients: []relay.Recipient{rcpt}, Head: head, Body: o.n.Store.BodyOf(o.id, body),
		Events: []relay.Event{event(relay.EventReceived, &m, -1, "", relay.EventData{
			From: m.HeaderFrom, HeaderID: m.HeaderID, Size: m.Size, Recipients: []string{rcpt.Address}, Source: &m.Source,
		})},
	}, nil
}

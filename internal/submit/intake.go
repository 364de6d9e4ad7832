package submit

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/message"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// IntakeConfig sets an Intake up.
type IntakeConfig struct {
	Directory   IntakeDirectory
	ReturnPaths *ReturnPaths
	Notifier    *Notifier
	Store       IntakeStore
	Queue       IntakeQueue
	Hostname    string
	Contact     string // the operator's address; "" : postmaster@ and abuse@ are refused
	MaxMessage  int64  // octets; 1 MiB
	PerMinute   int    // messages, in all; 600
	InFlight    int64  // octets of messages that are being taken in; 67,108,864
	Now         func() time.Time

	// Reports takes aggregate reports that come to dmarc-<token>@ the host name or
	// ReportHost; nil: there are no such addresses. ReportDomains knows the tokens.
	Reports          ReportTaker
	ReportDomains    ReportDirectory
	ReportHost       string // "dmarc." and the zone that we serve; "": only the host name
	ReportsPerMinute int    // 0: as PerMinute
}

// IntakeDirectory also knows which hosts are return paths.
type IntakeDirectory interface {
	Directory
	IsReturnPath(host string) bool
}

// IntakeStore is what Intake needs of the store.
type IntakeStore interface {
	MessageHistory(ctx context.Context, id relay.MessageID) ([]relay.Event, error)
	Accept(ctx context.Context, a *store.Acceptance) error
}

// IntakeQueue ends recipients that still wait, and takes notices over.
type IntakeQueue interface {
	Waiting(l relay.Lane, t relay.Tenant, at time.Time)
	// End records the end of recipients that came from outside: with their events
	// and a notice, in one commit. Recipients that are still queued leave the queue.
	End(ctx context.Context, id relay.MessageID, recipients []int, events []relay.Event, notice *store.Acceptance) error
}

// Intake takes mail from those who did not log in: what comes back to return
// paths of ours, aggregate reports, and what people write to postmaster@ and abuse@. Everything
// else is refused at RCPT, so this is no relay. It has limits of its own, so
// that a flood of bounces is no burden for submission.
type Intake struct {
	cfg IntakeConfig

	held        atomic.Int64 // octets in the buffers of all Returned
	heldReports atomic.Int64 // of those, octets of mail to addresses for reports

	mu      sync.Mutex
	bounces bucket // mail to return paths: only who received mail of ours knows one
	contact bucket // mail to postmaster@ and abuse@: anybody can write it
	reports bucket // mail to the addresses for reports, which the DNS tells everybody
}

// bucket counts messages against a rate, with a minute's worth of burst.
type bucket struct {
	rate   float64 // a minute
	tokens float64
	filled time.Time
}

func newBucket(perMinute int, now time.Time) bucket {
	return bucket{rate: float64(perMinute), tokens: float64(perMinute), filled: now}
}

// has reports whether one more message fits.
func (b *bucket) has(now time.Time) bool {
	b.tokens = min(b.rate, b.tokens+now.Sub(b.filled).Minutes()*b.rate)
	b.filled = now
	return b.tokens >= 1
}

// Defaults of IntakeConfig.
const (
	defaultIntakeMessage = 1 << 20
	defaultIntakeRate    = 600
	defaultIntakeFlight  = 64 << 20
	// contactShare: of what may come back in a minute, the part that may be mail to
	// the operator, so that strangers who write to him cannot keep bounces out.
	contactShare = 10
	// reportShare: of the octets that may be taken in at once, the part that may be
	// reports: strangers who hand them in slowly must not keep bounces out.
	reportShare = 2
)

// NewIntake makes an Intake.
func NewIntake(c IntakeConfig) *Intake {
	if c.MaxMessage <= 0 {
		c.MaxMessage = defaultIntakeMessage
	}
	if c.PerMinute <= 0 {
		c.PerMinute = defaultIntakeRate
	}
	if c.InFlight <= 0 {
		c.InFlight = defaultIntakeFlight
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ReportsPerMinute <= 0 {
		c.ReportsPerMinute = c.PerMinute
	}
	now := c.Now()
	return &Intake{
		cfg: c, bounces: newBucket(c.PerMinute, now), contact: newBucket(max(1, c.PerMinute/contactShare), now), reports: newBucket(c.ReportsPerMinute, now),
	}
}

// Route says where a recipient leads.
type Route struct {
	bounce  bool
	message relay.MessageID // of a return path
	n       int             // the recipient that it names; -1: none
	local   string          // of postmaster@ and its like
	report  relay.Domain    // that reports to this address are about; zero: it is for none
}

var (
	replyNoRelay    = smtp.R(550, 5, 7, 1, "Unauthenticated senders not allowed")
	replyOneAtATime = smtp.R(452, 4, 5, 3, "One recipient at a time here")
	replyIntakeRoom = smtp.R(452, 4, 3, 1, "Too much mail comes back at the moment; try again later")
	replyIntakeRate = smtp.R(450, 4, 7, 1, "Too much mail comes back at the moment; try again later")
)

// Mail judges the start of a transaction without login. Nothing is counted yet:
// commands cost a stranger nothing, and must not use up what bounces need.
func (i *Intake) Mail(smtp.Address) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.bounces.has(i.cfg.Now()) {
		return replyIntakeRate
	}
	return nil
}

// count charges a message to its rate.
func (i *Intake) count(r Route) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	b := &i.contact
	switch {
	case r.bounce:
		b = &i.bounces
	case !r.report.ID.IsZero():
		b = &i.reports
	}
	if !b.has(i.cfg.Now()) {
		return replyIntakeRate
	}
	b.tokens--
	return nil
}

// Route judges a recipient; taken is how many the transaction already has. One
// is taken at a time, so that each commit is all of its transaction.
func (i *Intake) Route(to smtp.Address, taken int) (Route, error) {
	r, err := i.route(to)
	if err == nil && taken > 0 {
		return Route{}, replyOneAtATime
	}
	return r, err
}

func (i *Intake) route(to smtp.Address) (Route, error) {
	host, local := to.ASCIIDomain(), to.Local()
	if d, ok := i.reportRoute(local, host); ok && !to.IsLiteral() {
		return Route{report: d}, nil
	}
	if to.IsLiteral() || (host != "" && host != strings.ToLower(i.cfg.Hostname) && !i.cfg.Directory.IsReturnPath(host)) {
		return Route{}, replyNoRelay
	}
	if host != "" && IsReturnPath(local) {
		id, n, err := i.cfg.ReturnPaths.Parse(local)
		if err != nil {
			return Route{}, replyNoRelay
		}
		return Route{bounce: true, message: id, n: n}, nil
	}
	switch l := strings.ToLower(local); l {
	case "postmaster", "abuse", "mailer-daemon":
		if i.cfg.Contact != "" {
			return Route{local: l}, nil
		}
	}
	return Route{}, replyNoRelay
}

// Begin opens the content of a transaction.
func (i *Intake) Begin(env Envelope, routes []Route) (*Returned, error) {
	if len(routes) != 1 {
		return nil, replyNoRelay
	}
	if err := i.count(routes[0]); err != nil {
		return nil, err
	}
	return &Returned{i: i, env: env, route: routes[0]}, nil
}

// Returned is a message while it is taken in. It ends in one Commit or Abort.
type Returned struct {
	i     *Intake
	env   Envelope
	route Route
	buf   bytes.Buffer
	// failed is why the message was dropped: nothing more is taken of it.
	failed error
}

// Write takes the next octets. An error is the smtp.Reply to the message; what
// was taken of it is dropped at once. All of these messages together have one
// bound: strangers who begin many of them and end none must neither fill the
// memory nor the room that submission has.
func (r *Returned) Write(p []byte) (int, error) {
	n := int64(len(p))
	switch {
	case r.failed != nil:
	case int64(r.buf.Len())+n > r.i.cfg.MaxMessage:
		r.failed = replyTooLarge
	case r.isReport() && r.i.heldReports.Add(n) > r.i.cfg.InFlight/reportShare:
		r.i.heldReports.Add(-n)
		r.failed = replyIntakeRoom
	case r.i.held.Add(n) > r.i.cfg.InFlight:
		r.i.held.Add(-n)
		if r.isReport() {
			r.i.heldReports.Add(-n)
		}
		r.failed = replyIntakeRoom
	default:
		return r.buf.Write(p)
	}
	r.drop()
	return 0, r.failed
}

func (r *Returned) isReport() bool { return !r.route.report.ID.IsZero() }

// drop gives the octets back.
func (r *Returned) drop() {
	r.i.held.Add(-int64(r.buf.Len()))
	if r.isReport() {
		r.i.heldReports.Add(-int64(r.buf.Len()))
	}
	r.buf = bytes.Buffer{}
}

// Abort drops the message.
func (r *Returned) Abort() { r.drop() }

// Commit acts on the message. Its 250 comes after the commit of everything that
// follows from it.
func (r *Returned) Commit(ctx context.Context) (smtp.Reply, error) {
	defer r.drop()
	err := r.failed
	if err != nil {
		return smtp.Reply{}, err
	}
	switch {
	case r.route.bounce:
		err = r.i.bounced(ctx, r.route, r.buf.Bytes())
	case r.isReport():
		err = r.i.reported(ctx, r.env, r.route.report, r.buf.Bytes())
	default:
		err = r.i.toContact(ctx, r.env, r.route.local, r.buf.Bytes())
	}
	if err != nil {
		if reply, ok := replyTo(err); ok {
			return smtp.Reply{}, reply
		}
		return smtp.Reply{}, fmt.Errorf("intake: %w", err)
	}
	return smtp.R(250, 2, 0, 0, "Ok"), nil
}

// toContact sends what somebody wrote to postmaster@ or abuse@ to the operator,
// as an attachment of a message of ours: passed on as it is, it would claim to
// be from somebody else.
func (i *Intake) toContact(ctx context.Context, env Envelope, local string, raw []byte) error {
	h, err := message.ParseHeader(raw, message.Limits{Octets: message.AnyOctet})
	if err != nil {
		return err
	}
	if h.CountHops(i.cfg.Hostname).Received > message.MaxReceived {
		return replyLoop
	}
	to, err := smtp.ParseAddress(i.cfg.Contact, false)
	if err != nil {
		return fmt.Errorf("contact address: %w", err)
	}
	o, err := i.cfg.Notifier.begin(to)
	if err != nil {
		return err
	}
	subject := ""
	if vs := h.Values("Subject"); len(vs) > 0 {
		subject = vs[0]
	}
	text := fmt.Sprintf("Somebody wrote to %s@%s. The message is attached.\n\nEnvelope sender: <%s>\nHanded in by: %s (%s)\n",
		local, i.cfg.Hostname, env.From, env.Source.Addr, env.Source.Helo)
	head, body, err := message.Outgoing{
		From: o.from, To: []message.Mailbox{{Address: to}}, Date: o.now, MessageID: o.headerID,
		Subject: cut("["+local+"@"+i.cfg.Hostname+"] "+subject, maxSubject),
		Part: message.Part{Type: "multipart/mixed", Parts: []message.Part{
			{Type: "text/plain", Text: text},
			{Type: "message/rfc822", Description: "The message as it came", Raw: endLine(raw)},
		}},
	}.Compose()
	if err != nil {
		return err
	}
	a, err := o.end(head, body, false)
	if err != nil {
		return err
	}
	return i.accept(ctx, a)
}

// endLine makes sure that octets end with a line end.
func endLine(b []byte) []byte {
	if bytes.HasSuffix(b, []byte("\r\n")) {
		return b
	}
	return append(b[:len(b):len(b)], "\r\n"...)
}

func (i *Intake) accept(ctx context.Context, a *store.Acceptance) error {
	if err := i.cfg.Store.Accept(ctx, a); err != nil {
		return err
	}
	for _, r := range a.Recipients {
		i.cfg.Queue.Waiting(relay.Lane{Pool: a.Message.Pool, Site: r.Site}, a.Message.Tenant, r.DueAt)
	}
	return nil
}

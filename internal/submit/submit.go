// Package submit is the one way in: whatever protocol a message comes by, it
// becomes a queued message here and nowhere else. It judges who the message is
// from on the exact octets that will leave, makes the few header edits that
// postern makes, and commits message, recipients, event and body together.
//
// It speaks no protocol and authenticates nobody: it is given a principal. Its
// one invariant: Commit returns nil only after the synced commit of everything,
// and after any error nothing of the message remains.
package submit

import (
	"context"
	"log/slog"
	"time"

	"postern/internal/credit"
	"postern/internal/message"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
)

// Store is what submit needs of the durable store; *store.Store has it.
type Store interface {
	Epoch() int64
	NewBody(id relay.MessageID) *store.Body
	BodyOf(id relay.MessageID, octets []byte) *store.Body
	Accept(ctx context.Context, a *store.Acceptance) error
	AcceptAll(ctx context.Context, as []*store.Acceptance, idem *store.Idempotency) error
	// RecordEvent takes an event of no message; it never blocks.
	RecordEvent(e relay.Event)
}

// Credits counts what principals send, against their limits; *credit.Ledger does.
type Credits interface {
	Reserve(ctx context.Context, c credit.Claim) (credit.Reservation, error)
	Exhausted(ctx context.Context, account relay.Account, subuser *relay.Subuser, key *relay.Key) *credit.Exceeded
}

// Queue takes over what was committed; *queue.Queue does.
type Queue interface {
	Admit(t relay.Tenant, lanes []relay.Lane, size int64) (queue.Admission, bool)
	Waiting(l relay.Lane, t relay.Tenant, at time.Time)
}

// Directory answers from memory; *identity.Directory does.
type Directory interface {
	sender.Directory
	Pool(id relay.PoolID) (relay.Pool, bool)
	DefaultPool(t relay.Tenant) (relay.Pool, bool)
	PoolNamed(account relay.AccountID, name string) (relay.Pool, bool)
	Subuser(id relay.SubuserID) (relay.Subuser, bool)
	Sending(t relay.Tenant) (ok bool, why string)
}

// Config sets a Service up. Limits of zero mean the defaults named.
type Config struct {
	Store       Store
	Queue       Queue
	Directory   Directory
	Credits     Credits // nil: nothing is counted and nothing limited
	ReturnPaths *ReturnPaths
	Logger      *slog.Logger
	Now         func() time.Time
	QueueNow    func() time.Time // the queue's time, for when mail is due and expires; Now

	Hostname      string   // in Received, Message-ID and return paths
	Names         []string // other names of ours, for loops and forged results
	HeaderBytes   int      // 262,144
	HeaderFields  int      // 1,000
	RefuseLong    bool     // long lines: refuse instead of re-encoding
	IgnoreSMTPAPI bool     // X-SMTPAPI keys that are not honoured: record instead of refusing
	MaxHops       int      // Received fields; 100
	Retry         relay.Retry
	MaxMessage    int64 // octets of a message as received; 31,457,280
	RewriteBudget int64 // octets of messages whose long lines are re-encoded at once; 33,554,432
}

// Service accepts messages.
type Service struct {
	cfg      Config
	rewrites *budget
	refusals *refusals
}

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.HeaderBytes <= 0 {
		cfg.HeaderBytes = message.DefaultHeaderBytes
	}
	if cfg.HeaderFields <= 0 {
		cfg.HeaderFields = message.DefaultHeaderFields
	}
	if cfg.MaxHops <= 0 {
		cfg.MaxHops = message.MaxReceived
	}
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = 30 << 20
	}
	if cfg.Retry.Lifetime <= 0 {
		cfg.Retry.Lifetime = queue.DefaultRetry.Lifetime
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.QueueNow == nil {
		cfg.QueueNow = cfg.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.RewriteBudget <= 0 {
		cfg.RewriteBudget = 32 << 20
	}
	return &Service{cfg: cfg, rewrites: newBudget(cfg.RewriteBudget), refusals: newRefusals(cfg.Store.RecordEvent)}
}

// Envelope is a transaction as the client gave it.
type Envelope struct {
	From       smtp.Address // zero: the null reverse-path
	Recipients []Recipient
	Body       smtp.Body
	SMTPUTF8   bool
	Ret        string
	EnvID      string
	Source     relay.Source
	Binary     bool // came by BDAT as BINARYMIME: lines are not judged

	// What the HTTP API says beside the message, and SMTP says in X-SMTPAPI.
	Pool       string            // name of the pool that it leaves from; "": the tenant's
	Categories []string          // for events
	UniqueArgs map[string]string // for events
	SendAt     time.Time         // not before; zero: now
}

// Recipient is one forward-path with its DSN wishes.
type Recipient struct {
	Address smtp.Address
	Notify  relay.Notify
	ORcpt   string
}

// CheckRecipient judges a forward-path by itself. The error is the smtp.Reply to
// send. Commit asks it of every recipient, with the key as it is by then.
func (s *Service) CheckRecipient(p *relay.Principal, a smtp.Address) error {
	if a.Domain() == "" {
		return smtp.R(550, 5, 1, 1, "This relay has no mailboxes; give a full address")
	}
	if a.IsLiteral() {
		return smtp.R(550, 5, 1, 2, "Address literals are not accepted")
	}
	d := a.ASCIIDomain()
	if d == "" || sameHost(d, s.cfg.Hostname) || reservedName(d) {
		return smtp.R(550, 5, 1, 2, "No mail is relayed to that domain")
	}
	if p.Key != nil && len(p.Key.RecipientDomains) > 0 && !containsFold(p.Key.RecipientDomains, d) {
		return smtp.R(550, 5, 7, 1, "This key may not send to that domain")
	}
	return nil
}

// The refusals of Commit. Words that clients match on are the contract's.
var (
	replyIdentity = smtp.R(550, 5, 7, 1, "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.")
	replyFull     = smtp.R(452, 4, 3, 1, "Insufficient system storage; try again later")
	replyStopped  = smtp.R(451, 4, 3, 0, "Mail cannot be stored now; try again later")
	replyBusy     = smtp.R(451, 4, 3, 2, "Too much text with long lines at the moment; try again later")
	replyTooLarge = smtp.R(552, 5, 3, 4, "Message size exceeds the limit")
	replyLoop     = smtp.R(554, 5, 4, 6, "Routing loop detected")
	replyNoPool   = smtp.R(554, 5, 6, 0, "X-SMTPAPI: ip_pool names no pool of this account")
	replySending  = smtp.R(454, 4, 7, 0, "Sending is switched off for this account")
)

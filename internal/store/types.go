package store

import (
	"context"
	"errors"
	"io"
	"time"

	"postern/internal/relay"
)

// Errors that callers tell apart.
var (
	// ErrFull: the disk or quota is full; nothing was stored. Goes away by itself.
	ErrFull = errors.New("store: no space left")
	// ErrStopped: a sync failed, the disk turned read-only or a commit's outcome is
	// unknown; the store refuses all changes until it is opened again.
	ErrStopped = errors.New("store: stopped after a failed or unknown commit")
	// ErrLeaseLost: the result was made under a lease that is no longer held; nothing changed.
	ErrLeaseLost = errors.New("store: lease lost")
	// ErrDamaged: stored octets do not match their checksum.
	ErrDamaged = errors.New("store: stored content is damaged")
)

// Acceptance is a message about to be accepted. All of it commits together.
type Acceptance struct {
	Message    relay.Message
	Recipients []relay.Recipient // Lease 0: waits for DueAt. Lease = Epoch(): the caller runs the first attempt
	Head       []byte            // header section as it will leave, with the empty line that ends it
	Body       *Body             // the rest; nil: none
	Events     []relay.Event     // At, Kind and subject filled in; Epoch and Seq are given at commit
	// Usage is counted if, and only if, the acceptance commits.
	Usage []relay.UsageDelta
}

// Content is a message's octets, readable more than once.
type Content interface {
	Open(ctx context.Context) (io.ReadCloser, error) // ErrDamaged from Read when a chunk fails its check
	Size() int64
}

// Job is one message with those of its recipients that were claimed for one lane.
type Job struct {
	Message    relay.Message
	Recipients []relay.Recipient
}

// RecipientResult is what one attempt made of one recipient.
type RecipientResult struct {
	N          int
	Generation int64
	Final      bool // leaves the queue; its end is in the result's events
	// What is kept when it is not final:
	DueAt             time.Time
	Attempts          int
	PossiblyDelivered bool
	DelayNoticed      bool
	LastReply         string
	LastHost          string
	LastAt            time.Time
}

// Result is the end of one attempt, in one commit: recipients, events, and the
// messages that it gives birth to (DSNs).
type Result struct {
	Message    relay.MessageID
	Recipients []RecipientResult
	Signatures []byte // stored with the message if it stays queued; nil: unchanged
	SignedWith []string
	Events     []relay.Event
	Generated  []*Acceptance
}

// Share is what waits in the store, unleased, for one lane and tenant.
type Share struct {
	Lane   relay.Lane
	Tenant relay.Tenant
	Count  int64
	MinDue time.Time
}

// Ref names one claimed recipient.
type Ref struct {
	Message    relay.MessageID
	N          int
	Generation int64
}

// Recovery says what Open found of a previous process.
type Recovery struct {
	Clean       bool // the previous process closed the store
	Requeued    int64
	InFlight    int64 // marked possibly delivered
	Quarantined int64
}

// By says who makes an administrative change, and from where.
type By struct {
	Who  string // "uid 0", a key's id, "init"
	From string // an address, "admin.sock", "command line"
	// Rank is how they stand to the tenant whose things they change.
	Rank relay.Rank
	// Subuser is whose person or key they are; zero: the account's, or nobody's.
	Subuser relay.SubuserID
	// Restricted: of the account, but nothing of its own is theirs. What they do to a
	// subuser's mail counts as the subuser's own.
	Restricted bool
	// Session is the login in which a person does it, Key the key that does; zero: none.
	// Where that has ended meanwhile the change is refused: ErrSessionOver, ErrKeyOver.
	Session relay.SessionID
	Key     relay.KeyID
}

// MessageFilter selects queued messages. Zero members do not restrict.
type MessageFilter struct {
	IDs       []relay.MessageID // only these
	Account   relay.AccountID
	Subuser   relay.SubuserID
	Key       relay.KeyID
	Pool      relay.PoolID
	Domain    relay.DomainID
	Site      string
	Recipient string
	Sender    string // header From or envelope sender, exact
	State     relay.MessageState
	After     relay.MessageID // page: messages with a larger id
	Limit     int             // at most 1,000; 0: 100
}

// Queued is a queued message with its recipients still in the queue.
type Queued struct {
	Message    relay.Message     `json:"message"`
	Recipients []relay.Recipient `json:"recipients"`
}

// EventFilter selects events, oldest first. Zero members do not restrict.
type EventFilter struct {
	Message    relay.MessageID
	Account    relay.AccountID
	Key        relay.KeyID
	Recipient  string
	Kinds      []relay.EventKind
	Since      time.Time
	Until      time.Time
	AfterEpoch int64 // cursor: strictly after (AfterEpoch, AfterSeq)
	AfterSeq   int64
	Newest     bool // the newest Limit events (still returned oldest first)
	Limit      int  // at most 10,000; 0: 100
}

// LoginNone selects the records that have no mechanism, or no TLS.
const LoginNone = "none"

// LoginFilter selects login records, oldest first.
type LoginFilter struct {
	Account   relay.AccountID
	Subuser   relay.SubuserID
	Key       relay.KeyID
	Addr      string
	Network   string // the /24 or /48 around it, as it was recorded
	Mechanism string // LoginNone: those by none
	TLS       string // the version only, such as "TLSv1.2"; LoginNone: those in the clear
	Tried     string // the id that was tried, exact
	Result    relay.LoginResult
	Since     time.Time
	Until     time.Time
	After     int64 // cursor: the id of the last record seen
	Newest    bool
	Limit     int
}

// StoredLogin is a login record with its cursor.
type StoredLogin struct {
	ID int64 `json:"id"`
	relay.Login
}

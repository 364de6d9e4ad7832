package deliver

import (
	"context"
	"io"
	"net/netip"
	"time"

	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/smtpclient"
)

// Content is a message's octets, readable more than once.
type Content interface {
	Open(ctx context.Context) (io.ReadCloser, error)
	Size() int64
}

// Request is one message for recipients of one route.
type Request struct {
	Route      Route
	Pool       relay.Pool     // source addresses; without any, the system chooses
	TLS        relay.TLSLevel // the strongest that pool and account ask for
	Message    *relay.Message
	Recipients []relay.Recipient
	Prefix     []byte // header fields to send first, CRLF-ended: the signatures
	Content    Content
	// BeforeEnd, if set, is called after a message was written and before its end
	// is: once per transaction, so more than once where the recipients do not fit
	// one. Nothing is delivered by a transaction for which it returns an error.
	BeforeEnd func(context.Context) error
}

// State is what became of a recipient in an attempt.
type State string

// The states.
const (
	Delivered State = "delivered" // the host took responsibility
	Deferred  State = "deferred"  // not now
	Failed    State = "failed"    // not ever
)

// Outcome is the end of an attempt for one recipient.
type Outcome struct {
	N     int // of the recipient
	State State
	Reply smtp.Reply       // the host's last word, or ours; printable, at most 512 octets of text
	Stage smtpclient.Stage // at which it fell; "" where no host was reached

	Host    string     // MX name; "" where none came into it
	IP      netip.Addr // its address
	LocalIP netip.Addr // ours
	TLS     string     // "TLSv1.3 TLS_AES_128_GCM_SHA256"; "": in the clear

	// Ambiguous (RFC 1047): the link broke after the end of the data. The host may
	// have the message; another attempt may deliver it twice.
	Ambiguous bool
	// NoDSN: delivered to a host without DSN: from here on nobody reports success,
	// which is "relayed" (RFC 3461 §5.2.2) to whoever asked.
	NoDSN bool
	// NextAt is when another attempt has a chance, where that is known: the source
	// address may send no more before. Zero: the schedule says.
	NextAt time.Time
}

// Connect says what an attempt showed about the destination as a whole.
type Connect string

// The classes.
const (
	ConnOK     Connect = "ok"        // there was a session, or nothing to say against it
	ConnFailed Connect = "failed"    // no session could be opened with any host
	Throttled  Connect = "throttled" // the destination asks for less
	Untried    Connect = "untried"   // no host was asked: our own limits were in the way
)

// Result is the end of an attempt.
type Result struct {
	Outcomes []Outcome // exactly one per recipient of the request, in their order
	Connect  Connect
	Duration time.Duration
	// Content is the error with which reading the message failed, if it did; the
	// recipients are Deferred then.
	Content error
}

// Failure is why a destination has no route. A permanent reply is final for
// its recipients.
type Failure struct {
	Reply smtp.Reply
	Err   error // the cause, for our logs; may be nil
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return f.Reply.String() + ": " + f.Err.Error()
	}
	return f.Reply.String()
}

func (f *Failure) Unwrap() error { return f.Err }

package relay

import (
	"net/netip"
	"time"
)

// Notify is the set of DSNs that a recipient asked for (RFC 3461 §4.1).
type Notify uint8

// The bits. NotifyDefault (none set) means FAILURE, and DELAY at our choice.
const (
	NotifyDefault Notify = 0
	NotifyNever   Notify = 1 << 0
	NotifySuccess Notify = 1 << 1
	NotifyFailure Notify = 1 << 2
	NotifyDelay   Notify = 1 << 3
)

// BodyKind is the BODY= parameter of MAIL (RFC 6152, RFC 3030).
type BodyKind string

// The kinds.
const (
	Body7Bit   BodyKind = "7BIT"
	Body8Bit   BodyKind = "8BITMIME"
	BodyBinary BodyKind = "BINARYMIME"
)

// MessageState is the state of a whole message.
type MessageState string

// The states. A message without recipients left is deleted, its end is in the
// event log.
const (
	MessageQueued      MessageState = "queued"      // its recipients are on their way
	MessageHeld        MessageState = "held"        // waits for release by a person
	MessageQuarantined MessageState = "quarantined" // crashed the process thrice, or its body is damaged
)

// Message is one accepted message: everything but body and recipients.
type Message struct {
	ID MessageID `json:"id"`
	Tenant
	Key    KeyID        `json:"api_key_id,omitzero"`
	Pool   PoolID       `json:"pool_id"`
	Domain DomainID     `json:"domain_id,omitzero"` // whose keys sign it; zero: the system domain
	State  MessageState `json:"state"`
	Reason string       `json:"reason,omitempty"` // why held, quarantined, or put off when it was accepted

	EnvelopeFrom string   `json:"envelope_from"`      // as the client gave it; "" is the null reverse-path
	ReturnPath   string   `json:"return_path"`        // as it leaves; "" for DSNs
	Body         BodyKind `json:"body"`               // what the octets need: 8BITMIME if any octet > 127
	SMTPUTF8     bool     `json:"smtputf8,omitempty"` // the next hop must have SMTPUTF8
	RequireTLS   bool     `json:"require_tls,omitempty"`
	Ret          string   `json:"ret,omitempty"`   // RFC 3461 RET: FULL, HDRS or ""
	EnvID        string   `json:"envid,omitempty"` // RFC 3461 ENVID, decoded

	HeaderFrom string `json:"from"`       // the address in From
	Subject    string `json:"subject"`    // raw, cut at 256 octets
	HeaderID   string `json:"message_id"` // Message-ID with its brackets
	Size       int64  `json:"size"`       // octets that will leave, without signatures

	Categories []string          `json:"categories,omitempty"`
	UniqueArgs map[string]string `json:"unique_args,omitempty"`

	AcceptedAt time.Time `json:"accepted_at"`
	ExpiresAt  time.Time `json:"expires_at"`

	// Signatures are complete DKIM-Signature fields, CRLF-ended, made at the
	// first attempt. SignedWith lists "selector._domainkey.domain" of each, so
	// that a withdrawn selector is noticed.
	Signatures []byte   `json:"-"`
	SignedWith []string `json:"signed_with,omitempty"`

	// Crashes counts process deaths while an attempt of this message was under way.
	Crashes int `json:"crashes,omitempty"`

	Source Source `json:"source"`
}

// Source says where a message came from.
type Source struct {
	Addr      netip.Addr `json:"addr,omitzero"`
	Helo      string     `json:"helo,omitempty"`
	Protocol  string     `json:"protocol"` // ESMTPSA, HTTP or "internal"
	TLS       string     `json:"tls,omitempty"`
	Mechanism string     `json:"mechanism,omitempty"`
}

// RecipientState is the one recorded state of a recipient.
type RecipientState string

// The states. All but Queued are final and stand in the event log only.
const (
	RecipientQueued    RecipientState = "queued"
	RecipientDelivered RecipientState = "delivered"
	RecipientBounced   RecipientState = "bounced"
	RecipientDropped   RecipientState = "dropped"
)

// Recipient is one forward-path of a message, with the state of its delivery.
type Recipient struct {
	Message MessageID `json:"message_id"`
	N       int       `json:"n"`       // 0-based position in the envelope
	Address string    `json:"address"` // wire form, exactly as given
	Site    string    `json:"site"`    // destination domain: A-label, lower case
	Notify  Notify    `json:"notify,omitempty"`
	ORcpt   string    `json:"orcpt,omitempty"` // RFC 3461 ORCPT, as given ("rfc822;…")

	DueAt    time.Time `json:"due_at"`
	Attempts int       `json:"attempts"`
	// Lease is the node epoch that works on it; 0: nobody. Generation rises with
	// every claim; a result counts only for the generation it was made under.
	Lease      int64 `json:"lease,omitempty"`
	Generation int64 `json:"generation"`
	// PossiblyDelivered: a process died between end-of-data and the recorded answer.
	PossiblyDelivered bool `json:"possibly_delivered,omitempty"`
	DelayNoticed      bool `json:"delay_noticed,omitempty"`
	// Held: this recipient waits for release (its message's state may still be queued for others).
	LastReply string    `json:"last_reply,omitempty"` // the remote's words, sanitised, with code
	LastHost  string    `json:"last_host,omitempty"`
	LastAt    time.Time `json:"last_attempt_at,omitzero"`
}

// Lane is what limits and fairness apply to: where from and where to.
type Lane struct {
	Pool PoolID `json:"pool_id"`
	Site string `json:"site"` // destination domain, A-label, lower case
}

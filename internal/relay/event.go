package relay

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"
)

// EventKind names a step in a message's life, or of the relay's.
type EventKind string

// The kinds. Those of one message carry Message; those of one recipient carry
// Recipient too.
const (
	EventReceived    EventKind = "received"    // accepted: the 250 was about to be said
	EventDeferred    EventKind = "deferred"    // an attempt failed for now
	EventDelivered   EventKind = "delivered"   // the next hop took it (final)
	EventBounced     EventKind = "bounced"     // refused, expired, or a DSN came back (final)
	EventDropped     EventKind = "dropped"     // not sent for a recorded reason (final)
	EventHeld        EventKind = "held"        // waits for release
	EventReleased    EventKind = "released"    // a person let it go on
	EventRetried     EventKind = "retried"     // a person asked for an attempt now
	EventQuarantined EventKind = "quarantined" // taken out after crashes or damage
	EventRecovered   EventKind = "recovered"   // found in flight after a crash: possibly delivered
	EventNotified    EventKind = "notified"    // a DSN about it was queued
	EventRelayed     EventKind = "relayed"     // delivered to a hop without DSN (RFC 3461 §5.2.2)
	EventRefused     EventKind = "refused"     // not accepted: the sender may not write as this
	// EventAlert is not about a message: something that a person should look at.
	// Its data has an Alert in Alert.
	EventAlert EventKind = "alert"
)

// Event is one line of the append-only event log. Epoch and Seq order it: per
// epoch the sequence has no gaps.
type Event struct {
	Epoch int64     `json:"epoch"`
	Seq   int64     `json:"seq"`
	At    time.Time `json:"at"`
	Kind  EventKind `json:"event"`
	Tenant
	Key       KeyID           `json:"api_key_id,omitzero"`
	Message   MessageID       `json:"message_id,omitzero"`
	N         int             `json:"n"` // recipient position; -1: the whole message
	Recipient string          `json:"recipient,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"` // EventData, or its like
}

// EventData is the detail of an event. Each kind fills what it knows.
type EventData struct {
	EnvelopeFrom string            `json:"envelope_from,omitempty"`
	From         string            `json:"from,omitempty"`
	Subject      string            `json:"subject,omitempty"`
	HeaderID     string            `json:"smtp_id,omitempty"`
	Size         int64             `json:"size,omitempty"`
	Recipients   []string          `json:"recipients,omitempty"` // on received
	Categories   []string          `json:"categories,omitempty"`
	UniqueArgs   map[string]string `json:"unique_args,omitempty"`
	Source       *Source           `json:"source,omitempty"`
	Pool         string            `json:"pool,omitempty"`

	Attempt  int       `json:"attempt,omitempty"`
	Code     int       `json:"code,omitempty"`
	Enhanced string    `json:"enhanced,omitempty"`
	Reply    string    `json:"reply,omitempty"` // the remote's words, or ours
	Host     string    `json:"host,omitempty"`  // MX name
	IP       string    `json:"ip,omitempty"`
	LocalIP  string    `json:"local_ip,omitempty"`
	TLS      string    `json:"tls,omitempty"` // "TLSv1.3 TLS_AES_128_GCM_SHA256"; "" is plain
	NextAt   time.Time `json:"next_attempt_at,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	By       string    `json:"by,omitempty"` // the person or key behind it
	// ByRank is how they stood to the message's tenant when they did it; empty: it was
	// not noted. Who is called By may be somebody else by now.
	ByRank     string `json:"by_rank,omitempty"`
	Duplicate  bool   `json:"possibly_delivered,omitempty"`
	Ambiguous  bool   `json:"ambiguous,omitempty"` // the link died after the data: the hop may have it
	DurationMS int64  `json:"duration_ms,omitempty"`

	// Rule is why the sender was or was not allowed, Field and Address what decided.
	Rule    string `json:"sender_rule,omitempty"`
	Field   string `json:"sender_field,omitempty"`
	Address string `json:"sender_address,omitempty"`
	// Count is how many refusals that are alike a refused event stands for.
	Count int64 `json:"count,omitempty"`

	Alert *Alert `json:"alert,omitempty"`
}

// ByRestricted is the ByRank of a person of the account who is restricted to some of
// its subusers: what they do counts as the subuser's own, but they are not of it.
const ByRestricted = "restricted"

// Stood is how whoever did it stood to the message's tenant then; false: nobody did, it
// came about by itself. Of what was done before that was noted, only the operator is
// known, by the name of whoever comes by admin.sock; the rest counts as the account's.
func (d *EventData) Stood() (rank Rank, somebody bool) {
	switch {
	case d.By == "" && d.ByRank == "":
		return RankOwn, false
	case d.ByRank == RankOwn.Name(), d.ByRank == ByRestricted:
		return RankOwn, true
	case d.ByRank == RankOperator.Name(), d.ByRank == "" && strings.HasPrefix(d.By, "uid "):
		return RankOperator, true
	}
	return RankAccount, true
}

// AlertKind names what an alert is about.
type AlertKind string

// The kinds.
const (
	AlertCanary   AlertKind = "canary"       // a key that nobody may use was tried
	AlertUsage80  AlertKind = "usage_80"     // 80 % of a limit is used
	AlertUsage100 AlertKind = "usage_100"    // a limit is reached
	AlertExpiry   AlertKind = "key_expiring" // a key ends soon
	AlertGuessing AlertKind = "guessing"     // many failed logins on one account or key
	AlertBan      AlertKind = "ban"          // an address or network was shut out
	AlertAccess   AlertKind = "access_trial" // a trial of IP access rules ended by itself
	AlertDomain   AlertKind = "domain"       // a domain's proof, or what receivers see of it, has changed
	AlertDKIM     AlertKind = "dkim"         // a step of a key rotation, or one that is due
	AlertPerson   AlertKind = "person"       // a login of a person that looks stolen: a copied passkey
	AlertWatch    AlertKind = "watch"        // a finding of the watch: so it leaves by the exports
	AlertBehind   AlertKind = "behind"       // what reads the logs, such as an export, has stood for a day, or goes on
)

// Alert is the detail of an alert event.
type Alert struct {
	Kind  AlertKind `json:"kind"`
	Text  string    `json:"text"`            // in words, with what to do
	Addr  string    `json:"addr,omitempty"`  // where it came from
	Limit string    `json:"limit,omitempty"` // which limit
	Used  int64     `json:"used,omitempty"`
	Total int64     `json:"total,omitempty"`
	// Domain and State: of a domain, and what became of it.
	Domain string `json:"domain,omitempty"`
	State  string `json:"state,omitempty"`
	// Finding, Rule and Severity: of the watch.
	Finding  WatchID       `json:"finding_id,omitzero"`
	Rule     WatchRule     `json:"rule,omitempty"`
	Severity WatchSeverity `json:"severity,omitempty"`
}

// LoginResult is how an attempt to log in ended.
type LoginResult string

// The results. Only "ok" lets anyone in; the client sees two wordings at most.
const (
	LoginOK          LoginResult = "ok"
	LoginMalformed   LoginResult = "malformed" // not a key of ours at all
	LoginUnknown     LoginResult = "unknown"   // well-formed, no such key
	LoginWrong       LoginResult = "wrong"     // the key exists, the secret is another
	LoginExpired     LoginResult = "expired"
	LoginRevoked     LoginResult = "revoked"
	LoginDisabled    LoginResult = "disabled"    // key, subuser or account switched off
	LoginNetwork     LoginResult = "network"     // right secret, outside the key's networks
	LoginScope       LoginResult = "scope"       // right secret, may not send
	LoginCanary      LoginResult = "canary"      // a key that is never valid was tried
	LoginCleartext   LoginResult = "cleartext"   // AUTH before TLS: the credential is exposed
	LoginAborted     LoginResult = "aborted"     // the client gave up with "*"
	LoginUnavailable LoginResult = "unavailable" // we could not tell
	LoginAccess      LoginResult = "access"      // right secret, outside the tenant's allow-list
	LoginThrottled   LoginResult = "throttled"   // refused unseen: too many failures from there, or on it
	LoginMechanism   LoginResult = "mechanism"   // right secret, by a mechanism that the policy forbids
	LoginPassword    LoginResult = "password"    // a person's user name and password: programs use a key
	LoginToken       LoginResult = "token"       // a token that is forged, expired, for somebody else, or of nobody we trust
	LoginBinding     LoginResult = "binding"     // client and server do not see the same TLS: somebody is between them
	LoginAmbiguous   LoginResult = "ambiguous"   // a good token or certificate that several keys claim
)

// Login is the record of one attempt to log in, refused or not.
type Login struct {
	At        time.Time `json:"at"`
	Protocol  string    `json:"protocol"` // smtp, http, console
	Listener  string    `json:"listener,omitempty"`
	Mechanism string    `json:"mechanism,omitempty"`
	Tried     string    `json:"tried,omitempty"` // the id that was tried; never a secret
	// Detail says more where the result does not: what is wrong with a token, which
	// rule would have refused (monitor-only), "use a key".
	Detail string `json:"detail,omitempty"`
	Key    KeyID  `json:"api_key_id,omitzero"`
	Tenant
	Addr    netip.Addr  `json:"addr"`
	Network string      `json:"network,omitempty"` // the /24 or /48 around it
	Helo    string      `json:"helo,omitempty"`
	TLS     string      `json:"tls,omitempty"`
	Result  LoginResult `json:"result"`
	Count   int64       `json:"count"` // identical refusals within a minute are one record
}

// Change is one administrative change.
type Change struct {
	At      time.Time       `json:"at"`
	Account AccountID       `json:"account_id,omitzero"`
	By      string          `json:"by"`   // "uid 0 on admin.sock", a key, a person
	From    string          `json:"from"` // address, or "admin.sock"
	Action  string          `json:"action"`
	Subject string          `json:"subject"`
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
}

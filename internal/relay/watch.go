package relay

import (
	"slices"
	"time"
)

// WatchID names a finding of the watch.
type WatchID struct{ ID }

// WatchRule names what the watch looks for.
type WatchRule string

// The rules.
const (
	WatchNetwork    WatchRule = "network"    // a key from a network or country where it never was
	WatchTravel     WatchRule = "travel"     // a key in two places that are too far apart for the time between
	WatchPlaces     WatchRule = "places"     // a key from too many places at once
	WatchBurst      WatchRule = "burst"      // far more mail than the key ever sent at that hour of the week
	WatchRecipients WatchRule = "recipients" // a jump of recipients that the key never wrote to
	WatchBounces    WatchRule = "bounces"    // a jump of bounces
	WatchUnknown    WatchRule = "unknown"    // a jump of recipients that do not exist
	WatchSpread     WatchRule = "spread"     // failed logins on one account from many addresses
	WatchSweep      WatchRule = "sweep"      // failed logins from one address on many accounts
	WatchCanary     WatchRule = "canary"     // a canary key was tried
	WatchDowngrade  WatchRule = "downgrade"  // an old TLS version or a weak mechanism, newly used
	WatchHours      WatchRule = "hours"      // mail at hours at which the key never sent
	WatchDomain     WatchRule = "domain"     // the DNS records of a domain vanished
)

// WatchRules are all rules, in the order in which people read them.
var WatchRules = []WatchRule{
	WatchCanary, WatchNetwork, WatchTravel, WatchPlaces, WatchBurst, WatchHours, WatchRecipients, WatchBounces, WatchUnknown,
	WatchSpread, WatchSweep, WatchDowngrade, WatchDomain,
}

// WatchSeverity says how much a finding matters.
type WatchSeverity string

// The severities, mildest first.
const (
	WatchNotice   WatchSeverity = "notice"   // worth a look
	WatchWarning  WatchSeverity = "warning"  // probably not what the owner wants
	WatchCritical WatchSeverity = "critical" // a secret is in wrong hands, or mail stops
)

// WatchState is what became of a finding.
type WatchState string

// The states.
const (
	WatchOpen      WatchState = "open"
	WatchDismissed WatchState = "dismissed" // a person says that nothing is wrong
	WatchConfirmed WatchState = "confirmed" // a person says that it is real
	WatchEnded     WatchState = "ended"     // its cause went away by itself: a domain's records are back
)

// WatchAnswer is what the watch does about a finding, mildest first. Each does
// what those before it do.
type WatchAnswer string

// The answers.
const (
	WatchRecord WatchAnswer = "record" // it stands in the list
	WatchTell   WatchAnswer = "tell"   // mail and webhook
	WatchSlow   WatchAnswer = "slow"   // the key may send a fraction of its usual peak
	WatchHold   WatchAnswer = "hold"   // the key's mail waits for release
	WatchStop   WatchAnswer = "stop"   // the key is disabled
)

// Stricter reports whether an answer does more than another one.
func (a WatchAnswer) Stricter(than WatchAnswer) bool {
	all := []WatchAnswer{WatchRecord, WatchTell, WatchSlow, WatchHold, WatchStop}
	return slices.Index(all, a) > slices.Index(all, than)
}

// WatchPlace is where something came from.
type WatchPlace struct {
	Addr    string `json:"addr,omitempty"`
	Network string `json:"network,omitempty"` // the /24 or /48 around it
	Country string `json:"country,omitempty"` // ISO 3166-1 alpha-2; empty without a database of places
	City    string `json:"city,omitempty"`
	ASN     uint   `json:"asn,omitempty"`
}

// WatchEvidence is what a finding rests on. Each rule fills what it knows.
type WatchEvidence struct {
	// Expected and Seen are numbers of Unit: at most so many were to be expected, so
	// many were seen.
	Expected float64 `json:"expected,omitempty"`
	Seen     float64 `json:"seen,omitempty"`
	Unit     string  `json:"unit,omitempty"` // "recipients in an hour"
	// Places: the new one first where there are two.
	Places  []WatchPlace `json:"places,omitempty"`  // at most 20
	Times   []time.Time  `json:"times,omitempty"`   // of the samples, at most 20
	Samples []string     `json:"samples,omitempty"` // recipients, messages, replies, ids that were tried: at most 10
	// Values are further numbers by name: km, hours, rate, limit.
	Values map[string]float64 `json:"values,omitempty"`
	// Was and Now are what changed: a mechanism, a TLS version, the state of a domain.
	Was string `json:"was,omitempty"`
	Now string `json:"now,omitempty"`
}

// WatchFinding is one thing that the watch noticed. There is one open finding for
// a rule, key and subject; what happens again adds to it.
type WatchFinding struct {
	ID   WatchID   `json:"id"`
	Rule WatchRule `json:"rule"`
	Tenant
	Key     KeyID  `json:"api_key_id,omitzero"`
	KeyName string `json:"api_key_name,omitempty"`
	// Subject tells findings of a rule about one key apart: a country, a network, an
	// address, a domain.
	Subject  string        `json:"subject,omitempty"`
	Severity WatchSeverity `json:"severity"`
	State    WatchState    `json:"state"`
	Title    string        `json:"title"` // one line
	Text     string        `json:"text"`  // who, where, why, in words
	Fix      string        `json:"fix"`   // what to do
	Evidence WatchEvidence `json:"evidence"`
	FirstAt  time.Time     `json:"first_at"`
	LastAt   time.Time     `json:"last_at"`
	Count    int64         `json:"count"` // how often it was seen

	// Answer is what the account's settings ask for; AnsweredAt when it was done;
	// AnswerError why not, for good, or yet where AnsweredAt is zero. Undo is what it
	// changed, as far as it still stands.
	Answer      WatchAnswer `json:"answer"`
	AnsweredAt  time.Time   `json:"answered_at,omitzero"`
	AnswerError string      `json:"answer_error,omitempty"`
	Undo        *WatchUndo  `json:"undo,omitempty"`
	// Bent is the answer that last changed the key, as Raised counts them, from 1; 0:
	// none did. Whoever put the key back since has the last word on that answer.
	Bent int64 `json:"-"`
	// Raised is how often it was answered anew, since it became worse or the settings
	// asked for more.
	Raised int64 `json:"raised,omitempty"`

	DecidedAt time.Time `json:"decided_at,omitzero"`
	DecidedBy string    `json:"decided_by,omitempty"`
	// Teach: what was seen counts as normal from now on.
	Teach bool `json:"teach,omitempty"`
}

// WatchRuleSetting is how an account wants one rule.
type WatchRuleSetting struct {
	Off    bool        `json:"off,omitempty"`
	Answer WatchAnswer `json:"answer,omitempty"` // empty: as the rule's default
	// Margin is how far beyond the usual something must be: 1 is the rule's own
	// measure, 2 twice as far, 0.5 half as far. 0 is 1; from 0.25 to 10.
	Margin float64 `json:"margin,omitempty"`
	// Floor is the least number that is worth a finding; 0 is the rule's own.
	Floor int64 `json:"floor,omitempty"`
}

// WatchSettings is how an account wants to be watched. The zero value is the
// default: every rule is on, and tells.
type WatchSettings struct {
	Rules map[WatchRule]WatchRuleSetting `json:"rules,omitempty"`
	// MailTo are told by mail; empty: the account's owner.
	MailTo []string `json:"mail_to,omitempty"`
	// NoMail: nobody is told by mail.
	NoMail bool `json:"no_mail,omitempty"`
	// Webhook is an https URL that findings are posted to, signed.
	Webhook string `json:"webhook,omitempty"`
	// Secrets sign what is posted: the present one, and during a rotation the one
	// before. They are never shown again and never in a record.
	Secrets [][]byte `json:"-"`
	// SecretUntil is how long the second secret signs too.
	SecretUntil time.Time `json:"secret_until,omitzero"`
}

// Rule returns the settings of a rule with defaults filled in.
func (s *WatchSettings) Rule(r WatchRule) WatchRuleSetting {
	out := s.Rules[r]
	if out.Answer == "" {
		out.Answer = DefaultWatchAnswer(r)
	}
	if out.Margin == 0 {
		out.Margin = 1
	}
	return out
}

// DefaultWatchAnswer is what is done about a rule's findings where nobody says
// otherwise. Nothing stops or slows mail by default; a sweep concerns the
// operator's network, where scans are daily bread, and is recorded.
func DefaultWatchAnswer(r WatchRule) WatchAnswer {
	if r == WatchSweep {
		return WatchRecord
	}
	return WatchTell
}

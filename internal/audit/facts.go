package audit

import (
	"time"

	"postern/internal/relay"
)

const day = 24 * time.Hour

// Options are the bounds that checks measure against. The zero value of a member
// is its default.
type Options struct {
	// UnusedDays: a key that was not used for so long is reported; 90.
	UnusedDays int `json:"unused_days"`
	// UnseenDays: a person who was not seen for so long is reported; 90.
	UnseenDays int `json:"unseen_days"`
	// RotateDays: a secret older than this is reported, where the account's policy
	// names no longest life of its own, or one above a year; 90.
	RotateDays int `json:"rotate_days"`
	// LoginDays is how far back login records are looked at; 30.
	LoginDays int `json:"login_days"`
}

// What options may be, in days.
const (
	MinDays      = 1
	MaxDays      = 3650
	MaxLoginDays = 90
	// MaxRotateDays is the longest life of a key that a policy should allow: what is
	// advised has to mend.
	MaxRotateDays = 365
)

// Filled are the options with defaults in the place of what is not given, or not
// possible.
func (o Options) Filled() Options {
	fill := func(v *int, usual, most int) {
		if *v < MinDays || *v > most {
			*v = usual
		}
	}
	fill(&o.UnusedDays, 90, MaxDays)
	fill(&o.UnseenDays, 90, MaxDays)
	fill(&o.RotateDays, 90, MaxRotateDays)
	fill(&o.LoginDays, 30, MaxLoginDays)
	return o
}

// What checks measure against and no option changes.
const (
	graceNew     = 7 * day             // what is newer may be unused yet
	longestLife  = MaxRotateDays * day // the longest life of a key that a policy should allow
	dkimOld      = 365 * day
	dkimBits     = 2048
	versionOld   = 180 * day
	componentOld = 3 * 365 * day // where nobody says how long it is supported
	wideIPv4     = 8             // a network of fewer bits is no restriction
	wideIPv6     = 20
)

// Facts are all that a report is made of, as of a moment.
type Facts struct {
	Account  relay.Account
	At       time.Time
	Options  Options
	Subusers []relay.Subuser // deleted ones too
	Keys     []relay.Key     // revoked ones too
	Users    []relay.User
	Links    []relay.Link // of setup and invite, unused
	Clients  []Client
	// LoginsSince is from when on Clients is complete.
	LoginsSince time.Time
	Domains     []DomainFacts
	Lists       []relay.AccessList // the account's and its subusers'
	Trail       Trail
	// Exported: records leave this host; nil: nobody knows.
	Exported *bool
	Schedule Schedule
	Watch    WatchFacts
	// Installation is there in the report of the first account only.
	Installation *Installation

	byKey map[relay.KeyID][]Client // of clientsOf
	bySub map[relay.SubuserID]int  // of subuser
}

// Client is one program that logged in with a key: where it came from, what it
// calls itself (EHLO name, or user agent) and how it logged in.
type Client struct {
	Key       relay.KeyID `json:"api_key_id"`
	Protocol  string      `json:"protocol"`
	Addr      string      `json:"addr"`
	Helo      string      `json:"helo"`
	Mechanism string      `json:"mechanism"`
	TLS       string      `json:"tls"` // "TLSv1.3 TLS_AES_128_GCM_SHA256"
	First     time.Time   `json:"first_at"`
	Last      time.Time   `json:"last_at"`
	Logins    int64       `json:"logins"`
}

// DomainFacts is a domain with its last check and its DKIM keys.
type DomainFacts struct {
	relay.Domain
	Check *DomainCheck // nil: never checked
	Keys  []relay.DKIMKey
}

// DomainCheck is what matters here of a domain's last check.
type DomainCheck struct {
	At          time.Time
	Valid       bool // the DNS proves the domain
	Unknown     bool // the DNS did not answer
	Policy      string
	SPFAligned  string
	DKIMAligned string
}

// Trail is what the proof of the record of changes says.
type Trail struct {
	Valid   bool   `json:"valid"`
	Records int64  `json:"records"`
	Problem string `json:"problem,omitempty"`
}

// Installation is what the operator answers for.
type Installation struct {
	Settings   []Setting
	Components []Component
	// Trail is that of the installation's own chain of changes.
	Trail Trail
}

// Setting is one that is weaker than recommended.
type Setting struct {
	Name        string   `json:"name"` // as in the configuration file: people.password_classes
	Value       string   `json:"value"`
	Recommended string   `json:"recommended"`
	Why         string   `json:"why"` // a sentence
	Standards   []string `json:"standards"`
}

// Component is one part of the program that ages.
type Component struct {
	Name     string    `json:"name"` // postern, Go, SQLite, libcrypto
	Version  string    `json:"version"`
	Released time.Time `json:"released,omitzero"`
	// SupportedUntil is when its makers stop mending it; zero: not known.
	SupportedUntil time.Time `json:"supported_until,omitzero"`
}

// live reports whether a key can log in: nothing else is a risk, or a way to send.
func (f *Facts) live(k *relay.Key) bool {
	if k.Canary || !k.RevokedAt.IsZero() || !k.DisabledAt.IsZero() || !k.ExpiresAt.IsZero() && !f.At.Before(k.ExpiresAt) {
		return false
	}
	if k.Subuser.IsZero() {
		return true
	}
	s := f.subuser(k.Subuser)
	return s != nil && s.DisabledAt.IsZero() && s.DeletedAt.IsZero()
}

// index makes what look-ups need, anew for each report.
func (f *Facts) index() {
	f.bySub = make(map[relay.SubuserID]int, len(f.Subusers))
	for i := range f.Subusers {
		f.bySub[f.Subusers[i].ID] = i
	}
	f.byKey = map[relay.KeyID][]Client{}
	for _, c := range f.Clients {
		f.byKey[c.Key] = append(f.byKey[c.Key], c)
	}
}

func (f *Facts) subuser(id relay.SubuserID) *relay.Subuser {
	i, ok := f.bySub[id]
	if !ok {
		return nil
	}
	return &f.Subusers[i]
}

// clientsOf are the programs that a key was used by.
func (f *Facts) clientsOf(id relay.KeyID) []Client { return f.byKey[id] }

// subuserName is how a subuser is called; "" for the account itself.
func (f *Facts) subuserName(id relay.SubuserID) string {
	if s := f.subuser(id); s != nil {
		return s.Name
	}
	return ""
}

// older reports whether a moment lies more than d before the report.
func (f *Facts) older(t time.Time, d time.Duration) bool { return f.At.Sub(t) > d }

func days(n int) time.Duration { return time.Duration(n) * day }

// rotateAfter is how old a secret may become: what the policy says, where it says
// something that is worth it. Setting a policy as the report advises therefore
// changes no finding about a key.
func (f *Facts) rotateAfter() time.Duration {
	if life := f.Account.Policy.MaxKeyLife; life > 0 && life <= longestLife {
		return life
	}
	return days(f.Options.RotateDays)
}

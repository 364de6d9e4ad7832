package v3

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

// attention is one thing that a person should look at.
type attention struct {
	Severity string    `json:"severity" doc:"critical, warning or notice"`
	Code     string    `json:"code"`
	Subject  string    `json:"subject"`
	Text     string    `json:"text"`
	Fix      string    `json:"fix"`
	Href     string    `json:"href" doc:"the console's page about it"`
	At       time.Time `json:"at,omitzero"`
}

const (
	maxAttention = 50 // lines, and findings of the watch that are read
	maxAlike     = 10 // lines of one kind: the rest is one more, and hides no other kind
	expiresSoon  = 14 * 24 * time.Hour
	agedMail     = time.Hour // mail that waits longer is worth a look
)

var severities = []string{"critical", "warning", "notice"}

// attention gathers what a caller may know of, the gravest first.
func (a *API) attention(c *Call, load *overviewLoad) ([]attention, error) {
	out := []attention{}
	for _, part := range []struct {
		scope string
		find  func(c *Call) ([]attention, error)
	}{
		{"alerts.read", a.attendFindings}, {scopeDomainRead, a.attendDomains}, {"api_keys.read", a.attendKeys}, {scopeRecords, a.attendBans},
	} {
		if !c.Allows(part.scope) {
			continue
		}
		found, err := part.find(c)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	if load != nil {
		out = append(out, attendQueue(load, c.Now)...)
	}
	slices.SortStableFunc(out, func(x, y attention) int {
		return cmp.Compare(slices.Index(severities, x.Severity), slices.Index(severities, y.Severity))
	})
	out = fold(out)
	return out[:min(len(out), maxAttention)], nil
}

// fold makes one line of all of a kind, which are as grave, but the first ones.
func fold(all []attention) []attention {
	type kind struct{ severity, code string }
	count := map[kind]int{}
	for i := range all {
		count[kind{all[i].Severity, all[i].Code}]++
	}
	seen := map[kind]int{}
	out := all[:0]
	for _, at := range all {
		k := kind{at.Severity, at.Code}
		switch seen[k]++; {
		case seen[k] <= maxAlike || count[k] == maxAlike+1:
			out = append(out, at)
		case seen[k] == maxAlike+1:
			least := ""
			if strings.HasPrefix(at.Code, watchCode) { // of which not all are read
				least = "At least "
			}
			page, _, _ := strings.Cut(at.Href, "?")
			if above := path.Dir(page); above != "/" {
				page = above
			}
			out = append(out, attention{Severity: at.Severity, Code: at.Code, Href: page, Fix: "See them all.",
				Text: fmt.Sprintf("%s%d more of the kind above (%s).", least, count[k]-maxAlike, strings.ReplaceAll(at.Code, "_", " "))})
		}
	}
	return out
}

// watchCode begins the codes of findings of the watch.
const watchCode = "watch_"

// attendFindings are those of the watch that nobody has decided on.
func (a *API) attendFindings(c *Call) ([]attention, error) {
	if a.Lookout == nil {
		return nil, nil
	}
	open, err := a.Lookout(c.R.Context(), c.Tenant, maxAttention)
	var out []attention
	for i := range open {
		f := &open[i]
		if !c.visible(f.Tenant) {
			continue
		}
		out = append(out, attention{
			Severity: string(f.Severity), Code: watchCode + string(f.Rule), Subject: cmp.Or(f.KeyName, f.Subject), Text: f.Text, Fix: f.Fix,
			Href: "/watch/" + f.ID.String(), At: f.LastAt,
		})
	}
	return out, err
}

// attendDomains are domains that are not verified, or will not be for long.
func (a *API) attendDomains(c *Call) ([]attention, error) {
	domains, err := a.DomainStore.Domains(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return nil, err
	}
	var out []attention
	for i := range domains {
		d := &domains[i]
		if !d.DisabledAt.IsZero() || d.System || !c.visible(relay.Tenant{Account: d.Account, Subuser: d.Subuser}) {
			continue
		}
		at := attention{Subject: d.Name, Href: "/domains/" + strconv.FormatInt(d.Number, 10), At: d.FailingSince, Fix: "Publish the records that its page lists, then have them checked."}
		switch {
		case d.State == relay.DomainFailed || d.State == relay.DomainPaused:
			at.Severity, at.Code, at.Text = "critical", "domain_"+string(d.State), fmt.Sprintf("Mail as %s is refused: its records are not as they must be.", d.Name)
		case d.State == relay.DomainVerified && !d.FailingSince.IsZero():
			at.Severity, at.Code, at.Text = "critical", "domain_failing", fmt.Sprintf("The records of %s are gone or changed; soon mail as it will be refused.", d.Name)
		case d.State == relay.DomainPending:
			at.Severity, at.Code, at.Text = "notice", "domain_pending", fmt.Sprintf("%s is not verified yet.", d.Name)
		default:
			continue
		}
		out = append(out, at)
	}
	return out, nil
}

// attendKeys are keys that end soon, or have ended and stand in the list.
func (a *API) attendKeys(c *Call) ([]attention, error) {
	var out []attention
	for _, k := range a.Directory.KeysOf(c.Tenant) {
		if k.ExpiresAt.IsZero() || k.Canary || !k.DisabledAt.IsZero() || k.ExpiresAt.Sub(c.Now) > expiresSoon || c.Now.Sub(k.ExpiresAt) > expiresSoon {
			continue
		}
		at := attention{Severity: "warning", Code: "key_expiring", Subject: k.Name, Href: "/keys/" + k.ID.String(), At: k.ExpiresAt,
			Text: fmt.Sprintf("The key %q ends on %s.", k.Name, k.ExpiresAt.UTC().Format(time.DateOnly)), Fix: "Give it a later last day, or put another key in its place. A rotation does not move that day."}
		if !c.Now.Before(k.ExpiresAt) {
			at.Code, at.Text = "key_expired", fmt.Sprintf("The key %q ended on %s and works no more.", k.Name, k.ExpiresAt.UTC().Format(time.DateOnly))
			at.Fix = "Revoke it, or make its programs use another."
		}
		out = append(out, at)
	}
	return out, nil
}

// attendBans are the tenant's own keys, or its account, that are shut out.
func (a *API) attendBans(c *Call) ([]attention, error) {
	var out []attention
	mine := a.ownBans(c)
	for _, b := range a.Bans.Bans(c.Now) {
		if !mine[banSubject{b.Scope, b.Subject}] {
			continue
		}
		at := attention{Severity: "critical", Code: "ban_" + string(b.Scope), Subject: b.Subject, Href: "/logins", At: b.Since,
			Text: fmt.Sprintf("Logins of this %s are refused until %s because of failed attempts.", b.Scope, b.Until.UTC().Format(time.RFC3339)),
			Fix:  "See who tried, change the secret if it may be known, then lift the ban."}
		if b.Scope == relay.BanKey {
			at.Href = "/logins?key=" + url.QueryEscape(b.Subject)
		}
		out = append(out, at)
	}
	return out, nil
}

// counted is a number with what it counts.
func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

func attendQueue(load *overviewLoad, now time.Time) []attention {
	var out []attention
	if load.Held > 0 {
		out = append(out, attention{Severity: "warning", Code: "mail_held", Text: counted(load.Held, "message is", "messages are") + " held for release.",
			Fix: "Look at them, then release or cancel them.", Href: "/mail?state=held"})
	}
	if load.Quarantined > 0 {
		out = append(out, attention{Severity: "critical", Code: "mail_quarantined", Text: counted(load.Quarantined, "message is", "messages are") + " quarantined.",
			Fix: "The operator of the relay decides about them.", Href: "/mail?state=held"})
	}
	if load.Waiting > 0 && now.Sub(load.OldestAt) > agedMail {
		out = append(out, attention{Severity: "notice", Code: "mail_waits", At: load.OldestAt, Text: fmt.Sprintf("%s; the oldest message since %s.", counted(load.Waiting, "recipient waits", "recipients wait"), load.OldestAt.UTC().Format(time.RFC3339)),
			Fix: "The queue tells by destination what they wait for.", Href: "/queue"})
	}
	return out
}

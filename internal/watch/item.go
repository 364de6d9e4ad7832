package watch

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// item is one observation: an event or a login record.
type item struct {
	at    time.Time
	event *relay.Event
	login *store.StoredLogin
}

// merge puts events and logins into one order: by time, logins first, then as
// they came.
func merge(events []relay.Event, logins []store.StoredLogin) []item {
	items := make([]item, 0, len(events)+len(logins))
	for i := range logins {
		items = append(items, item{at: logins[i].At, login: &logins[i]})
	}
	for i := range events {
		items = append(items, item{at: events[i].At, event: &events[i]})
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(kindOf(a), kindOf(b))) })
	return items
}

func kindOf(i item) int {
	if i.login != nil {
		return 0
	}
	return 1
}

// urgent reports whether it is a sign that does not depend on what came before it,
// and that a person should hear of at once.
func (i *item) urgent() bool {
	if i.login != nil {
		return i.login.Result == relay.LoginCanary
	}
	if i.event.Kind != relay.EventAlert {
		return false
	}
	d := read(i.event)
	return d.Alert != nil && d.Alert.Kind == relay.AlertCanary
}

// detail is what the rules read of an event's data.
type detail struct {
	Recipients []string      `json:"recipients"`
	Source     *relay.Source `json:"source"`
	Code       int           `json:"code"`
	Enhanced   string        `json:"enhanced"`
	Reply      string        `json:"reply"`
	Alert      *relay.Alert  `json:"alert"`
}

// read decodes an event's data. Data that is none of ours says nothing.
func read(e *relay.Event) (d detail) {
	if len(e.Data) > 0 {
		_ = json.Unmarshal(e.Data, &d)
	}
	return d
}

// noSuchUser reports whether a refusal says that the recipient does not exist:
// by its enhanced code (RFC 3463 §3.2: X.1.1 bad mailbox, X.1.2 bad system,
// X.1.10 null MX), or a plain 550 or 553 in the usual words.
func (d *detail) noSuchUser() bool {
	switch d.Enhanced {
	case "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10":
		return true
	case "", "5.0.0", "5.2.1", "5.5.0", "5.1.0":
	default:
		return false
	}
	if d.Enhanced == "" && strings.Contains(d.Reply, "5.1.1") {
		return true
	}
	if d.Code != 550 && d.Code != 553 && d.Code != 551 {
		return false
	}
	reply := strings.ToLower(d.Reply)
	return slices.ContainsFunc(noUserWords, func(w string) bool { return strings.Contains(reply, w) })
}

var noUserWords = []string{
	"user unknown", "unknown user", "no such user", "does not exist", "doesn't exist", "unknown recipient", "recipient unknown",
	"no mailbox", "mailbox not found", "mailbox unavailable", "invalid recipient", "user not found", "unknown or illegal alias", "no such recipient",
	"recipient not found", "address rejected", "unknown address",
}

// use is one use of a key, by a login or by mail that it handed in.
type use struct {
	at        time.Time
	addr      netip.Addr
	protocol  string
	mechanism string
	tls       string
	login     bool
}

// smtp reports whether it was a mail session: HTTP has no mechanisms to compare.
func (u *use) smtp() bool {
	p := strings.ToLower(u.protocol)
	return strings.HasPrefix(p, "smtp") || strings.HasPrefix(p, "esmtp")
}

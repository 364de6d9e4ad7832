package export

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"postern/internal/relay"
	"postern/internal/store"
)

// LoginRecord makes a record of a login.
func LoginRecord(l *store.StoredLogin) (Record, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return Record{}, fmt.Errorf("login %d: %w", l.ID, err)
	}
	r := Record{
		Stream: Logins, ID: "login-" + strconv.FormatInt(l.ID, 10), At: l.At, Name: "login." + string(l.Result), Account: l.Account, Body: body, Severity: Notice,
	}
	if l.Result == relay.LoginOK {
		r.Severity = Info
	}
	if l.Result == relay.LoginCanary {
		r.Severity = Alert
	}
	words := []string{"login", string(l.Result), "from", l.Addr.String(), "by", l.Protocol}
	for _, p := range [][2]string{{"mechanism", l.Mechanism}, {"tried", l.Tried}, {"helo", l.Helo}, {"tls", l.TLS}, {"detail", l.Detail}} {
		if p[1] != "" {
			words = append(words, p[0]+"="+strconv.Quote(p[1]))
		}
	}
	if l.Count > 1 {
		words = append(words, fmt.Sprintf("%d times", l.Count))
	}
	r.Text = strings.Join(words, " ")
	return r, nil
}

// ChangeRecord makes a record of an administrative change.
func ChangeRecord(c *store.StoredChange) (Record, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return Record{}, fmt.Errorf("change %d: %w", c.ID, err)
	}
	id := "change-" + strconv.FormatInt(c.Seq, 10)
	if !c.Account.IsZero() {
		id = "change-" + c.Account.String() + "-" + strconv.FormatInt(c.Seq, 10)
	}
	return Record{
		Stream: Changes, ID: id, At: c.At, Name: "change." + c.Action, Severity: Notice, Account: c.Account, Body: body,
		Text: fmt.Sprintf("%s of %s by %s from %s", c.Action, strconv.Quote(c.Subject), strconv.Quote(c.By), c.From),
	}, nil
}

// EventRecord makes a record of a step in a message's life, or of an alert. One
// whose data is damaged leaves without them: it holds nothing up.
func EventRecord(e *relay.Event) (Record, error) {
	var d relay.EventData
	damaged := len(e.Data) > 0 && json.Unmarshal(e.Data, &d) != nil
	if damaged {
		bare := *e
		bare.Data, e = nil, &bare
	}
	body, err := json.Marshal(e)
	if err != nil {
		return Record{}, fmt.Errorf("event %d.%d: %w", e.Epoch, e.Seq, err)
	}
	r := Record{
		Stream: Events, ID: fmt.Sprintf("event-%d-%d", e.Epoch, e.Seq), At: e.At, Name: "mail." + string(e.Kind), Severity: Info, Account: e.Account, Body: body,
	}
	switch e.Kind {
	case relay.EventAlert:
		r.Name, r.Severity = "alert", Warning
		if d.Alert != nil {
			r.Name, r.Text, r.Severity = "alert."+string(d.Alert.Kind), d.Alert.Text, alertSeverity(d.Alert)
		}
		return r, nil
	case relay.EventBounced, relay.EventDropped, relay.EventRefused, relay.EventQuarantined:
		r.Severity = Notice
	}
	words := []string{string(e.Kind)}
	if damaged {
		words = append(words, "(the rest of the record is damaged)")
	}
	if !e.Message.IsZero() {
		words = append(words, "message "+e.Message.String())
	}
	for _, p := range [][2]string{{"to", e.Recipient}, {"from", d.From}, {"host", d.Host}, {"reply", d.Reply}, {"reason", d.Reason}} {
		if p[1] != "" {
			words = append(words, p[0]+"="+strconv.Quote(p[1]))
		}
	}
	r.Text = strings.Join(words, " ")
	return r, nil
}

// alertSeverity is how much an alert matters. A finding of the watch says so itself.
func alertSeverity(a *relay.Alert) Severity {
	switch {
	case a.Kind == relay.AlertCanary, a.Kind == relay.AlertWatch && a.Severity == relay.WatchCritical:
		return Alert
	case a.Kind == relay.AlertWatch && a.Severity == relay.WatchNotice:
		return Notice
	}
	return Warning
}

package sender

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
	"postern/internal/store"
)

// changeLog is the store's record of changes, where reminders and exports are
// written down; *store.Store has it.
type changeLog interface {
	RecordChange(ctx context.Context, by store.By, c relay.Change) error
	Changes(ctx context.Context, f store.ChangeFilter) ([]store.StoredChange, error)
}

// turns are what became of a domain's keys between two looks at them: where their
// records stand.
type turns struct {
	signing   []string // sign now
	retired   []string // signed, and are to stay published
	revoked   []string // signed, and are withdrawn at once
	withdrawn []relay.DKIMKey
	revealed  []relay.DKIMKey
	stopped   []string
	until     time.Time // the retired ones
}

func (s *Domains) turns(d relay.Domain, before, after []relay.DKIMKey) (t turns) {
	for i := range after {
		k, host := &after[i], keyHost(d, after[i].Selector)
		var was relay.DKIMKey
		for j := range before {
			if before[j].Selector == k.Selector && before[j].Generation == k.Generation {
				was = before[j]
			}
		}
		switch {
		case signs(k) && !signs(&was):
			t.signing = append(t.signing, host)
		case signs(&was) && retired(k):
			t.retired, t.until = append(t.retired, host), k.RetiredAt.Add(overlapOr(s.Settings.KeyOverlap))
		case signs(&was) && !k.WithdrawnAt.IsZero():
			t.revoked = append(t.revoked, host)
		case toReveal(&was) && k.Revealed != "":
			t.revealed = append(t.revealed, *k)
		case retired(&was) && !k.WithdrawnAt.IsZero():
			t.withdrawn = append(t.withdrawn, *k)
		case signs(&was) && !signs(k):
			t.stopped = append(t.stopped, host)
		}
	}
	return t
}

// tellSteps tells of steps that were taken. Where we publish the records there is
// nothing to do, so nobody gets mail.
func (s *Domains) tellSteps(ctx context.Context, d relay.Domain, before, after []relay.DKIMKey) {
	t := s.turns(d, before, after)
	if len(t.stopped) > 0 {
		s.alertDKIM(d, "The record of "+strings.Join(t.stopped, " and ")+" is gone: mail is signed with RSA alone until it is back.")
	}
	if len(t.signing) > 0 && len(t.retired)+len(t.revoked) > 0 {
		s.tellSwitch(ctx, d, t)
	}
	if len(t.withdrawn) > 0 {
		s.tellWithdrawn(ctx, d, t.withdrawn)
	}
	if len(t.revealed) > 0 && !s.automatic(d) {
		s.letter(ctx, d, "The old DKIM key of "+d.Name+" can be made public", "Nobody takes mail that is signed with the old DKIM key of "+d.Name+" for yours any more. "+
			"You want the private keys of old selectors to be public, so that old mail cannot be proven with them by thieves. For that, publish this:\n\n"+publishText(d, t.revealed))
	}
}

func (s *Domains) alertDKIM(d relay.Domain, text string) {
	if s.Alert != nil {
		s.Alert(relay.Tenant{Account: d.Account, Subuser: d.Subuser}, relay.Alert{Kind: relay.AlertDKIM, Text: text, Domain: d.Name, State: string(d.State)})
	}
}

// letter writes to the domain's owner, unless they want no mail. It only tells of
// what is done already: that it cannot be sent is logged.
func (s *Domains) letter(ctx context.Context, d relay.Domain, subject, text string) {
	if s.Tell == nil || d.Quiet {
		return
	}
	if !s.told.about(d, s.now()) {
		s.log().Warn("sender: too many letters about a domain; the alert has to do", "domain", d.Name, "subject", subject)
		return
	}
	if err := s.Tell(ctx, relay.Tenant{Account: d.Account, Subuser: d.Subuser}, subject, text); err != nil {
		s.log().Warn("sender: the owner of a domain could not be told", "domain", d.Name, "err", err)
	}
}

// tellPublish tells who publishes the records themselves what to add.
func (s *Domains) tellPublish(ctx context.Context, d relay.Domain, made []relay.DKIMKey, urgent bool) {
	names := selectorNames(made)
	s.alertDKIM(d, "The next DKIM key of "+d.Name+" is made: publish the record of "+names+".")
	why := "It is time for a new DKIM key."
	if urgent {
		why = "The present DKIM key may be in other hands. Please do this as soon as you can."
	}
	s.letter(ctx, d, "Publish a new DKIM record for "+d.Name, fmt.Sprintf(
		"%s Publish what follows in the DNS of %s, beside the records that are there; change none of those.\n\n%s\n"+
			"When all name servers of %s answer with it, mail is signed with the new key. You are told then, and again when the old record can be removed.\n",
		why, d.Name, publishText(d, made), d.Name))
}

func selectorNames(keys []relay.DKIMKey) string {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].Selector
	}
	return strings.Join(names, " and ")
}

// publishText is records as a person types them, and as they stand in a zone file.
func publishText(d relay.Domain, keys []relay.DKIMKey) string {
	var b strings.Builder
	for i := range keys {
		host := keyHost(d, keys[i].Selector)
		fmt.Fprintf(&b, "Name:  %s\nType:  TXT\nValue: %s\n\nIn a zone file:\n%s. 3600 IN TXT %s\n\n", host, keys[i].Record, host, dkim.ZoneTXT(keys[i].Record))
	}
	return b.String()
}

// tellSwitch tells that other keys sign.
func (s *Domains) tellSwitch(ctx context.Context, d relay.Domain, t turns) {
	text := "Mail as " + d.Name + " is signed with " + strings.Join(t.signing, " and ") + " from now on."
	if len(t.retired) > 0 {
		text += fmt.Sprintf(" The record of %s stays published until %s.", strings.Join(t.retired, " and "), day(t.until))
	}
	if len(t.revoked) > 0 {
		text += " The key of " + strings.Join(t.revoked, " and ") + " is withdrawn: mail that it signed and that was not verified yet may fail to verify."
	}
	s.alertDKIM(d, text)
	if s.automatic(d) {
		return
	}
	if len(t.revoked) > 0 {
		text += " Remove its record from the DNS now."
	}
	s.letter(ctx, d, "The new DKIM key of "+d.Name+" is in use", text+"\n")
}

// tellWithdrawn tells that old keys are gone, and who publishes the records
// themselves that theirs can go too.
func (s *Domains) tellWithdrawn(ctx context.Context, d relay.Domain, keys []relay.DKIMKey) {
	hosts := make([]string, len(keys))
	for i := range keys {
		hosts[i] = keyHost(d, keys[i].Selector)
	}
	s.alertDKIM(d, "The old DKIM key of "+strings.Join(hosts, " and ")+" is withdrawn: no mail that it signed is on its way any more.")
	if s.automatic(d) {
		return
	}
	text := fmt.Sprintf("No mail that was signed with the old DKIM key of %s is on its way any more. Remove the TXT record at %s from the DNS.\n", d.Name, strings.Join(hosts, " and at "))
	if slices.ContainsFunc(keys, func(k relay.DKIMKey) bool { return toReveal(&k) }) {
		text += "\nYou want the private keys of old selectors to be public. You are told what to publish for that when the record is gone from all name servers.\n"
	}
	s.letter(ctx, d, "The old DKIM record of "+d.Name+" can be removed", text)
}

// remindEvery is between reminders of a record that waits to be published;
// remindFor is how long after such a moment a reminder still makes sense.
const (
	remindEvery = 7 * 24 * time.Hour
	remindFor   = 3 * 24 * time.Hour
)

// remind tells once a week that a record waits to be published. That it did is in
// the record of changes, for other nodes and for after a restart.
func (s *Domains) remind(ctx context.Context, d relay.Domain, keys []relay.DKIMKey) error {
	log, ok := s.Store.(changeLog)
	rsa, ed := lanesOf(d, keys)
	var due []relay.DKIMKey
	var since time.Time
	now := s.now()
	for _, l := range []*lane{&rsa, &ed} {
		k := l.next()
		if k == nil || l.current() == nil || !k.SeenAt.IsZero() && !urgent(k) {
			continue
		}
		age := now.Sub(k.CreatedAt)
		if age < remindEvery || age%remindEvery > remindFor {
			continue
		}
		due, since = append(due, *k), now.Add(-age%remindEvery)
	}
	if !ok || len(due) == 0 || s.automatic(d) {
		return nil
	}
	subject := keyHost(d, due[0].Selector)
	told, err := log.Changes(ctx, store.ChangeFilter{Account: d.Account, Action: actionRemind, Since: since, Newest: true, Limit: maxReminders})
	if err != nil {
		return err
	}
	for _, c := range told {
		if c.Subject == subject {
			return nil
		}
	}
	// Written down first: a crash here loses one reminder, and not many are sent.
	if err := log.RecordChange(ctx, byRotation, relay.Change{Account: d.Account, Action: actionRemind, Subject: subject}); err != nil {
		return err
	}
	s.alertDKIM(d, "The next DKIM key of "+d.Name+" still waits: publish the record of "+selectorNames(due)+".")
	s.letter(ctx, d, "Still missing: the new DKIM record of "+d.Name, fmt.Sprintf(
		"The new DKIM key of %s was made on %s, and its record is not at all name servers yet. Please publish:\n\n%s", d.Name, day(due[0].CreatedAt), publishText(d, due)))
	return nil
}

// maxReminders is more than one account gets in three days: as many as it can have
// domains.
const maxReminders = 10_000

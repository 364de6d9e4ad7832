package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// watchFinding is a finding of a key of an account.
func watchFinding(of relay.Tenant, at time.Time, rule relay.WatchRule) relay.WatchFinding {
	at = at.UTC().Truncate(time.Millisecond)
	return relay.WatchFinding{ID: relay.WatchID{ID: relay.NewID(at)}, Rule: rule, Tenant: of, Key: relay.KeyID{ID: relay.NewID(at)}, KeyName: "shop", Subject: "NG",
		Severity: relay.WatchWarning, State: relay.WatchOpen, Title: "t", Text: "x", Fix: "f", FirstAt: at, LastAt: at, Count: 1, Answer: relay.WatchTell,
		Evidence: relay.WatchEvidence{Seen: 5, Unit: "u", Places: []relay.WatchPlace{{Addr: "192.0.2.1", Country: "NG"}}, Values: map[string]float64{"km": 3.5}}}
}

func TestWatchFindings(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a, other := relay.Tenant{Account: c.account()}, relay.Tenant{Account: c.account()}
		first, second := watchFinding(a, c.now.Add(-time.Hour), relay.WatchNetwork), watchFinding(a, c.now, relay.WatchBurst)
		foreign, sweep := watchFinding(other, c.now, relay.WatchBurst), watchFinding(relay.Tenant{}, c.now, relay.WatchSweep)
		second.Subuser = testSubuser
		second.Severity = relay.WatchCritical
		put := func(commit WatchCommit) {
			t.Helper()
			if err := s.PutWatch(ctx, commit); err != nil {
				t.Fatal(err)
			}
		}
		put(WatchCommit{Findings: []relay.WatchFinding{first, second, foreign, sweep}})
		for name, f := range map[string]struct {
			filter WatchFilter
			want   []relay.WatchFinding
		}{
			"account":  {WatchFilter{Account: a.Account}, []relay.WatchFinding{second, first}},
			"own":      {WatchFilter{Account: a.Account, Own: true}, []relay.WatchFinding{first}},
			"subuser":  {WatchFilter{Account: a.Account, Subuser: testSubuser}, []relay.WatchFinding{second}},
			"operator": {WatchFilter{Operator: true}, []relay.WatchFinding{sweep}},
			"key":      {WatchFilter{Key: first.Key}, []relay.WatchFinding{first}},
			"rule":     {WatchFilter{Account: a.Account, Rule: relay.WatchBurst}, []relay.WatchFinding{second}},
			"severity": {WatchFilter{Severity: relay.WatchCritical}, []relay.WatchFinding{second}},
			"since":    {WatchFilter{Account: a.Account, Since: c.now.Add(-time.Minute)}, []relay.WatchFinding{second}},
			"page":     {WatchFilter{Account: a.Account, Before: second.ID}, []relay.WatchFinding{first}},
			"limit":    {WatchFilter{Account: a.Account, Limit: 1}, []relay.WatchFinding{second}},
			"state":    {WatchFilter{Account: a.Account, States: []relay.WatchState{relay.WatchDismissed, relay.WatchEnded}}, nil},
		} {
			got, err := s.WatchFindings(ctx, f.filter)
			same(t, name, f.want, got, err)
		}
		due, err := s.DueWatch(ctx)
		if err != nil || len(due) != 4 {
			t.Errorf("%d to answer, %v", len(due), err)
		}

		// What is seen again adds; what a person decided stays.
		first.Count, first.LastAt = 2, first.LastAt.Add(time.Minute)
		put(WatchCommit{Findings: []relay.WatchFinding{first}})
		got, err := s.WatchFinding(ctx, first.ID)
		same(t, "seen again", first, got, err)
		decided, err := s.DecideWatch(ctx, testBy, first.ID, relay.WatchDismissed, true)
		if err != nil || decided.State != relay.WatchDismissed || !decided.Teach || decided.DecidedBy != testBy.Who {
			t.Errorf("dismissed: %+v, %v", decided, err)
		}
		if _, err := s.DecideWatch(ctx, testBy, first.ID, relay.WatchConfirmed, false); relay.KindOf(err) != relay.Conflict {
			t.Errorf("decided twice: %v", err)
		}
		first.Count = 9
		put(WatchCommit{Findings: []relay.WatchFinding{first}})
		got, err = s.WatchFinding(ctx, first.ID)
		same(t, "decided", decided, got, err)
		untaken, err := s.UntakenWatch(ctx)
		same(t, "untaken", []relay.WatchFinding{decided}, untaken, err)
		put(WatchCommit{Taken: []relay.WatchID{first.ID}})
		untaken, err = s.UntakenWatch(ctx)
		same(t, "taken", nil, untaken, err)

		// Answers and what they changed.
		limit := int64(7)
		undo := &relay.WatchUndo{PerMinute: &limit, SetMinute: 2}
		if err := s.BendWatch(ctx, second, undo); err != nil {
			t.Fatal(err)
		}
		if err := s.BendWatch(ctx, first, undo); relay.KindOf(err) != relay.Conflict {
			t.Errorf("bent by a finding that was dismissed: %v", err)
		}
		if err := s.SetWatchAnswered(ctx, second, time.Time{}, "not yet"); err != nil {
			t.Fatal(err)
		}
		if due, err := s.DueWatch(ctx); err != nil || !slices.ContainsFunc(due, func(f relay.WatchFinding) bool { return f.ID == second.ID && f.AnswerError == "not yet" }) {
			t.Errorf("tried again: %+v, %v", due, err)
		}
		if err := s.SetWatchAnswered(ctx, second, c.now, "no\x00 way"); err != nil {
			t.Fatal(err)
		}
		milder := second
		milder.Severity = relay.WatchWarning
		if err := s.SetWatchAnswered(ctx, milder, c.now.Add(time.Hour), ""); relay.KindOf(err) != relay.Conflict {
			t.Errorf("answered as it was before it was raised: %v", err)
		}
		bent, err := s.BentWatch(ctx, second.Key)
		if err != nil || len(bent) != 1 || *bent[0].Undo.PerMinute != 7 || bent[0].Bent != 1 || bent[0].AnsweredAt.IsZero() || bent[0].AnswerError == "" {
			t.Errorf("bent: %+v, %v", bent, err)
		}
		// Seen again it stays answered; raised it is due again, and the rest is as it was.
		dueAgain := func(what string, want bool) {
			t.Helper()
			put(WatchCommit{Findings: []relay.WatchFinding{second}})
			got, err := s.WatchFinding(ctx, second.ID)
			if err != nil || got.AnsweredAt.IsZero() != want || got.AnswerError == "" != want || got.Answer != second.Answer || got.Undo == nil {
				t.Errorf("%s: %+v, %v", what, got, err)
			}
			if err := s.SetWatchAnswered(ctx, second, c.now, "no way"); err != nil {
				t.Error(err)
			}
		}
		second.Count++
		dueAgain("seen again", false)
		second.Answer = relay.WatchStop
		dueAgain("a stricter answer", true)
		second.Severity = relay.WatchNotice
		dueAgain("another severity", true)
		if none, err := s.UndoWatch(ctx); err != nil || len(none) != 0 {
			t.Errorf("an open finding is undone: %+v, %v", none, err)
		}
		if _, err := s.DecideWatch(ctx, testBy, second.ID, relay.WatchDismissed, false); err != nil {
			t.Fatal(err)
		}
		if due, err := s.UndoWatch(ctx); err != nil || len(due) != 1 {
			t.Errorf("to undo: %+v, %v", due, err)
		}
		if err := s.SetWatchUndo(ctx, second.ID, nil); err != nil {
			t.Fatal(err)
		}
		if due, err := s.UndoWatch(ctx); err != nil || len(due) != 0 {
			t.Errorf("undone: %+v, %v", due, err)
		}
		if err := s.SetWatchUndo(ctx, relay.WatchID{ID: relay.NewID(c.now)}, nil); relay.KindOf(err) != relay.NotFound {
			t.Errorf("of nothing: %v", err)
		}
		ended := foreign
		ended.State, ended.DecidedAt, ended.DecidedBy = relay.WatchEnded, c.now.UTC().Truncate(time.Millisecond), "watch"
		put(WatchCommit{Findings: []relay.WatchFinding{ended}})
		got, err = s.WatchFinding(ctx, foreign.ID)
		same(t, "ended", ended, got, err)
		open, err := s.OpenWatch(ctx)
		same(t, "open", []relay.WatchFinding{sweep}, open, err)
		if n, err := s.PruneWatch(ctx, c.now.Add(keepFindings-30*time.Minute)); err != nil || n != 1 {
			t.Errorf("pruned %d, %v", n, err)
		}
		changes, err := s.Changes(ctx, ChangeFilter{Account: a.Account, Action: "watch.dismiss"})
		if err != nil || len(changes) != 2 {
			t.Errorf("%d records of decisions, %v", len(changes), err)
		}
	})
}

// TestWatchCommitsWithItsPlace: what was learned and the place in the logs are
// kept together, or not at all.
func TestWatchCommitsWithItsPlace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		key := relay.KeyID{ID: relay.NewID(time.Now())}
		accept(t, s, mail(t, s, 1, 0, false))
		events, next, err := s.ReadEvents(ctx, Cursor{}, 10)
		if err != nil || len(events) != 1 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if err := s.PutWatch(ctx, WatchCommit{Keys: map[relay.KeyID][]byte{key: []byte("one"), {}: []byte("all")}, Read: map[string]Cursor{WatchEvents: next, WatchEventsAhead: next}}); err != nil {
			t.Fatal(err)
		}
		// The same reading again, as after a restart that did not hear of the commit.
		err = s.PutWatch(ctx, WatchCommit{Keys: map[relay.KeyID][]byte{key: []byte("two")}, Read: map[string]Cursor{WatchEvents: next}})
		if !errors.Is(err, ErrLeaseLost) {
			t.Errorf("counted twice: %v", err)
		}
		// One of the places that is elsewhere keeps all of it from being stored.
		_, empty, err := s.ReadLogins(ctx, Cursor{}, time.Now(), 10)
		if err != nil {
			t.Fatal(err)
		}
		err = s.PutWatch(ctx, WatchCommit{Keys: map[relay.KeyID][]byte{key: []byte("three")}, Read: map[string]Cursor{WatchLogins: empty, WatchEventsAhead: next}})
		if !errors.Is(err, ErrLeaseLost) {
			t.Errorf("counted twice: %v", err)
		}
		kept, err := s.WatchBaselines(ctx, []relay.KeyID{key, {}, {ID: relay.NewID(time.Now())}})
		same(t, "baselines", map[relay.KeyID][]byte{key: []byte("one"), {}: []byte("all")}, kept, err)
		for _, name := range []string{WatchEvents, WatchEventsAhead} {
			if at, err := s.Consumer(ctx, name); err != nil || at.String() != next.String() {
				t.Errorf("%s is at %s, %v, want %s", name, at, err, next)
			}
		}
	})
}

func TestWatchSettings(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		got, err := s.WatchSettings(ctx, a)
		same(t, "nobody said", relay.WatchSettings{}, got, err)
		secret := []byte("a secret of the webhook")
		v := relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchBurst: {Answer: relay.WatchHold, Margin: 2, Floor: 50}},
			MailTo: []string{"ops@example.test"}, Webhook: "https://hooks.example.test/", Secrets: [][]byte{secret, []byte("before")}, SecretUntil: c.now.UTC().Truncate(time.Microsecond)}
		if err := editWatch(s, a, v); err != nil {
			t.Fatal(err)
		}
		got, err = s.WatchSettings(ctx, a)
		same(t, "settings", v, got, err)
		all, err := s.AllWatchSettings(ctx)
		same(t, "all settings", map[relay.AccountID]relay.WatchSettings{a: v}, all, err)
		changes, err := s.Changes(ctx, ChangeFilter{Account: a, Action: "watch.settings"})
		text, _ := json.Marshal(changes)
		if err != nil || len(changes) != 1 || !strings.Contains(string(text), "hooks.example.test") {
			t.Errorf("record: %s, %v", text, err)
		}
		// AP-18: neither the record nor the row has the secret.
		var data string
		var sealed []byte
		if err := s.db.QueryRowContext(ctx, `SELECT data, secrets FROM watch_settings`).Scan(&data, &sealed); err != nil {
			t.Fatal(err)
		}
		for name, where := range map[string][]byte{"record": text, "row": []byte(data), "sealed": sealed} {
			if bytes.Contains(where, secret) || bytes.Contains(where, []byte("YSBzZWNyZXQ")) {
				t.Errorf("the %s has the secret", name)
			}
		}
	})
}

// What the watch made of a key and somebody changed is not the watch's to undo: not
// either when it is made the same again.
func TestWatchForgetsWhatSomebodyChanged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, w := context.Background(), newWorld(t, s)
		f := watchFinding(relay.Tenant{Account: w.account.ID}, time.Now(), relay.WatchBurst)
		f.Key = w.key.ID
		limit := w.key.PerMinute
		at := time.Now().UTC().Truncate(time.Microsecond)
		if err := s.PutWatch(ctx, WatchCommit{Findings: []relay.WatchFinding{f}}); err != nil {
			t.Fatal(err)
		}
		f.Raised = 2
		if err := s.BendWatch(ctx, f, &relay.WatchUndo{PerMinute: &limit, SetMinute: 3, Mode: relay.KeyLive, Stopped: true, DisabledAt: at}); err != nil {
			t.Fatal(err)
		}
		left := func() (out []relay.WatchAnswer) {
			t.Helper()
			got, err := s.WatchFinding(ctx, f.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.Bent != 3 {
				t.Errorf("what was done is forgotten: %d", got.Bent)
			}
			for _, a := range relay.WatchBends {
				if got.Undo.Part(a) != nil {
					out = append(out, a)
				}
			}
			return out
		}
		edit := func(change func(k *relay.Key)) {
			t.Helper()
			was, err := s.Key(ctx, w.key.ID)
			if err != nil {
				t.Fatal(err)
			}
			k := was
			change(&k)
			if err := s.SwapKey(ctx, testBy, was, k); err != nil {
				t.Fatal(err)
			}
		}
		disable := func(at time.Time) {
			t.Helper()
			if err := s.SetKeyDisabled(ctx, testBy, w.key.ID, at); err != nil {
				t.Fatal(err)
			}
		}
		// The watch does what it said: nothing is forgotten.
		edit(func(k *relay.Key) { k.PerMinute, k.Mode = 3, relay.KeyHold })
		disable(at)
		edit(func(k *relay.Key) { k.Name = "another" })
		same(t, "as the watch made it", relay.WatchBends, left(), nil)
		edit(func(k *relay.Key) { k.PerMinute = 4 })
		edit(func(k *relay.Key) { k.PerMinute = 3 })
		same(t, "another limit", []relay.WatchAnswer{relay.WatchHold, relay.WatchStop}, left(), nil)
		disable(time.Time{})
		disable(at)
		same(t, "enabled", []relay.WatchAnswer{relay.WatchHold}, left(), nil)
		edit(func(k *relay.Key) { k.Mode = relay.KeyLive })
		same(t, "not held", nil, left(), nil)
		if bent, err := s.BentWatch(ctx, w.key.ID); err != nil || len(bent) != 0 {
			t.Errorf("%+v, %v", bent, err)
		}
	})
}

// What is found about a domain ends with it, by itself or with its subuser; the watch
// hears of that. Of others, also of the same name, it stays.
func TestDomainFindingEndsWithTheDomain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, w := context.Background(), newWorld(t, s)
		theirs := w.domain
		theirs.ID, theirs.Name, theirs.Token = relay.DomainID{ID: relay.NewID(time.Now())}, "sub-"+w.domain.Name, relay.NewID(time.Now()).String()
		theirs.Subuser, theirs.Subusers, theirs.Default = w.subuser.ID, nil, false
		dkim := w.dkim
		dkim.Domain = theirs.ID
		other, otherDKIM := theirs, dkim
		other.ID, other.Name, other.Token = relay.DomainID{ID: relay.NewID(time.Now())}, "other-"+w.domain.Name, relay.NewID(time.Now()).String()
		other.Subuser, otherDKIM.Domain = relay.SubuserID{}, other.ID
		for _, err := range []error{created(s.CreateDomain(ctx, testBy, theirs, dkim)), created(s.CreateDomain(ctx, testBy, other, otherDKIM))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		finding := func(of relay.Tenant, rule relay.WatchRule, subject string) relay.WatchFinding {
			f := watchFinding(of, time.Now(), rule)
			f.Subject = subject
			return f
		}
		account, sub := relay.Tenant{Account: w.account.ID}, relay.Tenant{Account: w.account.ID, Subuser: w.subuser.ID}
		all := []relay.WatchFinding{
			finding(account, relay.WatchDomain, w.domain.Name), finding(sub, relay.WatchDomain, theirs.Name),
			finding(account, relay.WatchDomain, other.Name), finding(account, relay.WatchNetwork, w.domain.Name), finding(sub, relay.WatchNetwork, theirs.Name),
		}
		if err := s.PutWatch(ctx, WatchCommit{Findings: all}); err != nil {
			t.Fatal(err)
		}
		at := time.Now().UTC().Truncate(time.Microsecond)
		ended := func(what string, want ...relay.WatchFinding) {
			t.Helper()
			untaken, err := s.UntakenWatch(ctx)
			if err != nil || len(untaken) != len(want) {
				t.Fatalf("%s: %d ended, %v", what, len(untaken), err)
			}
			byID := func(a, b relay.WatchFinding) int { return strings.Compare(a.ID.String(), b.ID.String()) }
			slices.SortFunc(untaken, byID)
			slices.SortFunc(want, byID)
			for i, f := range untaken {
				if f.ID != want[i].ID || f.State != relay.WatchEnded || !f.DecidedAt.Equal(at) || f.DecidedBy != "watch" || f.Teach {
					t.Errorf("%s: %+v", what, f)
				}
			}
		}
		if err := s.DeleteDomain(ctx, testBy, w.domain.ID, at); err != nil {
			t.Fatal(err)
		}
		ended("the domain is deleted", all[0])
		if err := s.DeleteSubuser(ctx, testBy, w.subuser.ID, at); err != nil {
			t.Fatal(err)
		}
		ended("the subuser is", all[0], all[1])
	})
}

// What the watch finds about a domain after it was deleted ends at once, since nothing
// would ever end it; also one that another tenant has. The watch hears of it.
func TestFindingOfADeletedDomainEnds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, w := context.Background(), newWorld(t, s)
		account, sub := relay.Tenant{Account: w.account.ID}, relay.Tenant{Account: w.account.ID, Subuser: w.subuser.ID}
		put := func(of relay.Tenant, rule relay.WatchRule, want relay.WatchState) relay.WatchFinding {
			t.Helper()
			f := watchFinding(of, time.Now(), rule)
			f.Key, f.Subject = relay.KeyID{}, w.domain.Name
			if err := s.PutWatch(ctx, WatchCommit{Findings: []relay.WatchFinding{f}}); err != nil {
				t.Fatal(err)
			}
			got, err := s.WatchFinding(ctx, f.ID)
			if err != nil || got.State != want || (want == relay.WatchEnded) != (got.DecidedBy == "watch" && !got.DecidedAt.IsZero()) {
				t.Errorf("%s of %+v: %+v, %v", rule, of, got, err)
			}
			return f
		}
		open := put(account, relay.WatchDomain, relay.WatchOpen)
		foreign := put(sub, relay.WatchDomain, relay.WatchEnded)
		if err := s.DeleteDomain(ctx, testBy, w.domain.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
		late := put(account, relay.WatchDomain, relay.WatchEnded)
		put(account, relay.WatchNetwork, relay.WatchOpen)
		due, err := s.DueWatch(ctx)
		if err != nil || len(due) != 1 {
			t.Errorf("to answer: %+v, %v", due, err)
		}
		untaken, err := s.UntakenWatch(ctx)
		if err != nil || len(untaken) != 3 {
			t.Fatalf("%d ended, %v", len(untaken), err)
		}
		for _, f := range []relay.WatchFinding{open, foreign, late} {
			if !slices.ContainsFunc(untaken, func(u relay.WatchFinding) bool { return u.ID == f.ID }) {
				t.Errorf("the watch does not hear that %s has ended", f.ID)
			}
		}
	})
}

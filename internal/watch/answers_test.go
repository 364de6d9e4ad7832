package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// Somebody edits a key while it is slowed: both stand, since the answer is tried again.
func TestAnswersUndoNobody(t *testing.T) {
	t.Parallel()
	d, _, a, now := newDesk()
	d.finding(1, relay.WatchSlow)
	d.meanwhile = func() { d.key.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}; d.meanwhile = nil }
	if err := a.Work(t.Context(), asked); err == nil || d.key.PerMinute != 900 {
		t.Errorf("written over an edit: %v, %d a minute", err, d.key.PerMinute)
	}
	*now = now.Add(time.Hour)
	if err := a.Work(t.Context(), asked); err != nil || d.key.PerMinute != 10 || len(d.key.Networks) != 1 {
		t.Errorf("tried again: %v, %+v", err, d.key)
	}
}

// TestAnswers: each answer changes what it says, is told, and is undone when the
// finding is dismissed.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for answer, c := range map[relay.WatchAnswer]struct {
		changed func(relay.Key) bool
		words   string
	}{
		relay.WatchTell: {func(k relay.Key) bool { return k.PerMinute == 900 && k.Mode == relay.KeyLive && k.DisabledAt.IsZero() }, "What to do: fix"},
		relay.WatchSlow: {func(k relay.Key) bool { return k.PerMinute == 10 && k.Mode == relay.KeyLive }, "10 recipients a minute"},
		relay.WatchHold: {func(k relay.Key) bool { return k.Mode == relay.KeyHold && k.PerMinute == 900 }, "held for release"},
		relay.WatchStop: {func(k relay.Key) bool { return !k.DisabledAt.IsZero() }, "was disabled"},
	} {
		t.Run(string(answer), func(t *testing.T) {
			t.Parallel()
			d, l, a, _ := newDesk()
			before := d.key
			d.finding(1, answer)
			for range 3 { // again after that: nothing more
				if err := a.Work(t.Context(), asked); err != nil {
					t.Fatal(err)
				}
			}
			if !c.changed(d.key) {
				t.Errorf("key %+v", d.key)
			}
			if len(l.mails) != 1 || !strings.HasPrefix(l.mails[0], "owner@example.test: Act now: ") || !strings.Contains(l.mails[0], c.words) || len(l.posts) != 0 {
				t.Errorf("told: %q %q", l.mails, l.posts)
			}
			for _, by := range d.by {
				if by != By {
					t.Errorf("changed by %q", by)
				}
			}
			d.findings[0].State = relay.WatchDismissed
			if err := a.Work(t.Context(), asked); err != nil {
				t.Fatal(err)
			}
			if d.key.Mode != before.Mode || d.key.PerMinute != before.PerMinute || !d.key.DisabledAt.IsZero() || d.findings[0].Undo != nil {
				t.Errorf("not undone: %+v", d.key)
			}
		})
	}
}

// TestRecordDoesNothing: what is only recorded is neither told nor answered.
func TestRecordDoesNothing(t *testing.T) {
	t.Parallel()
	d, l, a, _ := newDesk()
	d.finding(1, relay.WatchRecord)
	if err := a.Work(t.Context(), asked); err != nil || len(l.mails)+len(l.posts)+len(d.by) != 0 {
		t.Errorf("%v, %q", err, l.mails)
	}
}

// TestAnswersOfTwoFindings: the key goes back to what it was when the last of them
// is dismissed, not to what the first made of it.
func TestAnswersOfTwoFindings(t *testing.T) {
	t.Parallel()
	for _, answer := range []relay.WatchAnswer{relay.WatchSlow, relay.WatchHold, relay.WatchStop} {
		d, _, a, _ := newDesk()
		before := d.key
		work := func() {
			t.Helper()
			if err := a.Work(t.Context(), asked); err != nil {
				t.Fatal(err)
			}
		}
		d.finding(1, answer)
		work()
		d.finding(2, answer)
		work()
		bent := d.key
		d.findings[0].State = relay.WatchDismissed
		work()
		if d.key.PerMinute != bent.PerMinute || d.key.Mode != bent.Mode || d.key.DisabledAt != bent.DisabledAt {
			t.Errorf("%s: the first took the second's answer away: %+v", answer, d.key)
		}
		d.findings[1].State = relay.WatchDismissed
		work()
		if d.key.PerMinute != before.PerMinute || d.key.Mode != before.Mode || !d.key.DisabledAt.IsZero() {
			t.Errorf("%s: %+v, want %+v", answer, d.key, before)
		}
	}
}

// TestUndoLeavesPeoplesChanges: what a person set meanwhile stays.
func TestUndoLeavesPeoplesChanges(t *testing.T) {
	t.Parallel()
	d, _, a, _ := newDesk()
	d.finding(1, relay.WatchSlow)
	if err := a.Work(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	d.key.PerMinute = 5
	d.findings[0].State = relay.WatchDismissed
	if err := a.Work(t.Context(), asked); err != nil || d.key.PerMinute != 5 {
		t.Errorf("%d a minute, %v", d.key.PerMinute, err)
	}
}

// TestCrashWhileAnswering: what will be changed is kept before; after a crash the
// old value is still the old one.
func TestCrashWhileAnswering(t *testing.T) {
	t.Parallel()
	d, _, a, _ := newDesk()
	f := d.finding(1, relay.WatchSlow)
	was := int64(900)
	f.Undo = &relay.WatchUndo{PerMinute: &was, SetMinute: 10} // kept, and the key perhaps changed
	d.key.PerMinute = 10
	if err := a.Work(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
	d.findings[0].State = relay.WatchDismissed
	if err := a.Work(t.Context(), asked); err != nil || d.key.PerMinute != 900 {
		t.Errorf("%d a minute, %v", d.key.PerMinute, err)
	}
}

// TestTelling: who is told, how often a failure is tried, and that nobody is told
// twice because another could not be.
func TestTelling(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	d.finding(1, relay.WatchTell)
	secret, old := []byte("present"), []byte("before")
	set := relay.WatchSettings{MailTo: []string{"one@example.test", "two@example.test"}, Webhook: "https://hooks.example.test/", Secrets: [][]byte{secret, old}, SecretUntil: began.Add(time.Hour)}
	settings := func(relay.AccountID) relay.WatchSettings { return set }
	l.failPost = errors.New("down")
	if err := a.Work(t.Context(), settings); err == nil {
		t.Error("a failure is none")
	}
	for range 5 {
		if err := a.Work(t.Context(), settings); err != nil {
			t.Errorf("it does not wait: %v", err)
		}
	}
	l.failPost = nil
	*now = now.Add(time.Minute)
	if err := a.Work(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	if len(l.mails) != 2 || len(l.posts) != 1 || d.findings[0].AnsweredAt.IsZero() {
		t.Errorf("%d mails, %d posts", len(l.mails), len(l.posts))
	}
	_, body, _ := strings.Cut(l.posts[0], " watch_AQAAAAAAAAAAAAAAAAAAAA ")
	var posted struct {
		Type string
		Data relay.WatchFinding
	}
	if err := json.Unmarshal([]byte(body), &posted); err != nil || posted.Type != "watch.finding" || posted.Data.Title != d.findings[0].Title {
		t.Errorf("posted %s: %v", body, err)
	}
	// One that can never be told ends.
	d.finding(2, relay.WatchTell)
	l.failMail = errors.New("no way")
	set.Webhook = ""
	for range 100 {
		_ = a.Work(t.Context(), settings)
		*now = now.Add(time.Hour)
	}
	if f := d.findings[1]; f.AnsweredAt.IsZero() || f.AnswerError != textInternal {
		t.Errorf("%+v", f)
	}
	set = relay.WatchSettings{NoMail: true}
	l.failMail = nil
	d.finding(3, relay.WatchTell)
	if err := a.Work(t.Context(), settings); err != nil || len(l.mails) != 2 {
		t.Errorf("told by mail: %q, %v", l.mails, err)
	}
}

// Those who read a finding are told what is meant for them; what is internal is not.
func TestProblemWords(t *testing.T) {
	t.Parallel()
	inside := errors.New("/var/lib/postern: disk I/O error")
	for want, err := range map[string]error{
		"webhook: answered with status 500":   unheard{errors.New("webhook: answered with status 500")},
		"Too many letters.":                   fmt.Errorf("mail: %w", &relay.Error{Kind: relay.RateLimited, Public: "Too many letters.", Err: inside}),
		textInternal:                          fmt.Errorf("mail: %w", inside),
		textInternal + "; webhook: no answer": errors.Join(fmt.Errorf("mail: %w", inside), &relay.Error{Err: inside}, unheard{errors.New("webhook: no answer")}),
	} {
		if got := problemWords(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// A finding that keeps being seen is never given up: it says why nobody could be told,
// from the first failure on and over restarts, and no more when somebody was.
func TestFailureThatGoesOnIsSaid(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	d.finding(1, relay.WatchTell)
	settings := func(relay.AccountID) relay.WatchSettings {
		return relay.WatchSettings{NoMail: true, Webhook: "https://hooks.example.test/"}
	}
	for i, c := range []struct {
		fails string
		notes int // since the last
	}{{"down", 1}, {"down", 0}, {"gone", 1}, {"gone", 0}} {
		l.failPost, d.notes = errors.New(c.fails), 0
		for range 30 * 24 {
			d.findings[0].LastAt = *now // new signs
			if *now = now.Add(longestRetry); i%2 == 0 {
				a.tries = nil
			}
			if err := a.Work(t.Context(), settings); err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Fatalf("%s: %v", c.fails, err)
			}
		}
		if f := d.findings[0]; !f.AnsweredAt.IsZero() || f.AnswerError != c.fails || d.notes != c.notes {
			t.Errorf("%s: answered %s, %q, noted %d times, want %d", c.fails, f.AnsweredAt, f.AnswerError, d.notes, c.notes)
		}
	}
	l.failPost = nil
	*now = now.Add(longestRetry)
	if err := a.Work(t.Context(), settings); err != nil || d.findings[0].AnsweredAt.IsZero() || d.findings[0].AnswerError != "" || len(l.posts) != 1 {
		t.Errorf("told: %v, %+v", err, d.findings[0])
	}
}

// What was told and could not be noted is noted later, with pauses: nobody is told twice.
func TestAnswerThatCannotBeNoted(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	d.finding(1, relay.WatchStop)
	d.failNote = errors.New("the disk is full")
	for i := range 3 {
		if err := a.Work(t.Context(), asked); (err == nil) != (i > 0) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if d.notes != 1 {
		t.Errorf("tried %d times without a pause", d.notes)
	}
	d.failNote = nil
	*now = now.Add(time.Minute)
	work(t, a)
	if d.notes != 2 || len(l.mails) != 1 || d.findings[0].AnsweredAt.IsZero() {
		t.Errorf("noted %d times, told %q", d.notes, l.mails)
	}
}

// Who was told is told once, also when the finding could not be read between two tries.
func TestFindingThatCannotBeRead(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	d.finding(1, relay.WatchTell)
	settings := func(relay.AccountID) relay.WatchSettings {
		return relay.WatchSettings{Webhook: "https://hooks.example.test/"}
	}
	down := errors.New("down")
	for _, c := range []struct{ post, find error }{{down, nil}, {nil, down}, {nil, nil}} {
		l.failPost, d.failFind = c.post, c.find
		if err := a.Work(t.Context(), settings); (err == nil) != (c.post == nil && c.find == nil) {
			t.Error(err)
		}
		*now = now.Add(time.Minute)
	}
	if len(l.mails) != 1 || len(l.posts) != 1 || d.findings[0].AnsweredAt.IsZero() {
		t.Errorf("%q %q", l.mails, l.posts)
	}
}

// What somebody decides about while others are told is neither done nor told.
func TestDecidedWhileOthersAreAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		decide func(d *desk)
	}{
		{"dismissed", func(d *desk) { d.findings[1].State = relay.WatchDismissed }},
		{"confirmed", func(d *desk) { d.findings[1].State = relay.WatchConfirmed }},
		{"answered by another node", func(d *desk) { d.findings[1].AnsweredAt = began }},
		{"forgotten", func(d *desk) { d.findings = d.findings[:1] }},
	} {
		for _, answer := range []relay.WatchAnswer{relay.WatchTell, relay.WatchStop} {
			d, l, a, _ := newDesk()
			d.finding(1, relay.WatchTell)
			d.finding(2, answer)
			mail := a.Mail
			a.Mail = func(ctx context.Context, to, subject, text string) error {
				c.decide(d)
				return mail(ctx, to, subject, text)
			}
			before := d.key
			work(t, a)
			sameKey(t, c.name, before, d.key)
			if len(l.mails) != 1 {
				t.Errorf("%s: told %q", c.name, l.mails)
			}
		}
	}
	// Or in the moment before its key is changed.
	d, l, a, _ := newDesk()
	d.finding(1, relay.WatchStop)
	d.looking = func() { d.findings[0].State = relay.WatchDismissed }
	before := d.key
	work(t, a)
	sameKey(t, "dismissed at the same moment", before, d.key)
	if len(l.mails) != 0 || d.findings[0].Undo != nil || !d.findings[0].AnsweredAt.IsZero() {
		t.Errorf("%q, %+v", l.mails, d.findings[0])
	}
}

// A key is given back while many are told, not after all of them.
func TestUndoneWhileOthersAreAnswered(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	d.finding(1, relay.WatchStop)
	work(t, a)
	for n := range 3 {
		d.finding(byte(2+n), relay.WatchTell)
	}
	mail, stopped := a.Mail, []bool{}
	a.Mail = func(ctx context.Context, to, subject, text string) error {
		d.findings[0].State = relay.WatchDismissed
		*now = now.Add(10 * time.Second) // a slow receiver
		stopped = append(stopped, !d.key.DisabledAt.IsZero())
		return mail(ctx, to, subject, text)
	}
	work(t, a)
	if !slices.Equal(stopped, []bool{true, false, false}) || len(l.mails) != 4 {
		t.Errorf("stopped while each was told: %v", stopped)
	}
}

// A receiver that takes its time keeps the keys and people of other accounts waiting for
// one post or two, not for all that was found of its own account; and gets all of it.
func TestSlowReceiverKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	for _, fail := range []error{nil, errors.New("no answer")} {
		d, l, a, now := newDesk()
		for n := range 20 {
			d.finding(byte(2+n), relay.WatchTell).Account = relay.AccountID{ID: relay.ID{8}}
		}
		d.finding(1, relay.WatchStop)
		var stopped time.Duration
		d.looking = func() { stopped = now.Sub(began) }
		posts := 0
		a.Post = func(context.Context, string, [][]byte, string, []byte) error {
			posts++
			*now = now.Add(8 * time.Second)
			return fail
		}
		settings := func(id relay.AccountID) relay.WatchSettings {
			s := asked(id)
			if id == (relay.AccountID{ID: relay.ID{8}}) {
				s.Webhook = "https://hooks.example.test/slow"
			}
			return s
		}
		for range 200 {
			_ = a.Work(t.Context(), settings)
			if fail != nil && posts >= 20 {
				break
			}
		}
		if stopped > 20*time.Second || d.key.DisabledAt.IsZero() {
			t.Errorf("%v: the key of another account was stopped after %v", fail, stopped)
		}
		if posts < 20 || len(l.mails) != 21 || fail == nil && posts != 20 {
			t.Errorf("%v: %d posts, %d mails", fail, posts, len(l.mails))
		}
	}
}

// A letter that fails is said and tried again with pauses, also of a finding whose post
// waits for its turn.
func TestLetterFailsBesideASlowReceiver(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	d.finding(1, relay.WatchTell)
	d.finding(2, relay.WatchTell)
	l.failMail = relay.E(relay.Unavailable, "no way out")
	posts, mails := 0, 0
	a.Post = func(context.Context, string, [][]byte, string, []byte) error {
		posts++
		*now = now.Add(patience)
		return nil
	}
	mail := a.Mail
	a.Mail = func(ctx context.Context, to, subject, text string) error {
		mails++
		return mail(ctx, to, subject, text)
	}
	settings := func(id relay.AccountID) relay.WatchSettings {
		s := asked(id)
		s.Webhook = "https://hooks.example.test/slow"
		return s
	}
	for range 3 {
		_ = a.Work(t.Context(), settings)
	}
	if mails != 2 || posts != 1 {
		t.Errorf("%d letters and %d posts were tried without a pause", mails, posts)
	}
	for i := range d.findings {
		if !strings.Contains(d.findings[i].AnswerError, "no way out") {
			t.Errorf("finding %d says %q", i, d.findings[i].AnswerError)
		}
	}
	l.failMail = nil
	*now = now.Add(longestRetry)
	for range 2 {
		_ = a.Work(t.Context(), settings)
	}
	if len(l.mails) != 2 || posts != 2 || d.findings[1].AnsweredAt.IsZero() || d.findings[1].AnswerError != "" {
		t.Errorf("%q, %d posts, %+v", l.mails, posts, d.findings[1])
	}
}

// A process that ends while it tells somebody does not say that this failed.
func TestEndOfTheProcessIsNoFailure(t *testing.T) {
	t.Parallel()
	d, l, a, _ := newDesk()
	d.finding(1, relay.WatchTell)
	ctx, cancel := context.WithCancel(t.Context())
	a.Mail = func(ctx context.Context, to, subject, text string) error {
		cancel()
		l.failMail = ctx.Err()
		return l.mail(ctx, to, subject, text)
	}
	if err := a.Work(ctx, asked); err == nil || d.notes != 0 || d.findings[0].AnswerError != "" {
		t.Errorf("%v, %q", err, d.findings[0].AnswerError)
	}
}

// What a rule can be set to is said in words: a number has its unit.
func TestMeasures(t *testing.T) {
	t.Parallel()
	for _, r := range relay.WatchRules {
		if m := MeasureOf(r); (m.Unit == "") != (m.Floor == 0) || m.Unit != "" && m.Margin == "" || Describe(r) == "" {
			t.Errorf("%s: %+v", r, m)
		}
	}
}

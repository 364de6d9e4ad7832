package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// AnswerStore is what Answers needs of the store; *store.Store is one.
type AnswerStore interface {
	Key(ctx context.Context, id relay.KeyID) (relay.Key, error)
	SwapKey(ctx context.Context, by store.By, was, k relay.Key) error
	SetKeyDisabled(ctx context.Context, by store.By, id relay.KeyID, at time.Time) error
	DueWatch(ctx context.Context) ([]relay.WatchFinding, error)
	UndoWatch(ctx context.Context) ([]relay.WatchFinding, error)
	BentWatch(ctx context.Context, key relay.KeyID) ([]relay.WatchFinding, error)
	WatchBaselines(ctx context.Context, keys []relay.KeyID) (map[relay.KeyID][]byte, error)
	SetWatchAnswered(ctx context.Context, id relay.WatchID, at time.Time, problem string) error
	SetWatchUndo(ctx context.Context, id relay.WatchID, undo *relay.WatchUndo) error
}

// Answers does what accounts want done about findings, and undoes it when a
// finding came to nothing. What it will change is kept before it changes it, so a
// crash in between neither loses the old value nor takes its own for it.
type Answers struct {
	Store AnswerStore
	// Account finds the owner that is mailed.
	Account func(relay.AccountID) (relay.Account, bool)
	// Mail sends a letter; nil: nobody is told by mail.
	Mail func(ctx context.Context, to, subject, text string) error
	// Operator returns who is told of findings of no account, as it is configured
	// now; nil, or "": nobody is.
	Operator func() string
	// Post posts a signed body to an account's webhook; nil: none is. *webhook.Client
	// has it.
	Post func(ctx context.Context, url string, secrets [][]byte, id string, body []byte) error
	// Host is the installation's name in letters.
	Host string
	Now  func() time.Time // nil: time.Now

	tries map[relay.WatchID]*try // used by one goroutine: that of Work
}

// try is a finding that could not be told yet.
type try struct {
	mailed map[string]bool
	posted bool
	pause  time.Duration
	next   time.Time
}

// The waits after a failure; they double.
const (
	firstPause   = 10 * time.Second
	longestRetry = time.Hour
)

// By stands in the records of what the watch changes.
const By = "watch"

// giveUp is how long an answer is tried.
const giveUp = 24 * time.Hour

// slowest is what a key may send at least, in recipients a minute; slowPart is the
// part of its largest hour, spread over its minutes, that it may go on with.
const (
	leastMinute = 1
	slowPart    = 0.25
)

func (a *Answers) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}

// Work answers what is not answered, and undoes what came to nothing. A failure
// of one does not keep the others waiting; all are in the error.
func (a *Answers) Work(ctx context.Context, settings func(relay.AccountID) relay.WatchSettings) error {
	undo, err := a.Store.UndoWatch(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for i := range undo {
		if err := a.undo(ctx, &undo[i]); err != nil {
			errs = append(errs, fmt.Errorf("undo %s: %w", undo[i].ID, err))
		}
	}
	due, err := a.Store.DueWatch(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if a.tries == nil {
		a.tries = map[relay.WatchID]*try{}
	}
	waiting := make(map[relay.WatchID]*try, len(due))
	for i := range due {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := &due[i]
		t := a.tries[f.ID]
		if t == nil {
			t = &try{mailed: map[string]bool{}}
		}
		if a.now().Before(t.next) {
			waiting[f.ID] = t
			continue
		}
		err := a.answer(ctx, f, settings(f.Account), t)
		switch {
		case err == nil:
			err = a.Store.SetWatchAnswered(ctx, f.ID, a.now(), "")
		case a.now().Sub(f.LastAt) > giveUp:
			err = a.Store.SetWatchAnswered(ctx, f.ID, a.now(), err.Error())
		default:
			t.pause = min(max(2*t.pause, firstPause), longestRetry)
			t.next = a.now().Add(t.pause)
			waiting[f.ID] = t
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("answer %s: %w", f.ID, err))
		}
	}
	a.tries = waiting
	return errors.Join(errs...)
}

// answer does what one finding asks for: first to the key, then by telling. Told
// twice, after a crash, is better than not at all.
func (a *Answers) answer(ctx context.Context, f *relay.WatchFinding, s relay.WatchSettings, t *try) error {
	if err := a.bend(ctx, f); err != nil {
		return err
	}
	return a.tell(ctx, f, &s, t)
}

// alike reports whether two answers changed the same of a key.
func alike(a, b *relay.WatchUndo) bool {
	return a.Stopped == b.Stopped && (a.Mode != "") == (b.Mode != "") && (a.PerMinute != nil) == (b.PerMinute != nil)
}

// others are the changes of a key by findings that still stand.
func (a *Answers) others(ctx context.Context, f *relay.WatchFinding) ([]*relay.WatchUndo, error) {
	bent, err := a.Store.BentWatch(ctx, f.Key)
	if err != nil {
		return nil, err
	}
	var out []*relay.WatchUndo
	for i := range bent {
		if b := &bent[i]; b.ID != f.ID && b.Undo != nil && (b.State == relay.WatchOpen || b.State == relay.WatchConfirmed) {
			out = append(out, b.Undo)
		}
	}
	return out, nil
}

// bend slows, holds or stops a finding's key.
func (a *Answers) bend(ctx context.Context, f *relay.WatchFinding) error {
	if f.Key.IsZero() || f.Answer != relay.WatchSlow && f.Answer != relay.WatchHold && f.Answer != relay.WatchStop {
		return nil
	}
	k, err := a.Store.Key(ctx, f.Key)
	if err != nil {
		if relay.KindOf(err) == relay.NotFound {
			return nil
		}
		return err
	}
	if k.Canary || !k.RevokedAt.IsZero() {
		return nil // it lets nobody in
	}
	by := store.By{Who: By, From: "finding " + f.ID.String()}
	undo := f.Undo
	if undo == nil {
		if undo, err = a.plan(ctx, f, &k); err != nil || undo == nil {
			return err
		}
		if err := a.Store.SetWatchUndo(ctx, f.ID, undo); err != nil {
			return err
		}
		f.Undo = undo
	}
	was := k // whoever edits the key meanwhile is not undone: this is tried again
	switch {
	case undo.Stopped:
		if k.DisabledAt.IsZero() {
			return a.Store.SetKeyDisabled(ctx, by, k.ID, a.now())
		}
		return nil
	case undo.Mode != "":
		if k.Mode == relay.KeyHold {
			return nil
		}
		k.Mode = relay.KeyHold
	case undo.PerMinute != nil:
		if k.PerMinute == undo.SetMinute {
			return nil
		}
		k.PerMinute = undo.SetMinute
	}
	return a.Store.SwapKey(ctx, by, was, k)
}

// plan says what an answer will change; nil: the key is so already. Where another
// finding has changed it so, both have the old value, and the last one restores it.
func (a *Answers) plan(ctx context.Context, f *relay.WatchFinding, k *relay.Key) (*relay.WatchUndo, error) {
	others, err := a.others(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.Stopped && f.Answer == relay.WatchStop || o.Mode != "" && f.Answer == relay.WatchHold || o.PerMinute != nil && f.Answer == relay.WatchSlow {
			return o, nil
		}
	}
	switch f.Answer {
	case relay.WatchStop:
		if !k.DisabledAt.IsZero() {
			return nil, nil
		}
		return &relay.WatchUndo{Stopped: true}, nil
	case relay.WatchHold:
		if k.Mode != relay.KeyLive {
			return nil, nil
		}
		return &relay.WatchUndo{Mode: k.Mode}, nil
	}
	kept, err := a.Store.WatchBaselines(ctx, []relay.KeyID{k.ID})
	if err != nil {
		return nil, err
	}
	peak := 0.0
	if text, ok := kept[k.ID]; ok {
		if b, err := decodeBaseline(text); err == nil { // a damaged one is as none
			peak = float64(b.Peak)
		}
	}
	limit := int64(math.Max(leastMinute, slowPart*peak/60))
	if k.PerMinute != 0 && k.PerMinute <= limit {
		return nil, nil
	}
	was := k.PerMinute
	return &relay.WatchUndo{PerMinute: &was, SetMinute: limit}, nil
}

// undo restores what an answer changed, unless somebody changed it since, or
// another finding wants it to stay: then that one restores it.
func (a *Answers) undo(ctx context.Context, f *relay.WatchFinding) error {
	done := func() error { return a.Store.SetWatchUndo(ctx, f.ID, nil) }
	u := f.Undo
	k, err := a.Store.Key(ctx, f.Key)
	if err != nil {
		if relay.KindOf(err) == relay.NotFound {
			return done()
		}
		return err
	}
	others, err := a.others(ctx, f)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(others, func(o *relay.WatchUndo) bool { return alike(o, u) }) {
		return done()
	}
	by := store.By{Who: By, From: "finding " + f.ID.String() + ", " + string(f.State) + " by " + f.DecidedBy}
	was := k
	switch {
	case !k.RevokedAt.IsZero():
	case u.Stopped && !k.DisabledAt.IsZero():
		err = a.Store.SetKeyDisabled(ctx, by, k.ID, time.Time{})
	case u.Mode != "" && k.Mode == relay.KeyHold:
		k.Mode = u.Mode
		err = a.Store.SwapKey(ctx, by, was, k)
	case u.PerMinute != nil && k.PerMinute == u.SetMinute:
		k.PerMinute = *u.PerMinute
		err = a.Store.SwapKey(ctx, by, was, k)
	}
	if err != nil && relay.KindOf(err) != relay.Forbidden { // somebody above wants it to stay off
		return err
	}
	return done()
}

// tell mails and posts a finding.
func (a *Answers) tell(ctx context.Context, f *relay.WatchFinding, s *relay.WatchSettings, t *try) error {
	var errs []error
	if a.Mail != nil && !s.NoMail {
		for _, to := range a.readers(f, s) {
			if t.mailed[to] {
				continue
			}
			subject, text := Letter(f, a.Host)
			if err := a.Mail(ctx, to, subject, text); err != nil {
				errs = append(errs, fmt.Errorf("mail: %w", err))
			} else {
				t.mailed[to] = true
			}
		}
	}
	if a.Post != nil && s.Webhook != "" && !t.posted {
		body, err := json.Marshal(map[string]any{"type": "watch.finding", "timestamp": f.LastAt, "data": shown(*f)})
		if err != nil {
			return err
		}
		secrets := s.Secrets
		if len(secrets) > 1 && !a.now().Before(s.SecretUntil) {
			secrets = secrets[:1]
		}
		if err := a.Post(ctx, s.Webhook, secrets, "watch_"+f.ID.String(), body); err != nil {
			errs = append(errs, err)
		} else {
			t.posted = true
		}
	}
	return errors.Join(errs...)
}

// shown is a finding as a receiver sees it.
func shown(f relay.WatchFinding) relay.WatchFinding {
	f.Undo, f.AnswerError = nil, ""
	return f
}

func (a *Answers) readers(f *relay.WatchFinding, s *relay.WatchSettings) []string {
	if len(s.MailTo) > 0 {
		return s.MailTo
	}
	if f.Account.IsZero() {
		if a.Operator != nil {
			return slices.DeleteFunc([]string{a.Operator()}, func(to string) bool { return to == "" })
		}
		return nil
	}
	if a.Account != nil {
		if acct, ok := a.Account(f.Account); ok && acct.OwnerEmail != "" {
			return []string{acct.OwnerEmail}
		}
	}
	return nil
}

// Letter is the mail about a finding.
func Letter(f *relay.WatchFinding, host string) (subject, text string) {
	subject = f.Title
	if f.Severity == relay.WatchCritical {
		subject = "Act now: " + subject
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nWhat to do: %s\n", f.Text, f.Fix)
	switch {
	case f.Undo == nil:
	case f.Undo.Stopped:
		b.WriteString("\nThe key was disabled, as your settings say. Dismissing this finding enables it again.\n")
	case f.Undo.Mode != "":
		b.WriteString("\nThe key's mail is held for release, as your settings say. Dismissing this finding lets the key send again; what is held stays held until you release it.\n")
	case f.Undo.PerMinute != nil:
		fmt.Fprintf(&b, "\nThe key may send to %d recipients a minute, as your settings say. Dismissing this finding restores its limit.\n", f.Undo.SetMinute)
	}
	b.WriteString("\nEvidence:\n")
	fmt.Fprintf(&b, "  first seen  %s\n", f.FirstAt.UTC().Format(time.RFC1123))
	if f.Evidence.Unit != "" {
		fmt.Fprintf(&b, "  seen        %s %s\n", number(f.Evidence.Seen), f.Evidence.Unit)
	}
	if f.Evidence.Expected > 0 {
		fmt.Fprintf(&b, "  expected    at most %s\n", number(f.Evidence.Expected))
	}
	for _, p := range f.Evidence.Places {
		fmt.Fprintf(&b, "  place       %s\n", placeWords(p))
	}
	for _, v := range f.Evidence.Samples {
		fmt.Fprintf(&b, "  sample      %s\n", v)
	}
	fmt.Fprintf(&b, "\nIf nothing is wrong: postern watch dismiss %s --teach\nIf it is real:       postern watch confirm %s\n", f.ID, f.ID)
	if host != "" {
		fmt.Fprintf(&b, "\nThe watch of %s\n", host)
	}
	return subject, b.String()
}

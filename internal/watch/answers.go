package watch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	SwapKeyDisabled(ctx context.Context, by store.By, id relay.KeyID, was, at time.Time) error
	DueWatch(ctx context.Context) ([]relay.WatchFinding, error)
	WatchFinding(ctx context.Context, id relay.WatchID) (relay.WatchFinding, error)
	UndoWatch(ctx context.Context) ([]relay.WatchFinding, error)
	BentWatch(ctx context.Context, key relay.KeyID) ([]relay.WatchFinding, error)
	WatchBaselines(ctx context.Context, keys []relay.KeyID) (map[relay.KeyID][]byte, error)
	// SetWatchAnswered: relay.Conflict if the finding was raised since f was read.
	SetWatchAnswered(ctx context.Context, f relay.WatchFinding, at time.Time, problem string) error
	// BendWatch: relay.Conflict if the finding is not open any more.
	BendWatch(ctx context.Context, f relay.WatchFinding, undo *relay.WatchUndo) error
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

	// Used by one goroutine: that of Work.
	tries  map[telling]*try
	waited map[relay.AccountID]time.Duration // for an account's receiver, in this run of Work
}

// telling is one answer of a finding: each raise is another.
type telling struct {
	id     relay.WatchID
	raised int64
}

func tellingOf(f *relay.WatchFinding) telling { return telling{f.ID, f.Raised} }

// hookID is the webhook-id of a telling: receivers drop one that they have seen.
func (t telling) hookID() string {
	if t.raised == 0 {
		return "watch_" + t.id.String()
	}
	return fmt.Sprintf("watch_%s_%d", t.id, t.raised+1)
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

func (a *Answers) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}

// patience is how long one run of Work waits for the receiver of an account; what is not
// posted then is posted by the next one. Other accounts' keys and people must not wait for
// as long as one receiver takes for all that was found of its account.
const patience = 10 * time.Second

// errLater: the receiver of the account has had its time, and nothing else is wrong.
var errLater = errors.New("the receiver is asked again soon")

// undoEvery is how long what came to nothing waits while findings are answered, each of
// which may wait for a receiver.
const undoEvery = 5 * time.Second

// Work answers what is not answered, and undoes what came to nothing. A failure
// of one does not keep the others waiting; all are in the error.
func (a *Answers) Work(ctx context.Context, settings func(relay.AccountID) relay.WatchSettings) error {
	errs := []error{a.undoAll(ctx)}
	undone := a.now()
	due, err := a.Store.DueWatch(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if a.tries == nil {
		a.tries = map[telling]*try{}
	}
	waiting := make(map[telling]*try, len(due))
	a.waited = map[relay.AccountID]time.Duration{}
	for i := range due {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := &due[i]
		if t := a.tries[tellingOf(f)]; t != nil && a.now().Before(t.next) {
			waiting[tellingOf(f)] = t
			continue
		}
		if a.now().Sub(undone) >= undoEvery {
			errs = append(errs, a.undoAll(ctx))
			undone = a.now()
		}
		// Somebody may have decided about it since the list was read.
		still, err := a.stillDue(ctx, f)
		t := a.tries[tellingOf(f)]
		if t == nil {
			t = &try{mailed: map[string]bool{}}
		}
		if still && err == nil {
			still, err = a.attempt(ctx, f, settings(f.Account), t)
		}
		if still {
			waiting[tellingOf(f)] = t
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("answer %s: %w", f.ID, err))
		}
	}
	a.tries = waiting
	return errors.Join(errs...)
}

// undoAll undoes what came to nothing.
func (a *Answers) undoAll(ctx context.Context) error {
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
	return errors.Join(errs...)
}

// stillDue reads a finding anew, and reports whether it is to be answered; with an
// error, as far as is known.
func (a *Answers) stillDue(ctx context.Context, f *relay.WatchFinding) (bool, error) {
	now, err := a.Store.WatchFinding(ctx, f.ID)
	if err != nil {
		if relay.KindOf(err) == relay.NotFound {
			return false, nil
		}
		return true, err
	}
	*f = now
	return f.State == relay.WatchOpen && f.AnsweredAt.IsZero() && f.Answer != relay.WatchRecord, nil
}

// attempt is one try to answer a finding; still: there will be another one.
func (a *Answers) attempt(ctx context.Context, f *relay.WatchFinding, s relay.WatchSettings, t *try) (still bool, err error) {
	err = a.answer(ctx, f, s, t)
	switch {
	case errors.Is(err, errDecided):
		return false, nil
	case errors.Is(err, errLater):
		return true, nil
	case err == nil:
		err = a.note(ctx, f, a.now(), "")
		still = err != nil // what was told is told already
	case a.now().Sub(f.LastAt) > giveUp:
		err = a.note(ctx, f, a.now(), problemWords(err))
		still = err != nil
	default:
		still = true
		// Whoever looks at the finding meanwhile is told why: while it is seen again and
		// again the tries may go on for weeks.
		if problem := problemWords(err); problem != f.AnswerError && ctx.Err() == nil {
			err = errors.Join(err, a.note(ctx, f, time.Time{}, problem))
		}
	}
	if still {
		t.pause = min(max(2*t.pause, firstPause), longestRetry)
		t.next = a.now().Add(t.pause)
	}
	return still, err
}

// note keeps when a finding was answered, and why not: for good, or with the zero time
// until the next try. One that was raised meanwhile is due again.
func (a *Answers) note(ctx context.Context, f *relay.WatchFinding, at time.Time, problem string) error {
	err := a.Store.SetWatchAnswered(ctx, *f, at, problem)
	if relay.KindOf(err) == relay.Conflict {
		return nil
	}
	return err
}

// answer does what one finding asks for: first to the key, then by telling. Told
// twice, after a crash, is better than not at all.
func (a *Answers) answer(ctx context.Context, f *relay.WatchFinding, s relay.WatchSettings, t *try) error {
	if err := a.bend(ctx, f, present(f, &s)); err != nil {
		return err
	}
	return a.tell(ctx, f, &s, t)
}

// present is what is done to the key: what the finding is to be answered with, or what
// the settings ask for now where that is milder. The account may have taken the answer
// back since, and nobody wants it carried out on a key that they enabled again.
func present(f *relay.WatchFinding, s *relay.WatchSettings) relay.WatchAnswer {
	switch now := s.Rule(f.Rule); {
	case now.Off:
		return relay.WatchRecord
	case f.Answer.Stricter(now.Answer):
		return now.Answer
	}
	return f.Answer
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
		if a.waited[f.Account] >= patience {
			return cmp.Or(errors.Join(errs...), errLater)
		}
		begun := a.now()
		if err := a.Post(ctx, s.Webhook, secrets, tellingOf(f).hookID(), body); err != nil {
			errs = append(errs, unheard{err})
		} else {
			t.posted = true
		}
		a.waited[f.Account] += a.now().Sub(begun)
	}
	return errors.Join(errs...)
}

// unheard is what came of a post to the account's own receiver: it may read it.
type unheard struct{ error }

func (e unheard) Unwrap() error { return e.error }

// textInternal is said of a failure that is none of the account's.
const textInternal = "it failed inside the relay; the operator finds the cause in its log"

// problemWords is what those who read a finding are told of a failure: what its receiver
// answered, and what is meant for people. The rest is logged.
func problemWords(err error) string {
	if all, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // of this error, not of what is in it
		var words []string
		for _, err := range all.Unwrap() {
			if w := problemWords(err); !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
		return strings.Join(words, "; ")
	}
	if _, ok := errors.AsType[unheard](err); ok {
		return err.Error()
	}
	if e, ok := errors.AsType[*relay.Error](err); ok && e.Public != "" {
		return e.Public
	}
	return textInternal
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
	if f.Raised > 0 {
		b.WriteString("\nThis finding has become worse since it was first seen, or your settings ask for more since.\n")
	}
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

package watch

import (
	"errors"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// ann is a person who edits the key.
var ann = store.By{Who: "ann"}

// restored is the key as its owner puts it back by hand, under another limit than
// it had.
func restored(k relay.Key) relay.Key {
	k.DisabledAt, k.Mode, k.PerMinute = time.Time{}, relay.KeyLive, 500
	return k
}

// work answers and undoes what there is.
func work(t *testing.T, a *Answers) {
	t.Helper()
	if err := a.Work(t.Context(), asked); err != nil {
		t.Fatal(err)
	}
}

// eachBend runs a test for each answer that changes a key.
func eachBend(t *testing.T, test func(t *testing.T, answer relay.WatchAnswer)) {
	for _, answer := range relay.WatchBends {
		t.Run(string(answer), func(t *testing.T) {
			t.Parallel()
			test(t, answer)
		})
	}
}

func sameKey(t *testing.T, what string, want, got relay.Key) {
	t.Helper()
	if got.PerMinute != want.PerMinute || got.Mode != want.Mode || !got.DisabledAt.Equal(want.DisabledAt) {
		t.Errorf("%s: %d a minute, %s, disabled %v; want %d, %s, %v", what, got.PerMinute, got.Mode, got.DisabledAt, want.PerMinute, want.Mode, want.DisabledAt)
	}
}

// An answer that is not in force any more neither lends a later finding its old value
// nor keeps it from being undone: also one that was kept by a release that did not
// forget it, nor when it was set.
func TestFalseAlarmAfterOneThatWasReal(t *testing.T) {
	t.Parallel()
	eachBend(t, func(t *testing.T, answer relay.WatchAnswer) {
		for _, state := range []relay.WatchState{relay.WatchConfirmed, relay.WatchOpen} {
			for _, older := range []bool{false, true} {
				d, _, a, now := newDesk()
				d.finding(1, answer)
				work(t, a)
				d.findings[0].State = state
				kept := *d.findings[0].Undo
				d.set(ann, restored(d.key))
				if older {
					kept.DisabledAt = time.Time{}
					d.findings[0].Undo = &kept
				} else if d.findings[0].Undo != nil {
					t.Errorf("%s: %+v is still to be undone", state, d.findings[0].Undo)
				}
				before := d.key
				*now = now.Add(100 * 24 * time.Hour)
				d.finding(2, answer)
				work(t, a)
				if d.findings[1].Undo == nil || before.Mode == d.key.Mode && before.PerMinute == d.key.PerMinute && d.key.DisabledAt.IsZero() {
					t.Fatalf("%s: not answered: %+v", state, d.key)
				}
				d.findings[1].State = relay.WatchDismissed
				work(t, a)
				sameKey(t, string(state), before, d.key)
			}
		}
	})
}

// What a person made the same again themselves is theirs: a dismissal leaves it.
func TestUndoLeavesWhatAPersonMadeTheSame(t *testing.T) {
	t.Parallel()
	eachBend(t, func(t *testing.T, answer relay.WatchAnswer) {
		d, _, a, now := newDesk()
		d.finding(1, answer)
		work(t, a)
		bent := d.key
		d.set(ann, restored(d.key))
		if *now = now.Add(time.Hour); answer == relay.WatchStop {
			bent.DisabledAt = *now
		}
		d.set(ann, bent)
		d.findings[0].State = relay.WatchDismissed
		work(t, a)
		sameKey(t, "dismissed", bent, d.key)
	})
}

// A moment that a person disabled a stopped key anew is theirs too.
func TestUndoLeavesAKeyThatWasDisabledAnew(t *testing.T) {
	t.Parallel()
	d, _, a, now := newDesk()
	d.finding(1, relay.WatchStop)
	work(t, a)
	d.key.DisabledAt = now.Add(time.Minute) // nobody told the finding
	d.findings[0].State = relay.WatchDismissed
	work(t, a)
	if d.key.DisabledAt.IsZero() {
		t.Error("what a person disabled is enabled")
	}
}

// A key that a person disables in the moment in which it is to be stopped, or enabled
// again, is theirs: it has their time, and no dismissal enables it.
func TestKeyThatSomebodyDisablesAtTheSameMoment(t *testing.T) {
	t.Parallel()
	for _, restoring := range []bool{false, true} {
		d, l, a, now := newDesk()
		d.finding(1, relay.WatchStop)
		if restoring {
			work(t, a)
			d.findings[0].State = relay.WatchDismissed
		}
		want := d.key
		want.DisabledAt = began.Add(time.Second)
		d.meanwhile = func() { d.meanwhile = nil; d.set(ann, want) }
		if err := a.Work(t.Context(), asked); relay.KindOf(err) != relay.Conflict {
			t.Errorf("restoring %t: %v", restoring, err)
		}
		sameKey(t, "at the same moment", want, d.key)
		*now = now.Add(time.Hour)
		work(t, a)
		sameKey(t, "tried again", want, d.key)
		d.findings[0].State = relay.WatchDismissed
		work(t, a)
		sameKey(t, "dismissed", want, d.key)
		if len(l.mails) != 1 || d.findings[0].Undo != nil {
			t.Errorf("restoring %t: %q, %+v", restoring, l.mails, d.findings[0].Undo)
		}
	}
}

// A crash between keeping what will be changed and changing it: the next try changes
// it, and the last of two findings puts back what was before both.
func TestCrashBeforeTheKeyIsChanged(t *testing.T) {
	t.Parallel()
	eachBend(t, func(t *testing.T, answer relay.WatchAnswer) {
		d, _, a, _ := newDesk()
		before := d.key
		d.finding(1, answer)
		work(t, a)
		bent := d.key
		d.key, d.findings[0].AnsweredAt = before, time.Time{} // as the crash left it
		d.finding(2, answer)
		d.findings[0], d.findings[1] = d.findings[1], d.findings[0] // the newest first, as the store has them
		a.tries = nil
		work(t, a)
		sameKey(t, "answered", bent, d.key)
		for i := range d.findings {
			sameKey(t, "one is left", bent, d.key)
			d.findings[i].State = relay.WatchDismissed
			work(t, a)
		}
		sameKey(t, "dismissed", before, d.key)
	})
}

// One that crashed so, and whose key was edited before the next try, restores what
// the key has now.
func TestCrashAndAnEdit(t *testing.T) {
	t.Parallel()
	d, _, a, _ := newDesk()
	was := int64(900)
	f := d.finding(1, relay.WatchSlow)
	f.Undo, f.Bent = &relay.WatchUndo{PerMinute: &was, SetMinute: 10}, 1
	d.key.PerMinute = 500
	work(t, a)
	if d.key.PerMinute != 10 {
		t.Errorf("%d a minute", d.key.PerMinute)
	}
	d.findings[0].State = relay.WatchDismissed
	work(t, a)
	if d.key.PerMinute != 500 {
		t.Errorf("restored: %d a minute", d.key.PerMinute)
	}
}

// Who enables a key again while nobody can be told has the last word: the key is
// changed once, however often telling is tried, and by whatever process; when the
// finding becomes worse, once more.
func TestKeyIsChangedOnce(t *testing.T) {
	t.Parallel()
	eachBend(t, func(t *testing.T, answer relay.WatchAnswer) {
		for _, restarts := range []bool{false, true} {
			d, l, a, now := newDesk()
			d.finding(1, answer)
			tries := func(err error) {
				t.Helper()
				if l.failMail = err; restarts {
					a.tries = nil
				}
				*now = now.Add(time.Hour)
				if got := a.Work(t.Context(), asked); (got == nil) != (err == nil) {
					t.Errorf("%v, want %v", got, err)
				}
			}
			down := errors.New("down")
			tries(down)
			bent, want := d.key, restored(d.key)
			d.set(ann, want)
			tries(down)
			sameKey(t, "tried again", want, d.key)
			tries(nil)
			sameKey(t, "told", want, d.key)
			if len(l.mails) != 1 || d.findings[0].AnsweredAt.IsZero() {
				t.Errorf("%q", l.mails)
			}
			d.findings[0].Raised, d.findings[0].AnsweredAt = 1, time.Time{}
			tries(down)
			if d.key.PerMinute != bent.PerMinute && answer == relay.WatchSlow || d.key.Mode != bent.Mode || d.key.DisabledAt.IsZero() != bent.DisabledAt.IsZero() {
				t.Errorf("worse: %+v", d.key)
			}
			d.set(ann, want)
			tries(nil)
			sameKey(t, "told that it is worse", want, d.key)
		}
	})
}

// A key that was so already when it was to be changed is not changed either when
// somebody makes it otherwise before anybody is told.
func TestKeyThatWasSoAlready(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	d.key.DisabledAt = began.Add(-time.Hour)
	d.finding(1, relay.WatchStop)
	l.failMail = errors.New("down")
	_ = a.Work(t.Context(), asked)
	d.set(ann, restored(d.key))
	l.failMail, a.tries = nil, nil
	*now = now.Add(time.Hour)
	work(t, a)
	if !d.key.DisabledAt.IsZero() || len(l.mails) != 1 {
		t.Errorf("%+v, %q", d.key, l.mails)
	}
}

// Two findings that changed the key in two ways: each takes back its own.
func TestDifferentAnswersOfTwoFindings(t *testing.T) {
	t.Parallel()
	d, _, a, _ := newDesk()
	d.finding(1, relay.WatchSlow)
	d.finding(2, relay.WatchStop)
	work(t, a)
	slow := d.key
	slow.DisabledAt = time.Time{}
	d.findings[1].State = relay.WatchDismissed
	work(t, a)
	sameKey(t, "the stop is dismissed", slow, d.key)
	slow.PerMinute = 900
	d.findings[0].State = relay.WatchDismissed
	work(t, a)
	sameKey(t, "both are", slow, d.key)
}

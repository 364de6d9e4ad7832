package watch

import (
	"context"
	"reflect"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// desk is a store of answers in memory, with one key.
type desk struct {
	key      relay.Key
	findings []relay.WatchFinding
	baseline []byte
	by       []string
	notes    int // of answers, done or not
	fail     error
	failNote error // of a note; failFind of reading one finding
	failFind error
	// meanwhile is what somebody else does between a reading and a write; looking, before
	// the key is read.
	meanwhile, looking func()
}

func (d *desk) Key(context.Context, relay.KeyID) (relay.Key, error) {
	if d.looking != nil {
		d.looking()
	}
	return d.key, d.fail
}

func (d *desk) WatchFinding(_ context.Context, id relay.WatchID) (relay.WatchFinding, error) {
	if f := d.of(id); f != nil {
		return *f, d.failFind
	}
	return relay.WatchFinding{}, relay.E(relay.NotFound, "There is no such finding.")
}

func (d *desk) SwapKey(_ context.Context, by store.By, was, k relay.Key) error {
	if d.meanwhile != nil {
		d.meanwhile()
	}
	if !reflect.DeepEqual(was, d.key) {
		return relay.E(relay.Conflict, "The key was changed at the same moment.")
	}
	d.set(by, k)
	return d.fail
}

// set changes the key as the store does, which forgets what does not stand any more.
func (d *desk) set(by store.By, k relay.Key) {
	for i := range d.findings {
		d.findings[i].Undo = d.findings[i].Undo.Left(&d.key, &k)
	}
	d.key = k
	d.by = append(d.by, by.Who)
}

func (d *desk) SwapKeyDisabled(_ context.Context, by store.By, _ relay.KeyID, was, at time.Time) error {
	if d.meanwhile != nil {
		d.meanwhile()
	}
	k := d.key
	if !k.DisabledAt.Equal(was) {
		return relay.E(relay.Conflict, "The key was changed at the same moment.")
	}
	k.DisabledAt = at
	d.set(by, k)
	return d.fail
}

func (d *desk) list(want func(*relay.WatchFinding) bool) (out []relay.WatchFinding, err error) {
	for i := range d.findings {
		if want(&d.findings[i]) {
			out = append(out, d.findings[i])
		}
	}
	return out, d.fail
}

func (d *desk) DueWatch(context.Context) ([]relay.WatchFinding, error) {
	return d.list(func(f *relay.WatchFinding) bool {
		return f.State == relay.WatchOpen && f.AnsweredAt.IsZero() && f.Answer != relay.WatchRecord
	})
}

func (d *desk) UndoWatch(context.Context) ([]relay.WatchFinding, error) {
	return d.list(func(f *relay.WatchFinding) bool {
		return f.Undo != nil && (f.State == relay.WatchDismissed || f.State == relay.WatchEnded)
	})
}

func (d *desk) BentWatch(context.Context, relay.KeyID) ([]relay.WatchFinding, error) {
	return d.list(func(f *relay.WatchFinding) bool { return f.Undo != nil })
}

func (d *desk) WatchBaselines(context.Context, []relay.KeyID) (map[relay.KeyID][]byte, error) {
	return map[relay.KeyID][]byte{d.key.ID: d.baseline}, nil
}

func (d *desk) of(id relay.WatchID) *relay.WatchFinding {
	for i := range d.findings {
		if d.findings[i].ID == id {
			return &d.findings[i]
		}
	}
	return nil
}

func (d *desk) SetWatchAnswered(_ context.Context, was relay.WatchFinding, at time.Time, problem string) error {
	f := d.of(was.ID)
	if f.Severity != was.Severity || f.Answer != was.Answer {
		return relay.E(relay.Conflict, "raised")
	}
	if d.notes++; d.failNote != nil {
		return d.failNote
	}
	f.AnsweredAt, f.AnswerError = at, problem
	return nil
}

func (d *desk) BendWatch(_ context.Context, was relay.WatchFinding, undo *relay.WatchUndo) error {
	f := d.of(was.ID)
	if f.State != relay.WatchOpen {
		return relay.E(relay.Conflict, "decided")
	}
	f.Undo, f.Bent = undo, was.Raised+1
	return nil
}

func (d *desk) SetWatchUndo(_ context.Context, id relay.WatchID, undo *relay.WatchUndo) error {
	d.of(id).Undo = undo
	return nil
}

// letters are what was sent.
type letters struct {
	mails, posts []string
	failMail     error
	failPost     error
}

func (l *letters) mail(_ context.Context, to, subject, text string) error {
	if l.failMail == nil {
		l.mails = append(l.mails, to+": "+subject+"\n"+text)
	}
	return l.failMail
}

func (l *letters) post(_ context.Context, url string, secrets [][]byte, id string, body []byte) error {
	if l.failPost == nil {
		l.posts = append(l.posts, url+" "+id+" "+string(body))
	}
	return l.failPost
}

func newDesk() (*desk, *letters, *Answers, *time.Time) {
	now := began
	d := &desk{key: relay.Key{ID: relay.KeyID{ID: relay.ID{1}}, Name: "shop", Mode: relay.KeyLive, PerMinute: 900}, baseline: []byte(`{"first":1,"v_peak":2400,"p_known":"0:"}`)}
	l := &letters{}
	a := &Answers{Store: d, Mail: l.mail, Post: l.post, Operator: func() string { return "root@example.test" }, Host: "mail.example.test", Now: func() time.Time { return now },
		Account: func(relay.AccountID) (relay.Account, bool) {
			return relay.Account{OwnerEmail: "owner@example.test"}, true
		}}
	return d, l, a, &now
}

func (d *desk) finding(n byte, answer relay.WatchAnswer) *relay.WatchFinding {
	d.findings = append(d.findings, relay.WatchFinding{ID: relay.WatchID{ID: relay.ID{n}}, Rule: relay.WatchPlaces, Tenant: relay.Tenant{Account: relay.AccountID{ID: relay.ID{9}}}, Key: d.key.ID, KeyName: "shop", State: relay.WatchOpen,
		Title: "Key “shop” …", Text: "text", Fix: "fix", Severity: relay.WatchCritical, Answer: answer, FirstAt: began, LastAt: began,
		Evidence: relay.WatchEvidence{Seen: 4, Unit: "places", Places: []relay.WatchPlace{{Addr: "192.0.2.1", Country: "NG"}}}})
	return &d.findings[len(d.findings)-1]
}

// asked are settings that ask for whatever the findings of a desk were answered with.
func asked(relay.AccountID) relay.WatchSettings { return asking(relay.WatchStop) }

// asking are settings that ask for an answer.
func asking(answer relay.WatchAnswer) relay.WatchSettings {
	return relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchPlaces: {Answer: answer}}}
}

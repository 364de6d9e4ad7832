package audit

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/store"
)

// notice keeps a finding of the watch, as the watch does.
func (o *office) notice(of relay.Tenant, severity relay.WatchSeverity, first time.Time) relay.WatchFinding {
	o.t.Helper()
	v := relay.WatchFinding{
		ID: relay.WatchID{ID: relay.NewID(first)}, Rule: relay.WatchCanary, Tenant: of, Severity: severity, State: relay.WatchOpen, Title: "Canary key was tried",
		FirstAt: first, LastAt: first, Count: 1, Answer: relay.WatchTell,
	}
	o.must(o.s.PutWatch(o.t.Context(), store.WatchCommit{Findings: []relay.WatchFinding{v}}))
	return v
}

// How an account is watched, in a real store, changed and decided by the calls that the
// API makes: the report lists what is wrong, and each thing that is mended adds its
// weight and nothing else.
func TestWatchOfAnAccount(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := t.Context()
	o.furnish()
	if r := o.report(o.acme); r.Score != FullScore {
		t.Fatalf("in order: %q", ids(r))
	}
	acme, late := relay.Tenant{Account: o.acme.ID}, o.now.Add(-8*day)
	sub := relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(o.now)}, Account: o.acme.ID, Name: "shop", CreatedAt: o.now}
	o.must(o.s.CreateSubuser(ctx, by, sub))
	open := o.notice(acme, relay.WatchCritical, late)
	ofSub := o.notice(relay.Tenant{Account: o.acme.ID, Subuser: sub.ID}, relay.WatchCritical, late)
	failed := o.notice(acme, relay.WatchWarning, late)
	o.must(o.s.SetWatchAnswered(ctx, failed, o.now.Add(-7*day), "webhook: 503"))
	tried := o.notice(acme, relay.WatchCritical, o.now.Add(-60*day)) // seen since again and again
	o.must(o.s.SetWatchAnswered(ctx, tried, time.Time{}, "webhook: 503"))
	hour := o.notice(acme, relay.WatchWarning, o.now.Add(-time.Hour))
	o.must(o.s.SetWatchAnswered(ctx, hour, time.Time{}, "webhook: 503"))
	told := o.notice(acme, relay.WatchWarning, late)
	o.must(o.s.SetWatchAnswered(ctx, told, late, ""))
	o.notice(acme, relay.WatchCritical, o.now.Add(-day)) // there is time yet
	o.notice(relay.Tenant{Account: o.first.ID}, relay.WatchCritical, late)
	o.notice(relay.Tenant{}, relay.WatchCritical, late) // the operator's
	was := relay.WatchSettings{
		Webhook: "", NoMail: true, Secrets: [][]byte{[]byte("a secret")},
		Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchHours: {Off: true}, relay.WatchSweep: {Off: true}},
	}
	o.must(o.s.SwapWatchSettings(ctx, by, o.acme.ID, relay.WatchSettings{}, was))

	want := []string{"watch_rule_off hours", "watch_untold watch", "watch_open " + open.ID.String(), "watch_open " + ofSub.ID.String(), "watch_undelivered " + failed.ID.String(), "watch_undelivered " + tried.ID.String()}
	slices.Sort(want)
	r := o.report(o.acme)
	if diff := cmp.Diff(want, ids(r)); diff != "" {
		t.Fatalf("findings (want, got): %s", diff)
	}
	f, err := Collect(ctx, Sources{Store: o.s}, o.acme.ID, o.now)
	if err != nil || f.Watch.Settings.Secrets != nil {
		t.Errorf("the facts have secrets of the webhook; %v", err)
	}
	settings := func(change func(s *relay.WatchSettings)) func() error {
		return func() error {
			next := was
			change(&next)
			err := o.s.SwapWatchSettings(ctx, by, o.acme.ID, was, next)
			was = next
			return err
		}
	}
	decide := func(id relay.WatchID, state relay.WatchState) func() error {
		return func() error {
			_, err := o.s.DecideWatch(ctx, by, id, state, false)
			return err
		}
	}
	for id, mend := range map[string]func() error{
		"watch_rule_off hours": settings(func(s *relay.WatchSettings) {
			s.Rules = map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchSweep: {Off: true}}
		}),
		"watch_untold watch":                      settings(func(s *relay.WatchSettings) { s.NoMail = false }),
		"watch_open " + open.ID.String():          decide(open.ID, relay.WatchConfirmed),
		"watch_open " + ofSub.ID.String():         decide(ofSub.ID, relay.WatchDismissed),
		"watch_undelivered " + failed.ID.String(): decide(failed.ID, relay.WatchConfirmed),
		"watch_undelivered " + tried.ID.String():  decide(tried.ID, relay.WatchConfirmed),
	} {
		before := o.report(o.acme)
		o.must(mend())
		c := Compare(before, o.report(o.acme))
		if len(c.Mended) != 1 || c.Mended[0].ID != id || len(c.New) != 0 || c.Difference != c.Mended[0].Weight {
			t.Errorf("mending %s: %+v", id, c)
		}
	}
	if r := o.report(o.acme); r.Score != FullScore {
		t.Errorf("after all is mended: %q", ids(r))
	}
}

// Findings are read to the last page, however many are newer than one that waits.
func TestManyFindingsOfTheWatch(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.furnish()
	old := o.notice(relay.Tenant{Account: o.acme.ID}, relay.WatchCritical, o.now.Add(-20*day))
	var many []relay.WatchFinding
	for i := range watchPage + 5 {
		at := o.now.Add(-day + time.Duration(i)*time.Millisecond)
		many = append(many, relay.WatchFinding{
			ID: relay.WatchID{ID: relay.NewID(at)}, Rule: relay.WatchSpread, Tenant: relay.Tenant{Account: o.acme.ID}, Severity: relay.WatchWarning, State: relay.WatchOpen,
			FirstAt: at, LastAt: at, Answer: relay.WatchTell,
		})
	}
	o.must(o.s.PutWatch(t.Context(), store.WatchCommit{Findings: many}))
	if got := ids(o.report(o.acme)); !slices.Equal(got, []string{"watch_open " + old.ID.String()}) {
		t.Errorf("found %q", got)
	}
}

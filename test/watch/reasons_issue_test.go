package watch

import (
	"slices"
	"strings"
	"testing"

	"postern/internal/relay"
	"postern/internal/testkit/months"
	"postern/internal/watch"
)

// reasons are words of which a text of the finding about an incident must have all:
// the reason, as a person would tell it.
var reasons = map[months.Kind][]string{
	months.NewNetwork:   {"was used from", "never been used from"},
	months.Travel:       {"km", "nobody travels so fast"},
	months.ManyPlaces:   {"different places", "on one day"},
	months.Burst:        {"recipients within the hour", "largest hour so far"},
	months.NewPeople:    {"never had mail from it before"},
	months.Bounces:      {"bounced", "Usually it is"},
	months.Unknown:      {"do not exist"},
	months.SprayAccount: {"failed from", "different addresses"},
	months.SprayAddress: {"logins failed", "accounts"},
	months.Canary:       {"is a canary", "tried from"},
	months.WeakTLS:      {"logged in with", "it always had"},
	months.OddHours:     {"did not send at that time of the day"},
	months.DomainGone:   {"DNS records", "are gone"},
}

// play is judge without a verdict: the findings of a whole world.
func play(t *testing.T, w *months.World) (all []relay.WatchFinding) {
	t.Helper()
	keys, accounts := map[relay.KeyID]relay.Key{}, map[relay.AccountID]relay.Account{}
	for _, k := range w.Keys() {
		keys[k.ID] = k
	}
	for _, a := range w.Accounts() {
		accounts[a.ID] = a
	}
	e := watch.New(watch.Config{
		Places:  places{},
		Key:     func(id relay.KeyID) (relay.Key, bool) { k, ok := keys[id]; return k, ok },
		Account: func(id relay.AccountID) (relay.Account, bool) { a, ok := accounts[id]; return a, ok },
	})
	for {
		h, ok := w.Next()
		if !ok {
			return all
		}
		fs, err := e.Observe(t.Context(), h.Events, h.Logins)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fs...)
	}
}

// Of each kind of incident the finding names the right key, or account, or domain;
// the right place; and the reason. Title and evidence do, too: the title is what
// stands in a mail's subject, and the evidence what a program reads.
func TestFindingsNameKeyPlaceAndReason(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	t.Parallel()
	// A smaller world than those of the scores, with an incident of every kind once all
	// rules have learned.
	w := months.New(months.Config{Seed: 4001, Keys: 70, Accounts: 5, Incidents: len(months.Kinds), Quiet: 40})
	findings := play(t, w)
	for _, in := range w.Incidents() {
		var told []relay.WatchFinding
		for _, f := range findings {
			if about(&in, &f) && slices.Contains(expected[in.Kind], f.Rule) {
				told = append(told, f)
			}
		}
		if len(told) == 0 {
			t.Errorf("%s of %q on %s is not told", in.Kind, in.Name, in.From.Format("Mon 2006-01-02 15:04"))
		}
		for _, f := range told {
			names(t, &in, &f)
		}
	}
}

func names(t *testing.T, in *months.Incident, f *relay.WatchFinding) {
	t.Helper()
	says := func(what, text string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s: the %s has no %q: %s", in.Kind, what, w, text)
			}
		}
	}
	if f.Rule == expected[in.Kind][0] {
		says("text", f.Text, reasons[in.Kind]...)
	}
	switch in.Kind {
	case months.DomainGone:
		says("title", f.Title, in.Place[0])
		if f.Subject != in.Place[0] || f.Account != in.Account {
			t.Errorf("%s: about %q of %s", in.Kind, f.Subject, f.Account)
		}
	case months.SprayAddress:
		says("title", f.Title, in.Place[0])
		if !f.Account.IsZero() || !f.Key.IsZero() {
			t.Errorf("%s: an account sees what happens to others: %s", in.Kind, f.Account)
		}
	case months.SprayAccount:
		says("text", f.Text, "“"+in.Name+"”")
		says("title", f.Title, "“"+in.Name+"”")
	default:
		says("text", f.Text, "“"+in.Name+"” ("+in.Key.String()+")")
		says("title", f.Title, "“"+in.Name+"”")
		if f.Key != in.Key || f.KeyName != in.Name || f.Account != in.Account {
			t.Errorf("%s: about the key %q of %s, want %q of %s", in.Kind, f.KeyName, f.Account, in.Name, in.Account)
		}
	}
	in24 := func(p relay.WatchPlace) bool {
		return slices.Contains(in.Place, p.Country) || slices.Contains(in.Place, p.Addr) || slices.Contains(in.Place, p.Network)
	}
	switch in.Kind {
	case months.NewNetwork, months.Travel, months.Canary, months.SprayAddress:
		if !slices.ContainsFunc(in.Place, func(p string) bool { return strings.Contains(f.Text, p) }) || !slices.ContainsFunc(f.Evidence.Places, in24) {
			t.Errorf("%s: no place of %q in %s %+v", in.Kind, in.Place, f.Text, f.Evidence.Places)
		}
	case months.WeakTLS:
		says("evidence", f.Evidence.Now, in.Place[0])
	}
}

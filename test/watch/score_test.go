// Package watch judges the watch by months of traffic that it did not see when it
// was made. internal/testkit/months makes the traffic and plants the incidents, and
// knows no rule; here both are put together.
package watch

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/testkit/months"
	"postern/internal/watch"
)

var (
	seeds  = flag.String("seeds", "", "first-last: judge these seeds and print the table; empty: one seed, as a test")
	ledger = flag.String("ledger", "", "write the table into this file, too")
	misses = flag.Bool("misses", false, "print every incident that was missed and every false alarm")
)

// expected says which rules may find an incident. What an incident brings with it
// (a thief in another country also raises "network") is no false alarm, but only
// one of these counts as having found it.
var expected = map[months.Kind][]relay.WatchRule{
	months.NewNetwork:   {relay.WatchNetwork, relay.WatchTravel},
	months.Travel:       {relay.WatchTravel},
	months.ManyPlaces:   {relay.WatchPlaces},
	months.Burst:        {relay.WatchBurst},
	months.NewPeople:    {relay.WatchRecipients},
	months.Bounces:      {relay.WatchBounces},
	months.Unknown:      {relay.WatchUnknown},
	months.SprayAccount: {relay.WatchSpread},
	months.SprayAddress: {relay.WatchSweep},
	months.Canary:       {relay.WatchCanary},
	months.WeakTLS:      {relay.WatchDowngrade},
	months.OddHours:     {relay.WatchHours, relay.WatchBurst},
	months.DomainGone:   {relay.WatchDomain},
}

// late is how long after its end an incident may be noticed, and still count.
const late = 24 * time.Hour

// verdict is what one seed came to.
type verdict struct {
	seed               uint64
	found, incidents   int
	alarms             int // findings that belong to no incident
	findings           int
	messages           int
	took               time.Duration
	missed, falseAlarm []string
}

type places struct{}

func (places) Look(a netip.Addr) (watch.Place, bool) {
	p, ok := months.Look(a)
	return watch.Place{Country: p.Country, City: p.City, Lat: p.Lat, Lon: p.Lon, Located: ok, ASN: p.ASN}, ok
}

// judge plays a seed through the watch, hour by hour.
func judge(t *testing.T, seed uint64) verdict {
	t.Helper()
	w := months.New(months.Config{Seed: seed})
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
	v := verdict{seed: seed, incidents: len(w.Incidents())}
	var findings []relay.WatchFinding
	for {
		h, ok := w.Next()
		if !ok {
			break
		}
		for i := range h.Events {
			if h.Events[i].Kind == relay.EventReceived {
				v.messages++
			}
		}
		begin := time.Now()
		fs, err := e.Observe(t.Context(), h.Events, h.Logins)
		v.took += time.Since(begin)
		if err != nil {
			t.Fatal(err)
		}
		findings = append(findings, fs...)
	}
	v.findings = len(findings)
	score(&v, w.Incidents(), findings)
	return v
}

// about reports whether a finding is about an incident's key, account or address,
// and of its time.
func about(in *months.Incident, f *relay.WatchFinding) bool {
	if f.FirstAt.Before(in.From.Add(-time.Hour)) || f.FirstAt.After(in.To.Add(late)) {
		return false
	}
	switch in.Kind {
	case months.SprayAddress:
		return f.Rule == relay.WatchSweep || f.Rule == relay.WatchSpread
	case months.SprayAccount, months.DomainGone:
		return f.Account == in.Account && f.Key.IsZero() || f.Rule == relay.WatchSpread && f.Account == in.Account
	}
	return f.Key == in.Key
}

// says reports whether a finding names the right thing, and the right place.
func says(in *months.Incident, f *relay.WatchFinding) bool {
	if in.Name != "" && in.Kind != months.DomainGone && !strings.Contains(f.Text, in.Name) {
		return false
	}
	return len(in.Place) == 0 || slices.ContainsFunc(in.Place, func(p string) bool { return strings.Contains(f.Text, p) })
}

func score(v *verdict, incidents []months.Incident, findings []relay.WatchFinding) {
	claimed := make([]bool, len(findings))
	for i := range incidents {
		in := &incidents[i]
		found := false
		var near []string
		for n := range findings {
			f := &findings[n]
			if !about(in, f) {
				continue
			}
			claimed[n] = true
			near = append(near, string(f.Rule)+": "+f.Text)
			found = found || slices.Contains(expected[in.Kind], f.Rule) && says(in, f)
		}
		if found {
			v.found++
		} else {
			v.missed = append(v.missed, fmt.Sprintf("%s of %q at %s %v; near it: %q", in.Kind, in.Name, in.From.Format("Mon 2006-01-02 15:04"), in.Place, near))
		}
	}
	for n := range findings {
		if !claimed[n] {
			v.alarms++
			f := &findings[n]
			v.falseAlarm = append(v.falseAlarm, fmt.Sprintf("%s %s %s %q: %s", f.FirstAt.Format("Mon 2006-01-02 15:04"), f.Rule, f.Severity, f.KeyName, f.Text))
		}
	}
}

// TestWatchFindsIncidents: one seed in every run; with -seeds any range, as a
// table.
func TestWatchFindsIncidents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	first, last := uint64(1), uint64(1)
	if *seeds != "" {
		if _, err := fmt.Sscanf(*seeds, "%d-%d", &first, &last); err != nil {
			t.Fatalf("-seeds %q: want first-last", *seeds)
		}
	}
	var rows []verdict
	for seed := first; seed <= last; seed++ {
		v := judge(t, seed)
		rows = append(rows, v)
		t.Logf("seed %d: %d of %d, %d false alarms, %d messages in %s", v.seed, v.found, v.incidents, v.alarms, v.messages, v.took.Round(time.Millisecond))
		if *misses {
			for _, text := range v.missed {
				t.Log("  missed: " + text)
			}
			for _, text := range v.falseAlarm {
				t.Log("  false: " + text)
			}
		}
	}
	if *seeds == "" && (rows[0].found < rows[0].incidents || rows[0].alarms > 1) {
		t.Errorf("%d of %d incidents found, %d false alarms\nmissed: %s\nfalse: %s", rows[0].found, rows[0].incidents, rows[0].alarms,
			strings.Join(rows[0].missed, "\n"), strings.Join(rows[0].falseAlarm, "\n"))
	}
	if *ledger != "" {
		if err := os.WriteFile(filepath.Clean(*ledger), []byte(table(rows)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func table(rows []verdict) string {
	var b strings.Builder
	b.WriteString("| seed | found | of | false alarms | messages | missed |\n|---|---|---|---|---|---|\n")
	for _, v := range rows {
		var missed []string
		for _, m := range v.missed {
			kind, _, _ := strings.Cut(m, " of \"")
			missed = append(missed, kind)
		}
		fmt.Fprintf(&b, "| %d | %d | %d | %d | %d | %s |\n", v.seed, v.found, v.incidents, v.alarms, v.messages, strings.Join(missed, ", "))
	}
	return b.String()
}

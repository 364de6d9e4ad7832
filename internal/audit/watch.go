package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// WatchFacts is how the account is watched, and what waits for a person.
type WatchFacts struct {
	Settings relay.WatchSettings
	// Open are open findings: all that are critical, and those whose answer failed. Of
	// each it is known what it is, not what it rests on.
	Open []relay.WatchFinding
}

const (
	watchLate   = 7 * day  // a critical finding should be looked at by then
	watchFailed = 30 * day // how long it counts that nobody could be told
	watchTried  = day      // from when on it counts while it is still tried
)

var watchChecks = []Check{
	{
		Code: "watch_rule_off", Section: SectionWatch, Severity: Medium, Weight: 5, Practice: Monitoring, Standards: []string{cisReview, cisAlerts},
		Title: "Rule of the watch that is off", Doc: "A rule of the watch that the account switched off.",
		run: func(f *Facts, yield func(flaw)) {
			for _, rule := range accountRules() {
				if f.Watch.Settings.Rule(rule).Off {
					yield(flaw{
						subject: Subject{Kind: "watch_rule", ID: string(rule), Name: string(rule)}, href: pageWatchSettings,
						text: "The rule " + string(rule) + " of the watch is off: nobody hears of what it looks for. Where it told too often, have it ask for more instead (--margin, --floor).",
						fix:  "postern watch settings --on " + string(rule) + f.ofAccount(),
					})
				}
			}
		},
	},
	{
		Code: "watch_untold", Section: SectionWatch, Severity: High, Weight: 15, Practice: Monitoring, Standards: []string{cisAlerts, cisIncident},
		Title: "Nobody is told of what the watch finds",
		Doc:   "An account whose watch tells nobody: by neither mail nor webhook, or because all its rules only record (those that are off as if they were on).",
		run: func(f *Facts, yield func(flaw)) {
			why, flags := f.watchSilence()
			if why != "" {
				yield(flaw{
					subject: Subject{Kind: "account", ID: "watch", Name: f.Account.Name}, href: pageWatchSettings,
					text: "What the watch finds stands in a list, and nobody is told: " + why + ".",
					fix:  "postern watch settings" + flags + f.ofAccount(),
				})
			}
		},
	},
	{
		Code: "watch_undelivered", Section: SectionWatch, Severity: Medium, Weight: 10, Practice: Monitoring, Standards: []string{cisAlerts, cisIncident},
		Title: "Finding of the watch that was not told", Doc: "An open finding of the watch that could not be told, or answered as the account wants, in the last 30 days; also one for which that is still tried after a day.",
		run: ofWatch(func(f *Facts, v *relay.WatchFinding) string {
			if !f.untold(v) {
				return ""
			}
			still := ""
			if v.AnsweredAt.IsZero() {
				still = " It still tries to."
			}
			return fmt.Sprintf("The watch found this on %s, and could not tell all who are to know, or could not do what the account wants done: %s.%s See that mail and webhook get there.",
				on(v.FirstAt), quote(v.Title), still)
		}),
	},
	{
		Code: "watch_open", Section: SectionWatch, Severity: High, Weight: 20, Practice: Monitoring, Standards: []string{cisReview, cisIncident},
		Title: "Critical finding of the watch that nobody decided", Doc: "A critical finding of the watch that is open for more than 7 days.",
		run: ofWatch(func(f *Facts, v *relay.WatchFinding) string {
			// One that was not told is a finding of its own, so that deciding it mends one.
			if v.Severity != relay.WatchCritical || !f.older(v.FirstAt, watchLate) || f.untold(v) {
				return ""
			}
			return fmt.Sprintf("The watch found this on %s, %s, and nobody said yet whether it is real: %s.", on(v.FirstAt), f.ago(v.FirstAt), quote(v.Title))
		}),
	},
}

// pageWatchSettings is where the account says how it is watched.
const pageWatchSettings = "/watch/settings"

// accountRules are the rules that an account's settings are about: a sweep is of no
// account, and only the operator's settings count for it.
func accountRules() []relay.WatchRule {
	return slices.DeleteFunc(slices.Clone(relay.WatchRules), func(r relay.WatchRule) bool { return r == relay.WatchSweep })
}

// watchSilence says why nobody is told of findings, and the flags that change it; ""
// where somebody is. Rules that are off count by their answers, so that switching one
// on mends that alone.
func (f *Facts) watchSilence() (why, flags string) {
	s, reasons := &f.Watch.Settings, []string{}
	addressed := len(s.MailTo) > 0 || f.Account.OwnerEmail != ""
	if s.Webhook == "" && (s.NoMail || !addressed) {
		reasons = append(reasons, "there is no webhook, and no mail goes out")
		if s.NoMail {
			flags += " --no-mail=false"
		}
		if !addressed {
			flags += " --mail-to ADDRESS"
		}
	}
	recorded := func(r relay.WatchRule) bool { return s.Rule(r).Answer == relay.WatchRecord }
	if rules := accountRules(); !slices.ContainsFunc(rules, func(r relay.WatchRule) bool { return !recorded(r) }) {
		reasons = append(reasons, "all rules only record")
		for _, r := range rules {
			flags += " --answer " + string(r) + "=" + string(relay.WatchTell)
		}
	}
	return strings.Join(reasons, ", and "), flags
}

// untold reports whether the answer of an open finding failed lately, or fails for a
// day: one that is seen again and again is tried for as long.
func (f *Facts) untold(v *relay.WatchFinding) bool {
	if v.AnsweredAt.IsZero() {
		return v.AnswerError != "" && f.older(v.FirstAt, watchTried)
	}
	return v.AnswerError != "" && !f.older(v.AnsweredAt, watchFailed)
}

// ofWatch makes a check of open findings of the watch: what it says of one, "" where
// nothing is wrong with it. Each is mended by deciding it.
func ofWatch(look func(f *Facts, v *relay.WatchFinding) string) func(*Facts, func(flaw)) {
	return func(f *Facts, yield func(flaw)) {
		for i := range f.Watch.Open {
			v := &f.Watch.Open[i]
			if text := look(f, v); text != "" && v.State == relay.WatchOpen {
				yield(flaw{
					subject: Subject{Kind: "watch_finding", ID: v.ID.String(), Name: v.Title}, href: "/watch/" + v.ID.String(),
					text:     text + " Look at it with postern watch show; if nothing is wrong, dismiss it instead of confirming it.",
					evidence: watchEvidence(v), fix: "postern watch confirm " + v.ID.String() + f.ofAccount(),
				})
			}
		}
	}
}

// watchEvidence is what is known of a finding, and why its answer failed.
func watchEvidence(v *relay.WatchFinding) []string {
	seen := fmt.Sprintf("%s, %s, last seen %s", v.Rule, v.Severity, v.LastAt.UTC().Format(time.DateOnly))
	if v.AnswerError == "" {
		return []string{seen}
	}
	return []string{seen, v.AnswerError}
}

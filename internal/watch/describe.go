package watch

import (
	"slices"

	"postern/internal/relay"
)

// Describe says in a sentence what a rule looks for.
func Describe(r relay.WatchRule) string { return descriptions[r] }

var descriptions = map[relay.WatchRule]string{
	relay.WatchCanary:     "a canary key was tried",
	relay.WatchNetwork:    "a key is used from a network or country where it never was",
	relay.WatchTravel:     "a key is used in two places too far apart for the time between",
	relay.WatchPlaces:     "a key is used from many more places in a day than ever",
	relay.WatchBurst:      "a key sends far more than it ever did at that hour of the week",
	relay.WatchHours:      "a key sends at an hour of the day at which it never did",
	relay.WatchRecipients: "a key writes to many recipients for the first time",
	relay.WatchBounces:    "much more of a key's mail bounces than usual",
	relay.WatchUnknown:    "many more recipients than usual do not exist",
	relay.WatchSpread:     "logins on one account fail from many addresses",
	relay.WatchSweep:      "logins on many accounts fail from one address (told to the operator)",
	relay.WatchDowngrade:  "a key logs in with an older TLS version or a weaker mechanism than ever",
	relay.WatchDomain:     "the DNS records of a domain vanished",
}

// Measure is what an account can set of a rule beside its answer.
type Measure struct {
	// Margin says what the rule asks, of which its margin is a multiple; empty: it has
	// none.
	Margin string
	// Unit is of what its floor is a number, Floor the rule's own; empty: it has none.
	Unit  string
	Floor int64
}

// MeasureOf is the measure of a rule; the zero Measure for one that tells of every
// sign.
func MeasureOf(r relay.WatchRule) Measure { return measures[r] }

var measures = map[relay.WatchRule]Measure{
	relay.WatchTravel:     {Margin: "500 km, faster than 1,000 km/h"},
	relay.WatchPlaces:     {"twice the most places of a day so far, and three", "places in a day", placesFloor},
	relay.WatchBurst:      {"half more than the worst hour so far, or further where days differ", "recipients in an hour beyond the usual", burstFloor},
	relay.WatchHours:      {"the least number", "messages in an hour", hoursFloor},
	relay.WatchRecipients: {"three times the most of a day so far", "new recipients in a day", int64(newRecipients.floor)},
	relay.WatchBounces:    {"three times the most of a day so far", "bounces in a day", int64(bounceMeasure.floor)},
	relay.WatchUnknown:    {"three times the most of a day so far", "unknown recipients in a day", int64(unknownMeasure.floor)},
	relay.WatchSpread:     {"three times the most addresses so far, and five", "addresses in an hour", spreadHour},
	relay.WatchSweep:      {"the least number", "accounts in a day", sweepAccounts},
}

// AnswersOf are the answers that a rule may have: what slows, holds or stops a key needs a key that
// the finding is about. Failed logins are not the fault of the key that was tried.
func AnswersOf(r relay.WatchRule) []relay.WatchAnswer {
	if slices.Contains([]relay.WatchRule{relay.WatchCanary, relay.WatchSpread, relay.WatchSweep, relay.WatchDomain}, r) {
		return []relay.WatchAnswer{relay.WatchRecord, relay.WatchTell}
	}
	return []relay.WatchAnswer{relay.WatchRecord, relay.WatchTell, relay.WatchSlow, relay.WatchHold, relay.WatchStop}
}

// The bounds of a setting.
const (
	MinMargin = 0.25
	MaxMargin = 10
	MaxFloor  = 1_000_000_000
)

// CheckSetting says what is wrong with a setting of a rule: relay.Invalid.
func CheckSetting(r relay.WatchRule, s relay.WatchRuleSetting) error {
	bad := func(text string) error {
		return &relay.Error{Kind: relay.Invalid, Field: "rules." + string(r), Public: text}
	}
	switch {
	case !slices.Contains(relay.WatchRules, r):
		return &relay.Error{Kind: relay.Invalid, Field: "rules", Public: "There is no such rule."}
	case s.Answer != "" && !slices.Contains(AnswersOf(r), s.Answer):
		return bad("This rule cannot have that answer.")
	case s.Margin != 0 && !(s.Margin >= MinMargin && s.Margin <= MaxMargin):
		return bad("A margin is from 0.25 to 10; 1 is the rule's own measure.")
	case s.Floor < 0 || s.Floor > MaxFloor:
		return bad("A floor is a number from 0 to 1,000,000,000; 0 is the rule's own.")
	}
	return nil
}

package v3

import (
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// The bounds of an allow-list.
const (
	maxRules     = store.MaxAccessRules
	maxNote      = 200 // octets
	leastTrial   = 30 * time.Second
	longestTrial = 7 * 24 * time.Hour
)

// accessOptions go with every change of an allow-list.
type accessOptions struct {
	Confirm bool
	// Trial: the change undoes itself after this long unless it is confirmed; 0: it
	// is not on trial.
	Trial time.Duration
}

// settled is the list that counts now, to be edited: of a trial that nobody
// confirmed in time nothing is left.
func settled(list relay.AccessList, now time.Time) relay.AccessList {
	at := *list.At(now)
	at.Tenant, at.Rules = list.Tenant, slices.Clone(at.Rules)
	if at.Before == nil || at.TrialUntil.IsZero() {
		at.Before, at.TrialUntil = nil, time.Time{}
	}
	return at
}

// onTrial puts an edited list on trial. During a trial the list before it stays
// the one to return to, however often the trial is prolonged.
func onTrial(old, edited relay.AccessList, now time.Time, trial time.Duration) relay.AccessList {
	if trial == 0 {
		return edited
	}
	edited.TrialUntil = now.Add(trial)
	if edited.Before == nil {
		before := old
		before.Rules = slices.Clone(old.Rules)
		before.Before, before.TrialUntil = nil, time.Time{}
		edited.Before = &before
	}
	return edited
}

// ruleKey is what makes two entries the same.
func ruleKey(r *relay.AccessRule) relay.AccessRule {
	return relay.AccessRule{Network: r.Network, Host: r.Host}
}

// addRules folds entries into a list and reports whether anything changed. An
// entry that is there keeps its id; a note on it is taken over.
func addRules(list *relay.AccessList, entries []relay.AccessRule, now time.Time) (changed bool) {
	at := make(map[relay.AccessRule]int, len(list.Rules))
	for i := range list.Rules {
		at[ruleKey(&list.Rules[i])] = i
	}
	for _, r := range entries {
		if i, ok := at[ruleKey(&r)]; ok {
			if old := &list.Rules[i]; r.Note != "" && r.Note != old.Note {
				old.Note, old.UpdatedAt, changed = r.Note, now, true
			}
			continue
		}
		r.CreatedAt, r.UpdatedAt, changed = now, now, true
		at[ruleKey(&r)] = len(list.Rules)
		list.Rules = append(list.Rules, r)
	}
	return changed
}

// findRules picks the stored rules of entries, each once, in the entries' order.
func findRules(list *relay.AccessList, entries []relay.AccessRule) []relay.AccessRule {
	at := make(map[relay.AccessRule]*relay.AccessRule, len(list.Rules))
	for i := range list.Rules {
		at[ruleKey(&list.Rules[i])] = &list.Rules[i]
	}
	out := make([]relay.AccessRule, 0, len(entries))
	for i := range entries {
		key := ruleKey(&entries[i])
		if r := at[key]; r != nil {
			out = append(out, *r)
			delete(at, key)
		}
	}
	return out
}

func countHosts(rules []relay.AccessRule) (n int) {
	for i := range rules {
		if rules[i].Host != "" {
			n++
		}
	}
	return n
}

// removeRules takes the rules with these ids away; all of them must be there.
// Without the last rule the list is off, and a rule that is added later counts at
// once.
func removeRules(list *relay.AccessList, ids []int64) error {
	gone := make(map[int64]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	before := len(list.Rules)
	list.Rules = slices.DeleteFunc(list.Rules, func(r relay.AccessRule) bool { return gone[r.ID] })
	if before-len(list.Rules) != len(gone) {
		return notFound()
	}
	if len(list.Rules) == 0 {
		list.Monitor = false
	}
	return nil
}

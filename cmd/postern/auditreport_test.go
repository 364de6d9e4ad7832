package main

import (
	"testing"

	"postern/internal/audit"
	"postern/internal/relay"
)

// A key says which account by itself: the commands of a report that was asked for with
// one run with it, too.
func TestCommandsForAKey(t *testing.T) {
	t.Parallel()
	r := audit.Report{Account: relay.AccountID{ID: relay.ID{1}}}
	account := " --account " + r.Account.String()
	for given, want := range map[string]string{
		"postern policy --require-networks" + account:            "postern policy --require-networks",
		"postern user disable ben" + account + " --subuser shop": "postern user disable ben --subuser shop",
		"postern key revoke abc":                                 "postern key revoke abc",
		"":                                                       "",
	} {
		r.Findings = []audit.Finding{{Fix: given}}
		if forKey(&r); r.Findings[0].Fix != want {
			t.Errorf("%s: %s, want %s", given, r.Findings[0].Fix, want)
		}
	}
}

package store

import (
	"errors"

	"postern/internal/relay"
)

const (
	accessColumns     = `account_id, subuser_id, rules, monitor, trial_until, before`
	selectAccessLists = `SELECT ` + accessColumns + ` FROM access_lists`
)

func scanAccessList(r scanner) (relay.AccessList, error) {
	var l relay.AccessList
	var acct, sub []byte
	var rules, before string
	var monitor, trial int64
	if err := r.Scan(&acct, &sub, &rules, &monitor, &trial, &before); err != nil {
		return l, err
	}
	l.Account.ID, l.Subuser.ID, l.Monitor, l.TrialUntil = idOf(acct), idOf(sub), monitor != 0, timeOf(trial)
	return l, errors.Join(unpackJSON(rules, &l.Rules, "access_lists.rules"), unpackJSON(before, &l.Before, "access_lists.before"))
}

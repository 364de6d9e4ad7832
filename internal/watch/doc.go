// Package watch notices what is odd about logins and mail, and explains it.
//
// It learns for each key what is usual: from where it is used, how much it sends
// in each hour of the week, to whom, and how much of that bounces. Each rule is
// a pure function of what was learned and of one observation. Nothing here looks
// at the clock of the machine: time is that of events and login records, so a
// replay over stored history finds what the watch found while it happened.
//
// Engine is the rules with their memory, and needs no store. Runner feeds one
// from the store, keeps what it learned together with its place in the history,
// and does what an account wants done about a finding (Answers). Replay runs a
// fresh engine over the past and does nothing else.
//
// The one invariant: what is kept for a key is bounded (8 KiB), and a restart in
// between changes no finding.
package watch

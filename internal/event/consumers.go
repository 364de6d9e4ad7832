package event

import (
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Mail keeps the search index and the hourly counts of mail.
func Mail(s *store.Store) *Follower[relay.Event] {
	f := Events(store.IndexConsumer, s, s.ApplyIndex)
	// What gathers longer is cheaper: a message is mostly delivered by then, and is one
	// row written once.
	f.Commits, f.Gather = true, 500*time.Millisecond
	return f
}

// LoginCounts keeps the hourly counts of logins.
func LoginCounts(s *store.Store) *Follower[store.StoredLogin] {
	f := Logins(store.LoginCountConsumer, s, s.ApplyLogins)
	f.Commits = true
	return f
}

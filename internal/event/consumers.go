package event

import (
	"postern/internal/relay"
	"postern/internal/store"
)

// Mail keeps the search index and the hourly counts of mail.
func Mail(s *store.Store) *Follower[relay.Event] {
	f := Events(store.IndexConsumer, s, s.ApplyIndex)
	f.Commits = true
	return f
}

// LoginCounts keeps the hourly counts of logins.
func LoginCounts(s *store.Store) *Follower[store.StoredLogin] {
	f := Logins(store.LoginCountConsumer, s, s.ApplyLogins)
	f.Commits = true
	return f
}

// Package api is postern over HTTP: the administration that the command line
// uses on admin.sock for what no key may do (accounts, pools, the queue, the
// process), and the operator's listener with health, metrics and
// profiles. It checks and words what comes in, names who did it, and calls
// services; it holds no state and decides nothing that a service should.
//
// The route tables (Admin, Operator, Public) are data: the router, the tests and
// the documentation read the same.
//
// Its one invariant: no secret is in an answer.
package api

import (
	"context"
	"time"

	"postern/internal/finding"
	"postern/internal/relay"
	"postern/internal/store"
)

// Services are what the administration acts on. All members must be set.
type Services struct {
	Accounts Accounts
	Subusers Subusers
	Keys     Keys
	Pools    Pools
	Queue    Queue
	History  History
	System   System

	// Hostname is what addresses of pools say in EHLO if they have no name.
	Hostname string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// The services. Each method that changes something is one transaction with its
// change record; absent things are relay.NotFound, taken names relay.Conflict.
type (
	// Accounts keeps accounts.
	Accounts interface {
		CreateAccount(ctx context.Context, by store.By, a relay.Account) error
		// SwapAccount: relay.Conflict with store.ErrMeanwhile if it is not was any more.
		SwapAccount(ctx context.Context, by store.By, was, a relay.Account) error
		Accounts(ctx context.Context) ([]relay.Account, error)
		SetAccountDisabled(ctx context.Context, by store.By, id relay.AccountID, disabled bool) error
	}
	// Subusers are looked up for filters.
	Subusers interface {
		Subusers(ctx context.Context) ([]relay.Subuser, error)
	}
	// Keys are looked up for filters, revoked ones too.
	Keys interface {
		Keys(ctx context.Context) ([]relay.Key, error)
	}
	// Pools keeps pools with their addresses.
	Pools interface {
		CreatePool(ctx context.Context, by store.By, p relay.Pool) error
		// SwapPool: relay.Conflict with store.ErrMeanwhile if it is not was any more.
		SwapPool(ctx context.Context, by store.By, was, p relay.Pool) error
		Pools(ctx context.Context) ([]relay.Pool, error)
		SetPoolDisabled(ctx context.Context, by store.By, id relay.PoolID, disabled bool) error
	}
	// Queue is what a person may see of and do to queued mail. n counts the
	// messages that it applied to; those that left meanwhile are not an error.
	Queue interface {
		Messages(ctx context.Context, f store.MessageFilter) ([]store.Queued, error)
		Message(ctx context.Context, id relay.MessageID) (store.Queued, error)
		// Why explains in words; the value goes out as JSON and has a member "text",
		// an array of sentences.
		Why(ctx context.Context, id relay.MessageID) (any, error)
		Hold(ctx context.Context, by store.By, ids []relay.MessageID, reason string) (n int64, err error)
		Release(ctx context.Context, by store.By, ids []relay.MessageID) (n int64, err error)
		Retry(ctx context.Context, by store.By, ids []relay.MessageID) (n int64, err error)
		Bounce(ctx context.Context, by store.By, ids []relay.MessageID, reason string) (n int64, err error)
		// Drain stops (or takes up again) the acceptance of new mail; what is queued
		// goes on leaving.
		Drain(ctx context.Context, by store.By, on bool) error
	}
	// History is what happened to messages.
	History interface {
		Events(ctx context.Context, f store.EventFilter) ([]relay.Event, error)
	}
	// System is the process itself.
	System interface {
		// Reload reads the configuration again and applies it, or keeps the old one
		// and says why.
		Reload(ctx context.Context, by store.By) error
		// ReopenLog goes on in the log file that has the name now.
		ReopenLog() error
		Status(ctx context.Context) (Status, error)
	}
)

// Status is what the process says of itself.
type Status struct {
	Version   string    `json:"version"`
	Hostname  string    `json:"hostname"`
	Epoch     int64     `json:"epoch"`
	StartedAt time.Time `json:"started_at"`
	Ready     bool      `json:"ready"`
	Reason    string    `json:"reason,omitempty"` // why it is not ready
	Draining  bool      `json:"draining"`
	// Messages and recipients in the queue, by state.
	Queued      int64 `json:"queued"`
	Held        int64 `json:"held"`
	Quarantined int64 `json:"quarantined"`
	Recipients  int64 `json:"recipients"`
	Sessions    int64 `json:"sessions"` // SMTP connections now
	Attempts    int   `json:"attempts"` // deliveries under way
	// CertificateExpiresAt is the end of the certificate in use.
	CertificateExpiresAt time.Time `json:"certificate_expires_at,omitzero"`
	// Domains counts the sending domains by state: pending, asserted, verified,
	// failing (verified, and its records are gone), paused, failed, disabled.
	Domains map[string]int `json:"domains"`
	// Zone is the DNS zone that is served; nil: none is.
	Zone *ZoneStatus `json:"zone,omitempty"`
	// Consumers are what reads the logs; nil: that cannot be told now.
	Consumers []Consumer `json:"consumers"`
}

// Consumer is a reader of a log: the search index, the counts, the watch, a target of
// exports. All but the last three members is the same whichever node is asked.
type Consumer struct {
	Name    string    `json:"name"`               // index, counts, watch, "export NAME"
	Stream  string    `json:"stream"`             // events, logins, changes
	Records int64     `json:"records"`            // that it has not taken yet
	Oldest  time.Time `json:"oldest_at,omitzero"` // when the first of them happened
	MovedAt time.Time `json:"moved_at,omitzero"`  // when it last took something, or began
	// Stands: it has taken nothing for a day, although there was something.
	Stands bool `json:"stands"`
	// Configured is false of an export, or a stream of it, that is not in the
	// configuration of this node. If it is not Elsewhere either, nobody sends it.
	Configured bool `json:"configured"`
	// Elsewhere: another node runs it now.
	Elsewhere bool `json:"elsewhere"`
	// Error is why it does not go on, where this node is the one that runs it.
	Error string `json:"error,omitempty"`
}

// ZoneStatus is how the zone that is served looks from outside.
type ZoneStatus struct {
	Name     string    `json:"name"`
	Serial   uint32    `json:"serial"`
	LookedAt time.Time `json:"looked_at,omitzero"` // zero: not yet
	// Healthy: it is delegated, and at least two name servers answer for it.
	Healthy  bool              `json:"healthy"`
	Findings []finding.Finding `json:"findings"`
}

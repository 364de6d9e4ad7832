package v3

import (
	"context"
	"net/netip"
	"slices"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/store"
)

// ConsoleServices is what the routes need that show mail on its way, and what
// became of it.
type ConsoleServices struct {
	Index    MailIndex
	Messages MessageStore
	Queue    QueueKeeper
	// Place names the country of an address; "": unknown. nil: no file of places.
	Place func(netip.Addr) string
	// Lookout tells of what the watch has found and nobody has decided on; nil: there
	// is no watch.
	Lookout func(ctx context.Context, of relay.Tenant, limit int) ([]relay.WatchFinding, error)
}

// MailIndex finds mail and counts it; *store.Store is one.
type MailIndex interface {
	// FindMail finds the newest first. A page may be short or empty, and next is not.
	FindMail(ctx context.Context, f store.MailFilter) (rows []store.MailRow, next string, err error)
	MailCounts(ctx context.Context, f store.CountFilter) ([]store.MailCount, error)
	// LoginCounts counts each login in every dimension.
	LoginCounts(ctx context.Context, f store.CountFilter) ([]store.LoginCount, error)
}

// MessageStore has messages and what happened to them; *store.Store is one.
// Absent ones are relay.NotFound.
type MessageStore interface {
	Message(ctx context.Context, id relay.MessageID) (store.Queued, error)
	MessageHistory(ctx context.Context, id relay.MessageID) ([]relay.Event, error)
	// LastHold is the event by which a message was last held or quarantined.
	LastHold(ctx context.Context, id relay.MessageID) (relay.Event, error)
	Content(ctx context.Context, id relay.MessageID) (store.Content, error)
	// TenantQueue sums up what waits of a tenant, and of its subusers if wide.
	TenantQueue(ctx context.Context, t relay.Tenant, wide bool) (store.TenantQueue, error)
}

// QueueKeeper is the queue of this node and what a person may do to queued mail.
// n counts the messages that it applied to.
type QueueKeeper interface {
	Why(ctx context.Context, id relay.MessageID) (queue.Explanation, error)
	Lanes() []queue.LaneStatus
	Hold(ctx context.Context, by store.By, ids []relay.MessageID, reason string) (n int64, err error)
	Release(ctx context.Context, by store.By, ids []relay.MessageID) (n int64, err error)
	Retry(ctx context.Context, by store.By, ids []relay.MessageID) (n int64, err error)
	Bounce(ctx context.Context, by store.By, ids []relay.MessageID, reason string) (n int64, err error)
}

const scopeMail = "messages.read"

var consoleRoutes = slices.Concat(mailFindRoutes, mailActionRoutes, mailManyRoutes, queueRoutes, overviewRoutes, poolRoutes, keyTestRoutes)

// wide: an account's caller sees its subusers' things, too, with the scope that
// acting for them takes.
func (c *Call) wide() bool { return c.Tenant.Subuser.IsZero() && c.Allows(scopeBehalf) }

// visible reports whether the request may show things of a tenant.
func (c *Call) visible(t relay.Tenant) bool {
	return t == c.Tenant || t.Account == c.Tenant.Account && c.wide()
}

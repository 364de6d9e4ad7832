package v3

import (
	"context"
	"crypto/ed25519"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// RecordStore has the records of logins and changes; *store.Store is one.
type RecordStore interface {
	Logins(ctx context.Context, f store.LoginFilter) ([]store.StoredLogin, error)
	// LatestLogins are the newest, and since when they are if budget was spent before
	// enough were found.
	LatestLogins(ctx context.Context, f store.LoginFilter, budget time.Duration) (all []store.StoredLogin, since time.Time, err error)
	Changes(ctx context.Context, f store.ChangeFilter) ([]store.StoredChange, error)
	// VerifyChanges checks an account's chain; store.ErrDamaged says that it does not
	// fit, and the proof how far it does.
	VerifyChanges(ctx context.Context, account relay.AccountID) (store.Proof, error)
	ChangeHeads(ctx context.Context) ([]store.ChangeHead, error)
	PruneChanges(ctx context.Context, by store.By, what store.Prune) (store.Checkpoint, error)
	AuditKey() ed25519.PublicKey
}

const scopeRecords = "access_settings.activity.read"

// The bounds of a page of records. An export has none.
const (
	usualRecords = 100
	mostRecords  = 10_000
	// mostNewest is less, because what is read from the end is read at once.
	mostNewest = 1_000
	// lookingBack is how long the newest records are looked for.
	lookingBack = 2 * time.Second
)

var recordParams = []Param{
	{Name: "since", Type: "string", Doc: "not before this time: RFC 3339, or Unix seconds"},
	{Name: "until", Type: "string", Doc: "not after this time"},
	{Name: "format", Type: "string", Doc: "json or csv; the header Accept: text/csv asks for CSV too"},
}

var recordPaging = []Param{
	{Name: "after", Type: "string", Doc: "go on behind this cursor: that of a record, or after of the answer before"},
	{Name: "limit", Type: "integer", Doc: "the most records, up to 10000; 100 if it is not given"},
	{Name: "newest", Type: "boolean", Doc: "the newest records instead of the oldest, up to 1000"},
}

// recordSpan is the time that a list is about.
func recordSpan(c *Call) (since, until time.Time, err error) {
	if since, err = parseMoment("since", c.Text("since")); err != nil {
		return since, until, err
	}
	until, err = parseMoment("until", c.Text("until"))
	return since, until, err
}

// recordWindow is what part of a list is asked for.
type recordWindow struct {
	after  int64
	limit  int
	newest bool
}

func (a *API) recordWindow(c *Call, kind byte) (recordWindow, error) {
	w := recordWindow{newest: c.Flag("newest")}
	most := int64(mostRecords)
	if w.newest {
		most = mostNewest
		if c.Text("after") != "" {
			return w, invalid("after", "The newest records have nothing behind them; leave after or newest out.")
		}
	}
	n, err := c.Int("limit", usualRecords, 1, most)
	if err != nil {
		return w, err
	}
	w.limit = int(n)
	w.after, err = a.parseCursor(c, "after", kind)
	return w, err
}

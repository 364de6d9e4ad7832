package event

import (
	"context"
	"fmt"
	"time"

	"postern/internal/store"
)

// The consumers by the names that people read, in metrics too. A target of exports is
// "export " and its name.
const (
	NameIndex  = "index"
	NameCounts = "counts"
	NameWatch  = "watch"
	nameExport = "export "
)

// standsAfter is for how long a consumer takes nothing, although there is something,
// before it stands.
const standsAfter = 24 * time.Hour

// watchWaits is how far behind the watch reads: until login records have settled, and
// some time for the reading.
const watchWaits = store.LoginSettle + time.Minute

// Backlog is how far a consumer is behind in one log.
type Backlog struct {
	Consumer string // "index", "counts", "watch", "export siem"
	Stream   string // events, logins, changes
	Records  int64  // that it has not read
	Oldest   time.Time
	MovedAt  time.Time // when it last took something, or began; zero: never
	HeldBy   int64     // epoch of the node that runs it; 0: none does, or (SQLite) there is no other
}

// ExportName is how people read the name of a target of exports.
func ExportName(target string) string { return nameExport + target }

// Stands reports whether a consumer has taken nothing for a day although there is
// something that is as old.
func (b *Backlog) Stands(now time.Time) bool {
	return b.Records > 0 && now.Sub(b.Oldest) >= standsAfter && now.Sub(b.MovedAt) >= standsAfter
}

// Backlogs tells how far each consumer is behind, as the database has it: whichever
// node asks gets the same answer. Targets of exports are those that were ever kept,
// those that have left the configuration too.
func Backlogs(ctx context.Context, s *store.Store, now time.Time) ([]Backlog, error) {
	kept, err := s.Consumers(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[string]int{store.IndexConsumer: 0, store.LoginCountConsumer: 1, store.WatchEvents: 2, store.WatchLogins: 3}
	all := []place{{NameIndex, "events", store.Consumer{}}, {NameCounts, "logins", store.Consumer{}}, {NameWatch, "events", store.Consumer{}}, {NameWatch, "logins", store.Consumer{}}}
	for _, c := range kept {
		if i, ok := ours[c.Name]; ok {
			all[i].Consumer = c
		} else if target, stream, ok := store.ParseExportConsumer(c.Name); ok {
			all = append(all, place{ExportName(target), stream, c})
		}
	}
	return measure(ctx, s, all, now)
}

// WatchBacklogs is Backlogs of the watch alone.
func WatchBacklogs(ctx context.Context, s *store.Store, now time.Time) ([]Backlog, error) {
	events, err := s.Consumer(ctx, store.WatchEvents)
	if err != nil {
		return nil, err
	}
	logins, err := s.Consumer(ctx, store.WatchLogins)
	if err != nil {
		return nil, err
	}
	return measure(ctx, s, []place{{NameWatch, "events", store.Consumer{Cursor: events}}, {NameWatch, "logins", store.Consumer{Cursor: logins}}}, now)
}

// place is where a consumer stands in a log.
type place struct {
	name, stream string
	store.Consumer
}

func measure(ctx context.Context, s *store.Store, places []place, now time.Time) ([]Backlog, error) {
	out := make([]Backlog, 0, len(places))
	for _, p := range places {
		behind, err := behindOf(ctx, s, p, now)
		if err != nil {
			return nil, fmt.Errorf("backlog of %s in %s: %w", p.name, p.stream, err)
		}
		out = append(out, Backlog{Consumer: p.name, Stream: p.stream, Records: behind.Records, Oldest: behind.Oldest, MovedAt: p.MovedAt, HeldBy: p.HeldBy})
	}
	return out, nil
}

func behindOf(ctx context.Context, s *store.Store, p place, now time.Time) (store.Behind, error) {
	switch p.stream {
	case "logins":
		return s.LoginsBehind(ctx, p.Cursor, now.Add(-store.LoginSettle))
	case "changes":
		return s.ChangesBehind(ctx, p.Cursor)
	case "events":
		b, err := s.EventsBehind(ctx, p.Cursor)
		if p.name == NameWatch && now.Sub(b.Oldest) < watchWaits {
			b = store.Behind{} // it waits for the logins of that time
		}
		return b, err
	}
	return store.Behind{}, nil // of a release that had other streams
}

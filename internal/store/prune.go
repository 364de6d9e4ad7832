package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

// exportPrefix begins the name of each consumer that is a target of exports; the
// target's name and the stream's follow, with a slash between.
const exportPrefix = "export/"

// ExportConsumer is the name under which it is kept how far a target of exports has
// come in a stream.
func ExportConsumer(target, stream string) string { return exportPrefix + target + "/" + stream }

// ParseExportConsumer takes such a name apart; false: it is another consumer's.
func ParseExportConsumer(name string) (target, stream string, ok bool) {
	rest, ok := strings.CutPrefix(name, exportPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// Prune says which changes PruneChanges removes.
type Prune struct {
	Account relay.AccountID // the zero account's are those of the installation
	Before  time.Time
	// Unexported: also what a target of exports has not taken yet. It never gets that.
	Unexported bool
}

// checkExported refuses with relay.Conflict what would take changes up to an id away
// from a target of exports that has not taken them.
func (s *Store) checkExported(ctx context.Context, q querier, upTo int64) error {
	all, err := s.listConsumers(ctx, q)
	if err != nil {
		return err
	}
	var waiting []string
	for i := range all {
		target, stream, ok := ParseExportConsumer(all[i].Name)
		if !ok || stream != "changes" {
			continue
		}
		if err := s.checkChange(ctx, q, &all[i].Cursor); err != nil {
			return err
		}
		if all[i].Cursor.change < upTo {
			waiting = append(waiting, target)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	return relay.E(relay.Conflict, fmt.Sprintf("Nothing was pruned: some of these changes were not taken yet by the export %s, and would never leave. "+
		"\"postern status\" says how far it is; wait until it has them. If it is not to get them, or is no longer in the configuration, prune with --unexported "+
		"(in the API \"unexported\": true).", strings.Join(waiting, ", ")))
}

package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
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
	// Unexported names the targets of exports that are given up: what they have not
	// taken yet goes all the same, and they never get it. All others still keep theirs.
	Unexported []string
}

// changeExports are the consumers of changes that are targets of exports, by the
// target's name. relay.Invalid: one that is to be given up is not among them.
func (s *Store) changeExports(ctx context.Context, q querier, givenUp []string) (map[string]Consumer, error) {
	all, err := s.listConsumers(ctx, q)
	if err != nil {
		return nil, err
	}
	exports := map[string]Consumer{}
	for _, c := range all {
		if target, stream, ok := ParseExportConsumer(c.Name); ok && stream == "changes" {
			exports[target] = c
		}
	}
	for _, name := range givenUp {
		if _, ok := exports[name]; !ok {
			there := cmp.Or(strings.Join(slices.Sorted(maps.Keys(exports)), ", "), "none")
			return nil, &relay.Error{
				Kind: relay.Invalid, Field: "unexported",
				Public: fmt.Sprintf("There is no export %q that takes changes. Those that do: %s.", name, there),
			}
		}
	}
	return exports, nil
}

// checkExported refuses with relay.Conflict what would take changes up to an id away
// from a target of exports that has not taken them and is not given up. It returns the
// given-up ones that miss some for ever.
func (s *Store) checkExported(ctx context.Context, q querier, exports map[string]Consumer, givenUp []string, upTo int64) (missed []string, err error) {
	var waiting []string
	for _, target := range slices.Sorted(maps.Keys(exports)) {
		c := exports[target].Cursor
		if err := s.checkChange(ctx, q, &c); err != nil {
			return nil, err
		}
		switch {
		case c.change >= upTo:
		case slices.Contains(givenUp, target):
			missed = append(missed, target)
		default:
			waiting = append(waiting, target)
		}
	}
	if len(waiting) == 0 {
		return missed, nil
	}
	return nil, relay.E(relay.Conflict, fmt.Sprintf("Nothing was pruned: some of these changes were not taken yet by the export %s, and would never leave. "+
		"\"postern status\" says how far it is; wait until it has them. One that is not to get them, or that you no longer have, is given up by its name: "+
		"prune with --unexported NAME (in the API \"unexported\": [\"NAME\"]).", strings.Join(waiting, ", ")))
}

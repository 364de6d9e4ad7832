package api

import (
	"context"
	"fmt"

	"postern/internal/relay"
)

// What the operator's filters name is found by id, or by name where only one has it.

// subuser finds a subuser by id or name; names are unique in the installation.
func (a *admin) subuser(ctx context.Context, field, ref string) (relay.Subuser, error) {
	all, err := a.Subusers.Subusers(ctx)
	if err != nil {
		return relay.Subuser{}, err
	}
	for _, x := range all {
		if x.ID.String() == ref || x.Name == ref {
			return x, nil
		}
	}
	return relay.Subuser{}, notFound(field, "subuser", ref)
}

// key finds a key by its id, or by its name where only one has it.
func (a *admin) key(ctx context.Context, ref string) (relay.Key, error) {
	all, err := a.Keys.Keys(ctx)
	if err != nil {
		return relay.Key{}, err
	}
	var named []relay.Key
	for _, k := range all {
		if k.ID.String() == ref {
			return k, nil
		}
		if k.Name == ref {
			named = append(named, k)
		}
	}
	switch len(named) {
	case 0:
		return relay.Key{}, notFound("key", "key", ref)
	case 1:
		return named[0], nil
	}
	return relay.Key{}, &relay.Error{Kind: relay.Conflict, Field: "key", Public: fmt.Sprintf("%d keys have the name %s; use the id.", len(named), quoteRef(ref))}
}

func notFound(field, what, ref string) error {
	return &relay.Error{Kind: relay.NotFound, Field: field, Public: "There is no " + what + " " + quoteRef(ref) + "."}
}

// quoteRef shows what was asked for, cut.
func quoteRef(s string) string {
	if len(s) > maxName {
		s = s[:maxName]
	}
	return `"` + s + `"`
}

package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Static is a Resolver over maps, for tests and labs. Keys are normal names:
// lower case, without a trailing dot. The zero value knows no names. It must
// not be changed while it is asked.
//
// A name exists if it, or a name below it, stands in any of the maps; a
// look-up of a name that exists for a type that it lacks is ErrNoData, of any
// other name ErrNotFound.
type Static struct {
	MXs    map[string][]MX
	Addrs  map[string][]netip.Addr
	TXTs   map[string][]string
	CNAMEs map[string]string
	NSs    map[string][]string
	PTRs   map[netip.Addr][]string
	TLSAs  map[string][]TLSA
	// Fail lists look-ups that end in ErrTemporary: a name ("mx.example.test"),
	// or a type and a name ("tlsa _25._tcp.mx.example.test").
	Fail []string
	// Insecure lists, in the form of Fail, the look-ups that are not secure when
	// Secure is set.
	Insecure []string
	Secure   bool // answers count as validated by DNSSEC
}

// find looks typ up at name or at what it is an alias of.
func find[V any](ctx context.Context, s *Static, m map[string]V, typ, name string) (v V, secure bool, err error) {
	secure = s.Secure
	n, err := normal(name)
	if err != nil {
		return v, false, err
	}
	for range maxChain + 1 {
		if err := ctx.Err(); err != nil {
			return v, false, fmt.Errorf("%s %s: %w: %w", typ, n, ErrTemporary, err)
		}
		if listed(s.Fail, typ, n) {
			return v, false, fmt.Errorf("%s %s: %w", typ, n, ErrTemporary)
		}
		secure = secure && !listed(s.Insecure, typ, n)
		if v, ok := m[n]; ok {
			return v, secure, nil
		}
		target, ok := s.CNAMEs[n]
		if !ok || typ == "cname" || typ == "ns" {
			if s.exists(n) {
				return v, secure, fmt.Errorf("%s %s: %w", typ, n, ErrNoData)
			}
			return v, secure, fmt.Errorf("%s %s: %w", typ, n, ErrNotFound)
		}
		n = target
	}
	return v, false, fmt.Errorf("%s %s: more than %d aliases: %w", typ, name, maxChain, ErrTemporary)
}

func listed(list []string, typ, name string) bool {
	return slices.Contains(list, name) || slices.Contains(list, typ+" "+name)
}

func (s *Static) exists(name string) bool {
	return has(s.MXs, name) || has(s.Addrs, name) || has(s.TXTs, name) || has(s.CNAMEs, name) || has(s.NSs, name) || has(s.TLSAs, name)
}

func has[V any](m map[string]V, name string) bool {
	for n := range m {
		if within(n, name) {
			return true
		}
	}
	return false
}

// MX implements Resolver.
func (s *Static) MX(ctx context.Context, name string) ([]MX, bool, error) {
	v, secure, err := find(ctx, s, s.MXs, "mx", name)
	v = slices.Clone(v)
	slices.SortStableFunc(v, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return v, secure, err
}

// Addr implements Resolver.
func (s *Static) Addr(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	v, secure, err := find(ctx, s, s.Addrs, "addr", host)
	return slices.Clone(v), secure, err
}

// TXT implements Resolver.
func (s *Static) TXT(ctx context.Context, name string) ([]string, bool, error) {
	v, secure, err := find(ctx, s, s.TXTs, "txt", name)
	return slices.Clone(v), secure, err
}

// CNAME implements Resolver.
func (s *Static) CNAME(ctx context.Context, name string) (string, bool, error) {
	return find(ctx, s, s.CNAMEs, "cname", name)
}

// NS implements Resolver.
func (s *Static) NS(ctx context.Context, name string) ([]string, bool, error) {
	v, secure, err := find(ctx, s, s.NSs, "ns", name)
	return slices.Clone(v), secure, err
}

// TLSA implements Resolver.
func (s *Static) TLSA(ctx context.Context, name string) ([]TLSA, bool, error) {
	v, secure, err := find(ctx, s, s.TLSAs, "tlsa", name)
	return slices.Clone(v), secure, err
}

// PTR implements Resolver. In Fail it is "ptr" and the address.
func (s *Static) PTR(ctx context.Context, addr netip.Addr) ([]string, bool, error) {
	key := strings.ToLower(addr.String())
	switch v, ok := s.PTRs[addr]; {
	case ctx.Err() != nil || listed(s.Fail, "ptr", key):
		return nil, false, fmt.Errorf("ptr %s: %w", key, ErrTemporary)
	case !ok:
		return nil, s.Secure, fmt.Errorf("ptr %s: %w", key, ErrNotFound)
	default:
		return slices.Clone(v), s.Secure && !listed(s.Insecure, "ptr", key), nil
	}
}

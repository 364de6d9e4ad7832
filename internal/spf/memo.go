package spf

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"postern/internal/dns"
)

// memo asks each question of one analysis once, and at most left of them. It is
// not for concurrent use.
type memo struct {
	dns.Resolver
	left int
	txts map[string]answer[[]string]
	mxs  map[string]answer[[]dns.MX]
	adrs map[string]answer[[]netip.Addr]
	ptrs map[string]answer[[]string]
}

type answer[V any] struct {
	v      V
	secure bool
	err    error
}

func ask[V any](m *memo, kept *map[string]answer[V], key string, f func() (V, bool, error)) (V, bool, error) {
	if a, ok := (*kept)[key]; ok {
		return a.v, a.secure, a.err
	}
	if m.left <= 0 {
		var none V
		return none, false, fmt.Errorf("%.80q: too many questions: %w", key, dns.ErrTemporary)
	}
	m.left--
	v, secure, err := f()
	if *kept == nil {
		*kept = map[string]answer[V]{}
	}
	(*kept)[key] = answer[V]{v, secure, err}
	return v, secure, err
}

func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func (m *memo) TXT(ctx context.Context, name string) ([]string, bool, error) {
	return ask(m, &m.txts, fold(name), func() ([]string, bool, error) { return m.Resolver.TXT(ctx, name) })
}

func (m *memo) MX(ctx context.Context, name string) ([]dns.MX, bool, error) {
	return ask(m, &m.mxs, fold(name), func() ([]dns.MX, bool, error) { return m.Resolver.MX(ctx, name) })
}

func (m *memo) Addr(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	return ask(m, &m.adrs, fold(host), func() ([]netip.Addr, bool, error) { return m.Resolver.Addr(ctx, host) })
}

func (m *memo) PTR(ctx context.Context, addr netip.Addr) ([]string, bool, error) {
	return ask(m, &m.ptrs, addr.String(), func() ([]string, bool, error) { return m.Resolver.PTR(ctx, addr) })
}

package identity

import (
	"net/netip"
	"slices"
	"testing"

	"postern/internal/relay"
	"postern/internal/store"
)

func TestPoolAddresses(t *testing.T) {
	t.Parallel()
	addr := func(s string) relay.PoolAddress { return relay.PoolAddress{Address: netip.MustParseAddr(s)} }
	off := addr("192.0.2.9")
	off.DisabledAt = t0
	globex := relay.AccountID{ID: relay.ID{77}}
	pool := func(n byte, of relay.AccountID, as ...relay.PoolAddress) relay.Pool {
		return relay.Pool{ID: relay.PoolID{ID: relay.ID{n}}, Account: of, Name: string(rune('a' + n)), Addresses: as}
	}
	closed := pool(4, acme, addr("192.0.2.4"))
	closed.DisabledAt = t0
	d := view(&store.Snapshot{Pools: []relay.Pool{
		pool(1, relay.AccountID{}, addr("192.0.2.2"), addr("2001:db8::1"), off),
		pool(2, acme, addr("192.0.2.1"), addr("192.0.2.2")), pool(3, globex, addr("192.0.2.3")), closed,
	}})
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}
	if got := d.PoolAddresses(acme); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

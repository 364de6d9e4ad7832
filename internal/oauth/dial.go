package oauth

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// dialer connects to the host of an issuer. It decides on the address that is
// then dialled, so that no answer of the DNS can lead somewhere else.
type dialer struct {
	private bool
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

func newDialer(cfg Config, private bool) *dialer {
	d := &dialer{private: private, resolve: cfg.Resolve, dial: cfg.Dial}
	if d.resolve == nil {
		d.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if d.dial == nil {
		d.dial = (&net.Dialer{}).DialContext
	}
	return d
}

// plainKey marks the context of a request without TLS.
type plainKey struct{}

// DialContext tries the addresses of a host that may be dialled, in order.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = d.resolve(ctx, host); err != nil {
		return nil, err
	}
	plain := ctx.Value(plainKey{}) != nil
	err = fmt.Errorf("%s has no address that may be dialled", host)
	for _, a := range addrs {
		if !d.may(a, plain) {
			continue
		}
		var c net.Conn
		if c, err = d.dial(ctx, network, net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// may: a private issuer may be anywhere, but without TLS only where packets do
// not leave the operator's own network.
func (d *dialer) may(a netip.Addr, plain bool) bool {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return false
	case !d.private:
		return !plain && public(a)
	case plain:
		return a.IsLoopback() || a.IsPrivate()
	}
	return true
}

// public reports an address on the open Internet.
func public(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	b := a.As16()
	switch {
	case nat64.Contains(a): // RFC 6052: the IPv4 address is in the last four octets
		return public(netip.AddrFrom4([4]byte(b[12:])))
	case sixToFour.Contains(a): // RFC 3056 §2
		return public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

// special are the blocks of the IANA special-purpose registries (RFC 6890) that
// IsGlobalUnicast and IsPrivate let through, and a metadata service that a cloud
// keeps at a public address.
var special = func() (out []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "168.63.129.16/32",
		"::/8", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

package oauth

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"postern/internal/dns"
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
		return !plain && dns.Public(a)
	case plain:
		return a.IsLoopback() || a.IsPrivate()
	}
	return true
}

package auth

import (
	"encoding/binary"
	"net/netip"
)

// place is where an attempt came from, as far as one party is taken to hold it:
// an IPv4 address or an IPv6 /64, or the network around that. It is small and
// comparable, for tables.
type place struct {
	bits uint64 // the leading bits of the address, the rest zero
	kind placeKind
}

type placeKind uint8

const (
	nowhere  placeKind = iota
	address4           // /32
	address6           // /64
	network4           // /24
	network6           // /48
)

// placeOf is the address of an attempt. IPv4-mapped forms are the address that
// they map, and zones do not count. An invalid address is nowhere.
func placeOf(addr netip.Addr) place {
	addr = addr.Unmap()
	switch {
	case addr.Is4():
		b := addr.As4()
		return place{uint64(binary.BigEndian.Uint32(b[:])), address4}
	case addr.Is6():
		b := addr.As16()
		return place{binary.BigEndian.Uint64(b[:8]), address6}
	}
	return place{}
}

// network is the /24 or /48 around an address.
func (p place) network() place {
	switch p.kind {
	case address4:
		return place{p.bits &^ 0xff, network4}
	case address6:
		return place{p.bits &^ 0xffff, network6}
	}
	return p
}

// prefix is the place as a network.
func (p place) prefix() netip.Prefix {
	switch p.kind {
	case address4, network4:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(p.bits))
		return netip.PrefixFrom(netip.AddrFrom4(b), map[placeKind]int{address4: 32, network4: 24}[p.kind])
	case address6, network6:
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], p.bits)
		return netip.PrefixFrom(netip.AddrFrom16(b), map[placeKind]int{address6: 64, network6: 48}[p.kind])
	}
	return netip.Prefix{}
}

// String is how bans and records show the place: "192.0.2.7", "192.0.2.0/24",
// "2001:db8:1:2::/64".
func (p place) String() string {
	switch p.kind {
	case nowhere:
		return ""
	case address4:
		return p.prefix().Addr().String()
	}
	return p.prefix().String()
}

// valid reports whether the place is one that placeOf or network makes.
func (p place) valid() bool {
	switch p.kind {
	case address4:
		return p.bits>>32 == 0
	case network4:
		return p.bits>>32 == 0 && p.bits&0xff == 0
	case network6:
		return p.bits&0xffff == 0
	}
	return p.kind == address6
}

// normal is an address as it is compared: IPv4 out of its mapped form, no zone.
func normal(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

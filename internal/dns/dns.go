// Package dns asks the domain name system the questions that sending mail
// raises, and answers them for a zone of our own. Callers see Resolver, typed
// errors and whether DNSSEC vouched for an answer; the library behind it stays
// inside the package.
package dns

import (
	"context"
	"errors"
	"net/netip"
)

// The ways a look-up can end without an answer. SERVFAIL, time-outs, lame and
// bogus answers are ErrTemporary: the name may be fine tomorrow.
var (
	ErrNotFound  = errors.New("no such name")   // NXDOMAIN
	ErrNoData    = errors.New("no such record") // the name exists, the type does not
	ErrTemporary = errors.New("look-up failed for now")
)

// MX is one mail exchanger. A null MX (RFC 7505) is a single record with Host ".".
type MX struct {
	Host       string // lower case A-label, without the trailing dot ("." for null MX)
	Preference uint16
}

// TLSA is one RFC 6698 record.
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// Resolver asks. Names are A-labels without a trailing dot. secure reports that
// every answer on the way was validated by DNSSEC and that the resolver's word
// for it is to be trusted. Errors wrap one of ErrNotFound, ErrNoData,
// ErrTemporary.
type Resolver interface {
	MX(ctx context.Context, name string) (mx []MX, secure bool, err error)
	Addr(ctx context.Context, host string) (addrs []netip.Addr, secure bool, err error) // AAAA and A
	TXT(ctx context.Context, name string) (txt []string, secure bool, err error)        // one string per record
	CNAME(ctx context.Context, name string) (target string, secure bool, err error)
	PTR(ctx context.Context, addr netip.Addr) (names []string, secure bool, err error)
	TLSA(ctx context.Context, name string) (tlsa []TLSA, secure bool, err error)
}

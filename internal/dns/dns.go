// Package dns asks the domain name system the questions that sending mail
// raises, and answers them for zones of our own. Callers see Resolver, typed
// errors and whether DNSSEC vouched for an answer; the library behind it stays
// inside the package.
//
// Client is the Resolver of a running relay: a stub that asks the configured
// recursive servers and keeps their answers as long as they may be kept. Zone
// and ZoneServer publish records, without ever recursing. Authority asks the
// name servers of a domain themselves, past every cache. Static is a Resolver
// over plain maps for tests and labs.
//
// One invariant holds for every Resolver here: an error says truthfully whether
// asking again later can help. Mail bounces on ErrNotFound and waits on
// ErrTemporary, so whatever is not a clear "no" from a server is ErrTemporary.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// The ways a look-up can end without an answer. SERVFAIL, time-outs, lame and
// bogus answers are ErrTemporary: the name may be fine tomorrow.
var (
	ErrNotFound  = errors.New("no such name")   // NXDOMAIN
	ErrNoData    = errors.New("no such record") // the name exists, the type does not
	ErrTemporary = errors.New("look-up failed for now")
)

// ErrBadName is wrapped, beside ErrNotFound, by the error for a name that the
// DNS cannot hold: empty, over 253 octets, a label over 63, not ASCII. Nothing
// is asked for such a name.
var ErrBadName = fmt.Errorf("not a domain name: %w", ErrNotFound)

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

// Resolver asks. Names are A-labels, with or without a trailing dot, in any
// case; names in answers are lower case and have none. Aliases are followed,
// except by CNAME and NS. secure reports that every answer on the way was validated by
// DNSSEC and that the resolver's word for it is to be trusted; beside
// ErrNotFound and ErrNoData it says the same of the denial. Errors wrap one of
// ErrNotFound, ErrNoData, ErrTemporary. The results belong to the caller.
type Resolver interface {
	MX(ctx context.Context, name string) (mx []MX, secure bool, err error)              // lowest preference first
	Addr(ctx context.Context, host string) (addrs []netip.Addr, secure bool, err error) // AAAA, then A
	TXT(ctx context.Context, name string) (txt []string, secure bool, err error)        // one string per record
	CNAME(ctx context.Context, name string) (target string, secure bool, err error)
	PTR(ctx context.Context, addr netip.Addr) (names []string, secure bool, err error)
	// NS names the servers of the zone that begins at exactly this name.
	NS(ctx context.Context, name string) (hosts []string, secure bool, err error)
	TLSA(ctx context.Context, name string) (tlsa []TLSA, secure bool, err error)
}

// The most that is taken from one answer. A destination that publishes more is
// used as far as this goes; no answer can make us hold or try more.
const (
	maxMX    = 20       // exchangers, those with the lowest preference
	maxAddrs = 10       // addresses of one host, per family
	maxNames = 10       // names of one address (RFC 7208 §4.6.4)
	maxChain = 8        // aliases followed for one question
	maxTXT   = 64 << 10 // octets of all TXT records of one name
	maxTLSA  = 20
)

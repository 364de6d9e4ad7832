// Package tlspolicy says which TLS a destination must have: the levels, how
// the wishes of destination, pool and account combine, and the crypto/tls
// configuration that enforces the result. It opens no connection, and looks
// nothing up but what a Publisher is asked for.
//
// Its one invariant: combining never weakens. Whatever one party asks for, the
// requirement is at least that.
package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// Level is how much TLS a session must have. The zero value is the weakest;
// levels are ordered.
type Level uint8

// The levels, weakest first.
const (
	// Opportunistic uses TLS when the host offers it, with any certificate, and
	// goes on in the clear when there is none (RFC 7435).
	Opportunistic Level = iota
	// Required defers rather than send in the clear; the certificate is not judged.
	Required
	// Verified also wants a certificate that chains to a trusted root and is valid
	// for the MX host name.
	Verified
)

var levelNames = [...]string{"opportunistic", "required", "verified"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// ParseLevel reads a level's name; the empty string is Opportunistic.
func ParseLevel(s string) (Level, error) {
	if s == "" {
		return Opportunistic, nil
	}
	for i, name := range levelNames {
		if s == name {
			return Level(i), nil
		}
	}
	return Opportunistic, fmt.Errorf("TLS level %q: want opportunistic, required or verified", s)
}

// Strongest returns the strongest of the levels, Opportunistic where there are none.
func Strongest(levels ...Level) Level {
	strongest := Opportunistic
	for _, l := range levels {
		strongest = max(strongest, l)
	}
	return strongest
}

// Requirement is what sessions to the hosts of one destination must have.
type Requirement struct {
	Level Level
	// Source says who asked for the level, for records: "default", "destination",
	// "request", or what a Publisher calls itself.
	Source string
	// AllowHost refuses MX hosts that a published policy does not list (RFC 8461
	// §4.1). Nil allows every host.
	AllowHost func(host string) error
	// Verify replaces the judgement of the certificate (RFC 7672 §3). It sees every
	// handshake, resumed ones too. Nil: the public key infrastructure judges.
	Verify func(host string, state tls.ConnectionState) error
}

// Publisher finds what a destination itself demands. Implementations of MTA-STS
// and DANE stand behind it. A domain without a policy yields the zero
// Requirement; an error means that the policy may exist and could not be had,
// and delivery waits.
type Publisher interface {
	Published(ctx context.Context, domain string) (Requirement, error)
}

// Decider combines what is configured, what is asked for and what is published.
// Its zero value knows of no destination and is ready for use. It is safe for
// concurrent use as long as its members do not change.
type Decider struct {
	Default      Level // every destination has at least this
	Destinations *Table
	Publishers   []Publisher
}

// Decide returns the requirement for a destination domain (A-label, lower case)
// when pool and account ask for the given levels. The strongest level wins; of
// several publishers, the first that has a stronger word than those before it
// judges hosts and certificates.
func (d *Decider) Decide(ctx context.Context, domain string, asked ...Level) (Requirement, error) {
	r := Requirement{Source: "default"}
	if d != nil {
		r.Level = d.Default
		for _, p := range d.Publishers {
			published, err := p.Published(ctx, domain)
			if err != nil {
				return Requirement{}, fmt.Errorf("published TLS policy of %s: %w", domain, err)
			}
			if published.Level > r.Level {
				r = published
			}
		}
		if l, ok := d.Destinations.Lookup(domain); ok && l > r.Level {
			r.Level, r.Source = l, "destination"
		}
	}
	if l := Strongest(asked...); l > r.Level {
		r.Level, r.Source = l, "request"
	}
	return r, nil
}

// Config returns the configuration of a handshake with host, which is also what
// is sent as server name (SNI). Below Verified, and wherever Verify judges, the
// certificate chain is not checked here. roots nil means the system's. cache may
// be nil; sharing one among levels is safe, because crypto/tls resumes a session
// at Verified only if its chain was verified before.
//
// TLS 1.2 is the floor at every level: a host that knows nothing newer counts,
// under Opportunistic, as one without TLS.
func (r Requirement) Config(host string, roots *x509.CertPool, cache tls.ClientSessionCache) *tls.Config {
	c := &tls.Config{
		ServerName:         host,
		RootCAs:            roots,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: cache,
		InsecureSkipVerify: r.Level < Verified || r.Verify != nil,
	}
	if verify := r.Verify; verify != nil {
		c.VerifyConnection = func(state tls.ConnectionState) error { return verify(host, state) }
	}
	return c
}

package watch

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// Bits of means.TLS, weakest first.
const (
	tlsNone = iota
	tlsSSL
	tls10
	tls11
	tls12
	tls13
)

var tlsNames = []string{"no TLS", "SSL", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"}

// tlsVersion reads "TLSv1.3 TLS_AES_128_GCM_SHA256" and its like; -1: none that is
// known.
func tlsVersion(text string) int {
	t := strings.ToUpper(strings.NewReplacer(" ", "", "V", "", "v", "").Replace(text))
	switch {
	case t == "":
		return tlsNone
	case strings.HasPrefix(t, "SSL"):
		return tlsSSL
	case strings.HasPrefix(t, "TLS1.0"), t == "TLS1", strings.HasPrefix(t, "TLS1TLS"):
		return tls10
	case strings.HasPrefix(t, "TLS1.1"):
		return tls11
	case strings.HasPrefix(t, "TLS1.2"):
		return tls12
	case strings.HasPrefix(t, "TLS1.3"):
		return tls13
	}
	return -1
}

// Bits of means.Mechanisms, weakest first.
const (
	mechHash   = iota // CRAM-MD5, DIGEST-MD5, NTLM
	mechLogin         // LOGIN: obsolete, clear text
	mechPlain         // PLAIN: clear text within TLS
	mechBearer        // tokens
	mechScram         // the secret stays at home
	mechBound         // bound to the connection: SCRAM-…-PLUS, EXTERNAL
)

func mechStrength(name string) int {
	switch m := strings.ToUpper(name); {
	case m == "":
		return -1
	case strings.HasSuffix(m, "-PLUS"), m == "EXTERNAL":
		return mechBound
	case strings.HasPrefix(m, "SCRAM-"):
		return mechScram
	case m == "OAUTHBEARER", m == "XOAUTH2":
		return mechBearer
	case m == "PLAIN":
		return mechPlain
	case m == "LOGIN":
		return mechLogin
	case m == "CRAM-MD5", m == "DIGEST-MD5", m == "NTLM":
		return mechHash
	}
	return -1
}

const (
	meansAge = 14 * day
	// meansLong and meansMany are for a step down that is no danger by itself: from
	// TLS 1.3 to 1.2, or from SCRAM to PLAIN.
	meansLong = 21 * day
	meansMany = 100
)

// downgrade looks for a key that logs in with an older TLS version or a weaker
// mechanism than it ever did: an old program has its secret, or somebody is in
// between.
func (s *scene) downgrade(b *baseline, u *use) {
	if !u.smtp() {
		return
	}
	m := &b.means
	if v := tlsVersion(u.tls); v >= 0 {
		weak := v <= tls11
		if s.lower(b, &m.TLS, v, weak) {
			s.reportDowngrade(b, u, "tls:"+tlsNames[v], tlsNames[v], nameOf(m.TLS, tlsNames), weak)
		} else {
			m.TLS |= s.bit(relay.WatchDowngrade, "tls:"+tlsNames[v], v)
		}
	}
	if v := mechStrength(u.mechanism); v >= 0 {
		name := strings.ToUpper(printable(u.mechanism, 30))
		if s.lower(b, &m.Mechanisms, v, v <= mechLogin) {
			s.reportDowngrade(b, u, "mechanism:"+name, name, strings.Join(m.Names, ", "), v == mechHash)
			return
		}
		if bit := s.bit(relay.WatchDowngrade, "mechanism:"+name, v); bit != 0 {
			m.Mechanisms |= bit
			if len(m.Names) < 8 && !slices.Contains(m.Names, name) {
				m.Names = append(m.Names, name)
			}
		}
	}
}

// lower reports whether a strength is below all that the key ever had, and enough
// is known of it.
func (s *scene) lower(b *baseline, have *uint16, strength int, weak bool) bool {
	if _, on := s.set(relay.WatchDowngrade); !on || *have == 0 || strength >= bits.TrailingZeros16(*have) {
		return false
	}
	if weak {
		return b.known(s.clock, meansAge, 5) || b.known(s.clock, 2*meansAge, 3)
	}
	return b.known(s.clock, meansLong, 10) && b.Logins >= meansMany
}

// bit is what is learned of a use: nothing while it is a finding that nobody has
// decided about.
func (s *scene) bit(rule relay.WatchRule, subject string, v int) uint16 {
	if s.live(rule, subject) != nil {
		return 0
	}
	return 1 << v
}

func nameOf(set uint16, names []string) string {
	var out []string
	for i, n := range names {
		if set&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return strings.Join(out, ", ")
}

func (s *scene) reportDowngrade(b *baseline, u *use, subject, now, was string, weak bool) {
	severity := relay.WatchNotice
	if weak {
		severity = relay.WatchWarning
	}
	o := s.e.origin(u.addr)
	p := o.show()
	s.report(relay.WatchFinding{
		Rule: relay.WatchDowngrade, Subject: subject, Severity: severity,
		Title: "Key " + s.keyShort() + " now logs in with " + now,
		Text: fmt.Sprintf("%s logged in with %s from %s on %s. In %d days of use it always had %s.",
			s.theKey(), now, placeWords(p), s.when(), b.Days, was),
		Fix:      "Look which program that is. An old one should be updated; if nobody of yours changed anything, somebody else has the secret: rotate the key. A policy can forbid weak mechanisms.",
		Evidence: relay.WatchEvidence{Seen: 1, Unit: "logins", Places: []relay.WatchPlace{p}, Times: []time.Time{s.at.UTC()}, Was: was, Now: now},
	})
}

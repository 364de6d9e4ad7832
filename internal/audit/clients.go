package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// What a program's way of logging in shows.
var clientChecks = []Check{
	{
		Code: "client_mechanism", Section: SectionClients, Severity: Medium, Weight: 10, Practice: Updated, Standards: []string{nistMD5, nistSecrets},
		Title: "Weak mechanism in use", Doc: "A key with which a program logs in by CRAM-MD5.",
		run: eachWeak("client_mechanism", "with the weak mechanism CRAM-MD5. Have it use SCRAM-SHA-256 or PLAIN, under TLS"),
	},
	{
		Code: "client_tls", Section: SectionClients, Severity: High, Weight: 25, Practice: TransportTLS, Standards: []string{rfcOldTLS, rfcSubmission, cisTransit},
		Title: "TLS version that is over", Doc: "A key with which a program logs in over TLS 1.1 or older.",
		run: eachWeak("client_tls", "over a TLS version before 1.2. Update the program or its TLS library"),
	},
	{
		Code: "client_cipher", Section: SectionClients, Severity: Medium, Weight: 10, Practice: TransportTLS, Standards: []string{rfcTLS + " §4.2", cisTransit},
		Title: "Weak cipher in use", Doc: "A key with which a program logs in over TLS 1.2 with a cipher without forward secrecy or without authentication of the data (RSA key exchange, CBC, RC4, 3DES).",
		run: eachWeak("client_cipher", "with a cipher that is weak. Update the program or its TLS library"),
	},
	{
		Code: "client_stale", Section: SectionClients, Severity: Low, Weight: 2, Practice: Updated, Standards: []string{rfcTLS + " §3.1.1", cisPatch},
		Title: "Client software without TLS 1.3", Doc: "A key with which a program logs in over TLS 1.2 with a good cipher: it works, and its TLS library is old.",
		run: eachWeak("client_stale", "over TLS 1.2. Nothing is broken; its TLS library is old, and what is old is not mended"),
	},
}

// weakness is the code of the check that a login fails by its TLS; "" for none.
// One login fails one of them at most.
func tlsWeakness(tls string) string {
	version, cipher, _ := strings.Cut(tls, " ")
	switch version {
	case "TLSv1.3", "":
		return "" // no TLS at all is HTTP on loopback, or behind a proxy that has it
	case "TLSv1.2":
		if weakCipher(cipher) {
			return "client_cipher"
		}
		return "client_stale"
	}
	return "client_tls"
}

// weakCipher knows the names that crypto/tls has for suites of TLS 1.2. RFC 9325
// §4.2 wants (EC)DHE and an AEAD.
func weakCipher(name string) bool {
	return !strings.Contains(name, "DHE_") || !strings.Contains(name, "_GCM_") && !strings.Contains(name, "_CHACHA20_") && !strings.Contains(name, "_CCM")
}

// weaknesses are the codes of all checks that a client's login fails.
func weaknesses(c *Client) []string {
	out := []string{}
	if c.Mechanism == "CRAM-MD5" {
		out = append(out, "client_mechanism")
	}
	if code := tlsWeakness(c.TLS); code != "" {
		out = append(out, code)
	}
	return out
}

// program tells one from another: where it is and what it calls itself.
type program struct{ protocol, addr, helo string }

// inUse are the ways in which programs log in with a key, the last one first. A way
// that ended before another one of the same program began was mended, and does not
// count any more. Ways that take turns do: behind one address and name are then two
// programs, and the better one does not hide the other.
func (f *Facts) inUse(id relay.KeyID) []Client {
	began := map[program]time.Time{} // the newest way
	for _, c := range f.clientsOf(id) {
		p := program{c.Protocol, c.Addr, c.Helo}
		if c.First.After(began[p]) {
			began[p] = c.First
		}
	}
	var out []Client
	for _, c := range f.clientsOf(id) {
		if !c.Last.Before(began[program{c.Protocol, c.Addr, c.Helo}]) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Client) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Helo, b.Helo), cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.Mechanism, b.Mechanism), cmp.Compare(a.TLS, b.TLS))
	})
	return out
}

// eachWeak makes a check that names, for each key, the programs that fail it, the
// last one first.
func eachWeak(code, words string) func(*Facts, func(flaw)) {
	return eachKey(func(f *Facts, k *relay.Key) *flaw {
		var evidence []string
		var latest *Client
		for _, c := range f.inUse(k.ID) {
			if !slices.Contains(weaknesses(&c), code) {
				continue
			}
			if latest == nil {
				latest = &c
			}
			evidence = append(evidence, fmt.Sprintf("%s as %s: %s %s, last on %s", shown(c.Addr), shown(c.Helo), shown(c.Mechanism), shown(c.TLS), on(c.Last)))
		}
		if latest == nil {
			return nil
		}
		return &flaw{
			text:     fmt.Sprintf("With the key %s, %s at %s logged in on %s %s.", quote(k.Name), quote(latest.Helo), shown(latest.Addr), on(latest.Last), words),
			evidence: evidence, fix: "postern key users " + k.ID.String() + fmt.Sprintf(" --days %d", f.Options.LoginDays),
		}
	})
}

package identity

import (
	"maps"
	"slices"
	"strings"

	"postern/internal/relay"
)

// claim is one claim with the value that a key asks of it. Each federated key is
// filed under one of its claims, so that of the many keys of one issuer only a
// few have to be compared with a token.
type claim struct{ issuer, name, value string }

func claimPart(c claim) uint8 { return stringPart(c.value) ^ stringPart(c.issuer) }

// maxValues bounds how many values of one claim (a list) are looked for.
const maxValues = 64

// fileUnder picks the claim that a key is filed under: its subject if that is
// asked for exactly, else the first that is. A key that asks for patterns only
// has none: its name and value are empty.
func fileUnder(m *relay.KeyMatch) claim {
	exact := func(v string) bool { return v != "" && !strings.HasSuffix(v, "*") }
	if v := m.Claims["sub"]; exact(v) {
		return claim{m.Issuer, "sub", v}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Claims)) {
		if v := m.Claims[name]; name != "" && exact(v) {
			return claim{m.Issuer, name, v}
		}
	}
	return claim{issuer: m.Issuer}
}

// claimed files a key under its claim, or takes it out; by is 1 or -1.
func (c *change) claimed(k *relay.Key, do filing[claim], by int) {
	at := fileUnder(k.Match)
	do(c.claims, at, k, byUse)
	if at.name == "" {
		return
	}
	// How many keys are filed under each name: which claims are worth a look.
	old, _ := c.claimNames.get(at.issuer)
	names := maps.Clone(old)
	if names == nil {
		names = map[string]int{}
	}
	if names[at.name] += by; names[at.name] <= 0 {
		delete(names, at.name)
	}
	if len(names) == 0 {
		c.claimNames.drop(at.issuer)
		return
	}
	c.claimNames.set(at.issuer, names)
}

// KeysByClaims returns the keys of an issuer that a token with certain claims can
// be for: all of KeysByIssuer that match it, and few that do not; the caller
// compares each. values gives the texts that a claim of the token has (several
// for a list; none if it has no such claim), of which 64 are looked for.
func (d *Directory) KeysByClaims(issuer string, values func(name string) []string) []*relay.Key {
	st := d.state.Load()
	out := st.claims.at(claim{issuer: issuer}).slice()
	for name := range st.claimNames.at(issuer) {
		texts := values(name)
		if len(texts) > maxValues {
			texts = texts[:maxValues]
		}
		for i, text := range texts {
			if !slices.Contains(texts[:i], text) {
				out = append(out, st.claims.at(claim{issuer, name, text}).slice()...)
			}
		}
	}
	slices.SortFunc(out, byUse)
	return out
}

package relay

import "fmt"

// Rank says who has switched something of a tenant off: what somebody above has
// switched off, nobody below switches on again.
type Rank int

// The ranks, lowest first.
const (
	RankOwn      Rank = iota // the tenant's own people and keys, or the watch
	RankAccount              // the account, of one of its subusers
	RankOperator             // whoever runs the installation
)

var rankNames = [...]string{"", "account", "operator"}

// String is "account", "operator", or "" for the tenant itself.
func (r Rank) String() string {
	if r < 0 || int(r) >= len(rankNames) {
		return ""
	}
	return rankNames[r]
}

// Name is String, but "own" for the tenant itself.
func (r Rank) Name() string {
	if r == RankOwn {
		return "own"
	}
	return r.String()
}

// MarshalText is String.
func (r Rank) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (r *Rank) UnmarshalText(text []byte) error {
	for i, name := range rankNames {
		if name == string(text) {
			*r = Rank(i)
			return nil
		}
	}
	return fmt.Errorf("there is no rank %q", text)
}

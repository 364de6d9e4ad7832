package dns

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrPrivate: the address is not one that the public DNS can mean; see Public.
var ErrPrivate = errors.New("private or reserved address")

// askable is nil for a public address and for one in allow, else an error that
// wraps ErrPrivate. An address that carries an IPv4 address is judged by that.
func askable(addr netip.Addr, allow []netip.Prefix) error {
	a := addr.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return fmt.Errorf("%s: %w", addr, ErrPrivate)
	}
	for _, p := range allow {
		if p.Contains(a) {
			return nil
		}
	}
	if four, ok := embedded(a); ok {
		if err := askable(four, allow); err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		return nil
	}
	if !Public(a) {
		return fmt.Errorf("%s: %w", addr, ErrPrivate)
	}
	return nil
}

package oauth

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"postern/internal/testkit/oidc"
)

// A signature that was good is believed for a moment: the very same token, and
// neither its end nor another octet of it is overlooked.
func TestProven(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	token := is.Token(oidc.Claims{"exp": c.now().Add(10 * time.Second).Unix()})
	if _, err := verify(t, v, token); err != nil {
		t.Fatal(err)
	}
	keys := v.issuers[is.URL].keys
	v.issuers[is.URL].keys = nil // whoever asks for a key now panics
	if _, err := verify(t, v, token); err != nil {
		t.Errorf("the same token again: %v", err)
	}
	c.add(10*time.Second + skew + time.Second)
	if _, err := verify(t, v, token); !errors.Is(err, ErrToken) {
		t.Errorf("its end was overlooked: %v", err)
	}
	v.issuers[is.URL].keys = keys

	token = is.Token(nil)
	if _, err := verify(t, v, token); err != nil {
		t.Fatal(err)
	}
	last := "A"
	if token[len(token)-1] == 'A' {
		last = "Q"
	}
	if _, err := verify(t, v, token[:len(token)-1]+last); !errors.Is(err, ErrToken) {
		t.Errorf("another signature: %v", err)
	}
}

func TestProvenIsBounded(t *testing.T) {
	t.Parallel()
	var p proven
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 * maxProven {
		p.add(fmt.Sprint(i), jwt{}, now)
	}
	if len(p.good) > maxProven {
		t.Errorf("%d entries", len(p.good))
	}
	if _, ok := p.find(fmt.Sprint(3*maxProven-1), now); !ok {
		t.Error("the newest is forgotten")
	}
	for _, at := range []time.Duration{provenFor, -time.Second} { // its time is over, or the clock went back
		if _, ok := p.find(fmt.Sprint(3*maxProven-1), now.Add(at)); ok {
			t.Errorf("believed %v later", at)
		}
	}
}

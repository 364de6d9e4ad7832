package identity

import (
	"fmt"
	"slices"
	"testing"

	"postern/internal/relay"
	"postern/internal/store"
)

// TestKeysByClaims: of many keys of one issuer those come that a token can be for.
func TestKeysByClaims(t *testing.T) {
	const issuer = "https://issuer.test"
	key := func(n byte, claims map[string]string) relay.Key {
		return relay.Key{ID: keyID(n), Match: &relay.KeyMatch{Issuer: issuer, Audience: "postern", Claims: claims}}
	}
	s := &store.Snapshot{Keys: []relay.Key{
		key(1, map[string]string{"sub": "repo:a", "env": "x"}), key(2, map[string]string{"sub": "repo:*"}), key(3, map[string]string{"env": "prod", "sub": "repo:*"}),
		key(4, map[string]string{"groups": "mail"}), key(5, map[string]string{"sub": "repo:b"}), key(6, map[string]string{"k8s/pod": "web"}), key(7, nil),
		key(8, map[string]string{"sub": ""}),
	}}
	s.Keys = append(s.Keys, relay.Key{ID: keyID(9), Match: &relay.KeyMatch{Issuer: "https://other.test", Claims: map[string]string{"sub": "repo:a"}}})
	d := view(s)
	for _, tt := range []struct {
		claims map[string][]string
		want   string // beside 2, 7 and 8, which no claim tells apart
	}{
		{nil, ""},
		{map[string][]string{"sub": {"repo:a"}}, "\x01"},
		{map[string][]string{"sub": {"repo:b"}, "env": {"prod"}}, "\x03\x05"},
		{map[string][]string{"groups": {"x", "mail", "mail"}}, "\x04"},
		{map[string][]string{"k8s/pod": {"web"}, "sub": {"repo:*"}}, "\x06"},
		{map[string][]string{"groups": slices.Concat(slices.Repeat([]string{"x"}, maxValues), []string{"mail"})}, ""},
	} {
		var got []byte
		for _, k := range d.KeysByClaims(issuer, func(name string) []string { return tt.claims[name] }) {
			got = append(got, k.ID.ID[0])
		}
		slices.Sort(got)
		want := append([]byte(tt.want), 2, 7, 8)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v: keys %v, want %v", tt.claims, got, want)
		}
	}
	if got := d.KeysByClaims("https://nobody.test", func(string) []string { return []string{"repo:a"} }); len(got) != 0 {
		t.Errorf("another issuer: %v", got)
	}
}

// BenchmarkKeysByClaims is one of 100,000 keys of one issuer.
func BenchmarkKeysByClaims(b *testing.B) {
	s := &store.Snapshot{Full: true}
	for i := range manyKeys {
		s.Keys = append(s.Keys, relay.Key{
			ID:    relay.KeyID{ID: relay.ID{0: byte(i >> 16), 1: byte(i >> 8), 15: byte(i)}},
			Match: &relay.KeyMatch{Issuer: "https://issuer.test", Audience: "postern", Claims: map[string]string{"sub": fmt.Sprint("repo:", i)}},
		})
	}
	d := view(s)
	values := func(string) []string { return []string{"repo:77777"} }
	b.ReportAllocs()
	for b.Loop() {
		if len(d.KeysByClaims("https://issuer.test", values)) != 1 {
			b.Fatal("not found")
		}
	}
}

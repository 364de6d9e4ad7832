package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// AC-14: who somebody is at an issuer is the pair of issuer and subject, and never
// an address.
func TestIssuances(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u, other := c.person(a, relay.RoleOwner), c.person(a, relay.RoleAdmin)
		v := relay.Issuance{Issuer: "https://issuer.test", Subject: "Abc", User: u.ID, CreatedAt: c.now}
		second := relay.Issuance{Issuer: "https://second.test", Subject: "Abc", User: other.ID, CreatedAt: c.now}
		for _, one := range []relay.Issuance{v, second} {
			if err := s.AddIssuance(ctx, testBy, one); err != nil {
				t.Fatal(err)
			}
		}
		for issuer, want := range map[string]relay.User{v.Issuer: u, second.Issuer: other} {
			got, err := s.IssuanceUser(ctx, issuer, "Abc")
			same(t, issuer, want, got, err)
		}
		for what, err := range map[string]error{
			"in other letters": created(s.IssuanceUser(ctx, v.Issuer, "abc")),
			"another issuer":   created(s.IssuanceUser(ctx, "https://issuer.test/", "Abc")),
			"by the address":   created(s.IssuanceUser(ctx, v.Issuer, u.Email)),
			"nothing":          created(s.IssuanceUser(ctx, "", "")),
			"no text":          created(s.IssuanceUser(ctx, v.Issuer, "\xff")),
			"touch none":       s.TouchIssuance(ctx, v.Issuer, "abc", c.now),
			"delete another's": s.DeleteIssuance(ctx, testBy, other.ID, v.Issuer, v.Subject, relay.SessionID{}, nil),
		} {
			wantKind(t, what, err, relay.NotFound, "")
		}
		taken := v
		taken.User = other.ID
		wantKind(t, "somebody's already", s.AddIssuance(ctx, testBy, taken), relay.Conflict, "subject")
		wantKind(t, "one's own already", s.AddIssuance(ctx, testBy, v), relay.Conflict, "subject")
		for _, bad := range []string{"", "a\x00", "\xff", strings.Repeat("x", maxIssuance+1)} {
			i := v
			i.Subject = bad
			wantKind(t, "subject "+bad, s.AddIssuance(ctx, testBy, i), relay.Invalid, "subject")
			i.Issuer, i.Subject = bad, "s"
			wantKind(t, "issuer "+bad, s.AddIssuance(ctx, testBy, i), relay.Invalid, "issuer")
		}
		v.UsedAt = c.now.Add(time.Minute)
		if err := s.TouchIssuance(ctx, v.Issuer, v.Subject, v.UsedAt); err != nil {
			t.Fatal(err)
		}
		all, err := s.Issuances(ctx, u.ID)
		same(t, "listed", []relay.Issuance{v}, all, err)
		if err := s.DeleteIssuance(ctx, testBy, u.ID, v.Issuer, v.Subject, relay.SessionID{}, nil); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "deleted", created(s.IssuanceUser(ctx, v.Issuer, v.Subject)), relay.NotFound, "")
		winners(t, "one identity", relay.Conflict, func(i int) error {
			w := v
			if i%2 == 0 {
				w.User = other.ID
			}
			return s.AddIssuance(ctx, testBy, w)
		})
	})
}

package store

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestPasskeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u, other := c.person(a, relay.RoleOwner), c.person(a, relay.RoleAdmin)
		p := relay.Passkey{ID: bytes.Repeat([]byte{0, 255, 7}, 341), User: u.ID, Name: "phone", Credential: []byte(`{"counter":1}`), CreatedAt: c.now}
		if err := s.AddPasskey(ctx, testBy, p); err != nil {
			t.Fatal(err)
		}
		got, err := s.PasskeyByID(ctx, p.ID)
		same(t, "read", p, got, err)
		all, err := s.Passkeys(ctx, u.ID)
		same(t, "listed", []relay.Passkey{p}, all, err)
		if all, err := s.Passkeys(ctx, other.ID); err != nil || len(all) != 0 {
			t.Errorf("another's: %+v, %v", all, err)
		}
		if who := c.user(u.ID); who.Passkeys != 1 || !who.SecondFactor() {
			t.Errorf("%+v", who)
		}
		stolen := p
		stolen.User = other.ID
		wantKind(t, "a credential of somebody else", s.AddPasskey(ctx, testBy, stolen), relay.Conflict, "id")
		for what, v := range map[string]struct {
			p     relay.Passkey
			field string
		}{
			"no id":          {relay.Passkey{User: u.ID}, "id"},
			"an endless id":  {relay.Passkey{User: u.ID, ID: make([]byte, 1024)}, "id"},
			"a long name":    {relay.Passkey{User: u.ID, ID: []byte{1}, Name: strings.Repeat("x", 256)}, "name"},
			"a longer name.": {relay.Passkey{User: u.ID, ID: []byte{1}, Name: strings.Repeat("\u00e9", 128)}, "name"},
		} {
			wantKind(t, what, s.AddPasskey(ctx, testBy, v.p), relay.Invalid, v.field)
		}
		before := changesOf(t, s, a)
		was := p.Credential
		p.Credential, p.UsedAt = []byte(`{"counter":2}`), c.now.Add(time.Minute)
		use := PasskeyUse{ID: p.ID, Was: was, Credential: p.Credential, Challenge: [32]byte{1}, At: p.UsedAt, Until: p.UsedAt.Add(time.Minute)}
		if err := s.UsePasskey(ctx, use); err != nil {
			t.Fatal(err)
		}
		if changesOf(t, s, a) != before {
			t.Error("a login is on record as a change")
		}
		p.Name = "old phone"
		if err := s.RenamePasskey(ctx, testBy, u.ID, p.ID, p.Name); err != nil {
			t.Fatal(err)
		}
		got, err = s.PasskeyByID(ctx, p.ID)
		same(t, "used and renamed", p, got, err)
		wantKind(t, "rename to nothing that fits", s.RenamePasskey(ctx, testBy, u.ID, p.ID, strings.Repeat("x", 256)), relay.Invalid, "name")
		for what, err := range map[string]error{
			"rename another's": s.RenamePasskey(ctx, testBy, other.ID, p.ID, "mine"),
			"delete another's": s.DeletePasskey(ctx, testBy, other.ID, p.ID, relay.SessionID{}, nil),
			"use of none":      s.UsePasskey(ctx, PasskeyUse{ID: []byte{9}, At: c.now, Until: c.now}),
			"none":             created(s.PasskeyByID(ctx, nil)),
		} {
			wantKind(t, what, err, relay.NotFound, "")
		}
		if err := s.DeletePasskey(ctx, testBy, u.ID, p.ID, relay.SessionID{}, nil); err != nil || c.user(u.ID).Passkeys != 0 {
			t.Errorf("deleted: %v", err)
		}
		wantKind(t, "delete twice", s.DeletePasskey(ctx, testBy, u.ID, p.ID, relay.SessionID{}, nil), relay.NotFound, "")
	})
}

// A person's passkeys are bounded, also when they come all at once.
func TestPasskeysAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		u := c.person(c.account(), relay.RoleOwner)
		for i := range MaxPasskeys - 1 {
			if err := s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte{byte(i)}, User: u.ID}); err != nil {
				t.Fatal(err)
			}
		}
		winners(t, "the last one", relay.Conflict, func(i int) error {
			return s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte{100, byte(i)}, User: u.ID})
		})
	})
}

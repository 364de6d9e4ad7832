package identity

import (
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

func keyID(n byte) relay.KeyID { return relay.KeyID{ID: relay.ID{n}} }

func view(s *store.Snapshot) *Directory {
	d := &Directory{}
	s.Full = true
	d.state.Store(emptyState().with(s, newInterner(), t0))
	return d
}

func TestKeyIndexes(t *testing.T) {
	key := func(n byte, revoked bool, m *relay.KeyMatch) relay.Key {
		k := relay.Key{ID: keyID(n), Account: acme, Match: m, CreatedAt: t0.Add(time.Duration(n) * time.Hour)}
		if revoked {
			k.RevokedAt = t0
		}
		return k
	}
	old, young := key(1, true, nil), key(2, false, nil)
	old.Login, young.Login = "dev-aaaaaaaa", "dev-aaaaaaaa"
	gone := key(3, true, nil)
	gone.Login = "dev-bbbbbbbb"
	of := key(9, false, nil)
	of.Subuser = sub
	d := view(&store.Snapshot{Keys: []relay.Key{
		young, old, gone, of,
		key(4, false, &relay.KeyMatch{Fingerprint: "aa"}), key(5, true, &relay.KeyMatch{Fingerprint: "aa"}), key(6, true, &relay.KeyMatch{Fingerprint: "bb"}),
		key(7, false, &relay.KeyMatch{CA: "ca", Name: "mail.acme.test"}),
		key(8, false, &relay.KeyMatch{Issuer: "https://issuer.test"}), key(10, true, &relay.KeyMatch{Issuer: "https://issuer.test"}),
	}})
	if k, ok := d.KeyByLogin("dev-aaaaaaaa"); !ok || k.ID != keyID(2) {
		t.Errorf("by login: %v", k)
	}
	if k, ok := d.KeyByLogin("dev-bbbbbbbb"); !ok || k.RevokedAt.IsZero() {
		t.Errorf("a revoked app password is not known: %v", k)
	}
	if _, ok := d.KeyByLogin("dev-AAAAAAAA"); ok {
		t.Error("logins are compared exactly")
	}
	ids := func(ks []*relay.Key) (out []byte) {
		for _, k := range ks {
			out = append(out, k.ID.ID[0])
		}
		return out
	}
	for name, tt := range map[string]struct {
		got  []*relay.Key
		want string
	}{
		"certificate of a live key and a revoked one": {d.KeysByFingerprint("aa"), "\x04"},
		"certificate of a revoked key":                {d.KeysByFingerprint("bb"), "\x06"},
		"unknown certificate":                         {d.KeysByFingerprint("cc"), ""},
		"name":                                        {d.KeysByName("mail.acme.test"), "\x07"},
		"another name":                                {d.KeysByName("acme.test"), ""},
		"issuer, revoked keys last":                   {d.KeysByIssuer("https://issuer.test"), "\x08\x0a"},
		"issuer with a slash more":                    {d.KeysByIssuer("https://issuer.test/"), ""},
		"keys of the account only, oldest first":      {d.KeysOf(relay.Tenant{Account: acme}), "\x02\x04\x07\x08"},
		"keys of the subuser only":                    {d.KeysOf(relay.Tenant{Account: acme, Subuser: sub}), "\x09"},
		"keys of another account":                     {d.KeysOf(relay.Tenant{Account: other}), ""},
	} {
		if string(ids(tt.got)) != tt.want {
			t.Errorf("%s: %v, want %q", name, ids(tt.got), tt.want)
		}
	}
}

func TestTenants(t *testing.T) {
	gone := relay.SubuserID{ID: relay.ID{8}}
	d := view(&store.Snapshot{
		Accounts: []relay.Account{{ID: acme, Name: "acme", Number: 1}, {ID: other, Name: "other", Number: 2}},
		Subusers: []relay.Subuser{
			{ID: sub2, Account: acme, Name: "shop", Number: 4}, {ID: sub, Account: acme, Name: "alerts", Number: 3},
			{ID: gone, Account: acme, Name: "shop", Number: 5, DeletedAt: t0},
		},
		Keys: []relay.Key{{ID: keyID(1), Account: acme, Subuser: gone}},
	})
	if a, ok := d.AccountNamed("acme"); !ok || a.ID != acme {
		t.Errorf("acme is %v", a)
	}
	if _, ok := d.AccountNamed("shop"); ok {
		t.Error("a subuser's name is an account's")
	}
	if s, ok := d.SubuserNamed("shop"); !ok || s.ID != sub2 {
		t.Errorf("shop is %v", s)
	}
	if s := d.SubusersOf(acme); len(s) != 2 || s[0].Name != "alerts" || s[1].ID != sub2 {
		t.Errorf("subusers %v", s)
	}
	for n, want := range map[int64]relay.Tenant{1: {Account: acme}, 3: {Account: acme, Subuser: sub}} {
		if got, ok := d.ByNumber(n); !ok || got != want {
			t.Errorf("number %d: %v", n, got)
		}
	}
	for _, n := range []int64{0, 5, 6} {
		if got, ok := d.ByNumber(n); ok {
			t.Errorf("number %d is %v", n, got)
		}
	}
	was := relay.Tenant{Account: acme, Subuser: gone}
	if ok, why := d.Sending(was); ok || why != "the subuser was deleted" || !d.Deleted(was) {
		t.Errorf("deleted subuser: %v %q", ok, why)
	}
	// AU-31: the key of a deleted subuser, even where its own row says nothing.
	if k, _ := d.Key(keyID(1)); d.Alive(k, t0) != relay.LoginDisabled {
		t.Error("the key of a deleted subuser is alive")
	}
	for _, not := range []relay.Tenant{{Account: acme}, {Account: acme, Subuser: sub}, {Account: other, Subuser: gone}, {Account: acme, Subuser: relay.SubuserID{ID: relay.ID{99}}}} {
		if d.Deleted(not) {
			t.Errorf("%v counts as deleted: its mail would be dropped", not)
		}
	}
}

func TestAccessLists(t *testing.T) {
	of := relay.Tenant{Account: acme, Subuser: sub}
	rules := []relay.AccessRule{{ID: 1, Network: nets("192.0.2.0/24")[0]}}
	s := &store.Snapshot{Access: []relay.AccessList{{Tenant: relay.Tenant{Account: acme}, Rules: rules}, {Tenant: of, Monitor: true}}}
	d := view(s)
	if a, sub := d.AccessLists(of); a == nil || sub == nil || !sub.Monitor {
		t.Errorf("lists %v %v", a, sub)
	}
	if a, sub := d.AccessLists(relay.Tenant{Account: acme}); a == nil || sub != nil {
		t.Errorf("the account's own %v %v", a, sub)
	}
	if a, sub := d.AccessLists(relay.Tenant{Account: other, Subuser: relay.SubuserID{}}); a != nil || sub != nil {
		t.Errorf("another's %v %v", a, sub)
	}
	// An emptied list is none, but one that is only empty on trial still counts.
	st := d.state.Load().with(&store.Snapshot{Access: []relay.AccessList{
		{Tenant: of}, {Tenant: relay.Tenant{Account: acme}, TrialUntil: t0, Before: &relay.AccessList{Rules: rules}},
	}}, newInterner(), t0)
	if st.access.at(of) != nil || st.access.at(relay.Tenant{Account: acme}) == nil {
		t.Errorf("after emptying %v", flat(st.access))
	}
}

// TestKeysShareScopes: what most keys have in common is held once.
func TestKeysShareScopes(t *testing.T) {
	full := func() []string {
		var out []string
		for _, s := range relay.FullAccess() {
			out = append(out, string([]byte(s)))
		}
		return out
	}
	d := view(&store.Snapshot{Keys: []relay.Key{{ID: keyID(1), Scopes: full()}, {ID: keyID(2), Scopes: full()}, {ID: keyID(3), Scopes: []string{relay.ScopeMailSend}}}})
	a, _ := d.Key(keyID(1))
	b, _ := d.Key(keyID(2))
	if &a.Scopes[0] != &b.Scopes[0] || !relay.Full(a.Scopes) {
		t.Error("two keys with full access hold two lists")
	}
	if c, _ := d.Key(keyID(3)); len(c.Scopes) != 1 || c.Scopes[0] != relay.ScopeMailSend {
		t.Errorf("scopes %v", c.Scopes)
	}
}

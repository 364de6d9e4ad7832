package relay

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Each role but the last may do what the next one may, and an auditor changes nothing.
func TestRolesNarrow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ wide, narrow Role }{{RoleOwner, RoleAdmin}, {RoleAdmin, RoleDeveloper}, {RoleAdmin, RoleAuditor}} {
		for _, s := range c.narrow.Scopes() {
			if !slices.Contains(c.wide.Scopes(), s) {
				t.Errorf("%s has %s and %s has not", c.narrow, s, c.wide)
			}
		}
		if len(c.narrow.Scopes()) == 0 || len(c.narrow.Scopes()) >= len(c.wide.Scopes()) {
			t.Errorf("%s has %d scopes, %s has %d", c.narrow, len(c.narrow.Scopes()), c.wide, len(c.wide.Scopes()))
		}
	}
	for _, s := range RoleAuditor.Scopes() {
		if !strings.HasSuffix(s, ".read") {
			t.Errorf("an auditor has %s", s)
		}
	}
	for _, s := range RoleDeveloper.Scopes() {
		if strings.HasPrefix(s, "teammates.") || strings.HasPrefix(s, "access_settings.") || strings.HasPrefix(s, "subusers.") || strings.HasPrefix(s, "credentials.") {
			t.Errorf("a developer has %s", s)
		}
	}
	if RoleCustom.Scopes() != nil {
		t.Error("custom has scopes of its own")
	}
}

func TestUserAllows(t *testing.T) {
	t.Parallel()
	custom := User{Role: RoleCustom, Scopes: []string{"api_keys.read", "mail.send"}}
	for scope, want := range map[string]bool{"api_keys.read": true, "mail.send": true, "api_keys.update": false, "": false} {
		if custom.Allows(scope) != want {
			t.Errorf("custom allows %q: %t", scope, !want)
		}
	}
	p := Principal{User: &custom}
	if !p.Allows("mail.send") || p.Allows("teammates.read") {
		t.Error("a principal's scopes are not the person's")
	}
}

func TestUserSees(t *testing.T) {
	t.Parallel()
	now := time.Now()
	acct, other := AccountID{NewID(now)}, AccountID{NewID(now)}
	a, b := SubuserID{NewID(now)}, SubuserID{NewID(now)}
	whole := User{Account: acct}
	inSub := User{Account: acct, Subuser: a}
	restricted := User{Account: acct, Restricted: true, Subusers: []SubuserID{b}}
	for _, c := range []struct {
		name string
		user User
		t    Tenant
		want bool
	}{
		{"account, its own", whole, Tenant{Account: acct}, true},
		{"account, a subuser", whole, Tenant{acct, a}, true},
		{"account, another", whole, Tenant{Account: other}, false},
		{"subuser, the account", inSub, Tenant{Account: acct}, false},
		{"subuser, itself", inSub, Tenant{acct, a}, true},
		{"subuser, another", inSub, Tenant{acct, b}, false},
		{"restricted, the account", restricted, Tenant{Account: acct}, false},
		{"restricted, one of its", restricted, Tenant{acct, b}, true},
		{"restricted, one that is not", restricted, Tenant{acct, a}, false},
	} {
		if got := c.user.Sees(c.t); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

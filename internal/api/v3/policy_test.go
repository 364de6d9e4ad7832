package v3

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"postern/internal/relay"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// testCA is a certificate in PEM, of an authority or not.
func testCA(t testing.TB, authority bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: t0, NotAfter: t0.AddDate(1, 0, 0), IsCA: authority, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestPolicyRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "credentials.read", "credentials.update")
	if a := c.want("GET", "/v3/user/policy", "", 200, nil); a.Body != `{"max_key_life_seconds":0,"forbid_full_access":false,"require_networks":false,"mechanisms":[],"bind_reply_to":false,"foreign_names":false,"second_factor_optional":false,"preview_bodies":false}`+"\n" {
		t.Errorf("%s", a.Body)
	}
	c.want("PATCH", "/v3/user/policy", `{"max_key_life_seconds":7776000,"mechanisms":["SCRAM-SHA-256","PLAIN","PLAIN"]}`, 200, nil)
	var v policyView
	c.want("PATCH", "/v3/user/policy", `{"forbid_full_access":true,"require_networks":true}`, 200, &v)
	if v.MaxKeyLife != 7776000 || !v.ForbidFullAccess || !v.RequireNetworks || len(v.Mechanisms) != 2 || v.Mechanisms[0] != "PLAIN" {
		t.Errorf("%+v", v)
	}
	if p := w.accounts[1].Policy; p.MaxKeyLife != 90*24*time.Hour {
		t.Errorf("%+v", p)
	}
	var seen policyView
	w.as(w.staging, "credentials.read").want("GET", "/v3/user/policy", "", 200, &seen)
	if !seen.RequireNetworks {
		t.Error("a subuser does not see what holds for it")
	}
	c.want("PATCH", "/v3/user/policy", `{"max_key_life_seconds":0,"mechanisms":[]}`, 200, &v)
	if v.MaxKeyLife != 0 || len(v.Mechanisms) != 0 {
		t.Errorf("%+v", v)
	}
	c.want("PATCH", "/v3/user/policy", `{"bind_reply_to":true,"foreign_names":true}`, 200, &v)
	if p := w.accounts[1].Policy; !v.BindReplyTo || !v.ForeignNames || !p.BindReplyTo || !p.ForeignNames || !p.RequireNetworks {
		t.Errorf("%+v %+v", v, p)
	}
	c.want("PATCH", "/v3/user/policy", `{"bind_reply_to":false}`, 200, &v)
	if v.BindReplyTo || !v.ForeignNames {
		t.Errorf("%+v", v)
	}
	for body, field := range map[string]string{
		`{"max_key_life_seconds":-1}`: "max_key_life_seconds", `{"max_key_life_seconds":60}`: "max_key_life_seconds", `{"max_key_life_seconds":9223372036854775807}`: "max_key_life_seconds",
		`{"mechanisms":["PLAIN","DIGEST-MD5"]}`: "mechanisms.1", `{"max_key_life":1}`: "max_key_life",
	} {
		c.refused("PATCH", "/v3/user/policy", body, 400, "", field)
	}
}

// AC-05: nobody but an owner (or the operator) lets people in by a password alone;
// anybody who may change the policy demands the second factor again.
func TestSecondFactorIsTheOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const off, on = `{"second_factor_optional":true}`, `{"second_factor_optional":false}`
	key := w.as(w.acme, "credentials.read", "credentials.update")
	key.refused("PATCH", "/v3/user/policy", off, 403, "access forbidden", "")
	for _, role := range []relay.Role{relay.RoleAdmin, relay.RoleDeveloper, relay.RoleAuditor} {
		w.person(relay.User{Account: w.acme.Account, Username: "p", Role: role}, true).refused("PATCH", "/v3/user/policy", off, 403, "access forbidden", "")
	}
	owner := w.person(relay.User{Account: w.acme.Account, Username: "own", Role: relay.RoleOwner}, true)
	owner.want("PATCH", "/v3/user/policy", off, 200, nil)
	if !w.accounts[1].Policy.SecondFactorOptional {
		t.Fatal("an owner's word does not count")
	}
	key.want("PATCH", "/v3/user/policy", on, 200, nil)
	if w.accounts[1].Policy.SecondFactorOptional {
		t.Error("it was not demanded again")
	}
	owner.want("PATCH", "/v3/user/policy", `{"preview_bodies":true}`, 200, nil)
	if !w.accounts[1].Policy.PreviewBodies {
		t.Error("previews are still off")
	}
}

// A policy holds for new keys of the account and of its subusers, and for what is
// changed of old ones; what it does not speak of can be changed all the same.
func TestPolicyOfKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accounts[1].Policy = relay.Policy{MaxKeyLife: 30 * 24 * time.Hour, ForbidFullAccess: true, RequireNetworks: true}
	full := append([]string{}, relay.FullAccess()...)
	old, _ := w.addKey(w.acme, full...)
	for _, of := range []relay.Tenant{w.acme, w.staging} {
		c := w.as(of, full...)
		c.refused("POST", "/v3/api_keys", `{"name":"x","networks":["192.0.2.0/24"]}`, 400, "full access", "scopes")
		c.refused("POST", "/v3/api_keys", `{"name":"x","scopes":["mail.send"]}`, 400, "policy", "networks")
		c.refused("POST", "/v3/api_keys", `{"name":"x","scopes":["mail.send"],"networks":["0.0.0.0/0"]}`, 400, "policy", "networks")
		c.refused("POST", "/v3/api_keys", `{"name":"x","scopes":["mail.send"],"networks":["192.0.2.0/24"],"expires_at":"2026-03-31T09:00:01Z"}`, 400, "policy", "expires_at")
		var k keyJSON
		c.want("POST", "/v3/api_keys", `{"name":"x","scopes":["mail.send"],"networks":["192.0.2.0/24"]}`, 201, &k)
		if !k.ExpiresAt.Equal(t0.AddDate(0, 0, 30)) {
			t.Errorf("a key without an end got %v", k.ExpiresAt)
		}
	}
	c := w.as(w.acme, full...)
	path := "/v3/api_keys/" + old.ID.String()
	c.want("PATCH", path, `{"name":"renamed"}`, 200, nil)
	c.want("PATCH", path, `{"per_hour":5}`, 200, nil)
	c.refused("PATCH", path, `{"networks":[]}`, 400, "policy", "networks")
	c.want("PATCH", path, `{"scopes":["mail.send"]}`, 200, nil)
	c.refused("PATCH", path, `{"expires_at":"2026-04-15T00:00:00Z"}`, 400, "Rotate the key", "expires_at")
	w.operator("acme").refused("PATCH", path, `{"expires_at":"2026-04-15T00:00:00Z"}`, 400, "Rotate the key", "expires_at")

	// A secret does not live on by having its end moved again and again, but by being
	// replaced.
	w.pass(20 * 24 * time.Hour)
	c.refused("PATCH", path, `{"expires_at":"2026-04-15T00:00:00Z"}`, 400, "Rotate the key", "expires_at")
	var rotated keyJSON
	c.want("POST", path+"/rotate", `{"overlap_seconds":2592000}`, 200, &rotated)
	if !rotated.PreviousUntil.Equal(t0.AddDate(0, 0, 30)) {
		t.Errorf("the old secret outlives the policy: %v", rotated.PreviousUntil)
	}
	c.want("PATCH", path, `{"expires_at":"2026-04-15T00:00:00Z"}`, 200, nil)
}

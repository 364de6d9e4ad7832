package v3

import (
	"slices"
	"strings"
	"testing"

	"postern/internal/relay"
)

func TestDomainKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	d := f.have(w.acme, "a.test")
	c := w.as(w.acme, scopeDomainChange, scopeDomainRead)
	var v domainKeys
	a := c.want("GET", pathOf(d, "/keys"), "", 200, &v)
	if len(v.Result) != 2 || v.Result[0].State != "signing" || v.Result[1].State != "waiting" || v.Result[0].Name != "s1._domainkey.a.test" || strings.Contains(a.Body, "SEALED") || strings.Contains(a.Body, "U0VBTEVE") {
		t.Errorf("%s", a.Body)
	}
	var one domainKey
	a = c.want("POST", pathOf(d, "/keys"), `{"selector":"old","private_key":"-----BEGIN PRIVATE KEY-----\nabc"}`, 201, &one)
	if one.Selector != "old" || one.State != "waiting" || !one.Imported || strings.Contains(a.Body, "BEGIN") {
		t.Errorf("%s", a.Body)
	}
	c.refused("POST", pathOf(d, "/keys"), `{"selector":"old","private_key":"hello"}`, 400, "no private key", "private_key")
	var r rotationView
	c.want("POST", pathOf(d, "/rotate"), "", 200, &r)
	if len(r.New) != 1 || r.New[0].Selector != "s2" || !r.New[0].SeenAt.IsZero() || len(r.Keys) != 3 || r.Text == "" {
		t.Errorf("%+v", r)
	}
	c.want("DELETE", pathOf(d, "/rotate"), "", 204, nil)
	if !slices.ContainsFunc(w.changes, func(s string) bool { return strings.HasSuffix(s, "cancel rotation domain a.test") }) {
		t.Errorf("changes: %q", w.changes)
	}
	c.want("POST", pathOf(d, "/rotate"), `{"now":true}`, 200, nil)
	if !slices.ContainsFunc(w.changes, func(s string) bool { return strings.HasSuffix(s, "rotate now=true domain a.test") }) {
		t.Errorf("%q", w.changes)
	}
}

func TestKeyStates(t *testing.T) {
	t.Parallel()
	for want, k := range map[string]relay.DKIMKey{
		"waiting":   {},
		"signing":   {Active: true, ActivatedAt: t0},
		"off":       {ActivatedAt: t0},
		"retired":   {Active: true, RetiredAt: t0},
		"withdrawn": {RetiredAt: t0, WithdrawnAt: t0},
	} {
		if got := keyState(&k); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A private key leaves by one route, for the operator, recorded, and stays in no
// stored answer.
func TestExportDomainKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "a.test")
	o := w.operator("acme").with("Idempotency-Key", "one")
	var v keyExport
	a := o.want("POST", pathOf(d, "/keys/s1/export"), "", 200, &v)
	if !strings.Contains(v.Private, "PRIVATE KEY") || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	if len(w.changes) != 1 || !strings.Contains(w.changes[0], "uid 0 admin.sock: export s1") {
		t.Errorf("%q", w.changes)
	}
	if a := o.do("POST", pathOf(d, "/keys/s1/export"), ""); strings.Contains(a.Body, "PRIVATE") {
		t.Errorf("it was kept: %s", a.Body)
	}
	w.operator("acme").refused("POST", pathOf(d, "/keys/s9/export"), "", 404, "no such selector", "")
}

func TestSwitchSelector(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	d := f.have(w.acme, "a.test")
	o := w.operator("acme")
	o.refused("POST", pathOf(d, "/keys/s1/disable"), "", 409, "mail never leaves unsigned", "selector")
	var v domainView
	o.want("POST", pathOf(d, "/keys/s1e/enable"), "", 200, &v)
	if !slices.Equal(v.Selectors, []string{"s1", "s1e"}) {
		t.Errorf("%v", v.Selectors)
	}
	o.want("POST", pathOf(d, "/keys/s1/disable"), "", 200, &v)
	if !slices.Equal(v.Selectors, []string{"s1e"}) {
		t.Errorf("%v", v.Selectors)
	}
	o.refused("POST", pathOf(d, "/keys/s9/enable"), "", 404, textNotFound, "")
	f.keys[d.ID][0].RetiredAt = t0
	o.refused("POST", pathOf(d, "/keys/s1/enable"), "", 409, "retired", "selector")
}

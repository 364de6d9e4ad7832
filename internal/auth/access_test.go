package auth

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
	"postern/internal/smtp"
)

// named is a HostSet of plain maps.
type named map[string]string

func (n named) Contains(_ context.Context, host string, addr netip.Addr) bool {
	return n[host] != "" && netip.MustParseAddr(n[host]) == addr
}

// AU-32: what lets an address in, with mapped forms and zones.
func TestAccessLists(t *testing.T) {
	hosts := named{"office.acme.test": home, "v6.acme.test": "fe80::1"}
	host := func(name string) *relay.AccessList {
		return &relay.AccessList{Rules: []relay.AccessRule{{Network: prefixes("10.0.0.0/8")[0]}, {Host: name}}}
	}
	for _, tt := range []struct {
		name string
		list *relay.AccessList
		addr string
		want bool
	}{
		{"no rules", &relay.AccessList{}, home, true},
		{"inside", rules("192.0.2.0/24"), home, true},
		{"outside", rules("192.0.3.0/24"), home, false},
		{"second rule", rules("192.0.3.0/24", "192.0.2.7/32"), home, true},
		{"mapped", rules("192.0.2.0/24"), "::ffff:192.0.2.7", true},
		{"mapped, outside", rules("192.0.3.0/24"), "::ffff:192.0.2.7", false},
		{"all of IPv6 is not IPv4", rules("::/0"), "::ffff:192.0.2.7", false},
		{"all of IPv4 is not IPv6", rules("0.0.0.0/0"), "2001:db8::1", false},
		{"zone", rules("fe80::/10"), "fe80::1%eth0", true},
		{"host", host("office.acme.test"), home, true},
		{"host, mapped", host("office.acme.test"), "::ffff:192.0.2.7", true},
		{"host, zone", host("v6.acme.test"), "fe80::1%eth0", true},
		{"host, other", host("office.acme.test"), "192.0.2.8", false},
		{"host unknown", host("gone.acme.test"), home, false},
		{"no network in a rule", &relay.AccessList{Rules: []relay.AccessRule{{}}}, home, false},
	} {
		addr := netip.MustParseAddr(tt.addr)
		if got := listed(context.Background(), tt.list, addr, hosts); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if got := ShutsOut(context.Background(), tt.list, addr, hosts); got == tt.want {
			t.Errorf("%s: shuts out %v", tt.name, got)
		}
		tt.list.Monitor = true
		if ShutsOut(context.Background(), tt.list, addr, hosts) {
			t.Errorf("%s: a list that only watches shuts out", tt.name)
		}
	}
	if ShutsOut(context.Background(), rules("10.0.0.0/8"), netip.Addr{}, nil) || ShutsOut(context.Background(), nil, mustAddr(home), nil) {
		t.Error("admin.sock, or no list, is shut out")
	}
	if !ShutsOut(context.Background(), host("office.acme.test"), mustAddr(home), nil) {
		t.Error("a host lets in where nobody resolves")
	}
}

// A key's hosts count like its networks, and are asked for after the right secret only.
func TestKeysHosts(t *testing.T) {
	hosts := named{"office.acme.test": home}
	w := newWorld(t, func(c *Config) { c.Hosts = hosts })
	key, row := w.apiKey(t, func(k *relay.Key) { k.Hosts = []string{"gone.test", "office.acme.test"} })
	w.expect(t, "host", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	delete(hosts, "office.acme.test")
	w.expect(t, "host moved", w.plain("apikey", key.Text()), relay.LoginNetwork, ReplyRefused)
	row.Networks = prefixes("192.0.2.0/24")
	w.expect(t, "network beside it", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	asked := &countingHosts{}
	w.cfg.Hosts = asked
	row.Networks = nil
	wrong := w.rotate(t, row)
	w.dir.keys[row.ID] = row
	w.expect(t, "wrong secret", w.plain("apikey", wrong.Text()), relay.LoginWrong, ReplyRefused)
	if asked.n != 0 {
		t.Error("a stranger makes us resolve")
	}
}

// A list of many new names, whose DNS is as slow as can be, holds a login up as
// long as one name does.
func TestManyNewHostsWaitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &relay.AccessList{}
		for i := range 100 {
			l.Rules = append(l.Rules, relay.AccessRule{Host: fmt.Sprintf("h%d.slow.test", i)})
		}
		began := time.Now()
		if listed(t.Context(), l, mustAddr(home), NewHosts(nil, nil)) { // nobody runs it: no answer ever comes
			t.Error("let in by a name without addresses")
		}
		if took := time.Since(began); took > hostFirstWait {
			t.Errorf("waited %v, and may %v", took, hostFirstWait)
		}
	})
}

type countingHosts struct{ n int }

func (c *countingHosts) Contains(context.Context, string, netip.Addr) bool { c.n++; return false }

// Who tried, allowed or not, is on the tenant's list; strangers are not. A list
// that only watches lets in and says what would have been.
func TestAccessActivityAndMonitor(t *testing.T) {
	w := newWorld(t, nil)
	key, row := w.apiKey(t, func(k *relay.Key) { k.Subuser = relay.SubuserID{ID: relay.ID{'s'}} })
	w.expect(t, "free", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	w.dir.access[0] = rules("10.0.0.0/8")
	w.expect(t, "refused", w.plain("apikey", key.Text()), relay.LoginAccess, ReplyRefused)
	w.dir.access[0].Monitor = true
	w.expect(t, "monitor", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	if d := w.rec.last().Detail; d != "monitor: the access list of the account would refuse" {
		t.Errorf("detail %q", d)
	}
	w.dir.access[1] = rules("10.0.0.0/8")
	w.expect(t, "monitor above, refusal below", w.plain("apikey", key.Text()), relay.LoginAccess, ReplyRefused)
	w.dir.access[1].Monitor = true
	w.expect(t, "monitor twice", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	if d := w.rec.last().Detail; !strings.Contains(d, "subuser") {
		t.Errorf("detail %q", d)
	}
	at := w.attempt("BEARER")
	at.Protocol, at.Secret = "http", key.Text()
	if _, err := w.Bearer(context.Background(), at); err != nil {
		t.Error(err)
	}
	got := ""
	for _, s := range w.rec.seen {
		got += s.Method + map[bool]string{true: "+ ", false: "- "}[s.Allowed]
		if s.Addr != mustAddr(home) || s.Account != acme || s.Subuser != row.Subuser || s.Count != 1 || s.FirstAt != t0 {
			t.Errorf("%+v", s)
		}
	}
	if got != "SMTP PLAIN+ SMTP PLAIN- SMTP PLAIN+ SMTP PLAIN- SMTP PLAIN+ API+ " {
		t.Errorf("activity %s", got)
	}
	n := len(w.rec.seen)
	wrong := w.rotate(t, row)
	w.dir.keys[row.ID] = row
	w.plain("apikey", wrong.Text())
	w.plain("anna", "x")
	if len(w.rec.seen) != n {
		t.Error("a stranger is on the list of who tried")
	}
	w.dir.access = [2]*relay.AccessList{}
	row.Networks = prefixes("10.0.0.0/8")
	w.plain("apikey", key.Text())
	if s := w.rec.seen[len(w.rec.seen)-1]; s.Allowed || len(w.rec.seen) != n+1 {
		t.Error("a key outside its networks is not on the list as refused")
	}
}

// A trial ends by itself.
func TestAccessTrial(t *testing.T) {
	w := newWorld(t, nil)
	key, _ := w.apiKey(t, nil)
	w.dir.access[0] = rules("10.0.0.0/8")
	w.dir.access[0].TrialUntil, w.dir.access[0].Before = t0.Add(time.Minute), &relay.AccessList{}
	w.expect(t, "trial", w.plain("apikey", key.Text()), relay.LoginAccess, ReplyRefused)
	w.now = t0.Add(time.Minute)
	w.expect(t, "after it", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
}

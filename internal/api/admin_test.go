package api

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/store"
)

func TestAccountsLife(t *testing.T) {
	t.Parallel()
	f := newFake()
	var made relay.Account
	f.ok(t, "POST", "/accounts", `{"name":"Globex Inc.","owner_email":"ops@globex.example","tls":"verified"}`, 201, &made)
	want := relay.Account{ID: made.ID, Name: "Globex Inc.", OwnerEmail: "ops@globex.example", TimeZone: "UTC", TLS: relay.TLSVerified, CreatedAt: now}
	if diff := cmp.Diff(want, made); diff != "" || made.ID.IsZero() {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	var all list[relay.Account]
	f.ok(t, "GET", "/accounts", "", 200, &all)
	if len(all.Result) != 3 {
		t.Errorf("%d accounts, want 3", len(all.Result))
	}
	for _, ref := range []string{"Globex%20Inc.", made.ID.String()} {
		var got relay.Account
		f.ok(t, "POST", "/accounts/"+ref+"/disable", "", 200, &got)
		if got.ID != made.ID || got.DisabledAt.IsZero() {
			t.Errorf("disabled %+v", got)
		}
		got = relay.Account{}
		f.ok(t, "POST", "/accounts/"+ref+"/enable", "{}", 200, &got)
		if !got.DisabledAt.IsZero() {
			t.Errorf("enabled %+v", got)
		}
	}
	if f.changes[0] != "uid 1000 admin.sock: account Globex Inc." {
		t.Errorf("change noted as %q", f.changes[0])
	}
}

// Each wrong request has its own answer, and changes nothing.
func TestWrongRequests(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 101)
	for _, tt := range []struct {
		method, path, body string
		status             int
		field, text        string
	}{
		{"POST", "/accounts", `{}`, 400, "name", "required"},
		{"POST", "/accounts", `{"name":"` + long + `","owner_email":"a@b.example"}`, 400, "name", "longer"},
		{"POST", "/accounts", `{"name":" x","owner_email":"a@b.example"}`, 400, "name", "spaces"},
		{"POST", "/accounts", `{"name":"a\u202eb","owner_email":"a@b.example"}`, 400, "name", "shown"},
		{"POST", "/accounts", `{"name":"a/b","owner_email":"a@b.example"}`, 400, "name", "slash"},
		{"POST", "/accounts", `{"name":"..","owner_email":"a@b.example"}`, 400, "name", "letter"},
		{"POST", "/accounts", `{"name":"` + acmeID.String() + `","owner_email":"a@b.example"}`, 400, "name", "like an id"},
		{"POST", "/accounts", `{"name":"x","owner_email":"nobody"}`, 400, "owner_email", "email"},
		{"POST", "/accounts", `{"name":"x","owner_email":"N <a@b.example>"}`, 400, "owner_email", "email"},
		{"POST", "/accounts", `{"name":"x","owner_email":"a@b.example","time_zone":"Mars/Base"}`, 400, "time_zone", "time zone"},
		{"POST", "/accounts", `{"name":"x","owner_email":"a@b.example","time_zone":"Local"}`, 400, "time_zone", "time zone"},
		{"POST", "/accounts", `{"name":"x","owner_email":"a@b.example","tls":"none"}`, 400, "tls", "level of TLS"},
		{"POST", "/accounts", `{"name":"x","owner_email":"a@b.example","default_pool":"no"}`, 404, "default_pool", "no pool"},
		{"POST", "/accounts", `{"name":"x","owner_email":"a@b.example","system":true}`, 400, "system", "no such member"},
		{"POST", "/accounts", `{"name":"acme","owner_email":"a@b.example"}`, 409, "name", "taken"},
		{"GET", "/accounts/nobody", "", 404, "account", `no account \"nobody\"`},
		{"POST", "/accounts/system/disable", "", 409, "", "own mail"},
		{"POST", "/accounts/acme/delete", "", 404, "", "not found"},
		{"DELETE", "/accounts/acme", "", 405, "", "method"},
		{"POST", "/pools", `{"name":"p","addresses":[{"address":"x"}]}`, 400, "addresses.0.address", "IP address"},
		{"POST", "/pools", `{"name":"p","addresses":[{"address":"0.0.0.0"}]}`, 400, "addresses.0.address", "send from"},
		{"POST", "/pools", `{"name":"p","addresses":[{"address":"::ffff:192.0.2.1"}]}`, 400, "addresses.0.address", "IPv4"},
		{"POST", "/pools", `{"name":"p","addresses":[{"address":"192.0.2.1","helo":"host"}]}`, 400, "addresses.0.helo", "full host name"},
		{"POST", "/pools", `{"name":"p","addresses":[{"address":"192.0.2.1","helo":"a.b\r\nx"}]}`, 400, "addresses.0.helo", "full host name"},
		{"POST", "/pools", `{"name":"p","addresses":[{"address":"192.0.2.1"},{"address":"192.0.2.1"}]}`, 400, "addresses.1.address", "twice"},
		{"GET", "/queue?state=lost", "", 400, "state", "queued, held"},
		{"GET", "/queue?limit=1001", "", 400, "limit", "1000"},
		{"GET", "/queue?limit=-1", "", 400, "limit", "1000"},
		{"GET", "/queue?after=x", "", 400, "after", "22 characters"},
		{"GET", "/queue/short", "", 404, "", "no such message"},
		{"GET", "/queue/AAAAAAAAAAAAAAAAAAAAAA/why", "", 404, "", "no such message"},
		{"POST", "/queue/hold", `{}`, 400, "messages", "Name messages"},
		{"POST", "/queue/hold", `{"filter":{}}`, 400, "filter", "empty"},
		{"POST", "/queue/hold", `{"messages":["x"]}`, 400, "messages.0", "22 characters"},
		{"POST", "/queue/hold", `{"messages":["AAAAAAAAAAAAAAAAAAAAAA"],"filter":{"all":true}}`, 400, "filter", "not both"},
		{"POST", "/queue/hold", `{"filter":{"all":true},"reason":"a\r\nb"}`, 400, "reason", "one line"},
		{"POST", "/queue/hold", `{"filter":{"account":"nobody"}}`, 404, "account", "no account"},
		{"POST", "/queue/explode", `{}`, 404, "", "not found"},
		{"POST", "/queue/hold", ``, 415, "", "application/json"},
		{"GET", "/events?event=eaten", "", 400, "event", "not an event"},
		{"GET", "/events?since=yesterday", "", 400, "since", "2006-01-02"},
		{"GET", "/events?newset=true", "", 400, "newset", "no such parameter"},
		{"GET", "/events?account=a&account=b", "", 400, "account", "twice"},
		{"GET", "/events?%zz", "", 400, "", "query string"},
		{"GET", "/events?key=nobody", "", 404, "key", "no key"},
		{"GET", "/events?account=nobody", "", 404, "account", "no account"},
		{"GET", "/events?after_seq=x", "", 400, "after_seq", "number"},
		{"POST", "/queue/hold", `{"filter":{"subuser":"nobody"}}`, 404, "subuser", "no subuser"},
		{"POST", "/queue/hold", `{"filter":{"key":"nobody"}}`, 404, "key", "no key"},
		{"GET", "/events?newest=yes", "", 400, "newest", "true or false"},
	} {
		t.Run(tt.method+tt.path+tt.body, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			status, body := f.call(t, tt.method, tt.path, tt.body)
			if status != tt.status || !strings.Contains(body, tt.text) {
				t.Errorf("%d %s; want %d with %q", status, body, tt.status, tt.text)
			}
			field := `"field":null`
			if tt.field != "" {
				field = fmt.Sprintf("%q:%q", "field", tt.field)
			}
			if !strings.Contains(body, field) {
				t.Errorf("%s; want %s", body, field)
			}
			if len(f.changes) != 0 {
				t.Errorf("a wrong request changed something: %v", f.changes)
			}
		})
	}
}

func TestPoolsLife(t *testing.T) {
	t.Parallel()
	f := newFake()
	var p relay.Pool
	f.ok(t, "POST", "/pools", `{"name":"bulk","addresses":[{"address":"192.0.2.1"},{"address":"2001:db8::1","helo":"out6.example.test"}],"tls":"required"}`, 201, &p)
	want := []relay.PoolAddress{{Address: netip.MustParseAddr("192.0.2.1"), Helo: "relay.example.test"}, {Address: netip.MustParseAddr("2001:db8::1"), Helo: "out6.example.test"}}
	if diff := cmp.Diff(want, p.Addresses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || !p.Account.IsZero() {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	f.ok(t, "PUT", "/pools/bulk/addresses", `{"addresses":[{"address":"192.0.2.1"}],"warmup":true}`, 200, nil)
	if got := f.pools[0].Addresses[0].Warmup.Since; !got.Equal(now) {
		t.Errorf("with warmup: since %s", got)
	}
	f.ok(t, "PUT", "/pools/bulk/addresses", `{"addresses":[]}`, 200, &p)
	if len(f.pools[0].Addresses) != 0 {
		t.Errorf("addresses after PUT: %v", f.pools[0].Addresses)
	}
	f.ok(t, "POST", "/pools", `{"name":"bulk","account":"acme"}`, 201, nil)
	if status, _ := f.call(t, "GET", "/pools/bulk", ""); status != 409 {
		t.Errorf("an ambiguous name: %d", status)
	}
	f.ok(t, "POST", "/pools/"+p.ID.String()+"/disable", "", 200, &p)
	if p.DisabledAt.IsZero() {
		t.Error("not disabled")
	}
}

func TestQueueActions(t *testing.T) {
	t.Parallel()
	f := newFake()
	for i := range 2500 {
		id := relay.MessageID{ID: relay.NewID(now.Add(time.Duration(i) * time.Millisecond))}
		f.queue = append(f.queue, store.Queued{Message: relay.Message{ID: id, Tenant: relay.Tenant{Account: acmeID}, State: relay.MessageQueued}})
	}
	var page queuePage
	f.ok(t, "GET", "/queue?limit=2", "", 200, &page)
	if len(page.Result) != 2 || page.Next != f.queue[1].Message.ID {
		t.Fatalf("page %+v", page)
	}
	f.ok(t, "GET", "/queue?limit=1000&after="+f.queue[2498].Message.ID.String(), "", 200, &page)
	if len(page.Result) != 1 {
		t.Errorf("last page has %d", len(page.Result))
	}
	var n Affected
	f.ok(t, "POST", "/queue/hold", `{"filter":{"account":"acme"},"reason":"under review"}`, 200, &n)
	if n.Messages != 2500 {
		t.Errorf("held %d, want 2500", n.Messages)
	}
	want := []string{"uid 1000 admin.sock: hold 1000 under review", "uid 1000 admin.sock: hold 1000 under review", "uid 1000 admin.sock: hold 500 under review"}
	if diff := cmp.Diff(want, f.changes); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	for _, verb := range []string{"release", "retry", "bounce"} {
		f.ok(t, "POST", "/queue/"+verb, `{"messages":["`+f.queue[7].Message.ID.String()+`"]}`, 200, &n)
		if n.Messages != 1 || !strings.Contains(f.changes[len(f.changes)-1], verb+" 1") {
			t.Errorf("%s: %+v, %s", verb, n, f.changes[len(f.changes)-1])
		}
	}
	f.ok(t, "POST", "/queue/drain", `{}`, 200, nil)
	if !f.draining {
		t.Error("does not drain")
	}
	f.ok(t, "POST", "/queue/drain", `{"off":true}`, 200, nil)
	if f.draining {
		t.Error("still drains")
	}
	var why struct{ Text []string }
	f.ok(t, "GET", "/queue/"+f.queue[0].Message.ID.String()+"/why", "", 200, &why)
	if len(why.Text) != 1 {
		t.Errorf("why: %+v", why)
	}
}

func TestHistoryFilters(t *testing.T) {
	t.Parallel()
	f := newFake()
	k := relay.Key{ID: relay.KeyID{ID: relay.NewID(now)}, Account: acmeID, Name: "web"}
	f.keys = []relay.Key{k}
	id := relay.NewID(now)
	f.ok(t, "GET", "/events?message="+id.String()+"&recipient=a@b.example&event=bounced&event=deferred&since=2026-01-01T00:00:00Z&after_epoch=3&after_seq=9&limit=50&account=acme&key=web", "", 200, nil)
	f.ok(t, "GET", "/events?newest=true&limit=5&key="+k.ID.String(), "", 200, nil)
	want := []any{
		store.EventFilter{
			Message: relay.MessageID{ID: id}, Recipient: "a@b.example", Kinds: []relay.EventKind{"bounced", "deferred"},
			Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), AfterEpoch: 3, AfterSeq: 9, Limit: 50, Account: acmeID, Key: k.ID,
		},
		store.EventFilter{Newest: true, Limit: 5, Key: k.ID},
	}
	if diff := cmp.Diff(want, f.filters); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
	f.keys = append(f.keys, relay.Key{ID: relay.KeyID{ID: id}, Account: acmeID, Name: "web"})
	if status, body := f.call(t, "GET", "/events?key=web", ""); status != 409 || !strings.Contains(body, "2 keys") {
		t.Errorf("an ambiguous name: %d %s", status, body)
	}
}

// Who is not known to the kernel changes nothing; what breaks inside stays inside.
func TestEveryRoute(t *testing.T) {
	t.Parallel()
	for _, route := range Admin(newFake().services()) {
		path := strings.TrimPrefix(route.Pattern, "/admin/v1")
		for from, to := range map[string]string{
			"{account}": "acme", "{pool}": "bulk", "{message}": relay.NewID(now).String(),
		} {
			path = strings.ReplaceAll(path, from, to)
		}
		verb := "disable"
		if strings.HasPrefix(path, "/queue") {
			verb = "drain"
		}
		path = strings.ReplaceAll(path, "{verb}", verb)
		t.Run(route.Method+path, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			f.ok(t, "POST", "/pools", `{"name":"bulk"}`, 201, nil)
			f.changes = nil
			body := ""
			if route.Method != "GET" {
				body = `{}`
				if status, text := f.call(t, route.Method, path, body, true); status != 403 || len(f.changes) != 0 {
					t.Errorf("nobody: %d %s, changes %v", status, text, f.changes)
				}
			}
			f.fail = errors.New("SELECT leak FROM inside")
			status, text := f.call(t, route.Method, path, body)
			if status < 400 || strings.Contains(text, "leak") {
				t.Errorf("a broken service: %d %s", status, text)
			}
			if len(f.changes) != 0 {
				t.Errorf("changes of a broken service: %v", f.changes)
			}
		})
	}
}

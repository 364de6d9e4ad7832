package v3

import (
	"encoding/csv"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

func init() {
	logins := func(path string) fixture {
		return fixture{Status: 200, Make: func(w *world, of relay.Tenant) ask {
			recordsOf(w).login(of, t0, nil)
			recordsOf(w).login(w.globex, t0, nil) // never in an answer to acme
			return ask{Path: path}
		}}
	}
	changes := func(path string) fixture {
		return fixture{Status: 200, Make: func(w *world, of relay.Tenant) ask {
			recordsOf(w).change(of.Account, t0, "key.create")
			return ask{Path: path}
		}}
	}
	addFixtures(map[string]fixture{
		"GET /v3/logins": logins("/v3/logins"), "GET /v3/logins/export": logins("/v3/logins/export"),
		"GET /v3/changes": changes("/v3/changes"), "GET /v3/changes/export": changes("/v3/changes/export"),
		"GET /v3/changes/verify": changes("/v3/changes/verify"), "GET /v3/changes/head": changes("/v3/changes/head"),
		"POST /v3/changes/prune": plain(200, "/v3/changes/prune", `{"before":"2026-01-01T00:00:00Z"}`),
	})
}

// auditor reads records of a tenant.
func auditor(w *world, of relay.Tenant, more ...string) *client {
	return w.as(of, append(more, scopeRecords)...)
}

// tried are the ids of an answer's logins.
func tried(l loginList) string {
	var out []string
	for _, r := range l.Result {
		out = append(out, r.Tried)
	}
	return strings.Join(out, " ")
}

func TestLoginsShape(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := auditor(w, w.acme)
	if a := c.want("GET", "/v3/logins", "", 200, nil); a.Body != `{"result":[],"after":"","more":false}`+"\n" || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("none: %s", a.Body)
	}
	k, _ := w.addKey(w.acme)
	recordsOf(w).login(w.acme, t0, func(l *relay.Login) {
		l.Key, l.Tried, l.TLS, l.Result, l.Detail, l.Count = k.ID, k.ID.String(), "TLSv1.3 TLS_AES_128_GCM_SHA256", relay.LoginNetwork, "outside 10.0.0.0/8", 3
	})
	a := c.want("GET", "/v3/logins", "", 200, nil)
	l := decode[loginList](t, a)
	want := fmt.Sprintf(`{"result":[{"cursor":%q,"at":"2026-03-01T09:00:00Z","protocol":"smtp","mechanism":"PLAIN","tried":%q,"detail":"outside 10.0.0.0/8","api_key_id":%q,`+
		`"account_id":%q,"addr":"192.0.2.1","network":"192.0.2.0/24","helo":"client.example","tls":"TLSv1.3 TLS_AES_128_GCM_SHA256","result":"network","count":3}],"after":%q,"more":false}`+"\n",
		l.After, k.ID, k.ID, w.acme.Account, l.After)
	if a.Body != want {
		t.Errorf("%s want %s", a.Body, want)
	}
}

// AP-01, AP-02: whose records a caller sees.
func TestLoginsAreTheTenantsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	for name, of := range map[string]relay.Tenant{"acme": w.acme, "staging": w.staging, "receipts": w.receipts, "globex": w.globex, "branch": w.branch, "nobody": {}} {
		f.login(of, t0, func(l *relay.Login) { l.Tried = name })
	}
	sees := func(c *client, query string) string {
		t.Helper()
		names := strings.Fields(tried(decode[loginList](t, c.want("GET", "/v3/logins"+query, "", 200, nil))))
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	wide, narrow := auditor(w, w.acme, scopeBehalf), auditor(w, w.acme)
	for _, x := range []struct {
		c           *client
		query, want string
	}{
		{wide, "", "acme receipts staging"},
		{wide, "?subuser=staging", "staging"},
		{narrow, "", "acme"}, // what it may not ask its subusers for it does not see here
		{wide.with("on-behalf-of", "staging"), "", "staging"},
		{wide.with("on-behalf-of", "staging"), "?subuser=staging", "staging"},
		{auditor(w, w.staging), "", "staging"},
		{auditor(w, w.staging), "?subuser=staging", "staging"},
		{auditor(w, w.branch), "", "branch"},
		{w.operator("acme"), "", "acme receipts staging"},
		{w.operator("acme").with("on-behalf-of", "receipts"), "", "receipts"},
		{w.operator(""), "", "acme branch globex nobody receipts staging"},
		{w.operator(""), "?subuser=branch", "branch"},
	} {
		if got := sees(x.c, x.query); got != x.want {
			t.Errorf("%q: %q, want %q", x.query, got, x.want)
		}
	}
	narrow.want("GET", "/v3/logins?subuser=staging", "", 403, nil)
	wide.want("GET", "/v3/logins?subuser=branch", "", 404, nil) // as one that is not there
	wide.want("GET", "/v3/logins?subuser=nobody", "", 404, nil)
	auditor(w, w.staging).want("GET", "/v3/logins?subuser=receipts", "", 404, nil)
	auditor(w, w.staging).want("GET", "/v3/logins?subuser=nobody", "", 404, nil)
	w.operator("").want("GET", "/v3/logins?subuser=nobody", "", 404, nil)
	// Another account's key selects nothing, like a key that is not there.
	k, _ := w.addKey(w.globex)
	f.login(w.globex, t0, func(l *relay.Login) { l.Key = k.ID })
	for _, id := range []string{k.ID.String(), absentID} {
		if got := sees(wide, "?key="+id); got != "" {
			t.Errorf("key %s: %q", id, got)
		}
	}
}

func TestLoginFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	c := auditor(w, w.acme)
	k, _ := w.addKey(w.acme)
	f.login(w.acme, t0, func(l *relay.Login) { l.Tried = "a" })
	f.login(w.acme, t0.Add(time.Minute), func(l *relay.Login) { l.Tried, l.Result = "b", relay.LoginWrong })
	f.login(w.acme, t0.Add(2*time.Minute), func(l *relay.Login) { l.Tried, l.Mechanism = "c", "SCRAM-SHA-256" })
	f.login(w.acme, t0.Add(3*time.Minute), func(l *relay.Login) { l.Tried, l.Key = "d", k.ID })
	f.login(w.acme, t0.Add(4*time.Minute), func(l *relay.Login) {
		l.Tried, l.Addr, l.Network = "e", netip.MustParseAddr("2001:db8::1"), "2001:db8::/48"
	})
	for i, name := range []string{"TLSv1.2 X", "TLSv1.3 Y", ""} {
		f.login(w.acme, t0.AddDate(0, 0, 1), func(l *relay.Login) {
			l.Tried, l.Addr, l.TLS = string(rune('f'+i)), netip.MustParseAddr("198.51.100.1"), name
			if name == "" {
				l.Mechanism = ""
			}
		})
	}
	for query, want := range map[string]string{
		"": "a b c d e f g h", "tls=1.2": "f", "tls=TLSv1.3": "g", "tls=1.1": "", "tls=none&addr=198.51.100.1": "h", "mechanism=none": "h", "mechanism=scram-sha-256": "c", "mechanism=None": "h", "tls=1.2&newest=true": "f", "result=wrong": "b", "result=binding": "", "mechanism=SCRAM-SHA-256": "c", "key=" + k.ID.String(): "d", "addr=2001:db8:0::1": "e", "addr=::ffff:192.0.2.1": "a b c d",
		"network=2001:db8::/48": "e", "tried=a": "a", "since=2026-03-01T09:03:00Z": "d e f g h", "until=2026-03-01T09:01:00Z": "a b", "newest=true&limit=2": "g h",
		"since=" + fmt.Sprint(t0.Add(2*time.Minute).Unix()) + "&until=2026-03-01T10:02:30%2B01:00": "c",
		"tried=" + "%27%20OR%201=1": "",
	} {
		if got := tried(decode[loginList](t, c.want("GET", "/v3/logins?"+query, "", 200, nil))); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for query, field := range map[string]string{ // AP-21
		"result=fine": "result", "key=x": "key", "addr=x": "addr", "addr=fe80::1%25eth0": "addr", "since=yesterday": "since", "until=-1": "until", "limit=0": "limit",
		"limit=10001": "limit", "limit=-5": "limit", "newest=true&limit=1001": "limit", "newest=yes": "newest", "format=xml": "format", "after=1": "after", "after=%27%3B--": "after",
		"since=0001-01-01T00:00:00Z": "since", "tls=SSLv3": "tls", "tls=TLSv": "tls", "tls=1.2%25": "tls", "tls=%27%20OR%201=1": "tls",
	} {
		c.refused("GET", "/v3/logins?"+query, "", 400, "", field)
	}
}

// A search for what is rare ends, and says how far back it has looked.
func TestLoginsAreNotLookedForForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	c := auditor(w, w.acme)
	f.login(w.acme, t0, func(l *relay.Login) { l.Tried = "a" })
	f.login(w.acme, t0.AddDate(0, 0, 2), func(l *relay.Login) { l.Tried = "b" })
	l := decode[loginList](t, c.want("GET", "/v3/logins?newest=true", "", 200, nil))
	if tried(l) != "a b" || l.More || l.Since != nil {
		t.Errorf("all of them: %+v", l)
	}
	f.back = t0.AddDate(0, 0, 1)
	l = decode[loginList](t, c.want("GET", "/v3/logins?newest=true", "", 200, nil))
	if tried(l) != "b" || !l.More || l.Since == nil || !l.Since.Equal(f.back) {
		t.Errorf("those of some days: %+v", l)
	}
	if l = decode[loginList](t, c.want("GET", "/v3/logins", "", 200, nil)); tried(l) != "a b" || l.More {
		t.Errorf("oldest first: %+v", l)
	}
}

// Of the newest those are left out that are not of a place, or not the caller's to see:
// those that are come nevertheless, from as far back as they are.
func TestNewestLoginsAmongMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) {
		s.Place = func(a netip.Addr) string {
			return map[string]string{"198.51.100.7": "BR"}[a.String()]
		}
	})
	f := recordsOf(w)
	for i := range 3 {
		f.login(w.acme, t0.Add(time.Duration(i)*time.Minute), func(l *relay.Login) { l.Tried, l.Addr = string(rune('a'+i)), netip.MustParseAddr("198.51.100.7") })
	}
	for i := range 2*mostNewest + 10 { // many of one moment
		f.login(w.staging, t0.Add(time.Hour+time.Duration(i/20)*time.Second), nil)
	}
	wide, narrow := auditor(w, w.acme, scopeBehalf), auditor(w, w.acme)
	for _, x := range []struct {
		c           *client
		query, want string
	}{{wide, "place=BR&limit=2", "b c"}, {wide, "place=BR", "a b c"}, {wide, "place=FR", ""}, {narrow, "limit=2", "b c"}, {narrow, "", "a b c"}} {
		l := decode[loginList](t, x.c.want("GET", "/v3/logins?newest=true&"+x.query, "", 200, nil))
		if tried(l) != x.want || l.More || l.Since != nil {
			t.Errorf("%s: %q, more %v, since %v", x.query, tried(l), l.More, l.Since)
		}
	}
	// Where all that can be read at once are of one moment, it says that it stops there.
	for range mostNewest {
		f.login(w.staging, t0.Add(3*time.Hour), nil)
	}
	if l := decode[loginList](t, narrow.want("GET", "/v3/logins?newest=true", "", 200, nil)); tried(l) != "" || !l.More || l.Since == nil || !l.Since.Equal(t0.Add(3*time.Hour)) {
		t.Errorf("%+v", l)
	}
}

// With a file of places a login says its country, and can be asked for by it; without
// one, that is said.
func TestLoginsFromAPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) {
		s.Place = func(a netip.Addr) string {
			return map[string]string{"192.0.2.1": "DE", "198.51.100.7": "BR"}[a.String()]
		}
	})
	f := recordsOf(w)
	c := auditor(w, w.acme)
	for i, addr := range []string{"192.0.2.1", "198.51.100.7", "203.0.113.9", "198.51.100.7"} {
		f.login(w.acme, t0.Add(time.Duration(i)*time.Minute), func(l *relay.Login) { l.Tried, l.Addr = string(rune('a'+i)), netip.MustParseAddr(addr) })
	}
	f.login(w.globex, t0, func(l *relay.Login) { l.Tried, l.Addr = "x", netip.MustParseAddr("198.51.100.7") })
	for query, want := range map[string]string{
		"place=BR": "b d", "place=br&newest=true&limit=1": "d", "place=br&newest=true": "b d", "place=unknown": "c", "place=FR": "", "place=BR&limit=1": "b", "place=BR&since=2026-03-01T09:02:00Z": "d",
	} {
		if got := tried(decode[loginList](t, c.want("GET", "/v3/logins?"+query, "", 200, nil))); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if a := c.want("GET", "/v3/logins?place=DE", "", 200, nil); !strings.Contains(a.Body, `"place":"DE"`) {
		t.Errorf("no place: %s", a.Body)
	}
	if a := c.want("GET", "/v3/logins/export?format=csv&place=BR", "", 200, nil); strings.Count(a.Body, ",BR\r\n") != 2 {
		t.Errorf("the file: %s", a.Body)
	}
	without := newWorld(t)
	auditor(without, without.acme).refused("GET", "/v3/logins?place=DE", "", 400, "no file of them", "place")
}

// AP-21: a cursor is for the list and the tenant that it was given for, and is
// not changed.
func TestCursors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	f.many(t, w.acme, 5)
	f.change(w.acme.Account, t0, "key.create")
	c := auditor(w, w.acme, scopeBehalf)
	var seen []string
	after := ""
	for range 4 {
		l := decode[loginList](t, c.want("GET", "/v3/logins?limit=2&after="+after, "", 200, nil))
		seen = append(seen, tried(l))
		if after != "" && len(l.Result) == 0 && (l.After != after || l.More) {
			t.Errorf("at the end: %+v", l)
		}
		after = l.After
	}
	if got := strings.Join(seen, "|"); got != "0 1|2 3|4|" {
		t.Errorf("pages %q", got)
	}
	first := decode[loginList](t, c.want("GET", "/v3/logins?limit=3", "", 200, nil))
	if got := tried(decode[loginList](t, c.want("GET", "/v3/logins?after="+first.Result[0].Cursor, "", 200, nil))); got != "1 2 3 4" {
		t.Errorf("behind the first record: %q", got)
	}
	c.refused("GET", "/v3/logins?newest=true&after="+after, "", 400, "after", "after")
	for name, bad := range map[string]struct {
		c            *client
		path, cursor string
	}{
		"cut":              {c, "/v3/logins", after[:len(after)-1]},
		"longer":           {c, "/v3/logins", after + "A"},
		"changed":          {c, "/v3/logins", "B" + after[1:]},
		"another spelling": {c, "/v3/logins", after + "%0A"},
		"padded":           {c, "/v3/logins", after + "="},
		"of another list":  {c, "/v3/changes", after},
		"of the parent":    {c.with("on-behalf-of", "staging"), "/v3/logins", after},
		"another account":  {auditor(w, w.globex), "/v3/logins", after},
		"negative":         {c, "/v3/logins", newAPI(w).cursor(cursorLogin, w.acme, -1)},
	} {
		t.Run(name, func(t *testing.T) {
			bad.c.refused("GET", bad.path+"?after="+bad.cursor, "", 400, "Not a cursor", "after")
		})
	}
}

// newAPI is an API over a world, for what is not reached by a route.
func newAPI(w *world) *API { return &API{Services: w.services} }

// A long list is read and written in pages, and what a caller may not see is not
// counted against its limit.
func TestLongLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	f.many(t, w.staging, 1200)
	f.many(t, w.acme, 30)
	wide, narrow := auditor(w, w.acme, scopeBehalf), auditor(w, w.acme)
	l := decode[loginList](t, wide.want("GET", "/v3/logins?limit=1100", "", 200, nil))
	if len(l.Result) != 1100 || !l.More || fmt.Sprint(f.reads) != "[500 500 100]" {
		t.Errorf("%d records, more %v, reads of %v", len(l.Result), l.More, f.reads)
	}
	l = decode[loginList](t, narrow.want("GET", "/v3/logins?limit=10", "", 200, nil))
	if tried(l) != "0 1 2 3 4 5 6 7 8 9" || !l.More {
		t.Errorf("%q, more %v", tried(l), l.More)
	}
	if next := decode[loginList](t, narrow.want("GET", "/v3/logins?limit=100&after="+l.After, "", 200, nil)); len(next.Result) != 20 || next.More {
		t.Errorf("%d records, more %v", len(next.Result), next.More)
	}
	f.reads = nil
	if l := decode[loginList](t, wide.want("GET", "/v3/logins/export?limit=3", "", 200, nil)); len(l.Result) != 1230 || l.More || slices.Max(f.reads) > recordPage {
		t.Errorf("%d exported, more %v, reads of %v", len(l.Result), l.More, f.reads)
	}
	f.reads = nil
	if l := decode[loginList](t, wide.want("GET", "/v3/logins?newest=true&limit=1000", "", 200, nil)); len(l.Result) != 1000 || l.Result[999].Tried != "29" || len(f.reads) != 1 {
		t.Errorf("%d newest, reads of %v", len(l.Result), f.reads)
	}
}

// An answer with a limit ends, even where the caller sees nothing.
func TestScanIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	f.many(t, w.staging, (maxScanned+2)*recordPage)
	f.login(w.acme, t0.Add(24*time.Hour), nil)
	c := auditor(w, w.acme)
	l := decode[loginList](t, c.want("GET", "/v3/logins?limit=10", "", 200, nil))
	if len(l.Result) != 0 || !l.More || l.After == "" || len(f.reads) != maxScanned {
		t.Errorf("%d records, more %v, %d reads", len(l.Result), l.More, len(f.reads))
	}
	if l = decode[loginList](t, c.want("GET", "/v3/logins?limit=10&after="+l.After, "", 200, nil)); len(l.Result) != 1 || l.More {
		t.Errorf("going on: %d records, more %v", len(l.Result), l.More)
	}
}

// A failure before the first octet is an answer; after it the connection is cut,
// so that nobody takes half a list for a whole.
func TestListFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	f.many(t, w.acme, 700)
	c := auditor(w, w.acme)
	f.failAt = 1
	if a := c.want("GET", "/v3/logins/export", "", 500, nil); strings.Contains(a.Body, "fire") { // AP-22
		t.Error(a.Body)
	}
	f.reads, f.failAt = nil, 2
	defer func() {
		if recover() == nil {
			t.Error("the connection was not cut")
		}
	}()
	c.do("GET", "/v3/logins/export", "")
}

// AP-20: no cell of a CSV is a formula.
func TestCSV(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	bad := []string{"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"}
	for _, s := range bad {
		f.login(w.acme, t0, func(l *relay.Login) { l.Helo, l.Tried, l.Detail = s, s, "a,\"b\"\nc" })
	}
	f.login(w.acme, t0, func(l *relay.Login) { l.Helo, l.Addr = "plain-host", netip.Addr{} })
	c := auditor(w, w.acme)
	for name, a := range map[string]answer{
		"format": c.want("GET", "/v3/logins?format=csv", "", 200, nil), "accept": c.with("Accept", "text/csv").want("GET", "/v3/logins", "", 200, nil),
		"export": c.want("GET", "/v3/logins/export?format=csv", "", 200, nil),
	} {
		if got := a.Header.Get("Content-Type") + "|" + a.Header.Get("Content-Disposition"); got != `text/csv; charset=utf-8; header=present|attachment; filename="logins.csv"` {
			t.Errorf("%s: %s", name, got)
		}
		rows, err := csv.NewReader(strings.NewReader(a.Body)).ReadAll()
		if err != nil || len(rows) != len(bad)+2 || !slices.Equal(rows[0], loginColumns) || !strings.Contains(a.Body, "\r\n") {
			t.Fatalf("%s: %v %q", name, err, rows)
		}
		for i, r := range rows[1:] {
			for j, cell := range r {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
					t.Errorf("%s: row %d, %s: %q", name, i, rows[0][j], cell)
				}
			}
		}
		if last := rows[len(rows)-1]; last[11] != "plain-host" || last[9] != "" {
			t.Errorf("%s: %q", name, last)
		}
	}
	for in, want := range map[string]string{"": "", "a=b": "a=b", "=": "'=", "'=": "'="} {
		if got := safeCell(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	f.change(w.acme.Account, t0, "key.create")
	f.change(w.globex.Account, t0, "key.create")
	f.change(w.acme.Account, t0.Add(time.Minute), "subuser.create")
	f.change(relay.AccountID{}, t0, "pool.create")
	c := auditor(w, w.acme)
	actions := func(c *client, query string) string {
		var out []string
		for _, r := range decode[changeList](t, c.want("GET", "/v3/changes"+query, "", 200, nil)).Result {
			out = append(out, fmt.Sprint(r.Seq, ":", r.Action))
		}
		return strings.Join(out, " ")
	}
	for _, x := range []struct {
		c           *client
		query, want string
	}{
		{c, "", "1:key.create 2:subuser.create"}, {c, "?action=subuser.create", "2:subuser.create"}, {c, "?limit=1", "1:key.create"}, {c, "?newest=true&limit=1", "2:subuser.create"},
		{c, "?since=2026-03-01T09:00:30Z", "2:subuser.create"}, {c, "?until=2026-03-01T09:00:30Z", "1:key.create"},
		{auditor(w, w.globex), "", "1:key.create"}, {w.operator("globex"), "", "1:key.create"},
		{w.operator(""), "", "1:key.create 1:key.create 2:subuser.create 1:pool.create"},
	} {
		if got := actions(x.c, x.query); got != x.want {
			t.Errorf("%s: %q, want %q", x.query, got, x.want)
		}
	}
	// The chain can be followed through the answer.
	l := decode[changeList](t, c.want("GET", "/v3/changes", "", 200, nil))
	if len(l.Result[0].PrevHash) != 0 || string(l.Result[1].PrevHash) != string(l.Result[0].Hash) || string(l.Result[1].After) != `{"a":1}` {
		t.Errorf("%+v", l.Result)
	}
	rows, err := csv.NewReader(strings.NewReader(c.want("GET", "/v3/changes/export?format=csv", "", 200, nil).Body)).ReadAll()
	if err != nil || len(rows) != 3 || !slices.Equal(rows[0], changeColumns) || rows[2][6] != "subuser.create" || rows[2][9] != `{"a":1}` {
		t.Errorf("%v %q", err, rows)
	}
	// The record is the account's: a subuser's key has none of it, and no filter tells it
	// who or what is in there.
	for _, query := range []string{"", "?by=key", "?subject=thing", "?by=nobody", "?newest=true&limit=1"} {
		auditor(w, w.staging).want("GET", "/v3/changes"+query, "", 403, nil)
		auditor(w, w.staging).want("GET", "/v3/changes/export"+query, "", 403, nil)
	}
}

func TestChangesByWhoAndWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	for i, x := range [][2]string{{"user anna", "domain x.test"}, {"key k1", "key k2 (ci)"}, {"user anna", "key k2 (ci)"}, {"user otto", "domain x.test"}} {
		f.change(w.acme.Account, t0, "c"+strconv.Itoa(i+1))
		f.changes[i].By, f.changes[i].Subject = x[0], x[1]
	}
	c := auditor(w, w.acme)
	for query, want := range map[string]string{"by=user+anna": "c1 c3", "subject=key+k2": "c2 c3", "by=user+anna&subject=key": "c3", "by=user+anna&action=c1": "c1", "by=nobody": "",
		"by=user&newest=true&limit=1": "c4"} {
		var got []string
		for _, r := range decode[changeList](t, c.want("GET", "/v3/changes?"+query, "", 200, nil)).Result {
			got = append(got, r.Action)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(c.want("GET", "/v3/changes/export?format=csv&by=user+anna&subject=key", "", 200, nil).Body)).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][6] != "c3" {
		t.Errorf("export: %v %q", err, rows)
	}
}

// Back from the newest change nothing is shown twice or left out, though all are of one
// moment, and the last page says that it is the last.
func TestChangesWalkedBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	for i := range 6 {
		f.change(w.acme.Account, t0, "c"+strconv.Itoa(i+1))
		f.change(w.globex.Account, t0, "theirs")
	}
	c := auditor(w, w.acme)
	var got []string
	query := "?newest=true&limit=3"
	for {
		l := decode[changeList](t, c.want("GET", "/v3/changes"+query, "", 200, nil))
		for _, r := range slices.Backward(l.Result) {
			got = append(got, r.Action)
		}
		if !l.More {
			break
		}
		got = append(got, "|")
		query = "?newest=true&limit=3&before=" + l.Result[0].Cursor
	}
	if s := strings.Join(got, " "); s != "c6 c5 c4 | c3 c2 c1" {
		t.Errorf("walked %q", s)
	}
	l := decode[changeList](t, c.want("GET", "/v3/changes?newest=true&limit=1000", "", 200, nil))
	if l.More || len(l.Result) != 6 {
		t.Errorf("all: %d, more %v", len(l.Result), l.More)
	}
	cursor := l.Result[0].Cursor
	c.refused("GET", "/v3/changes?before="+cursor, "", 400, "newest", "before")
	c.refused("GET", "/v3/changes?newest=true&before=x", "", 400, "Not a cursor", "before")
	auditor(w, w.globex).refused("GET", "/v3/changes?newest=true&before="+cursor, "", 400, "Not a cursor", "before")
}

package v3

import (
	"errors"
	"strings"
	"testing"

	"postern/internal/relay"
)

func TestVerifyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	f.change(w.acme.Account, t0, "key.create")
	f.change(w.acme.Account, t0, "key.create")
	f.change(relay.AccountID{}, t0, "pool.create")
	c := auditor(w, w.acme)
	p := decode[proofList](t, c.want("GET", "/v3/changes/verify", "", 200, nil)).Result
	if len(p) != 1 || !p[0].Valid || p[0].Records != 2 || p[0].To != 2 || p[0].Username != "acme" || p[0].Account != w.acme.Account || p[0].Problem != "" {
		t.Errorf("%+v", p)
	}
	names := func(c *client) string {
		var out []string
		for _, v := range decode[proofList](t, c.want("GET", "/v3/changes/verify", "", 200, nil)).Result {
			out = append(out, v.Username)
		}
		return strings.Join(out, ",")
	}
	if got := names(w.operator("acme")); got != "acme," {
		t.Errorf("operator of acme: %q", got)
	}
	if got := names(w.operator("")); got != "system,acme,globex," {
		t.Errorf("operator: %q", got)
	}
	// A broken chain is an answer. What does not fit may be a number of everybody's:
	// only the operator reads it.
	f.damaged[w.acme.Account] = true
	p = decode[proofList](t, c.want("GET", "/v3/changes/verify", "", 200, nil)).Result
	if p[0].Valid || p[0].Records != 2 || !strings.Contains(p[0].Problem, "altered") || strings.Contains(p[0].Problem, "9 were") {
		t.Errorf("%+v", p)
	}
	if p = decode[proofList](t, w.operator("acme").want("GET", "/v3/changes/verify", "", 200, nil)).Result; !strings.Contains(p[0].Problem, "9 were recorded") || !p[1].Valid {
		t.Errorf("%+v", p)
	}
	f.damaged, w.fail = nil, errors.New("disk on fire")
	c.want("GET", "/v3/changes/verify", "", 500, nil)
}

func TestChangeHeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	for _, id := range []relay.AccountID{w.acme.Account, w.globex.Account, {}} {
		f.change(id, t0, "key.create")
	}
	h := decode[headList](t, auditor(w, w.acme).want("GET", "/v3/changes/head", "", 200, nil))
	if len(h.Result) != 1 || h.Result[0].Account != w.acme.Account || h.Result[0].Seq != 1 || string(h.PublicKey) != string(f.key) {
		t.Errorf("%+v", h)
	}
	if h = decode[headList](t, w.operator("").want("GET", "/v3/changes/head", "", 200, nil)); len(h.Result) != 3 {
		t.Errorf("operator: %+v", h)
	}
	if h = decode[headList](t, w.operator("acme").want("GET", "/v3/changes/head", "", 200, nil)); len(h.Result) != 2 {
		t.Errorf("operator of acme: %+v", h)
	}
}

func TestPruneChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := recordsOf(w)
	c := w.operator("acme")
	c.want("POST", "/v3/changes/prune", `{"before":"2026-01-01T00:00:00Z"}`, 200, nil)
	c.want("POST", "/v3/changes/prune", `{"before":"1767225600","installation":true}`, 200, nil)
	c.want("POST", "/v3/changes/prune", `{"before":"2026-01-02T00:00:00Z","unexported":["old","older"]}`, 200, nil)
	if len(f.pruned) != 3 || f.pruned[2] != w.acme.Account.String()+" 2026-01-02T00:00:00Z unexported old unexported older" || f.pruned[0] != w.acme.Account.String()+" 2026-01-01T00:00:00Z" || f.pruned[1] != (relay.AccountID{}).String()+" 2026-01-01T00:00:00Z" {
		t.Errorf("%q", f.pruned)
	}
	for body, field := range map[string]string{`{}`: "before", `{"before":"2026-03-01T09:00:01Z"}`: "before", `{"before":"soon"}`: "before", `{"before":"0","all":true}`: "all", `{"before":"0","unexported":true}`: "unexported"} {
		c.refused("POST", "/v3/changes/prune", body, 400, "", field)
	}
	w.operator("").refused("POST", "/v3/changes/prune", `{"before":"2026-01-01T00:00:00Z"}`, 400, "2 accounts", "account-id")
	f.damaged[w.acme.Account] = true
	c.refused("POST", "/v3/changes/prune", `{"before":"2026-01-01T00:00:00Z"}`, 409, "Nothing was pruned", "")
	w.as(w.acme, relay.Scopes...).want("POST", "/v3/changes/prune", `{"before":"2026-01-01T00:00:00Z"}`, 404, nil)
}

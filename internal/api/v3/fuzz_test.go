package v3

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// FuzzRequest: whatever a stranger sends, nothing panics, nobody gets in, and the
// answer is an error in words.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][4]string{
		{"Bearer SG.x.y", "limit=1", "acme", "key"}, {"Basic YTpi", "limit=-1&limit=2", "", ""}, {"bearer\t", "%zz", "account-id 7", "\x00"}, {"", "a;b", "\xff", strings.Repeat("k", 300)},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, authorization, query, behalf, idempotency string) {
		r := httptest.NewRequest("POST", "http://relay.example.test/v3/api_keys", strings.NewReader("{}"))
		r.URL.RawQuery = query
		r.Header.Set("Authorization", authorization)
		r.Header.Set("On-Behalf-Of", behalf)
		r.Header.Set("Idempotency-Key", idempotency)
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		var e httpx.ErrorBody
		if rec.Code != 401 || json.Unmarshal(rec.Body.Bytes(), &e) != nil || len(e.Errors) == 0 {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		w.attempts = nil
	})
}

// FuzzQuery: a parameter is read as the route says, or refused.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"limit=1&offset=2", "limit=1&limit=1", "flag=true&name=a%00b", "limit=9223372036854775808", "limit=+1", "limit=0x10", "flag=TRUE", "%", ";"} {
		f.Add(seed)
	}
	route := &Route{Query: append([]Param{{Name: "flag", Type: "boolean"}, {Name: "name", Type: "string"}}, paging...)}
	f.Fuzz(func(t *testing.T, query string) {
		c := &Call{R: httptest.NewRequest("GET", "/", nil), route: route}
		c.R.URL = &url.URL{Path: "/", RawQuery: query}
		err := c.readQuery()
		if err == nil {
			var limit, offset int
			if limit, offset, err = c.Page(10, 100); err == nil && (limit < 1 || limit > 100 || offset < 0) {
				t.Errorf("%q: limit %d, offset %d", query, limit, offset)
			}
		}
		if err != nil && relay.KindOf(err) != relay.Invalid {
			t.Errorf("%q: %v", query, err)
		}
	})
}

// FuzzWithoutSecrets: no secret survives in what is stored of an answer.
func FuzzWithoutSecrets(f *testing.F) {
	for _, seed := range []string{`{"api_key":"S3CRET","name":"x"}`, `{"name":"x"}`, `[{"api_key":"S3CRET"}]`, `{"api_\u006bey":"S3CRET"}`, `{"a":{"password":"S3CRET"}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var before map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &before) != nil {
			return
		}
		var after map[string]json.RawMessage
		if stored := withoutSecrets([]byte(text)); json.Unmarshal(stored, &after) == nil {
			for _, m := range secretMembers {
				if _, ok := after[m]; ok && strings.Contains(text, `"`+m+`"`) {
					t.Errorf("%s: %s is stored", text, m)
				}
			}
		}
	})
}

package httpx

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// Each route has the limit of its own body, said or unsaid in advance.
func TestBodyLimitOfRoute(t *testing.T) {
	t.Parallel()
	read := func(w http.ResponseWriter, r *http.Request) error {
		text, err := ReadBody(r.Body)
		if err != nil {
			return err
		}
		return WriteJSON(w, 200, len(text))
	}
	h := New(Options{Local: true, MaxBody: 10}, []Route{
		{Method: "POST", Pattern: "/small", Handler: read}, {Method: "POST", Pattern: "/large", Handler: read, MaxBody: 100},
	})
	for _, tt := range []struct {
		path   string
		octets int
		status int
	}{{"/small", 10, 200}, {"/small", 11, 413}, {"/large", 100, 200}, {"/large", 101, 413}} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(strings.Repeat("x", tt.octets))
			if chunked {
				body = io.MultiReader(body) // hides the length
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", tt.path, body))
			if w.Code != tt.status || (tt.status == 413 && !strings.Contains(w.Body.String(), "content too large")) {
				t.Errorf("%s with %d octets, chunked %v: %d %s, want %d", tt.path, tt.octets, chunked, w.Code, w.Body, tt.status)
			}
		}
	}
}

// A Refusal says status and items itself, also when wrapped.
func TestRefusal(t *testing.T) {
	t.Parallel()
	field, help := "from", "https://example.com/help"
	w, log := serve(t, Options{Local: true}, failing(fmt.Errorf("check: %w", &Refusal{Status: 422, Items: []ErrorItem{
		{Message: "one", Field: &field, Help: &help}, {Message: "two"},
	}})), get("/x"))
	want := `{"errors":[{"message":"one","field":"from","help":"https://example.com/help"},{"message":"two","field":null,"help":null}]}` + "\n"
	if w.Code != 422 || w.Body.String() != want || !strings.Contains(log, "one; two") {
		t.Errorf("%d %s, log %s", w.Code, w.Body, log)
	}
}

type timedError struct{ after time.Duration }

func (e timedError) Error() string             { return "later" }
func (e timedError) RetryAfter() time.Duration { return e.after }
func (e timedError) Unwrap() error             { return relay.E(relay.RateLimited, "") }

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"unsaid":     {relay.E(relay.Unavailable, ""), "5"},
		"said":       {timedError{90 * time.Second}, "90"},
		"rounded up": {fmt.Errorf("log in: %w", timedError{1500 * time.Millisecond}), "2"},
		"zero":       {timedError{}, "5"},
	} {
		if w, _ := serve(t, Options{Local: true}, failing(tt.err), get("/x")); w.Header().Get("Retry-After") != tt.want {
			t.Errorf("%s: %q, want %q", name, w.Header().Get("Retry-After"), tt.want)
		}
	}
}

// An own WWW-Authenticate stays.
func TestOwnChallenge(t *testing.T) {
	t.Parallel()
	w, _ := serve(t, Options{Local: true}, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("WWW-Authenticate", "Basic")
		return relay.E(relay.Unauthenticated, "")
	}, get("/x"))
	if w.Header().Get("WWW-Authenticate") != "Basic" {
		t.Errorf("%q", w.Header())
	}
}

// A lenient reader passes over what it does not know, and over nothing else.
func TestParseJSONLenient(t *testing.T) {
	t.Parallel()
	type body struct {
		Name  string `json:"name"`
		Inner struct {
			N int `json:"n"`
		} `json:"inner"`
	}
	for text, field := range map[string]string{
		`{"name":"a","other":{"deep":[1,{"x":null}]},"inner":{"n":1,"m":2}}`: "ok",
		`{"NAME":"a"}`:                        "NAME", // AP-08: read as name by some
		`{"name":"a","Name":"b"}`:             "Name",
		`{"name":"a","inner":{"N":1}}`:        "inner.N",
		`{"name":"a","name":"b"}`:             "name",
		`{"x":1,"x":2}`:                       "x",
		`{"other":` + strings.Repeat("[", 40): "",
		`{"name":1}`:                          "name",
		`{"name":"a"} x`:                      "",
	} {
		var v body
		err := ParseJSONLenient([]byte(text), &v)
		if field == "ok" {
			if err != nil || v.Name != "a" || v.Inner.N != 1 {
				t.Errorf("%s: %v, %+v", text, err, v)
			}
			continue
		}
		e, ok := errors.AsType[*relay.Error](err)
		if !ok || e.Kind != relay.Invalid || (field != "" && e.Field != field) {
			t.Errorf("%s: %v, want invalid at %q", text, err, field)
		}
	}
}

// Embedded structs are ours, and in no path that a client sees.
func TestFieldOfEmbedded(t *testing.T) {
	t.Parallel()
	type inner struct {
		Count int `json:"count"`
	}
	type outer struct {
		inner
		Rows []struct{ inner } `json:"rows"`
		One  *inner            `json:"one"`
	}
	for text, field := range map[string]string{
		`{"count":"1"}`: "count", `{"rows":[{"count":1.5}]}`: "rows.count", `{"one":{"count":true}}`: "one.count", `{"rows":1}`: "rows",
	} {
		var v outer
		err := ParseJSON([]byte(text), &v)
		if e, ok := errors.AsType[*relay.Error](err); !ok || e.Field != field {
			t.Errorf("%s: %v, want field %q", text, err, field)
		}
	}
}

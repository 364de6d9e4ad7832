package httpx

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"postern/internal/relay"
)

// From within the process a route has the same rules as over the network; what it
// adds to the log goes to the request that it is a part of.
func TestInside(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr("203.0.113.5")
	in := NewInside([]Route{{Method: "POST", Pattern: "/things/{id}", MaxBody: 4, Handler: func(w http.ResponseWriter, r *http.Request) error {
		if Client(r.Context()) != addr || r.PathValue("id") != "seven" {
			t.Errorf("client %v, id %q", Client(r.Context()), r.PathValue("id"))
		}
		Annotate(r.Context(), slog.String("inner", "yes"))
		_, err := ReadBody(r.Body)
		return err
	}}})
	var errs []error
	ask := func(r *http.Request, method, path, body string) {
		q := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(r.Context())
		errs = append(errs, in.Serve(httptest.NewRecorder(), q, addr))
	}
	w, log := serve(t, Options{Local: true}, func(w http.ResponseWriter, r *http.Request) error {
		ask(r, "POST", "/things/seven", "abcd")
		ask(r, "POST", "/./things/seven", "abcde")
		ask(r, "GET", "/things/seven", "")
		ask(r, "POST", "/other", "")
		ask(r, "POST", "/things/se%2Fven", "")
		return WriteJSON(w, 200, struct{}{})
	}, get("/x"))
	if w.Code != 200 || strings.Count(log, "\n") != 1 || strings.Count(log, `"inner":"yes"`) != 1 || !strings.Contains(log, `"route":"/x"`) {
		t.Errorf("%d, %s", w.Code, log)
	}
	want := []int{0, 413, 405, 404, 404}
	for i, err := range errs {
		got := 0
		if r := Refused(err); err != nil && r != nil {
			got = r.Status
		}
		if got != want[i] {
			t.Errorf("request %d: %v, want %d", i, err, want[i])
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	inner := errors.New("secret path")
	r := Refused(&relay.Error{Kind: relay.Conflict, Field: "name", Public: "taken", Err: inner})
	if r.Status != 409 || r.Items[0].Message != "taken" || *r.Items[0].Field != "name" || !errors.Is(r, inner) || relay.KindOf(r) != relay.Conflict {
		t.Errorf("%+v", r)
	}
	if strings.Contains(r.Error(), "secret path") {
		t.Errorf("shows what is inside: %s", r)
	}
	same := Refuse(418, "teapot")
	if Refused(same) != same {
		t.Error("a refusal was made anew")
	}
	if r := Refused(io.ErrUnexpectedEOF); r != nil {
		t.Errorf("a fault of ours is shown: %+v", r)
	}
}

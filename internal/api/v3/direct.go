package v3

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// Direct is the API within the process: how the console asks for people what
// programs ask by HTTP. It goes through the same routes, so what a person may do
// is decided in one place. Safe for concurrent use.
type Direct struct {
	api    *API
	inside *httpx.Inside
	routes map[string]*Route // by "METHOD pattern"
}

// NewDirect makes one. It shares s.State with the listeners, and with it the
// rate limits; s.Operator does not count here.
func NewDirect(s Services) *Direct {
	s.Operator = nil
	a := assemble(s)
	a.direct = true
	d := &Direct{api: a, inside: httpx.NewInside(a.handlers()), routes: map[string]*Route{}}
	all := Routes()
	for i := range all {
		d.routes[all[i].Method+" "+all[i].Pattern] = &all[i]
	}
	return d
}

// Request is one call.
type Request struct {
	// Principal is the person, authenticated, at the full level.
	Principal *relay.Principal
	// Behalf is the name of a subuser to act for; "": nobody.
	Behalf string
	Method string
	Path   string // escaped, with the query
	Addr   netip.Addr
	Agent  string
	// Body is sent as JSON; json.RawMessage as it is; nil: no body.
	Body any
}

type callerKey struct{}

// callerOf is the person of a call by Direct.
func callerOf(ctx context.Context) *relay.Principal {
	p, _ := ctx.Value(callerKey{}).(*relay.Principal)
	return p
}

// Call answers a request into out, a pointer to what the answer's JSON is decoded
// into; nil: the answer is not wanted. A refusal is a *httpx.Refusal with the
// status and items that HTTP would have given, and the error it was made of
// inside; ErrReauth is one of them. Other errors are faults of ours.
func (d *Direct) Call(ctx context.Context, q Request, out any) error {
	var body bytes.Buffer
	if err := d.do(ctx, q, "", &body); err != nil {
		return err
	}
	if out == nil || body.Len() == 0 {
		return nil
	}
	if err := json.Unmarshal(body.Bytes(), out); err != nil {
		return fmt.Errorf("decode answer of %s %s: %w", q.Method, q.Path, err)
	}
	return nil
}

// Stream writes an answer as it comes: CSV, where the route has it. An error
// after the first octet means that the answer is not whole.
func (d *Direct) Stream(ctx context.Context, q Request, w io.Writer) error {
	return d.do(ctx, q, "text/csv", w)
}

func (d *Direct) do(ctx context.Context, q Request, accept string, w io.Writer) error {
	var body []byte
	if q.Body != nil {
		var err error
		if body, err = json.Marshal(q.Body); err != nil {
			return fmt.Errorf("encode request %s %s: %w", q.Method, q.Path, err)
		}
	}
	r, err := http.NewRequestWithContext(context.WithValue(ctx, callerKey{}, q.Principal), q.Method, q.Path, bytes.NewReader(body))
	if err != nil || r.URL.Host != "" {
		return httpx.Refuse(http.StatusNotFound, textNotFound)
	}
	for name, value := range map[string]string{headerBehalf: q.Behalf, "User-Agent": q.Agent, "Accept": accept} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if q.Body != nil {
		r.Header.Set("Content-Type", mediaJSON)
	}
	return d.serve(&answerWriter{to: w, header: http.Header{}}, r, q.Addr)
}

// serve answers a request whose context has the person. Errors come as HTTP would
// show them.
func (d *Direct) serve(w http.ResponseWriter, r *http.Request, addr netip.Addr) error {
	err := d.inside.Serve(w, r, addr)
	if err == nil {
		return nil
	}
	if refusal := httpx.Refused(err); refusal != nil {
		return refusal
	}
	return err
}

// May reports whether a person may use a route at all, by its method and pattern
// as they stand in the table: what may not be is not shown.
func (d *Direct) May(p *relay.Principal, method, pattern string) bool {
	return d.MayFor(p, "", method, pattern)
}

// MayFor is May while acting for a subuser ("": for nobody).
func (d *Direct) MayFor(p *relay.Principal, behalf, method, pattern string) bool {
	r := d.routes[method+" "+pattern]
	switch {
	case r == nil || r.OperatorOnly || p == nil || p.User == nil:
		return false
	case r.Open:
		return true
	case restricted(p) && behalf == "" && p.User.Subuser.IsZero(): // nothing of the account's own is theirs
		return false
	case r.ParentOnly && (behalf != "" || restricted(p) || !p.User.Subuser.IsZero()):
		return false
	}
	return r.Scope == "" || p.Allows(r.Scope)
}

// answerWriter takes an answer. Headers and status are of no use within the
// process: a handler that answers with an error returns it.
type answerWriter struct {
	to     io.Writer
	header http.Header
}

func (w *answerWriter) Header() http.Header         { return w.header }
func (w *answerWriter) WriteHeader(int)             {}
func (w *answerWriter) Write(p []byte) (int, error) { return w.to.Write(p) }

package v3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

const (
	headerIdempotency = "Idempotency-Key"
	headerReplayed    = "Idempotency-Replayed"
	maxIdempotencyKey = 255
	// answering is longer than any request takes: a claim that is older and has no
	// answer belongs to a process that died.
	answering = 10 * time.Minute
	// settling is for what must be stored although the client may have gone.
	settling = 10 * time.Second
)

// Answers keeps the answers of requests that came with an Idempotency-Key;
// *store.Store does.
type Answers interface {
	ClaimIdempotency(ctx context.Context, i store.Idempotency) (found *store.Idempotency, err error)
	FinishIdempotency(ctx context.Context, i store.Idempotency) error
	DropIdempotency(ctx context.Context, t relay.Tenant, key, route string) error
}

// Idempotency is what a handler of a route with CommitsAnswer stores in the same
// commit as what the request does (store.AcceptAll): the answer that it is about
// to give. nil: the request has no Idempotency-Key. Once it is stored, the
// handler gives that answer and returns nil. relay.Conflict from the store means
// that a twin was faster; the handler returns the error as it is.
func (c *Call) Idempotency(status int, header map[string]string, body []byte) *store.Idempotency {
	if c.claim == nil {
		return nil
	}
	i := *c.claim
	i.Status, i.Header, i.Body, i.CreatedAt = status, header, body, c.Now
	c.committed = true
	return &i
}

// once answers a request with an Idempotency-Key: with the stored answer, if it
// was carried out before (AP-13). Keys are the tenant's; another tenant's are not
// seen.
func (a *API) once(c *Call, handle func() error) error {
	claim, err := c.newClaim()
	if err != nil {
		return err
	}
	found, err := a.claim(c, claim)
	if err != nil {
		return err
	}
	if found != nil {
		return replay(c, claim, found)
	}
	c.claim = claim
	real, held := c.W, &heldAnswer{header: c.W.Header(), status: http.StatusOK}
	c.W = held
	err = handle()
	c.W = real

	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.R.Context()), settling)
	defer cancel()
	switch {
	case err == nil && c.committed:
	case err == nil:
		claim.Status, claim.Header, claim.Body = held.status, kept(held.header), withoutSecrets(held.body.Bytes())
		if err := a.Answers.FinishIdempotency(ctx, *claim); err != nil {
			// It was done; the client must hear so. A repetition will be told that nothing
			// is known of the answer, and will not be carried out again.
			httpx.Annotate(c.R.Context(), slog.String("idempotency", "answer not stored: "+err.Error()))
		}
	case c.committed && relay.KindOf(err) == relay.Conflict:
		if found, again := a.Answers.ClaimIdempotency(ctx, *claim); again == nil && found != nil && !found.Pending {
			return replay(c, claim, found) // of the twin that was faster
		}
		return err
	case relay.KindOf(err) == relay.Internal && !isRefusal(err) && !c.route.CommitsAnswer:
		return err // perhaps it was carried out: the claim stays, and with it nobody does it twice
	default:
		if drop := a.Answers.DropIdempotency(ctx, claim.Tenant, claim.Key, claim.Route); drop != nil {
			httpx.Annotate(c.R.Context(), slog.String("idempotency", "claim not dropped: "+drop.Error()))
		}
		return err
	}
	if err == nil {
		held.send(real)
	}
	return err
}

// newClaim checks the key and says what is asked for.
func (c *Call) newClaim() (*store.Idempotency, error) {
	values := c.R.Header.Values(headerIdempotency)
	bad := invalid(headerIdempotency, "Give one key of 1 to %d printable ASCII characters.", maxIdempotencyKey)
	if len(values) != 1 || len(values[0]) == 0 || len(values[0]) > maxIdempotencyKey {
		return nil, bad
	}
	for i := range len(values[0]) {
		if b := values[0][i]; b < ' ' || b > '~' {
			return nil, bad
		}
	}
	body, err := c.Body()
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	for _, part := range []string{c.R.Method, c.R.URL.Path, c.R.URL.RawQuery, c.R.Header.Get("Content-Type"), string(body)} {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	return &store.Idempotency{
		Tenant: c.Tenant, Key: values[0], Route: c.route.Method + " " + c.route.Pattern, Request: [32]byte(sum.Sum(nil)), CreatedAt: c.Now, Pending: true,
	}, nil
}

// claim takes the key for this request, or finds who was first.
func (a *API) claim(c *Call, claim *store.Idempotency) (*store.Idempotency, error) {
	if a.Answers == nil {
		return nil, relay.E(relay.Unavailable, "Idempotency keys are not kept here.")
	}
	ctx := c.R.Context()
	found, err := a.Answers.ClaimIdempotency(ctx, *claim)
	// A route that commits its answer with what it does has done nothing while there
	// is no answer: the claim of a process that died can be taken over.
	if err != nil || found == nil || !found.Pending || !c.route.CommitsAnswer || c.Now.Sub(found.CreatedAt) < answering {
		return found, err
	}
	if err := a.Answers.DropIdempotency(ctx, claim.Tenant, claim.Key, claim.Route); err != nil {
		return nil, err
	}
	return a.Answers.ClaimIdempotency(ctx, *claim)
}

// replay answers as the first time.
func replay(c *Call, claim, found *store.Idempotency) error {
	switch {
	case found.Request != claim.Request:
		return unprocessable("This Idempotency-Key was used for another request.")
	case found.Pending && c.Now.Sub(found.CreatedAt) < answering:
		c.W.Header().Set("Retry-After", "2")
		return conflict("", "The first request with this Idempotency-Key is still being answered. Repeat it later.")
	case found.Pending:
		return conflict("", "The relay stopped while it answered the first request with this Idempotency-Key, and does not know how it ended. See whether it was carried out; if not, use another key.")
	}
	h := c.W.Header()
	for name, value := range found.Header {
		h.Set(name, value)
	}
	h.Set(headerReplayed, "true")
	c.W.WriteHeader(found.Status)
	_, err := c.W.Write(found.Body)
	if err != nil {
		return fmt.Errorf("replay answer: %w", err)
	}
	return nil
}

// heldAnswer is an answer that is not sent before it is stored.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header         { return h.header }
func (h *heldAnswer) WriteHeader(status int)      { h.status = status }
func (h *heldAnswer) Write(p []byte) (int, error) { return h.body.Write(p) }

func (h *heldAnswer) send(w http.ResponseWriter) {
	w.WriteHeader(h.status)
	if h.body.Len() > 0 {
		_, _ = w.Write(h.body.Bytes()) // the client is gone if this fails
	}
}

// keptHeaders are those of an answer that a repetition gets too.
var keptHeaders = []string{"Content-Type", "X-Message-Id"}

func kept(h http.Header) map[string]string {
	out := map[string]string{}
	for _, name := range keptHeaders {
		if v := h.Get(name); v != "" {
			out[name] = v
		}
	}
	return out
}

// secretMembers of answers are shown once and stored nowhere.
var secretMembers = []string{"api_key", "password", "access_token", "private_key"}

// withoutSecrets takes them out of a JSON answer.
func withoutSecrets(body []byte) []byte {
	if !slices.ContainsFunc(secretMembers, func(m string) bool { return bytes.Contains(body, []byte(`"`+m+`"`)) }) {
		return body
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil // not an object: better nothing than a secret
	}
	for _, m := range secretMembers {
		delete(members, m)
	}
	clean, err := json.Marshal(members)
	if err != nil {
		return nil
	}
	return append(clean, '\n')
}

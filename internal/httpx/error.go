package httpx

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

// ErrorItem is one error of an error answer, as clients of SendGrid's v3 expect it.
type ErrorItem struct {
	Message string  `json:"message"`
	Field   *string `json:"field"` // null: not about one member
	Help    *string `json:"help"`
}

// ErrorBody is the body of an error answer.
type ErrorBody struct {
	Errors []ErrorItem `json:"errors"`
	// ID is the request id, in answers that can say nothing better.
	ID string `json:"id,omitempty"`
}

// Refusal is an error answer with a status of its own, for what relay's kinds do
// not know: errors of the HTTP layer itself, and answers whose status and items
// an API prescribes. All of it is shown.
type Refusal struct {
	Status int
	Items  []ErrorItem
	Err    error // what it was made of; never shown
}

// Unwrap returns what the refusal was made of.
func (e *Refusal) Unwrap() error { return e.Err }

// Refuse makes a Refusal with one item that is about no member.
func Refuse(status int, message string) *Refusal {
	return &Refusal{Status: status, Items: []ErrorItem{{Message: message}}}
}

func (e *Refusal) Error() string {
	texts := make([]string, len(e.Items))
	for i, item := range e.Items {
		texts[i] = item.Message
	}
	return strings.Join(texts, "; ")
}

// closedByClient is logged, never sent: the client has gone. (The number is
// nginx's.)
const closedByClient = 499

// kindStatus is the one table from kinds to statuses.
var kindStatus = map[relay.Kind]struct {
	status int
	public string // when the error has no text of its own
}{
	relay.Internal:        {http.StatusInternalServerError, "An internal error occurred. The operator finds it under this id."},
	relay.Invalid:         {http.StatusBadRequest, "Bad Request"},
	relay.Unauthenticated: {http.StatusUnauthorized, "authorization required"},
	relay.Forbidden:       {http.StatusForbidden, "access forbidden"},
	relay.NotFound:        {http.StatusNotFound, "not found"},
	relay.Conflict:        {http.StatusConflict, "conflicts with what is there"},
	relay.RateLimited:     {http.StatusTooManyRequests, "too many requests"},
	relay.TooLarge:        {http.StatusRequestEntityTooLarge, "content too large"},
	relay.Unavailable:     {http.StatusServiceUnavailable, "temporarily unavailable; try again"},
}

// Answer is what may be told of an error: a status and a body. A request id is
// shown where nothing better can be said.
func Answer(err error, id string) (int, ErrorBody) { return render(err, id) }

// render turns an error into status and body. Only Public texts get out.
func render(err error, id string) (int, ErrorBody) {
	if s, ok := errors.AsType[*Refusal](err); ok {
		return s.Status, ErrorBody{Errors: s.Items}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok && tooLarge != nil {
		err = relay.E(relay.TooLarge, "content too large")
	}
	if errors.Is(err, context.DeadlineExceeded) && relay.KindOf(err) == relay.Internal {
		err = &relay.Error{Kind: relay.Unavailable, Err: err}
	}
	kind := relay.KindOf(err)
	row, ok := kindStatus[kind]
	if !ok {
		kind, row = relay.Internal, kindStatus[relay.Internal]
	}
	if kind == relay.Internal { // even a Public text of an internal fault stays inside
		return row.status, ErrorBody{Errors: []ErrorItem{{Message: row.public}}, ID: id}
	}
	body := ErrorBody{}
	for _, e := range classed(err) {
		item := ErrorItem{Message: e.Public}
		if item.Message == "" {
			item.Message = row.public
		}
		if e.Field != "" {
			item.Field = &e.Field
		}
		body.Errors = append(body.Errors, item)
	}
	return row.status, body
}

// classed lists the classed errors that are told: the outermost one, or, of
// errors.Join, each of the first one's kind.
func classed(err error) []*relay.Error {
	first, ok := errors.AsType[*relay.Error](err)
	if !ok {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []*relay.Error{first}
	}
	var out []*relay.Error
	for _, e := range joined.Unwrap() {
		if c, ok := errors.AsType[*relay.Error](e); ok && c.Kind == first.Kind {
			out = append(out, c)
		}
	}
	return out
}

// writeError answers with an error. It returns the status.
func writeError(w http.ResponseWriter, r *http.Request, err error) int {
	e := eventOf(r.Context())
	status, body := render(err, e.id)
	switch status {
	case http.StatusUnauthorized:
		if w.Header().Get("WWW-Authenticate") == "" && e.page == nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="postern"`)
		}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", RetryAfter(err))
		}
	}
	if e.page != nil && e.page(w, r, err) {
		return status
	}
	_ = WriteJSON(w, status, body) // the client is gone if this fails; there is nobody to tell
	return status
}

// RetryAfter is in seconds (RFC 9110 §10.2.3): what the error says, rounded up,
// else 5.
func RetryAfter(err error) string {
	type timed interface {
		error
		RetryAfter() time.Duration
	}
	if e, ok := errors.AsType[timed](err); ok && e.RetryAfter() > 0 {
		return strconv.FormatInt(int64((e.RetryAfter()+time.Second-1)/time.Second), 10)
	}
	return "5"
}

// WriteJSON answers with v. Content is made before the status is sent, so that
// what cannot be encoded is an error and not half an answer.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return err
}

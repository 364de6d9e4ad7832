package v3

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// Allows reports whether the caller has a scope; the operator has all.
func (c *Call) Allows(scope string) bool {
	return c.Operator || c.Principal != nil && c.Principal.Allows(scope)
}

// Scopes are those of the caller: of the key, and of the token where it came with
// one, or of the person. The operator has every scope.
func (c *Call) Scopes() []string {
	if c.Operator {
		return relay.Scopes
	}
	if c.Principal.User != nil {
		return slices.Clone(c.Principal.User.Granted())
	}
	var out []string
	for _, s := range c.Principal.Key.Scopes {
		if c.Principal.Allows(s) {
			out = append(out, s)
		}
	}
	return out
}

// Decode reads the body into v, a pointer to a struct: strict JSON, in which a
// member that v does not have is an error that names it (AP-04, AP-08).
func (c *Call) Decode(v any) error {
	text, err := c.json()
	if err != nil {
		return err
	}
	return httpx.ParseJSON(text, v)
}

// DecodeLenient is Decode that passes over members which v does not have.
func (c *Call) DecodeLenient(v any) error {
	text, err := c.json()
	if err != nil {
		return err
	}
	return httpx.ParseJSONLenient(text, v)
}

func (c *Call) json() ([]byte, error) {
	if err := httpx.WantJSON(c.R); err != nil {
		return nil, err
	}
	return c.Body()
}

// Body is the whole body, unpacked. It is read once, and no longer than the
// route's MaxBody: over it, 413.
func (c *Call) Body() ([]byte, error) {
	if c.read {
		return c.body, nil
	}
	text, err := c.unpack()
	if err != nil {
		return nil, err
	}
	c.body, c.read = text, true
	return text, nil
}

func (c *Call) unpack() ([]byte, error) {
	switch encoding := strings.ToLower(c.R.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return httpx.ReadBody(c.R.Body)
	case "gzip":
	default:
		return nil, httpx.Refuse(http.StatusUnsupportedMediaType, "Content-Encoding should be gzip, or none.")
	}
	unpacked, err := gzip.NewReader(c.R.Body)
	if err != nil {
		return nil, badGzip(err)
	}
	text, err := io.ReadAll(io.LimitReader(unpacked, c.route.MaxBody+1))
	if err != nil {
		return nil, badGzip(err)
	}
	if int64(len(text)) > c.route.MaxBody {
		return nil, &http.MaxBytesError{Limit: c.route.MaxBody}
	}
	return text, nil
}

func badGzip(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return &relay.Error{Kind: relay.Invalid, Public: "The request body is not gzip.", Err: err}
}

// JSON answers with v.
func (c *Call) JSON(status int, v any) error { return httpx.WriteJSON(c.W, status, v) }

// Empty answers without a body: 204, or 202.
func (c *Call) Empty(status int) error {
	c.W.WriteHeader(status)
	return nil
}

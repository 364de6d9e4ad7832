package v3

import (
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/internal/auth"
	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

// maxForm bounds a form, in octets; a token has at most 4 KiB.
const maxForm = 16 << 10

const mediaForm = "application/x-www-form-urlencoded"

// oauthForm is the body of a request to the token routes.
type oauthForm struct{ values url.Values }

// form reads the body. Credentials in the address would stand in logs, so a
// request with parameters there is refused unread (RFC 6749 §2.3.1); parameters
// that are there twice, too (§3.2).
func (c *Call) form() (oauthForm, error) {
	if c.R.URL.RawQuery != "" {
		return oauthForm{}, oauthError("invalid_request", "Parameters belong in the body, none in the address.")
	}
	media, _, err := mime.ParseMediaType(c.R.Header.Get("Content-Type"))
	if err != nil || media != mediaForm {
		return oauthForm{}, oauthError("invalid_request", "Content-Type should be application/x-www-form-urlencoded.")
	}
	body, err := c.Body()
	if err != nil {
		return oauthForm{}, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return oauthForm{}, oauthError("invalid_request", "The form cannot be read.")
	}
	for _, v := range values {
		if len(v) > 1 {
			return oauthForm{}, oauthError("invalid_request", "A parameter is there twice.")
		}
	}
	return oauthForm{values}, nil
}

func (f oauthForm) one(name string) string { return f.values.Get(name) }

// life reads expires_in, which is postern's own.
func (f oauthForm) life() (time.Duration, error) {
	text := f.one("expires_in")
	if text == "" {
		return usualTokenLife * time.Second, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < leastTokenLife || n > longestTokenLife {
		return 0, oauthError("invalid_request", "expires_in is from 60 to 3600 seconds.")
	}
	return time.Duration(n) * time.Second, nil
}

// scopes reads scope (RFC 6749 §3.3); none: all of the key's.
func (f oauthForm) scopes() ([]string, error) {
	scopes := strings.Fields(f.one("scope"))
	for _, s := range scopes {
		if !relay.KnownScope(s) {
			return nil, oauthError("invalid_scope", "There is no such scope.")
		}
	}
	return scopes, nil
}

func joinScopes(scopes []string) string { return strings.Join(scopes, " ") }

// client asks who the client is. Every client that is not one is refused in the
// same words, after the same time, which Bearer takes care of.
func (a *API) client(c *Call, form oauthForm) (*relay.Principal, error) {
	id, key, err := c.credentials(form)
	if err != nil {
		return nil, err
	}
	p, err := a.Auth.Bearer(c.R.Context(), auth.Attempt{
		Protocol: "http", Listener: a.Listener, Mechanism: "CLIENT-CREDENTIALS", User: id, Secret: key, Addr: c.Addr,
		Helo: printable(c.R.UserAgent(), 255), TLS: tlsName(c.R.TLS),
	})
	switch {
	case relay.KindOf(err) == relay.Unauthenticated:
		return nil, errClient
	case err != nil:
		return nil, err
	case p.Token != nil || id != p.Key.ID.String():
		return nil, errClient // a token is no client, and the key of another one is none
	}
	counted := *c
	counted.Principal = p
	if a.rates.take(a, &counted) != nil { // AP-14: asking for tokens is a request like any other
		return nil, relay.E(relay.RateLimited, "too many requests")
	}
	return p, nil
}

var errClient = oauthError("invalid_client", "The client's id is that of a live key, its secret the whole key.")

// credentials reads the client's id and secret: by HTTP Basic or in the form,
// not both.
func (c *Call) credentials(form oauthForm) (id string, key secret.Redacted, err error) {
	header := c.R.Header.Values("Authorization")
	inForm := form.values.Has("client_id") || form.values.Has("client_secret")
	switch {
	case len(header) > 1 || len(header) == 1 && form.values.Has("client_secret"):
		return "", "", oauthError("invalid_request", "Give the client's credentials once: by HTTP Basic or in the form.")
	case len(header) == 0 && inForm:
		id, key = form.one("client_id"), secret.Redacted(form.one("client_secret"))
	case len(header) == 1:
		if id, key, err = basicClient(header[0]); err != nil {
			return "", "", err
		}
		if other := form.one("client_id"); other != "" && other != id {
			return "", "", oauthError("invalid_request", "client_id is not that of HTTP Basic.")
		}
	}
	if id == "" || key == "" {
		return "", "", errClient
	}
	return id, key, nil
}

// basicClient reads the header; both parts are encoded as in a form (RFC 6749
// §2.3.1).
func basicClient(header string) (id string, key secret.Redacted, err error) {
	scheme, rest, _ := strings.Cut(header, " ")
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if !strings.EqualFold(scheme, "Basic") || err != nil {
		return "", "", errClient
	}
	user, password, _ := strings.Cut(string(text), ":")
	id, idErr := url.QueryUnescape(user)
	plain, keyErr := url.QueryUnescape(password)
	if idErr != nil || keyErr != nil {
		return "", "", errClient
	}
	return id, secret.Redacted(plain), nil
}

// tokenError is RFC 6749 §5.2.
type tokenError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e *tokenError) Error() string { return e.Code + ": " + e.Description }

func oauthError(code, description string) error { return &tokenError{code, description} }

// mintFailed words why a client that is one gets no token.
func mintFailed(err error) error {
	e, ok := errors.AsType[*relay.Error](err)
	switch {
	case !ok:
	case e.Kind == relay.Forbidden:
		return oauthError("unauthorized_client", e.Public)
	case e.Kind == relay.Invalid && e.Field == "scope":
		return oauthError("invalid_scope", e.Public)
	case e.Kind == relay.Invalid:
		return oauthError("invalid_request", e.Public)
	}
	return err
}

// tokenFailed answers with an error in the form that OAuth clients read. What is
// no error of theirs goes on as it is, but for those that they can act on.
func (c *Call) tokenFailed(err error) error {
	noStore(c.W)
	status := http.StatusBadRequest
	e, ok := errors.AsType[*tokenError](err)
	if !ok {
		switch relay.KindOf(err) {
		case relay.RateLimited:
			status, e = http.StatusTooManyRequests, &tokenError{"temporarily_unavailable", "Too many requests or failed attempts; try again later."}
		case relay.Unavailable:
			status, e = http.StatusServiceUnavailable, &tokenError{"temporarily_unavailable", "Try again."}
		default:
			return err
		}
		wait := max(auth.RetryAfter(err), 5*time.Second)
		c.W.Header().Set("Retry-After", strconv.FormatInt(int64(wait/time.Second), 10))
	}
	if e.Code == "invalid_client" {
		// RFC 6749 §5.2 asks for the scheme that the client used; it can always use this.
		status = http.StatusUnauthorized
		c.W.Header().Set("WWW-Authenticate", `Basic realm="postern"`)
	}
	return httpx.WriteJSON(c.W, status, e)
}

// noStore is RFC 6749 §5.1, for caches of every age.
func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}

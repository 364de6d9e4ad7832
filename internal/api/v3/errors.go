package v3

import (
	"errors"
	"fmt"
	"net/http"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// A handler fails by returning an error: one of these, a *relay.Error of a
// service as it came, or Fail where SendGrid prescribes status and words. What is
// none of them is answered as an internal error with a request id and no more.

// invalid is 400, about one member of the body or one parameter ("": none).
func invalid(field, format string, args ...any) error {
	return &relay.Error{Kind: relay.Invalid, Field: field, Public: fmt.Sprintf(format, args...)}
}

// notFound is 404, of what is absent and of what is another tenant's: the bytes
// are the same.
func notFound() error { return relay.E(relay.NotFound, textNotFound) }

// forbidden is 403 of a missing scope.
func forbidden() error { return relay.E(relay.Forbidden, textNoScope) }

// refused is 403 in words of its own.
func refused(field, format string, args ...any) error {
	return &relay.Error{Kind: relay.Forbidden, Field: field, Public: fmt.Sprintf(format, args...)}
}

// conflict is 409.
func conflict(field, format string, args ...any) error {
	return &relay.Error{Kind: relay.Conflict, Field: field, Public: fmt.Sprintf(format, args...)}
}

// Fail is an answer with a status and items that are prescribed.
func Fail(status int, items ...httpx.ErrorItem) error {
	return &httpx.Refusal{Status: status, Items: items}
}

// unprocessable is 422: the request contradicts one before.
func unprocessable(format string, args ...any) error {
	return httpx.Refuse(http.StatusUnprocessableEntity, fmt.Sprintf(format, args...))
}

// isRefusal: the error says its status itself.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*httpx.Refusal](err)
	return ok
}

// hidden answers a service's "not found" in the words of all absent things.
func hidden(err error) error {
	if relay.KindOf(err) == relay.NotFound {
		return &relay.Error{Kind: relay.NotFound, Public: textNotFound, Err: err}
	}
	return err
}

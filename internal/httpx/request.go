package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"postern/internal/relay"
)

// event is what is known of one request; it is filled while it is handled and
// logged once.
type event struct {
	id     string
	client netip.Addr
	https  bool // the client's way here was encrypted
	route  string
	result error // of the route's handler, on its way through the mux
	err    error // what is rendered
	page   ErrorPage
	stack  []byte // of a recovered panic
	attrs  []slog.Attr
}

// recorder notes what was sent.
type recorder struct {
	http.ResponseWriter
	status int
	octets int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.octets += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// observe is the outermost layer: id, headers, recovery, log event.
func (o *Options) observe(next Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := o.Now()
		e := &event{id: relay.NewID(start).String()}
		rec := &recorder{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), contextKey{}, e))
		secure(rec.Header(), r.TLS != nil)
		rec.Header().Set("X-Request-Id", e.id)
		if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
			// RFC 9112 §6.3: with a Content-Length beside it, which net/http does not show,
			// somebody on the way may see another end of this request. What follows it
			// here is not believed to be one.
			rec.Header().Set("Connection", "close")
		}
		broken := o.run(rec, r, e, next)
		o.finish(r, rec, e, start)
		if broken {
			panic(http.ErrAbortHandler) // cuts the connection: the client must not take half an answer for a whole
		}
	})
}

// run calls the handler and renders its error. It reports whether the answer was
// begun and cannot be finished.
func (o *Options) run(w *recorder, r *http.Request, e *event, next Handler) (broken bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel that net/http compares, too
			broken = true
			return
		}
		if o.OnPanic != nil {
			o.OnPanic()
		}
		e.err, e.stack = fmt.Errorf("panic: %v", p), debug.Stack()
		if w.status != 0 {
			broken = true
			return
		}
		writeError(w, r, e.err)
	}()
	e.err = next(w, r)
	if e.err == nil {
		return false
	}
	if w.status != 0 { // the handler had answered already
		return !errors.Is(e.err, context.Canceled)
	}
	if r.Context().Err() != nil && errors.Is(e.err, context.Canceled) {
		w.status = closedByClient
		return true
	}
	writeError(w, r, e.err)
	return false
}

// finish logs the request. Only faults of ours are errors.
func (o *Options) finish(r *http.Request, w *recorder, e *event, start time.Time) {
	if w.status == 0 {
		w.status = http.StatusOK // net/http sends it when the handler wrote nothing
	}
	took := o.Now().Sub(start)
	if o.OnRequest != nil {
		o.OnRequest(e.route, w.status, took)
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("request_id", e.id), slog.String("listener", o.Listener),
		slog.String("method", cut(r.Method, 16)), slog.String("route", e.route),
		slog.String("path", o.loggedPath(r.URL.Path)), slog.Int("status", w.status),
		slog.Int64("octets", w.octets), slog.Duration("duration", took),
	}
	if e.client.IsValid() {
		attrs = append(attrs, slog.String("client", e.client.String()))
	}
	attrs = append(attrs, e.attrs...)
	if e.err != nil {
		attrs = append(attrs, slog.String("error", cut(e.err.Error(), 2048)))
	}
	if e.stack != nil {
		attrs = append(attrs, slog.String("stack", string(e.stack)))
	}
	if w.status >= 500 && w.status != http.StatusServiceUnavailable {
		level = slog.LevelError
	}
	o.Logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// loggedPath is a path without the secret that it may have, whatever route and
// method it was asked with.
func (o *Options) loggedPath(p string) string {
	clean := p
	if strings.HasPrefix(p, "/") {
		clean = path.Clean(p)
	}
	for _, before := range o.secrets {
		if len(clean) > len(before) && strings.EqualFold(clean[:len(before)], before) {
			return before + "[redacted]"
		}
	}
	return cut(p, 256)
}

func cut(s string, limit int) string {
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// secure sets the headers of every answer; a handler of pages relaxes them.
func secure(h http.Header, https bool) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if https {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

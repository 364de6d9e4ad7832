package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// The texts of 401, as clients of SendGrid's v3 know them.
const (
	textNoKey     = "authorization required"
	textRefused   = "The provided authorization grant is invalid, expired, or revoked"
	textThrottled = "too many requests"
)

// Bearer judges the credential of one HTTP request: a key, an access token of
// postern's own, or one of an outside issuer. at.User is empty, or the id of the
// key that the client named (client credentials). With at.Mechanism "BASIC" the
// credential is a user name and a password and is refused unseen: people's do
// not work here, and programs send their key as a bearer.
//
// Errors are *relay.Error: Unauthenticated (of one wording, a quarter of a second
// after the call whatever the reason), RateLimited (RetryAfter tells for how
// long), Unavailable. What the key may do is for the caller to check.
func (a *Authenticator) Bearer(ctx context.Context, at Attempt) (*relay.Principal, error) {
	arrived := time.Now()
	if at.Secret == "" && at.Mechanism != mechanismBasic {
		return nil, relay.E(relay.Unauthenticated, textNoKey)
	}
	t := a.begin(at)
	t.http(ctx)
	t.finish()
	if t.result == relay.LoginOK {
		return t.who, nil
	}
	wait(ctx, minHold-time.Since(arrived))
	return nil, t.httpError()
}

const mechanismBasic = "BASIC"

func (t *trial) http(ctx context.Context) {
	text := t.at.Secret.Reveal()
	if t.at.Mechanism == mechanismBasic {
		t.basic()
		return
	}
	if given, err := secret.ParseKey(text, t.a.cfg.Prefix); err == nil {
		t.tried = given.IDText()
		if t.forKey(relay.KeyID{ID: given.ID}) {
			t.compareKey(ctx, given)
		} else {
			t.malformed()
		}
		return
	}
	switch {
	case strings.HasPrefix(text, t.a.cfg.Prefix+"."), !strings.HasPrefix(text, tokenPrefix) && t.a.cfg.Outside == nil:
		t.malformed()
	default:
		t.bearer(ctx)
	}
}

// basic refuses a user name and password unseen.
func (t *trial) basic() {
	if !t.open(nil) {
		return
	}
	if isPerson(t.at.User) {
		t.note("a person's password: programs use an API key")
		t.refuse(relay.LoginPassword, ReplyMalformed)
		return
	}
	t.note("HTTP Basic: send the key as Authorization: Bearer")
	t.refuse(relay.LoginMalformed, ReplyMalformed)
}

// httpError is a refusal as HTTP says it.
func (t *trial) httpError() error {
	switch {
	case t.reply == ReplyThrottled:
		return &throttled{
			told:  relay.Error{Kind: relay.RateLimited, Public: textThrottled},
			after: max(t.stand.until.Sub(t.now).Round(time.Second), time.Second),
		}
	case t.result == relay.LoginUnavailable:
		return &relay.Error{Kind: relay.Unavailable}
	}
	return &relay.Error{Kind: relay.Unauthenticated, Public: textRefused}
}

// throttled is a refusal with its end.
type throttled struct {
	told  relay.Error
	after time.Duration
}

func (e *throttled) Error() string { return e.told.Error() }

// Unwrap makes the *relay.Error found.
func (e *throttled) Unwrap() error { return &e.told }

// RetryAfter is for the header of that name.
func (e *throttled) RetryAfter() time.Duration { return e.after }

// RetryAfter returns when an attempt that was refused with err may be made
// again; 0 if err does not say.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return e.RetryAfter()
	}
	return 0
}

// wait waits, unless the client goes away first.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

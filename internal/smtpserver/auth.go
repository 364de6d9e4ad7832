package smtpserver

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"postern/internal/sasl"
	"postern/internal/smtp"
)

// strictBase64 is RFC 4648 §4 with its padding, and with the unused bits zero.
var strictBase64 = base64.StdEncoding.Strict()

// maxAuthDelay caps the growing delay of refusals.
const maxAuthDelay = 8 * time.Second

// auth is RFC 4954. One exchange: challenges go out as 334 until the mechanism
// is done. Nothing of the exchange is logged.
func (x *session) auth(ctx context.Context, arg string) (smtp.Reply, *end) {
	name, initial, hasInitial := strings.Cut(arg, " ")
	name = strings.ToUpper(name)
	mech, known := x.srv.tables.mechanisms[name]
	switch {
	case x.peer.TLS == nil:
		return x.cleartext(ctx, name, known)
	case !x.canAuth():
		return replyNoCommand, nil
	case x.peer.Helo == "":
		return replyNeedHelo, nil
	case x.loggedIn:
		return replyHasLogin, nil
	case x.tx != nil:
		return replyNested, nil
	case name == "":
		return replyAuthSyntax, nil
	case !known:
		return replyMechanism, nil
	case !x.offers(ctx, mech):
		return replyNotOffered, nil
	}
	// RFC 4954 §4: AUTH ends a group. What came before it does not wait for what
	// the backend, or a refusal, may take.
	if err := x.w.flush(); err != nil {
		return smtp.Reply{}, x.lost(err)
	}
	at := time.Now()
	var response []byte // nil: no initial response
	if hasInitial {
		var err error
		if response, err = decodeResponse(initial); err != nil {
			return x.authFailed(ctx, name, at, err)
		}
	}
	server := mech.New(x.backend.Login(ctx, name))
	for {
		challenge, done, err := server.Next(ctx, response)
		clear(response)
		switch {
		case err != nil:
			return x.authFailed(ctx, name, at, err)
		case done:
			x.loggedIn, x.mechanism = true, name
			x.tellLogin(name, true)
			return replyLoggedIn, nil
		}
		if e := x.say(smtp.Reply{Code: 334, Text: base64.StdEncoding.EncodeToString(challenge)}); e != nil {
			return smtp.Reply{}, e
		}
		if response, err = x.authResponse(); err != nil {
			return x.authFailed(ctx, name, time.Now(), err)
		}
		at = time.Now()
	}
}

// offers reports whether a mechanism can be used in this session, and may be.
func (x *session) offers(ctx context.Context, m sasl.Mechanism) bool {
	if m.Needs.Certificate && len(x.peer.Certificates) == 0 {
		return false
	}
	return x.backend.Offers(ctx, m.Name)
}

// cleartext answers AUTH in plain text. What the client sends after it is
// taken for commands and refused; the credential is exposed already.
func (x *session) cleartext(ctx context.Context, name string, known bool) (smtp.Reply, *end) {
	if !known {
		name = "" // not a mechanism: perhaps a secret
	}
	x.backend.LoginFailed(ctx, name, LoginCleartext)
	x.tellLogin(name, false)
	if x.authFails++; x.authFails >= x.cfg.Limits.AuthFails {
		return replyLogins, &end{why: "too many failed logins"}
	}
	return replyCleartext, nil
}

func (x *session) tellLogin(mechanism string, ok bool) {
	if call := x.cfg.Hooks.Login; call != nil {
		call(mechanism, ok)
	}
}

var errAborted = errors.New("client aborted the exchange")

// authResponse reads one response line (RFC 4954 §4).
func (x *session) authResponse() ([]byte, error) {
	line, err := x.line(x.cfg.Limits.AuthLine)
	if err != nil {
		return nil, lineError{err}
	}
	defer clear(line)
	if string(line) == "*" {
		return nil, errAborted
	}
	p := make([]byte, strictBase64.DecodedLen(len(line)))
	n, err := strictBase64.Decode(p, line)
	if err != nil {
		return nil, sasl.ErrMalformed
	}
	return p[:n], nil
}

// decodeResponse reads an initial response: "=" is an empty one.
func decodeResponse(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	p, err := strictBase64.DecodeString(s)
	if err != nil || len(p) == 0 {
		return nil, sasl.ErrMalformed
	}
	return p, nil
}

// authFailed answers an exchange that ended without a login. at is when the
// line that decided it was read.
func (x *session) authFailed(ctx context.Context, mechanism string, at time.Time, err error) (smtp.Reply, *end) {
	var r smtp.Reply
	switch {
	case errors.Is(err, errAborted):
		x.backend.LoginFailed(ctx, mechanism, LoginAborted)
		r = replyAuthAborted
	case errors.Is(err, sasl.ErrAuthzid):
		x.backend.LoginFailed(ctx, mechanism, LoginMalformed)
		r = replyBadLogin
	case errors.Is(err, sasl.ErrMalformed), errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrNUL):
		x.backend.LoginFailed(ctx, mechanism, LoginMalformed)
		r = replyAuthBad
	case errors.Is(err, smtp.ErrLineTooLong):
		x.backend.LoginFailed(ctx, mechanism, LoginMalformed)
		r = replyLongAuth
	case errors.Is(err, smtp.ErrBareLF):
		return smtp.Reply{}, &end{"bare line feed", replyBadLine}
	case isConnection(err):
		return smtp.Reply{}, x.lost(err)
	default:
		r = x.refusal(ctx, "authenticate", err, replyLoginFailure)
	}
	x.tellLogin(mechanism, false)
	return x.authRefused(ctx, r, at)
}

// lineError tells errors of reading a line from those of the mechanism.
type lineError struct{ error }

func (e lineError) Unwrap() error { return e.error }

func isConnection(err error) bool {
	_, ok := errors.AsType[lineError](err)
	return ok
}

// authRefused keeps the count of failures, and holds a 535 back until a fixed
// time after the client's line was read: whatever the reason and however long
// it took to find, all refusals leave alike.
func (x *session) authRefused(ctx context.Context, r smtp.Reply, at time.Time) (smtp.Reply, *end) {
	if !r.Permanent() {
		return r, nil
	}
	x.authFails++
	if r.Code == 535 {
		if e := x.holdBack(ctx, at.Add(x.authDelay())); e != nil {
			return smtp.Reply{}, e
		}
	}
	if x.authFails >= x.cfg.Limits.AuthFails {
		return replyLogins, &end{why: "too many failed logins"}
	}
	return r, nil
}

// authDelay doubles with every failure of the session.
func (x *session) authDelay() time.Duration {
	d := x.cfg.Limits.AuthDelay
	for i := 1; i < x.authFails && d < maxAuthDelay; i++ {
		d *= 2
	}
	return min(d, max(maxAuthDelay, x.cfg.Limits.AuthDelay))
}

// holdBack waits until a moment, or until the session is called off. Replies to
// earlier commands of the group do not wait with it.
func (x *session) holdBack(ctx context.Context, until time.Time) *end {
	if err := x.w.flush(); err != nil {
		return x.lost(err)
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-x.wokenCh:
		return &end{whyDrain, replyShutdown}
	case <-ctx.Done():
		return &end{why: whyGone}
	}
}

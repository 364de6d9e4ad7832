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

// maxAuthDelay caps the growing delay of refusals, maxHoldBack what the backend
// may make of it.
const (
	maxAuthDelay = 8 * time.Second
	maxHoldBack  = 30 * time.Second
)

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
			return x.authFailed(ctx, attempt{name, at, nil}, err)
		}
	}
	server := mech.New(x.exchange(ctx, name))
	for {
		challenge, done, err := server.Next(ctx, response)
		clear(response)
		switch {
		case err != nil:
			return x.authFailed(ctx, attempt{name, at, challenge}, err)
		case done:
			x.loggedIn, x.mechanism = true, name
			x.tellLogin(name, true)
			return replyLoggedIn, nil
		}
		if e := x.say(challengeReply(challenge)); e != nil {
			return smtp.Reply{}, e
		}
		if response, err = x.authResponse(); err != nil {
			return x.authFailed(ctx, attempt{name, time.Now(), nil}, err)
		}
		at = time.Now()
	}
}

func challengeReply(p []byte) smtp.Reply {
	return smtp.Reply{Code: 334, Text: base64.StdEncoding.EncodeToString(p)}
}

// offers reports whether a mechanism can be used in this session, and may be.
func (x *session) offers(ctx context.Context, m sasl.Mechanism) bool {
	if m.Needs.Certificate && len(x.peer.Certificates) == 0 || m.Needs.Binding && !x.bindable() {
		return false
	}
	return x.backend.Offers(ctx, m.Name)
}

// exchange is what the backend lets a mechanism ask, with what is the session's
// own to answer.
func (x *session) exchange(ctx context.Context, mechanism string) sasl.Exchange {
	e := x.backend.Login(ctx, mechanism)
	e.Binding = x.binding
	if plus, known := x.srv.tables.mechanisms[sasl.SCRAMSHA256Plus.Name]; known {
		e.Plus = x.offers(ctx, plus)
	}
	return e
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
	switch string(line) {
	case "*":
		return nil, errAborted
	case "=":
		// deviation: RFC 4954 §4 has this for an initial response alone. curl sends it
		// for every empty response, so it could not use EXTERNAL; it stands for nothing
		// else.
		return []byte{}, nil
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

// attempt is an exchange that failed.
type attempt struct {
	mechanism string
	at        time.Time // when the line that decided it was read
	challenge []byte    // goes out before a final refusal; nil: none
}

// authFailed answers an exchange that ended without a login.
func (x *session) authFailed(ctx context.Context, a attempt, err error) (smtp.Reply, *end) {
	var r smtp.Reply
	switch {
	case errors.Is(err, errAborted):
		x.backend.LoginFailed(ctx, a.mechanism, LoginAborted)
		r = replyAuthAborted
	case errors.Is(err, sasl.ErrBinding):
		x.backend.LoginFailed(ctx, a.mechanism, LoginBinding)
		r = replyBadLogin
	case errors.Is(err, sasl.ErrRefused):
		x.backend.LoginFailed(ctx, a.mechanism, LoginMalformed)
		r = replyBadLogin
	case errors.Is(err, sasl.ErrMalformed), errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrNUL):
		x.backend.LoginFailed(ctx, a.mechanism, LoginMalformed)
		r = replyAuthBad
	case errors.Is(err, smtp.ErrLineTooLong):
		x.backend.LoginFailed(ctx, a.mechanism, LoginMalformed)
		r = replyLongAuth
	case isConnection(err):
		return smtp.Reply{}, x.lostLine(err)
	default:
		r = x.refusal(ctx, "authenticate", err, replyLoginFailure)
	}
	x.tellLogin(a.mechanism, false)
	return x.authRefused(ctx, r, a, holdOf(err))
}

// lostLine is the end for a line after which the stream is out of step.
func (x *session) lostLine(err error) *end {
	if errors.Is(err, smtp.ErrBareLF) {
		return &end{"bare line feed", replyBadLine}
	}
	return x.lost(err)
}

// holdOf is how long the backend wants a refusal to be held back.
func holdOf(err error) time.Duration {
	h, ok := errors.AsType[interface {
		error
		HoldBack() time.Duration
	}](err)
	if !ok {
		return 0
	}
	return min(h.HoldBack(), maxHoldBack)
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
func (x *session) authRefused(ctx context.Context, r smtp.Reply, a attempt, hold time.Duration) (smtp.Reply, *end) {
	if r.Permanent() {
		x.authFails++
	}
	if r.Code == 535 {
		hold = max(hold, x.authDelay())
	}
	if hold > 0 {
		if e := x.holdBack(ctx, a.at.Add(hold)); e != nil {
			return smtp.Reply{}, e
		}
	}
	switch {
	case r.Permanent() && x.authFails >= x.cfg.Limits.AuthFails:
		return replyLogins, &end{why: "too many failed logins"}
	case r.Permanent() && a.challenge != nil:
		return x.lastWords(a.challenge, r)
	}
	return r, nil
}

// lastWords tells a client in its mechanism's own words why it is refused, and
// refuses it once it has answered, whatever it answers (RFC 7628 §3.2.3).
func (x *session) lastWords(challenge []byte, refusal smtp.Reply) (smtp.Reply, *end) {
	if e := x.say(challengeReply(challenge)); e != nil {
		return smtp.Reply{}, e
	}
	_, err := x.authResponse()
	switch {
	case err == nil, errors.Is(err, sasl.ErrMalformed), errors.Is(err, smtp.ErrLineTooLong),
		errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrNUL):
		return refusal, nil
	case errors.Is(err, errAborted):
		return replyAuthAborted, nil
	}
	return smtp.Reply{}, x.lostLine(err)
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

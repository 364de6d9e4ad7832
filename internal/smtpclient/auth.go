package smtpclient

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"postern/internal/smtp"
)

// Auth is the client's side of one SASL mechanism (RFC 4954). A value serves
// one session. One with a method Done() error takes a success for one only if
// Done returns nil.
type Auth interface {
	// Start names the mechanism and gives its initial response; nil means none.
	Start() (mechanism string, initial []byte, err error)
	// Next answers a challenge.
	Next(challenge []byte) (response []byte, err error)
}

var (
	errUnasked     = errors.New("a reply without a command")
	errInjected    = errors.New("octets in the clear after the reply to STARTTLS")
	errNoMechanism = errors.New("the host does not offer the mechanism")
)

// maxChallenges bounds the rounds of one exchange: no mechanism needs more.
const maxChallenges = 8

// maxAuthCommand is the length of an AUTH command that every host takes, with its
// line end; a response of its own may be longer (RFC 4954 §4).
const maxAuthCommand = 512

// authenticate runs AUTH. A refusal is never a verdict on the messages, so its
// error is temporary whatever the host's code was.
func (s *Session) authenticate(ctx context.Context) *Error {
	if s.tls == nil {
		return local(StageAuth, replyClearAuth, nil)
	}
	mechanism, initial, err := s.opts.Auth.Start()
	if err != nil {
		return local(StageAuth, replyAuth, err)
	}
	if !slices.Contains(s.ext.Auth, strings.ToUpper(mechanism)) {
		return local(StageAuth, replyAuth, errNoMechanism)
	}
	auth, line := s.opts.Auth, "AUTH "+mechanism
	if initial != nil {
		if with := line + " " + encodeResponse(initial); len(with)+2 <= maxAuthCommand {
			line = with
		} else {
			auth = &lateAuth{Auth: auth, initial: initial}
		}
	}
	s.command(line)
	for range maxChallenges {
		r, e := s.exchange(ctx, StageAuth, s.opts.Timeouts.Auth)
		switch {
		case e != nil:
			return e
		case r.Code == 235:
			return s.authDone(auth)
		case r.Code != 334:
			return local(StageAuth, replyAuth, s.unexpected(StageAuth, r))
		}
		response, err := respond(auth, r)
		if err != nil {
			s.command("*") // RFC 4954 §4: cancels
			s.exchange(ctx, StageAuth, s.opts.Timeouts.Auth)
			return local(StageAuth, replyAuth, err)
		}
		s.command(response)
	}
	return local(StageAuth, replyAuth, errors.New("too many challenges"))
}

// authDone asks the mechanism whether the host may let the client in at this
// point: in some of them the host has to prove itself first.
func (s *Session) authDone(auth Auth) *Error {
	a, ok := auth.(interface{ Done() error })
	if !ok {
		return nil
	}
	if err := a.Done(); err != nil {
		s.broken = true
		return local(StageAuth, replyAuth, err)
	}
	return nil
}

// lateAuth is an Auth whose initial response is too long for the AUTH command:
// it answers the first challenge, which is empty.
type lateAuth struct {
	Auth
	initial []byte // nil: sent
}

func (l *lateAuth) Next(challenge []byte) ([]byte, error) {
	if l.initial == nil {
		return l.Auth.Next(challenge)
	}
	if len(challenge) > 0 {
		return nil, errors.New("a challenge before the initial response")
	}
	initial := l.initial
	l.initial = nil
	return initial, nil
}

func (l *lateAuth) Done() error {
	if l.initial != nil {
		return errors.New("the host lets in without a proof")
	}
	if a, ok := l.Auth.(interface{ Done() error }); ok {
		return a.Done()
	}
	return nil
}

func respond(auth Auth, r smtp.Reply) (string, error) {
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Text))
	if err != nil {
		return "", errors.New("the challenge is not base64")
	}
	response, err := auth.Next(challenge)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(response), nil
}

// encodeResponse writes an initial response; an empty one is "=".
func encodeResponse(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

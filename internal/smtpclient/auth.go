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
// one session.
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
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + encodeResponse(initial)
	}
	s.command(line)
	for range maxChallenges {
		r, e := s.exchange(ctx, StageAuth, s.opts.Timeouts.Auth)
		switch {
		case e != nil:
			return e
		case r.Code == 235:
			return nil
		case r.Code != 334:
			return local(StageAuth, replyAuth, s.unexpected(StageAuth, r))
		}
		response, err := s.respond(r)
		if err != nil {
			s.command("*") // RFC 4954 §4: cancels
			s.exchange(ctx, StageAuth, s.opts.Timeouts.Auth)
			return local(StageAuth, replyAuth, err)
		}
		s.command(response)
	}
	return local(StageAuth, replyAuth, errors.New("too many challenges"))
}

func (s *Session) respond(r smtp.Reply) (string, error) {
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Text))
	if err != nil {
		return "", errors.New("the challenge is not base64")
	}
	response, err := s.opts.Auth.Next(challenge)
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

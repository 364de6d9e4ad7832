package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postern/internal/relay"
	"postern/internal/secret"
)

// refusedSubject is the subject of all that must not arrive.
const refusedSubject = "demo refused"

// refuseFrom hands in a message under an address that is not the account's. The
// envelope is in order: it is the From field that is judged, after the final dot.
func refuseFrom(from string) func(*visitor, context.Context) (string, error) {
	return func(v *visitor, ctx context.Context) (string, error) {
		if err := v.loggedIn(ctx); err != nil {
			return "", err
		}
		return v.refuseMessage(from, "550 5.7.1 The from address does not match a verified Sender Identity")
	}
}

// refuseMessage hands in a message that must be refused with these words.
func (v *visitor) refuseMessage(from, words string) (string, error) {
	r, err := v.client.send(author, recipient, message(from, refusedSubject))
	outcome, err := expect(r, err, words)
	if err == nil {
		v.refused++
	}
	return outcome, err
}

// expect is the outcome of what must be refused with these words.
func expect(r reply, err error, words string) (string, error) {
	if err != nil {
		return "", err
	}
	if !r.is(words) {
		return "", fmt.Errorf("answered %s; expected %s", r, words)
	}
	return r.String(), nil
}

// loggedIn makes sure of a session that has logged in.
func (v *visitor) loggedIn(ctx context.Context) error {
	if v.client != nil {
		return nil
	}
	if _, err := v.connectStartTLS(ctx); err != nil {
		return err
	}
	_, err := v.logInPlain(ctx)
	return err
}

func (v *visitor) refuseKey(ctx context.Context) (string, error) {
	v.leave()
	if _, err := v.connectStartTLS(ctx); err != nil {
		return "", err
	}
	wrong, err := secret.GenerateKey(secret.DefaultPrefix) // in good form, and nobody's
	if err != nil {
		return "", err
	}
	r, err := v.client.say(plain(username, wrong.Text().Reveal()))
	return expect(r, err, "535 5.7.8 Authentication failed: The provided authorization grant is invalid, expired, or revoked")
}

func (v *visitor) refuseCleartext(ctx context.Context) (string, error) {
	v.leave()
	c, err := dial(ctx, v.w.ready.SMTPStartTLS, nil)
	if err != nil {
		return "", err
	}
	v.client = c
	r, err := c.want("250", "EHLO laptop.acme.test")
	if err != nil {
		return "", err
	}
	if strings.Contains(r.text, "AUTH") {
		return "", fmt.Errorf("AUTH is offered without TLS: %s", r)
	}
	// A key that is none: one that was sent in the clear would have to go.
	r, err = c.say(plain(username, "not-a-key"))
	return expect(r, err, "538 5.7.11")
}

func (v *visitor) refuseNobody(ctx context.Context) (string, error) {
	v.leave()
	if _, err := v.connectStartTLS(ctx); err != nil {
		return "", err
	}
	return v.refuseMessage(author, "530 5.7.0")
}

func (v *visitor) logins(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	count, err := v.w.records.logins(ctx, v.begin, relay.LoginOK, relay.LoginUnknown, relay.LoginCleartext)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d ok, %d with a key of nobody, %d without TLS", count[relay.LoginOK], count[relay.LoginUnknown], count[relay.LoginCleartext]), nil
}

func (v *visitor) nothingElse(context.Context) (string, error) {
	if v.refused == 0 {
		return "", errors.New("no message was refused, so there is nothing to look for")
	}
	for _, m := range v.w.inbox.List() {
		if hasSubject(m, refusedSubject) {
			return "", fmt.Errorf("a refused message arrived: %s", m.ID)
		}
	}
	return fmt.Sprintf("messages at the receiving server: %d", v.w.inbox.Total()), nil
}

package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/internal/smtp"
)

// Stage says how far a session or transaction had come.
type Stage string

// The stages, in order.
const (
	StageConnect   Stage = "connect"   // before the first octet (used by callers)
	StageBanner    Stage = "banner"    // waiting for the 220
	StageEHLO      Stage = "ehlo"      // EHLO or HELO
	StageSTARTTLS  Stage = "starttls"  // the STARTTLS command, or its absence
	StageHandshake Stage = "handshake" // the TLS handshake
	StageAuth      Stage = "auth"      // AUTH
	StageReset     Stage = "rset"      // RSET
	StageMail      Stage = "mail"      // MAIL
	StageRcpt      Stage = "rcpt"      // RCPT
	StageData      Stage = "data"      // DATA, before any content was sent
	StageBody      Stage = "body"      // content, before its end was sent
	StageEnd       Stage = "end"       // after the end of the data
	StageQuit      Stage = "quit"      // QUIT
)

// Error is why a session could not be opened or came to its end.
type Error struct {
	Stage Stage
	// Code, Enhanced and Text are the host's last words, or where it had none
	// (Local) our own. Text is printable, at most 512 octets, lines separated by \n.
	Code     int
	Enhanced smtp.EnhancedCode
	Text     string
	Local    bool
	// Lost: there was no reply: the connection broke, or the time was over.
	Lost bool
	// Err is the cause where there is one beyond the words; it stays in our logs.
	Err error
}

func (e *Error) Error() string {
	who := "remote said "
	if e.Local {
		who = ""
	}
	if e.Err != nil {
		return fmt.Sprintf("%s: %s%s: %v", e.Stage, who, e.Reply(), e.Err)
	}
	return fmt.Sprintf("%s: %s%s", e.Stage, who, e.Reply())
}

func (e *Error) Unwrap() error { return e.Err }

// Reply is the error as a reply.
func (e *Error) Reply() smtp.Reply {
	return smtp.Reply{Code: e.Code, Enhanced: e.Enhanced, Text: e.Text}
}

// Permanent reports that trying again is of no use.
func (e *Error) Permanent() bool { return e.Code/100 == 5 }

// remote makes the error of a reply that the host gave.
func remote(stage Stage, r smtp.Reply) *Error {
	return &Error{Stage: stage, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
}

// local makes an error in our own words.
func local(stage Stage, r smtp.Reply, cause error) *Error {
	return &Error{Stage: stage, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Local: true, Err: cause}
}

// Our own words for what happens to a session.
var (
	replyLost        = smtp.R(451, 4, 4, 2, "The connection was lost")
	replyTimeout     = smtp.R(451, 4, 4, 2, "The host did not answer in time")
	replySlow        = smtp.R(451, 4, 4, 2, "The host was too slow for the whole transaction")
	replyProtocol    = smtp.R(451, 4, 5, 0, "The host broke the protocol")
	replyInterrupted = smtp.R(451, 4, 3, 2, "The attempt was interrupted on this side")
	replyUnusable    = smtp.R(451, 4, 4, 2, "The session had ended already")
	replyContent     = smtp.R(451, 4, 3, 0, "The message could not be read on this side")
	replyBeforeEnd   = smtp.R(451, 4, 3, 0, "The attempt could not be recorded on this side")
	replyNoTLS       = smtp.R(454, 4, 7, 4, "TLS is required and the host does not offer it")
	replyTLSRefused  = smtp.R(454, 4, 7, 4, "TLS is required and the host refused it")
	replyHandshake   = smtp.R(454, 4, 7, 5, "The TLS handshake did not succeed")
	replyClearAuth   = smtp.R(454, 4, 7, 0, "Credentials are never sent without TLS")
	replyAuth        = smtp.R(454, 4, 7, 0, "Authentication did not succeed")
)

// broke makes the error of a read or write that did not work out.
func broke(ctx context.Context, stage Stage, slow bool, err error) *Error {
	e := local(stage, replyLost, err)
	e.Lost = true
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		e.Code, e.Enhanced, e.Text = replyInterrupted.Code, replyInterrupted.Enhanced, replyInterrupted.Text
		e.Err = ctx.Err()
	case errors.Is(err, smtp.ErrProtocol):
		e.Code, e.Enhanced, e.Text = replyProtocol.Code, replyProtocol.Enhanced, replyProtocol.Text
		e.Lost = false
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		words := replyTimeout
		if slow {
			words = replySlow
		}
		e.Code, e.Enhanced, e.Text = words.Code, words.Enhanced, words.Text
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		e.Text = "The host closed the connection"
	}
	e.Text += " (" + string(stage) + ")"
	return e
}

// maxText is how much of a host's words is kept, in octets.
const maxText = 512

// sanitise makes a host's words fit for records, DSNs and terminals: printable,
// well-formed, at most 512 octets. Lines stay separated by \n.
func sanitise(s string) string {
	if len(s) <= maxText && plain(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
		case r == '\t':
			r = ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > maxText {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '\n' && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}

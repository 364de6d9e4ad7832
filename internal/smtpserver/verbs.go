package smtpserver

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"unicode/utf8"

	"postern/internal/sasl"
	"postern/internal/smtp"
)

// verb is one command of the table.
type verb struct {
	run   func(*session, context.Context, string) (smtp.Reply, *end)
	noArg bool // an argument is 501 5.5.4
	junk  bool // does not bring a message nearer
}

var verbs map[string]verb

func init() { // the table refers to methods that refer to it
	verbs = map[string]verb{
		"HELO":     {run: (*session).helo, junk: true},
		"EHLO":     {run: (*session).ehlo, junk: true},
		"STARTTLS": {run: (*session).startTLS, noArg: true, junk: true},
		"AUTH":     {run: (*session).auth, junk: true},
		"MAIL":     {run: (*session).mail, junk: true},
		"RCPT":     {run: (*session).rcpt},
		"DATA":     {run: (*session).data}, // its argument is refused there, with what follows it
		"BDAT":     {run: (*session).bdat},
		"RSET":     {run: (*session).rset, noArg: true, junk: true},
		"NOOP":     {run: fixed(replyOK), junk: true},
		"VRFY":     {run: fixed(replyVerify), junk: true}, // RFC 5321 §7.3: the same for all
		"EXPN":     {run: fixed(replyNoCommand), junk: true},
		"HELP":     {run: fixed(replyHelp), junk: true},
		"QUIT":     {run: (*session).quit, noArg: true},
	}
	for _, word := range []string{"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI"} {
		verbs[word] = verb{run: (*session).http}
	}
}

// maxVerb is the length of the longest verb.
const maxVerb = 8

func fixed(r smtp.Reply) func(*session, context.Context, string) (smtp.Reply, *end) {
	return func(*session, context.Context, string) (smtp.Reply, *end) { return r, nil }
}

// tables are what a server's configuration settles for all its sessions.
type tables struct {
	mechanisms map[string]sasl.Mechanism
	ehlo       string // the lines that are always there
}

func newTables(c Config) tables {
	t := tables{mechanisms: make(map[string]sasl.Mechanism)}
	for _, m := range c.Mechanisms {
		t.mechanisms[m.Name] = m
	}
	lines := []string{
		c.Hostname, "PIPELINING", "SIZE " + strconv.FormatInt(c.Limits.MessageSize, 10),
		"8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN",
		"LIMITS RCPTMAX=" + strconv.Itoa(c.Limits.Recipients) + " MAILMAX=" + strconv.Itoa(c.Limits.Messages),
	}
	if c.BinaryMIME {
		lines = append(lines, "BINARYMIME")
	}
	t.ehlo = strings.Join(lines, "\n")
	return t
}

// dispatch runs the command on a line.
func (x *session) dispatch(ctx context.Context, line []byte) (smtp.Reply, *end) {
	word, arg, _ := bytes.Cut(line, []byte(" "))
	v, known := lookUp(word)
	switch {
	case isAuth(line) && len(line) > x.cfg.Limits.AuthLine-2:
		return replyLongAuth, nil
	case !isAuth(line) && len(line) > x.cfg.Limits.CommandLine-2:
		return replyLongLine, nil
	case !known && !utf8.Valid(line):
		return replyBadText, nil
	case !known:
		return replyUnknown, nil
	case v.noArg && len(bytes.TrimRight(arg, " ")) > 0:
		return replyNoArgument, nil
	}
	if v.junk {
		x.junk++
	}
	// RFC 5321 §4.1.1: trailing white space is tolerated.
	s := strings.TrimRight(string(arg), " ")
	if isAuth(line) {
		clear(line) // a credential must not wait in a pooled buffer for its next user
	}
	return v.run(x, ctx, s)
}

// lookUp finds a verb in any case, without allocating.
func lookUp(word []byte) (verb, bool) {
	if len(word) > maxVerb {
		return verb{}, false
	}
	var upper [maxVerb]byte
	for i, c := range word {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	v, ok := verbs[string(upper[:len(word)])]
	return v, ok
}

// isAuth reports whether a line, or its head, is an AUTH command.
func isAuth(line []byte) bool {
	return len(line) >= 4 && bytes.EqualFold(line[:4], []byte("AUTH")) && (len(line) == 4 || line[4] == ' ')
}

func (x *session) quit(context.Context, string) (smtp.Reply, *end) {
	return replyBye, &end{why: "quit"}
}

func (x *session) rset(ctx context.Context, _ string) (smtp.Reply, *end) {
	x.forget(ctx)
	return replyOK, nil
}

// http meets a browser that was lured here: none of the request's lines may run
// as a command (ALPACA, cross-protocol request forgery).
func (x *session) http(context.Context, string) (smtp.Reply, *end) {
	return replyNotHTTP, &end{why: "HTTP"}
}

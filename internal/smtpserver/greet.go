package smtpserver

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"postern/internal/smtp"
)

func (x *session) helo(ctx context.Context, arg string) (smtp.Reply, *end) {
	if bad, ok := x.greet(ctx, arg, false); !ok {
		return bad, nil
	}
	return smtp.R(250, 2, 0, 0, x.cfg.Hostname), nil
}

func (x *session) ehlo(ctx context.Context, arg string) (smtp.Reply, *end) {
	if bad, ok := x.greet(ctx, arg, true); !ok {
		return bad, nil
	}
	text := x.srv.tables.ehlo
	switch {
	case x.peer.TLS == nil && x.cfg.TLS != nil:
		text += "\nSTARTTLS"
	case x.canAuth() && !x.loggedIn:
		if names := x.offered(ctx); names != "" {
			// The second form is for clients older than RFC 2554.
			text += "\nAUTH " + names + "\nAUTH=" + names
		}
	}
	return smtp.Reply{Code: 250, Text: text}, nil
}

// canAuth: a credential is never asked for in plain text (RFC 4954 §4).
func (x *session) canAuth() bool { return x.peer.TLS != nil && len(x.cfg.Mechanisms) > 0 }

// offered are the names of the mechanisms that this session may use, in the
// listener's order.
func (x *session) offered(ctx context.Context) string {
	var names []string
	for _, m := range x.cfg.Mechanisms {
		if x.offers(ctx, m) {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, " ")
}

// greet takes a new EHLO or HELO. RFC 5321 §4.1.4: it ends a transaction that
// is open.
func (x *session) greet(ctx context.Context, name string, esmtp bool) (smtp.Reply, bool) {
	switch {
	case name == "":
		return replyHeloSyntax, false
	case hasControls(name):
		return replyHeloText, false
	case !validHelo(name):
		return replyHeloSyntax, false
	}
	x.forget(ctx)
	peer := x.peer
	peer.Helo, peer.ESMTP = name, esmtp
	if err := x.backend.Helo(ctx, peer); err != nil {
		return x.refusal(ctx, "helo", err, replyInternal), false
	}
	x.peer = peer
	return smtp.Reply{}, true
}

// validHelo accepts a domain, with the underscores that Windows names have, or
// an address literal: nothing that could look like something else in a trace
// header. Whether the name is true is not asked (RFC 5321 §4.1.4).
func validHelo(s string) bool {
	if s == "" || len(s) > smtp.MaxDomain {
		return false
	}
	if in, ok := strings.CutPrefix(s, "["); ok {
		in, ok = strings.CutSuffix(in, "]")
		return ok && in != "" && strings.Trim(in, "0123456789abcdefABCDEFIPvipV:.-") == ""
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == "" &&
		strings.Trim(s, ".-_") != ""
}

func hasControls(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return true
		}
	}
	return false
}

// startTLS is RFC 3207. What arrived in plain text has no effect afterwards:
// nothing may be waiting behind the command, and everything learnt before is
// forgotten (§4.2).
func (x *session) startTLS(ctx context.Context, _ string) (smtp.Reply, *end) {
	switch {
	case x.peer.TLS != nil:
		return replyHasTLS, nil
	case x.cfg.TLS == nil:
		return replyNoCommand, nil
	case x.w.buffered() > 0 || x.w.has:
		return replyInjected, &end{why: "input behind STARTTLS"}
	}
	x.forget(ctx)
	x.peer.Helo, x.peer.ESMTP = "", false
	if e := x.say(replyStartTLS); e != nil {
		return smtp.Reply{}, e
	}
	if err := x.w.flush(); err != nil {
		return smtp.Reply{}, x.lost(err)
	}
	return smtp.Reply{}, x.handshake()
}

// handshake puts TLS over the connection. When it fails the connection is
// closed without a word: there is nobody left who would understand one.
func (x *session) handshake() *end {
	if !x.arm(time.Now().Add(x.cfg.Limits.Handshake)) {
		return &end{why: whyDrain}
	}
	conn, leaf, err := x.w.startTLS(x.cfg.TLS, x.srv.served)
	woken := x.disarm()
	if err == nil {
		state := conn.ConnectionState()
		x.peer.TLS, x.peer.Certificates, x.served = describeTLS(state), state.PeerCertificates, leaf
	}
	if call := x.cfg.Hooks.Handshake; call != nil {
		call(x.peer.TLS, err)
	}
	switch {
	case err != nil && woken:
		return &end{why: whyDrain}
	case err != nil:
		x.cfg.Log.Debug("smtp TLS handshake", "peer", x.peer, "error", err.Error())
		return &end{why: "TLS handshake"}
	}
	return nil
}

func describeTLS(c tls.ConnectionState) *TLS {
	name := c.ServerName
	if len(name) > smtp.MaxDomain || hasControls(name) {
		name = "" // RFC 6066 §3 has a DNS name here; anything else is noise for a log
	}
	return &TLS{Version: c.Version, Cipher: c.CipherSuite, ServerName: name, ALPN: c.NegotiatedProtocol}
}

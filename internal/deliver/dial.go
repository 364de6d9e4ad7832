package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/smtpclient"
	"postern/internal/tlspolicy"
)

// target is one address of one host, and how to reach it.
type target struct {
	host   string
	remote netip.AddrPort
	source source
	via    *Smarthost // nil: an MX
	req    tlspolicy.Requirement
}

func (t *target) key() sessionKey {
	k := sessionKey{local: t.source.addr, remote: t.remote, helo: t.source.helo, level: t.req.Level}
	if t.req.Level >= tlspolicy.Verified {
		k.identity = t.host
	}
	if t.via != nil {
		k.user = t.via.User
	}
	return k
}

// connect opens a session with a target. Under Opportunistic, a connection that
// is lost to STARTTLS or the handshake is followed by another one, without TLS
// (RFC 7435 §3); under any stronger level the loss is final for this attempt.
func (d *Deliverer) connect(ctx context.Context, t *target) (*smtpclient.Session, error) {
	mode := smtpclient.TLSOpportunistic
	switch {
	case t.via != nil && t.via.Immediate:
		mode = smtpclient.TLSImmediate
	case t.req.Level >= tlspolicy.Required, t.via != nil && t.via.User != "":
		mode = smtpclient.TLSRequired
	}
	s, err := d.open(ctx, t, mode)
	if mode != smtpclient.TLSOpportunistic || err == nil || ctx.Err() != nil {
		return s, err
	}
	if e, ok := errors.AsType[*smtpclient.Error](err); ok && withoutTLS(e) {
		return d.open(ctx, t, smtpclient.TLSNone)
	}
	return s, err
}

// withoutTLS reports that a session broke over TLS itself. What came in the
// clear where TLS was to begin is not among it: that was an attack or as good
// as one, and is no reason to go on unprotected.
func withoutTLS(e *smtpclient.Error) bool {
	return e.Stage == smtpclient.StageHandshake || e.Stage == smtpclient.StageSTARTTLS && (e.Lost || e.Code == 421)
}

func (d *Deliverer) open(ctx context.Context, t *target, mode smtpclient.TLSMode) (*smtpclient.Session, error) {
	conn, err := d.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	opts := smtpclient.Options{HeloName: t.source.helo, TLS: mode, Timeouts: d.cfg.Timeouts}
	if mode != smtpclient.TLSNone {
		opts.TLSConfig = d.tlsConfig(t)
	}
	if t.via != nil && t.via.User != "" {
		opts.Auth = sasl.NewPlainClient(t.via.User, t.via.Password)
	}
	return smtpclient.New(ctx, conn, opts)
}

// tlsConfig is the requirement's, but that credentials never go to a host that
// has not proven its name, whatever the level.
func (d *Deliverer) tlsConfig(t *target) *tls.Config {
	req := t.req
	if t.via != nil && t.via.User != "" && req.Level < tlspolicy.Verified {
		req = tlspolicy.Requirement{Level: tlspolicy.Verified}
	}
	return req.Config(t.host, d.cfg.RootCAs, d.resume)
}

// dial connects, after the guard had its say, and again at the moment of the
// system call: nothing between the two can change what is dialled.
func (d *Deliverer) dial(ctx context.Context, t *target) (net.Conn, error) {
	g := d.guard()
	check := func(a netip.Addr) error {
		switch v := g.judge(a); {
		case t.via != nil || v == dialOK:
			return nil
		default:
			return &refusedError{addr: a, own: v == dialOwn}
		}
	}
	if err := check(t.remote.Addr()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	if d.cfg.Dial != nil {
		return d.cfg.Dial(ctx, t.source.addr, t.remote)
	}
	dialer := net.Dialer{Control: control(check)}
	if t.source.addr.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.source.addr, 0))
	}
	return dialer.DialContext(ctx, "tcp", t.remote.String())
}

// control applies a check where the dialler is about to connect.
func control(check func(netip.Addr) error) func(network, address string, c syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return check(a.Addr())
	}
}

// cannotBind reports that the source address is not one of this machine's.
func cannotBind(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EACCES)
}

// noPath reports that the machine has no way to the address at all (no IPv6,
// say), which says nothing about the host.
func noPath(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// connectReply puts a failure to connect into words (RFC 3463 §3.5: X.4.1 no
// answer from host).
func connectReply(err error) smtp.Reply {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return smtp.R(451, 4, 4, 1, "The mail server refused the connection")
	case errors.As(err, &timeout) && timeout.Timeout():
		return smtp.R(451, 4, 4, 1, "The mail server did not answer the connection in time")
	case noPath(err), errors.Is(err, syscall.EHOSTUNREACH):
		return smtp.R(451, 4, 4, 1, "There is no path to the mail server")
	case cannotBind(err):
		return smtp.R(451, 4, 3, 5, "No source address of the pool can be used on this machine")
	}
	return smtp.R(451, 4, 4, 1, "No connection to the mail server")
}

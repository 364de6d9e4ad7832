package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"postern/internal/cert"
	"postern/internal/config"
	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
	"postern/internal/submit"
)

// smtpListener is one bound address of a configured listener. The socket
// outlives the server behind it: a reload puts a new server on the same socket,
// and the old one's sessions go on under the old limits.
type smtpListener struct {
	conf   config.Listener
	socket *net.TCPListener
	ctx    context.Context // ends all sessions by force

	mu     sync.Mutex
	server *smtpserver.Server
	lent   *lentListener
	old    []*smtpserver.Server
}

// way is where mail goes that came in by SMTP, with the settings of one
// configuration.
type way struct {
	submit *submit.Service
	intake *submit.Intake
}

func (a *App) bindSMTP(context.Context) error {
	c := a.opt.Config
	certPath, keyPath := c.CertificatePaths()
	certs, err := cert.Open(cert.Config{
		Certificate: certPath, Key: keyPath, Logger: a.log, OnReload: a.metrics.certificate, Renew: renewal(c),
	})
	if err != nil {
		return err
	}
	a.certs = certs
	way := a.makeWay(c)
	a.way.Store(&way)
	a.quota = smtpserver.NewQuota(quotaLimits(c))
	for _, l := range c.Listen {
		for _, addr := range l.Addresses {
			sock, err := listenTCP(addr)
			if err != nil {
				return fmt.Errorf("listener %s: %w", l.Name, err)
			}
			sl := &smtpListener{conf: l, socket: sock}
			a.stops = append(a.stops, step{"socket " + addr, func(context.Context) error { return sock.Close() }})
			if sl.server, err = a.newServer(c, l, way); err != nil {
				return err
			}
			a.listeners = append(a.listeners, sl)
		}
	}
	return nil
}

// renewal renews the certificate that init made; one from elsewhere is renewed elsewhere.
func renewal(c *config.Config) func() error {
	files, used := c.SelfSigned()
	if !used {
		return nil
	}
	return func() error {
		_, err := cert.RenewIfDue(files, []string{c.Hostname}, time.Now())
		return err
	}
}

// listenTCP binds one address; an IPv4 wildcard is IPv4 alone and [::] IPv6 alone.
func listenTCP(addr string) (*net.TCPListener, error) {
	network := "tcp4"
	if host, _, err := net.SplitHostPort(addr); err == nil && len(host) > 0 && net.ParseIP(host).To4() == nil {
		network = "tcp6"
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%w (ports below 1024 need root or CAP_NET_BIND_SERVICE)", err)
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%w (\"ss -ltnp\" says which program has it)", err)
		}
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

func quotaLimits(c *config.Config) smtpserver.QuotaLimits {
	return smtpserver.QuotaLimits{
		Connections: c.Limits.Connections, PerAddress: c.Limits.ConnectionsPerAddress, InFlight: int64(c.Limits.OctetsInFlight),
	}
}

func (a *App) newServer(c *config.Config, l config.Listener, w way) (*smtpserver.Server, error) {
	role := smtpserver.RoleSubmission
	use := cert.Use{Minimum: c.TLS.MinimumVersion(), ALPN: []string{"smtp"}}
	if l.Role == config.RoleMX {
		role = smtpserver.RoleMX
		use = cert.Use{Minimum: c.TLS.MinimumVersion(), NoTickets: true, Looser: true}
	}
	policy := smtp.RejectBare
	if l.NormaliseLineEnds {
		policy = smtp.NormaliseBare
	}
	offered, err := sasl.Named(l.Offered())
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	return smtpserver.New(smtpserver.Config{
		Name: l.Name, Role: role, Hostname: c.Hostname, TLS: a.certs.TLSConfig(use), ImplicitTLS: l.TLS == config.TLSImplicit,
		Mechanisms: offered, ClientCertificates: slices.Contains(l.Offered(), sasl.External.Name),
		Limits: limitsOf(c.Limits), TextPolicy: policy, Quota: a.quota, Hooks: a.metrics.smtpHooks(l.Name), Log: a.log,
	}, &door{
		auth: a.auth, submit: w.submit, intake: w.intake, gate: &a.gate, guard: a.guard, ledger: a.ledger, plans: a.directory, hostname: c.Hostname, certs: a.certs,
	})
}

func limitsOf(l config.Limits) smtpserver.Limits {
	rate := int64(l.MinimumRate)
	if rate == 0 {
		rate = -1 // any
	}
	return smtpserver.Limits{
		CommandLine: l.CommandLine, AuthLine: l.AuthLine, TextLine: int(l.TextLine), MessageSize: int64(l.MessageSize),
		Recipients: l.Recipients, Messages: l.MessagesPerSession, Commands: l.CommandsPerSession, Errors: l.ErrorsPerSession,
		AuthFails: l.AuthFailures, Idle: l.Idle.Duration, DataBlock: l.DataBlock.Duration, MessageTime: l.MessageTime.Duration,
		Handshake: l.Handshake.Duration, Write: l.Write.Duration, MinimumRate: rate,
	}
}

// startSMTP serves a socket until the stop: then no new connections, 421 to
// those between commands, the others finish their message.
func (a *App) startSMTP(ctx context.Context, l *smtpListener) {
	ctx, cancel := context.WithCancel(ctx)
	l.ctx = ctx
	l.mu.Lock()
	a.serve(l)
	l.mu.Unlock()
	a.log.Info("app: listening", "listener", l.conf.Name, "address", l.socket.Addr().String(), "role", string(l.conf.Role), "tls", string(l.conf.TLS))
	a.stops = append(a.stops, step{"smtp " + l.socket.Addr().String(), func(wait context.Context) error {
		defer cancel()
		wait, stop := context.WithTimeout(wait, a.cfg.Load().Queue.DrainTime.Duration)
		defer stop()
		return l.drain(wait)
	}})
}

func (l *smtpListener) drain(wait context.Context) error {
	l.socket.Close()
	l.mu.Lock()
	servers := append([]*smtpserver.Server{l.server}, l.old...)
	l.mu.Unlock()
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			if err := s.Drain(wait); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// serve lends the socket to l.server. l.mu is held.
func (a *App) serve(l *smtpListener) {
	lent := &lentListener{TCPListener: l.socket, taken: make(chan struct{}), returned: make(chan struct{})}
	l.lent = lent
	server := l.server
	go func() {
		err := server.Serve(l.ctx, lent)
		close(lent.returned)
		if err != nil && !lent.ended() && !errors.Is(err, smtpserver.ErrStopped) && !errors.Is(err, net.ErrClosed) && l.ctx.Err() == nil {
			a.fail(fmt.Errorf("smtp %s: %w", l.socket.Addr(), err))
		}
	}()
}

// swapServer puts a new server on a socket.
func (a *App) swapServer(l *smtpListener, s *smtpserver.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent.Close()
	<-l.lent.returned
	l.socket.SetDeadline(time.Time{})
	var old []*smtpserver.Server // forget those whose sessions have ended
	for _, o := range append(l.old, l.server) {
		if o.Sessions() > 0 {
			old = append(old, o)
		}
	}
	l.old, l.server = old, s
	a.serve(l)
}

// lentListener lends a socket to a server: closing it ends the server's Accept
// and leaves the socket open.
type lentListener struct {
	*net.TCPListener
	once     sync.Once
	taken    chan struct{} // closed: taken back
	returned chan struct{} // closed: the server no longer accepts
}

func (l *lentListener) ended() bool {
	select {
	case <-l.taken:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener.
func (l *lentListener) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if err != nil && l.ended() {
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close takes the socket back.
func (l *lentListener) Close() error {
	l.once.Do(func() {
		close(l.taken)
		// A deadline in the past wakes Accept.
		l.TCPListener.SetDeadline(time.Unix(1, 0))
	})
	return nil
}

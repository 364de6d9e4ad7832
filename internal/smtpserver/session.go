package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"postern/internal/smtp"
)

// session is one connection.
type session struct {
	srv     *Server
	cfg     *Config
	w       wire
	peer    Peer
	backend Session          // nil before Connect
	served  *tls.Certificate // ours in this session's TLS; nil: not known
	cancel  context.CancelFunc

	mu      sync.Mutex         // guards what follows, against wake
	calling context.CancelFunc // ends Connect; nil otherwise
	waiting bool               // blocked for the client, and may be called off
	woken   bool
	wokenCh chan struct{} // closed by wake

	loggedIn  bool
	mechanism string
	tx        *transaction // nil: none open

	excused   bool // the reply being made is the backend's judgement, not the client's error
	errors    int
	junk      int // commands since the last message
	messages  int // transactions begun
	accepted  int // messages answered 2yz
	authFails int
}

// transaction is what MAIL opens.
type transaction struct {
	params  smtp.MailParams
	rcpts   int
	refused int // recipients
	body    *intake
	chunks  int // BDAT commands; > 0: DATA is not allowed any more
}

// end says that the session is over, why, and what is said last of all.
type end struct {
	why  string
	last smtp.Reply // Code 0: nothing
}

// The reasons that are decided in more than one place.
const (
	whyGone    = "client gone"
	whyTimeout = "timeout"
	whyDrain   = "draining"
	whyFault   = "fault"
)

// errDrain is what a wait ends with when the server drains.
var errDrain = errors.New("draining")

func newSession(s *Server, conn net.Conn, peer Peer) *session {
	if t, ok := conn.(interface{ SetNoDelay(bool) error }); ok {
		t.SetNoDelay(true) // one write per group of replies: nothing to gain from waiting
	}
	return &session{
		srv: s, cfg: &s.cfg, peer: peer,
		w:       wire{raw: conn, conn: conn, write: s.cfg.Limits.Write, pool: s.buffers},
		wokenCh: make(chan struct{}),
		cancel:  func() {},
	}
}

// serve runs the session to its end.
func (x *session) serve(ctx context.Context) {
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x.setCancel(cancel)
	e := x.guarded(ctx)
	x.cleanUp(ctx)
	if e.last.Code != 0 {
		x.say(e.last)
	}
	x.w.close(e.why != whyGone && ctx.Err() == nil && (e.last.Code != 0 || x.w.buffered() > 0))
	d := time.Since(start)
	if call := x.cfg.Hooks.Closed; call != nil {
		call(d)
	}
	x.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "smtp session",
		slog.Any("peer", x.peer), slog.String("mechanism", x.mechanism),
		slog.Int("transactions", x.messages), slog.Int("accepted", x.accepted),
		slog.Int("errors", x.errors), slog.Int("auth_failures", x.authFails),
		slog.String("end", e.why), slog.Duration("duration", d))
}

// guarded is run, with a panic turned into the end of this session alone.
func (x *session) guarded(ctx context.Context) (e *end) {
	defer func() {
		if v := recover(); v != nil {
			x.fault(ctx, v)
			e = &end{whyFault, replyFault}
		}
	}()
	return x.run(ctx)
}

func (x *session) fault(ctx context.Context, v any) {
	if call := x.cfg.Hooks.Panicked; call != nil {
		call()
	}
	x.cfg.Log.LogAttrs(ctx, slog.LevelError, "smtp session panic", slog.Any("peer", x.peer),
		slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
}

// cleanUp ends whatever is open. Each step is guarded: after a panic the
// backend may well panic again.
func (x *session) cleanUp(ctx context.Context) {
	step := func(f func()) {
		defer func() {
			if v := recover(); v != nil {
				x.fault(ctx, v)
			}
		}()
		f()
	}
	if tx := x.tx; tx != nil {
		x.tx = nil
		step(tx.body.abort)
		step(func() { x.backend.Reset(ctx) })
	}
	if x.backend != nil {
		step(x.backend.Close)
	}
}

func (x *session) run(ctx context.Context) *end {
	if x.cfg.ImplicitTLS {
		if e := x.handshake(); e != nil {
			return e
		}
	}
	if e := x.connect(ctx); e != nil {
		return e
	}
	if e := x.say(smtp.Reply{Code: 220, Text: x.cfg.Hostname + " ESMTP service ready"}); e != nil {
		return e
	}
	for {
		if e := x.command(ctx); e != nil {
			return e
		}
	}
}

// connect asks the backend for a session, which may take its time. A drain does
// not wait for that.
func (x *session) connect(ctx context.Context) *end {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	x.setCalling(cancel)
	b, err := x.srv.backend.Connect(asking, x.peer)
	x.setCalling(nil)
	switch {
	case err != nil && asking.Err() != nil && ctx.Err() == nil:
		return &end{whyDrain, replyShutdown}
	case err != nil:
		return &end{"refused by backend", x.refusal(ctx, "connect", err, replyInternal)}
	}
	x.backend = b
	return nil
}

// setCalling says what ends the call of the backend that runs now.
func (x *session) setCalling(f context.CancelFunc) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.calling = f; f != nil && x.woken {
		f()
	}
}

// command reads one command line, runs it and answers it.
func (x *session) command(ctx context.Context) *end {
	line, err := x.line(max(x.cfg.Limits.CommandLine, x.cfg.Limits.AuthLine))
	r, e := smtp.Reply{}, (*end)(nil)
	if err != nil {
		if r, e = x.badLine(line, err); e != nil {
			return e
		}
	} else {
		r, e = x.dispatch(ctx, line)
	}
	if r.Code != 0 {
		if bad := x.say(r); bad != nil {
			return bad
		}
	}
	if e != nil {
		return e
	}
	return x.account(r)
}

// account keeps the counts that end a session.
func (x *session) account(r smtp.Reply) *end {
	excused := x.excused
	x.excused = false
	if r.Code == 421 {
		return &end{why: "421"}
	}
	if r.Permanent() && !excused {
		if x.errors++; x.errors >= x.cfg.Limits.Errors {
			return &end{"too many errors", replyErrors}
		}
	}
	if x.junk > x.cfg.Limits.Commands {
		return &end{"too many commands", replyJunk}
	}
	return nil
}

// badLine answers a line that could not be read.
func (x *session) badLine(head []byte, err error) (smtp.Reply, *end) {
	switch {
	case errors.Is(err, smtp.ErrLineTooLong):
		if isAuth(head) {
			return replyLongAuth, nil
		}
		return replyLongLine, nil
	case errors.Is(err, smtp.ErrBareCR):
		return replyBadCR, nil
	case errors.Is(err, smtp.ErrNUL):
		return replyBadLine, nil
	case errors.Is(err, smtp.ErrBareLF):
		return smtp.Reply{}, &end{"bare line feed", replyBadLine}
	}
	return smtp.Reply{}, x.lost(err)
}

// lost is the end for an error of the connection, or one that leaves the stream
// out of step.
func (x *session) lost(err error) *end {
	switch {
	case errors.Is(err, errDrain):
		return &end{whyDrain, replyShutdown}
	case errors.Is(err, errTooSlow):
		return &end{"too slow", replyTooSlow}
	case errors.Is(err, smtp.ErrLineFlood):
		return &end{"endless line", replyFlood}
	case errors.Is(err, errUnexpectedTLS):
		return &end{"TLS on a plain-text port", replyBadLine}
	case errors.Is(err, errWrite):
		return &end{why: "client does not read"}
	case isTimeout(err):
		return &end{whyTimeout, replyTimeout}
	}
	return &end{why: whyGone}
}

// say gathers a reply for the client.
func (x *session) say(r smtp.Reply) *end {
	if call := x.cfg.Hooks.Replied; call != nil {
		call(r.Code)
	}
	if err := x.w.reply(r); err != nil {
		return x.lost(err)
	}
	return nil
}

// line waits for one line; at its boundary the session can be called off.
func (x *session) line(limit int) ([]byte, error) {
	if !x.arm(time.Now().Add(x.cfg.Limits.Idle)) {
		return nil, errDrain
	}
	var line []byte
	err := x.w.wait()
	if err == nil && x.peer.TLS == nil {
		err = x.checkPlain()
	}
	if err == nil {
		line, err = smtp.ReadLine(x.w.in(), limit)
	}
	if x.disarm() && !errors.Is(err, io.EOF) {
		return nil, errDrain
	}
	return line, err
}

// tlsRecord is the first octet of a TLS handshake (RFC 8446 §5.1).
const tlsRecord = 0x16

// errUnexpectedTLS ends a session in which a client starts TLS unasked.
var errUnexpectedTLS = errors.New("TLS on a plain-text port")

// checkPlain looks at the first octet of a line: a client that starts TLS waits
// for more than a line end, and nothing of it is a command.
func (x *session) checkPlain() error {
	if p, err := x.w.in().Peek(1); err != nil || p[0] != tlsRecord {
		return err
	}
	return errUnexpectedTLS
}

// arm sets the deadline of a wait that wake may cut short; false: it was, and
// the wait must not begin.
func (x *session) arm(deadline time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.woken {
		return false
	}
	x.waiting = true
	x.w.raw.SetDeadline(deadline)
	return true
}

// disarm ends such a wait, and reports whether wake was called.
func (x *session) disarm() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiting = false
	return x.woken
}

// wake calls the session off at its next command boundary, which is now if it
// waits for a command.
func (x *session) wake() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.woken {
		return
	}
	x.woken = true
	close(x.wokenCh)
	if x.calling != nil {
		x.calling()
	}
	if x.waiting {
		x.w.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

func (x *session) setCancel(f context.CancelFunc) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancel = f
}

// kill closes the connection under the session.
func (x *session) kill() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancel()
	x.w.raw.Close()
}

// refusal turns a backend's error into a reply: its own, or a temporary failure
// that shows nothing of the error.
func (x *session) refusal(ctx context.Context, op string, err error, hidden smtp.Reply) smtp.Reply {
	if r, ok := errors.AsType[smtp.Reply](err); ok && r.Code >= 400 && r.Code <= 599 {
		x.excused = x.loggedIn
		return r
	}
	if ctx.Err() == nil {
		x.cfg.Log.LogAttrs(ctx, slog.LevelError, "smtp backend", slog.String("operation", op),
			slog.Any("peer", x.peer), slog.Any("error", err))
	}
	return hidden
}

// forget drops the transaction, as RSET, EHLO and STARTTLS do.
func (x *session) forget(ctx context.Context) {
	tx := x.tx
	if tx == nil {
		return
	}
	x.tx = nil
	tx.body.abort()
	x.backend.Reset(ctx)
}

package sink

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/smtp"
)

// Stage is where in a session a fault strikes.
type Stage string

// The stages.
const (
	AtConnect Stage = "connect" // in place of the greeting
	AtHelo    Stage = "helo"    // at EHLO or HELO
	AtMail    Stage = "mail"
	AtRcpt    Stage = "rcpt"
	AtData    Stage = "data" // at DATA or the first BDAT
	AtEnd     Stage = "end"  // after the whole message
)

// Fault is misbehaviour on request: at a stage wait, then answer something
// else or break the connection.
type Fault struct {
	Stage Stage
	// To limits it to recipients (at rcpt and later) and From to senders (at mail
	// and later): a whole address in lower case, or "*" and what it ends with.
	To, From string
	First    int // only the first so many times that it would strike; 0: always
	Delay    time.Duration
	Reply    smtp.Reply // zero: the usual one
	Drop     bool       // close the connection without a word
}

// maxDelay bounds Fault.Delay.
const maxDelay = time.Hour

// ParseFault reads "stage[,to=PATTERN][,from=PATTERN][,first=N][,delay=D][,drop][: CODE [X.Y.Z] TEXT]",
// as in "rcpt,to=*@slow.test,first=2: 451 4.3.0 try again later".
func ParseFault(s string) (Fault, error) {
	head, reply, answered := strings.Cut(s, ":")
	words := strings.Split(head, ",")
	f := Fault{Stage: Stage(strings.TrimSpace(words[0]))}
	switch f.Stage {
	case AtConnect, AtHelo, AtMail, AtRcpt, AtData, AtEnd:
	default:
		return Fault{}, fmt.Errorf("fault %q: the stage is connect, helo, mail, rcpt, data or end", s)
	}
	for _, w := range words[1:] {
		if err := f.option(strings.TrimSpace(w)); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", s, err)
		}
	}
	if answered {
		r, err := parseReply(strings.TrimSpace(reply))
		if err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", s, err)
		}
		f.Reply = r
	}
	if err := f.check(); err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", s, err)
	}
	return f, nil
}

func (f *Fault) check() error {
	atMost := func(limit Stage, pattern string) bool { return pattern == "" || order[f.Stage] >= order[limit] }
	switch {
	case answers(f.Reply) && f.Drop:
		return fmt.Errorf("a reply and drop exclude each other")
	case !answers(f.Reply) && !f.Drop && f.Delay == 0:
		return fmt.Errorf("nothing is to happen: give a reply, delay or drop")
	case answers(f.Reply) && f.Reply.Code/100 != 4 && f.Reply.Code/100 != 5:
		return fmt.Errorf("reply %d is no refusal", f.Reply.Code)
	case f.First < 0 || f.Delay < 0 || f.Delay > maxDelay:
		return fmt.Errorf("first or delay out of range")
	case !atMost(AtRcpt, f.To) || !atMost(AtMail, f.From):
		return fmt.Errorf("the address is not known at that stage")
	}
	return nil
}

var order = map[Stage]int{AtConnect: 0, AtHelo: 1, AtMail: 2, AtRcpt: 3, AtData: 4, AtEnd: 5}

func answers(r smtp.Reply) bool { return r.Code != 0 }

func (f *Fault) option(w string) (err error) {
	name, value, _ := strings.Cut(w, "=")
	switch name {
	case "to":
		f.To = strings.ToLower(value)
	case "from":
		f.From = strings.ToLower(value)
	case "first":
		f.First, err = strconv.Atoi(value)
	case "delay":
		f.Delay, err = time.ParseDuration(value)
	case "drop":
		f.Drop = true
	default:
		return fmt.Errorf("unknown option %q", name)
	}
	return err
}

// parseReply reads "451 4.3.0 text". Without an enhanced code, the class's
// "other" is taken.
func parseReply(s string) (smtp.Reply, error) {
	word, text, _ := strings.Cut(s, " ")
	code, err := strconv.Atoi(word)
	if err != nil || len(word) != 3 {
		return smtp.Reply{}, fmt.Errorf("%q does not begin with a reply code", s)
	}
	r := smtp.Reply{Code: code, Enhanced: smtp.EnhancedCode{code / 100, 0, 0}, Text: text}
	first, rest, _ := strings.Cut(text, " ")
	var e smtp.EnhancedCode
	if n, _ := fmt.Sscanf(first, "%1d.%3d.%3d", &e[0], &e[1], &e[2]); n == 3 && e.String() == first {
		if e[0] != code/100 {
			return smtp.Reply{}, fmt.Errorf("%q: code and enhanced code differ in class", s)
		}
		r.Enhanced, r.Text = e, rest
	}
	if r.Text == "" {
		r.Text = "as requested"
	}
	for _, c := range []byte(r.Text) {
		if c < ' ' || c > '~' {
			return smtp.Reply{}, fmt.Errorf("%q: only printable ASCII can be said", s)
		}
	}
	return r, nil
}

// faults strikes for one server.
type faults struct {
	list []Fault
	hits []atomic.Int64

	mu    sync.Mutex
	conns map[netip.AddrPort]net.Conn // by remote; only where a fault may drop
}

func newFaults(list []Fault) (*faults, error) {
	for i := range list {
		if err := list[i].check(); err != nil {
			return nil, fmt.Errorf("fault at %s: %w", list[i].Stage, err)
		}
	}
	return &faults{list: list, hits: make([]atomic.Int64, len(list)), conns: make(map[netip.AddrPort]net.Conn)}, nil
}

// strike is called at a stage with the addresses known there. A nil error means
// to go on as usual.
func (f *faults) strike(ctx context.Context, at Stage, remote netip.AddrPort, from string, to ...string) error {
	for i := range f.list {
		ft := &f.list[i]
		if ft.Stage != at || ft.From != "" && !matches(ft.From, from) || ft.To != "" && !matchesAny(ft.To, to) {
			continue
		}
		if ft.First > 0 && f.hits[i].Add(1) > int64(ft.First) {
			continue
		}
		if ft.Delay > 0 {
			t := time.NewTimer(ft.Delay)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return context.Cause(ctx)
			}
		}
		if ft.Drop {
			f.drop(remote)
			return smtp.R(421, 4, 4, 2, "gone") // into a closed connection
		}
		if answers(ft.Reply) {
			return ft.Reply
		}
	}
	return nil
}

func matches(pattern, address string) bool {
	address = strings.ToLower(address)
	if end, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(address, end)
	}
	return address == pattern
}

func matchesAny(pattern string, addresses []string) bool {
	for _, a := range addresses {
		if matches(pattern, a) {
			return true
		}
	}
	return false
}

func (f *faults) drop(remote netip.AddrPort) {
	f.mu.Lock()
	conn := f.conns[unmapped(remote)]
	f.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// watch makes the connections of ln known to drop, if any fault drops.
func (f *faults) watch(ln net.Listener) net.Listener {
	for i := range f.list {
		if f.list[i].Drop {
			return &watched{Listener: ln, faults: f}
		}
	}
	return ln
}

type watched struct {
	net.Listener
	faults *faults
}

func (w *watched) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return conn, nil
	}
	remote := unmapped(tcp.AddrPort())
	w.faults.mu.Lock()
	w.faults.conns[remote] = conn
	w.faults.mu.Unlock()
	return &watchedConn{Conn: conn, forget: func() {
		w.faults.mu.Lock()
		if w.faults.conns[remote] == conn {
			delete(w.faults.conns, remote)
		}
		w.faults.mu.Unlock()
	}}, nil
}

type watchedConn struct {
	net.Conn
	forget func()
}

func (c *watchedConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

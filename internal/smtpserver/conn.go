package smtpserver

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"postern/internal/smtp"
)

// bufferSize is the least size of the read buffer: one whole TLS record.
const bufferSize = 16 << 10

// maxLine is the longest command or AUTH line that can be configured. The read
// buffer holds a whole line.
const maxLine = 64 << 10

// flushAt is when replies are written although more input waits (RFC 2920
// §3.2), so that a client which never reads cannot make them pile up.
const flushAt = 8 << 10

// buffers are what a session has only while it works: idle ones give them back.
type buffers struct {
	in  *bufio.Reader
	out []byte
}

// newBufferPool makes a server's pool; its buffers hold the longest line.
func newBufferPool(l Limits) *sync.Pool {
	size := max(bufferSize, l.AuthLine+1, l.CommandLine+1)
	return &sync.Pool{New: func() any {
		return &buffers{in: bufio.NewReaderSize(nil, size), out: make([]byte, 0, 1024)}
	}}
}

// wire is the session's end of the connection: buffered input that can be given
// back, replies gathered into one write, and a deadline on everything.
type wire struct {
	raw   net.Conn // as accepted
	conn  net.Conn // raw, or TLS over it
	write time.Duration

	pool  *sync.Pool
	bufs  *buffers
	first [1]byte // the octet that ended a wait
	has   bool    // first holds one

	// readBy, where set, gives the deadline of each read while content comes in.
	readBy func() (time.Time, error)
}

// errWrite wraps failures to write: nothing more can be said to the client.
var errWrite = errors.New("write")

// Read feeds the buffer. It is the only place where the session blocks for
// input, apart from wait.
func (w *wire) Read(p []byte) (int, error) {
	if w.has {
		w.has = false
		p[0] = w.first[0]
		return 1, nil
	}
	// What was answered must be out before more is waited for (RFC 2920 §3.2).
	if err := w.flush(); err != nil {
		return 0, err
	}
	if w.readBy != nil {
		by, err := w.readBy()
		if err != nil {
			return 0, err
		}
		if err := w.conn.SetReadDeadline(by); err != nil {
			return 0, err
		}
	}
	return w.conn.Read(p)
}

// wait blocks until there is input, holding no buffers meanwhile: an idle
// connection costs its TLS state and a goroutine, no more.
func (w *wire) wait() error {
	if w.buffered() > 0 || w.has {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.release()
	n, err := w.conn.Read(w.first[:])
	w.has = n == 1
	if w.has {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (w *wire) acquire() *buffers {
	if w.bufs == nil {
		w.bufs = w.pool.Get().(*buffers)
		w.bufs.in.Reset(w)
	}
	return w.bufs
}

// release gives the buffers back; nothing may be in them.
func (w *wire) release() {
	if w.bufs == nil {
		return
	}
	w.bufs.in.Reset(nil)
	w.bufs.out = w.bufs.out[:0]
	w.pool.Put(w.bufs)
	w.bufs = nil
}

func (w *wire) in() *bufio.Reader { return w.acquire().in }

// buffered is the number of octets that were received and not yet read.
func (w *wire) buffered() int {
	if w.bufs == nil {
		return 0
	}
	return w.bufs.in.Buffered()
}

// pending reports whether the client sent anything beyond what was read, before
// it could have seen the replies that are still held back. It looks for what is
// on its way for a moment only.
func (w *wire) pending() bool {
	if w.buffered() > 0 || w.has {
		return true
	}
	w.conn.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
	n, _ := w.conn.Read(w.first[:])
	w.has = n == 1
	return w.has
}

// reply gathers a reply; it leaves when the input buffer is empty.
func (w *wire) reply(r smtp.Reply) error {
	b := w.acquire()
	b.out = smtp.AppendReply(b.out, r)
	if len(b.out) >= flushAt {
		return w.flush()
	}
	return nil
}

func (w *wire) flush() error {
	if w.bufs == nil || len(w.bufs.out) == 0 {
		return nil
	}
	out := w.bufs.out
	w.bufs.out = out[:0]
	w.conn.SetWriteDeadline(time.Now().Add(w.write))
	if _, err := w.conn.Write(out); err != nil {
		return errors.Join(errWrite, err)
	}
	return nil
}

// startTLS puts TLS over the connection. Input that is buffered now would have
// come before it: the caller has made sure that there is none, and has set the
// deadlines.
func (w *wire) startTLS(cfg *tls.Config, s *served) (*tls.Conn, *tls.Certificate, error) {
	w.release()
	t := tls.Server(w.raw, cfg)
	leaf, err := s.handshake(t)
	if err != nil {
		return nil, nil, err
	}
	w.conn = t
	return t, leaf, nil
}

// lingerTime and lingerSize bound how long and how much is read and dropped
// after the last reply.
const (
	lingerTime = time.Second
	lingerSize = 1 << 20
)

// close flushes, and where the client is still sending reads on for a moment:
// closing a socket with unread input resets the connection, and the last reply
// would be lost with it.
func (w *wire) close(linger bool) {
	if w.flush() != nil {
		linger = false
	}
	if linger {
		if c, ok := w.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
			w.raw.SetReadDeadline(time.Now().Add(lingerTime))
			io.Copy(io.Discard, io.LimitReader(w.raw, lingerSize))
		}
	}
	w.conn.Close()
	w.raw.Close()
	w.has = false
	w.release()
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

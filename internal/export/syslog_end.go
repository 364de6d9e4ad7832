package export

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// maxTalk is how many octets a syslog server may send, which has nothing to say.
const maxTalk = 1 << 20

var (
	errTalks = errors.New("the server sends data, as no syslog server does")
	errEarly = errors.New("the server closed the connection before it had all")
)

// say writes a batch and the end of it, and returns nil once the server has ended the
// connection too, after it had read all. What the server sends is read meanwhile, so
// that neither side waits for the other. raw is what conn runs over.
func say(conn *tls.Conn, raw net.Conn, batch []byte, deadline time.Time) error {
	heard := make(chan error, 1)
	go func() {
		err := hear(conn)
		if err != nil {
			_ = raw.SetDeadline(time.Now()) // ends a write that the server does not read
		}
		heard <- err
	}()
	_, err := conn.Write(batch)
	if err == nil {
		select {
		case early := <-heard:
			return errors.Join(errEarly, early)
		default:
		}
		// close_notify (RFC 5425 §4.4): the server has all before it, or none of this counts.
		err = conn.CloseWrite()
	}
	if err != nil {
		_ = raw.SetDeadline(time.Now())
		if early := <-heard; errors.Is(early, errTalks) {
			return early
		}
		return fmt.Errorf("write: %w", err)
	}
	if err := <-heard; err != nil {
		return fmt.Errorf("the server did not close the connection: %w", err)
	}
	return closed(raw, deadline)
}

// hear reads until the server ends its side, by close_notify or without it.
func hear(conn *tls.Conn) error {
	n, err := io.Copy(io.Discard, io.LimitReader(conn, maxTalk))
	switch {
	case n >= maxTalk:
		return errTalks
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil
	}
	return err
}

// closed tells a server that has closed after it had read all from one that has closed
// before, with the same words. The latter's system answers what it has not read, or
// what comes later, with a reset; the former's has confirmed all.
func closed(raw net.Conn, deadline time.Time) error {
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return nil
	}
	if err := tcp.CloseWrite(); err != nil {
		return errors.Join(errEarly, err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(tcp, maxTalk))
	if err != nil {
		return errors.Join(errEarly, err)
	}
	if n >= maxTalk {
		return errTalks
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		left, err := unconfirmed(tcp)
		if err != nil {
			return errors.Join(errEarly, err)
		}
		if left == 0 {
			return nil
		}
		if time.Until(deadline) < wait {
			return errEarly
		}
		time.Sleep(wait)
	}
}

package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Load hands messages in over several connections until its context ends or
// its count is used up. Every message has its own id and is tried once: after a
// lost link the client goes on with a new message, so that the ledger never
// counts its own repetition as the relay's.
type Load struct {
	Login       Login
	Ledger      *Ledger
	From        string
	Domains     []string // recipients' domains
	Connections int
	Messages    int           // in all; 0: until the context ends
	PerSession  int           // messages before a connection is closed and made anew; 0: 20
	Recipients  int           // at most this many per message; 0: 3
	Sizes       []int         // bodies' sizes in octets, drawn evenly; nil: 200 to 20,000 and one in 30 of 300,000
	Pause       time.Duration // between the messages of a connection
	Prefix      string        // of the ids, to tell runs apart

	mu   sync.Mutex
	next int
}

// Run blocks until all clients are done. It returns an error only for what no
// relay may answer a client of its own, such as a refused login.
func (l *Load) Run(ctx context.Context) error {
	errs := make([]error, l.Connections)
	var wg sync.WaitGroup
	for i := range l.Connections {
		rng := rand.New(rand.NewPCG(uint64(l.Ledger.Seed), uint64(i)))
		wg.Go(func() { errs[i] = l.client(ctx, rng) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// number takes the next message's number, or reports that the count is used up.
func (l *Load) number(ctx context.Context) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil || l.Messages > 0 && l.next >= l.Messages {
		return 0, false
	}
	l.next++
	return l.next, true
}

func (l *Load) done(ctx context.Context) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ctx.Err() != nil || l.Messages > 0 && l.next >= l.Messages
}

// client makes sessions one after the other. While the relay is down it knocks
// every 20 ms.
func (l *Load) client(ctx context.Context, rng *rand.Rand) error {
	for !l.done(ctx) {
		c, err := Dial(l.Login)
		var refused *ErrReply
		switch {
		case errors.As(err, &refused) && refused.Reply.Code == 535:
			return fmt.Errorf("log in: %w", err)
		case err != nil:
			wait(ctx, 20*time.Millisecond)
			continue
		}
		l.session(ctx, c, rng)
		c.Close()
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (l *Load) session(ctx context.Context, c *Client, rng *rand.Rand) {
	per := l.PerSession
	if per == 0 {
		per = 20
	}
	for range per {
		n, ok := l.number(ctx)
		if !ok {
			break
		}
		if !l.send(c, fmt.Sprintf("%s%d-%06d", l.Prefix, l.Ledger.Seed, n), rng) {
			return
		}
		wait(ctx, l.Pause)
	}
	c.Quit()
}

// send offers one message and records how far it came. false: the link is gone.
func (l *Load) send(c *Client, id string, rng *rand.Rand) bool {
	e := Entry{ID: id, Conn: c.LocalAddr()}
	most := l.Recipients
	if most == 0 {
		most = 3
	}
	for i := range 1 + rng.IntN(most) {
		e.Recipients = append(e.Recipients, fmt.Sprintf("r%d-%s@%s", i, id, l.Domains[rng.IntN(len(l.Domains))]))
	}
	return Offer(c, l.Ledger, e, l.From, Body(rng, l.size(rng)))
}

func (l *Load) size(rng *rand.Rand) int {
	switch {
	case len(l.Sizes) > 0:
		return l.Sizes[rng.IntN(len(l.Sizes))]
	case rng.IntN(30) == 0:
		return 300_000
	}
	return 200 + rng.IntN(20_000)
}

// Offer hands one message in and records every step of it in the ledger. It
// reports whether the session can go on.
func Offer(c *Client, l *Ledger, e Entry, from string, body []byte) bool {
	return l.OfferSlowly(c, e, from, body, func() {})
}

// OfferSlowly is [Offer] with a pause of the caller's choice between the text and
// its end.
func (l *Ledger) OfferSlowly(c *Client, e Entry, from string, body []byte, pause func()) bool {
	e.Conn = c.LocalAddr()
	e.Sum, e.Size = sha256.Sum256(body), len(body)
	l.open(e)
	err := c.Envelope(from, e.Recipients)
	if err == nil {
		err = c.Data(Message(e, from, body))
	}
	if err != nil {
		return l.refused(c, e.ID, err)
	}
	pause()
	// From here on the relay may have the message. The entry says so before the
	// octets leave: a test that stops in between must not take it for cut off.
	l.update(e.ID, func(e *Entry) { e.Phase, e.EndAt = Sent, time.Now() })
	r, err := c.End()
	if err != nil {
		return l.refused(c, e.ID, err)
	}
	id, err := queueID(r.Text)
	at := time.Now()
	l.update(e.ID, func(e *Entry) {
		e.Phase, e.Reply, e.ReplyAt, e.QueueID = Acked, r.String(), at, id
	})
	return err == nil
}

// refused records a reply that is not the good one, if there was a reply.
func (l *Ledger) refused(c *Client, id string, err error) bool {
	var refused *ErrReply
	if !errors.As(err, &refused) {
		return false // the phase that was reached stands: cut or sent
	}
	at := time.Now()
	l.update(id, func(e *Entry) { e.Phase, e.Reply, e.ReplyAt = Refused, refused.Error(), at })
	if refused.Reply.Code == 421 {
		return false
	}
	_, err = c.Do("RSET", 250, "RSET")
	return err == nil
}

// Message is a complete message around a body: the header that carries the
// ledger's id, the empty line, the body.
func Message(e Entry, from string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: ledger %s\r\nX-Ledger-Id: %s\r\n", from, e.Recipients[0], e.ID, e.ID)
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: <%s@client.example>\r\n\r\n", time.Now().Format(time.RFC1123Z), e.ID)
	b.Write(body)
	return b.Bytes()
}

// Body draws a 7-bit body of about n octets in CRLF lines, with lines that
// begin with dots and empty lines, which framing must keep.
func Body(rng *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+80)
	var raw [32]byte
	for len(b) < n {
		switch rng.IntN(40) {
		case 0:
			b = append(b, "\r\n"...)
		case 1:
			b = append(b, ".\r\n"...)
		case 2:
			b = append(b, "..a line with dots\r\n"...)
		default:
			for i := 0; i < len(raw); i += 8 {
				v := rng.Uint64()
				for j := range 8 {
					raw[i+j] = byte(v >> (8 * j))
				}
			}
			b = hex.AppendEncode(b, raw[:])
			b = append(b, "\r\n"...)
		}
	}
	// A body never ends in an empty line here, so that it survives any hop that
	// trims the end.
	return append(b, "end\r\n"...)
}

package smtpclient

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/testkit/fakemx"
)

// pipe opens a session with a fake over a pipe, for use in a bubble of virtual
// time. The returned function ends both.
func pipe(t *testing.T, config fakemx.Config) (*Session, *fakemx.Server, func()) {
	t.Helper()
	mx := fakemx.New(config)
	client, server := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		mx.Serve(server)
	}()
	s, err := New(t.Context(), client, Options{HeloName: "client.example.test"})
	if err != nil {
		<-served
		t.Fatal(err)
	}
	return s, mx, func() {
		s.Close()
		<-served
	}
}

// DL-07: the reply to the end of the data may take ten minutes (RFC 5321
// §4.5.3.2.6): giving up earlier makes duplicates.
func TestDL_07(t *testing.T) {
	t.Parallel()
	t.Run("DL-07", func(t *testing.T) {
		for _, tc := range []struct {
			delay time.Duration
			want  string
			after time.Duration
		}{
			{9*time.Minute + 59*time.Second, "250 2.0.0 end", 9*time.Minute + 59*time.Second},
			{time.Hour, "451 4.4.2 end local ambiguous", 10 * time.Minute},
		} {
			synctest.Test(t, func(t *testing.T) {
				s, _, done := pipe(t, fakemx.Config{Script: at(fakemx.End, 0, fakemx.Step{Delay: tc.delay})})
				defer done()
				begin := time.Now()
				res := s.Send(t.Context(), message(testMessage, "b@example.test"))
				want(t, res, tc.want)
				if took := time.Since(begin); took != tc.after {
					t.Errorf("took %v, want %v", took, tc.after)
				}
			})
		}
	})
}

// Every wait before the end of the data has the time of RFC 5321 §4.5.3.2, and
// not a second less.
func TestStageTimeouts(t *testing.T) {
	t.Parallel()
	for stage, limit := range map[fakemx.Stage]time.Duration{
		fakemx.Mail: 5 * time.Minute, fakemx.Rcpt: 5 * time.Minute, fakemx.Data: 2 * time.Minute,
	} {
		for _, late := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				delay := limit - time.Second
				outcome := "250 2.0.0 end"
				if late {
					delay, outcome = limit+time.Second, "451 4.4.2 "+string(stage)+" local open"
				}
				s, _, done := pipe(t, fakemx.Config{Script: at(stage, 0, fakemx.Step{Delay: delay})})
				defer done()
				begin := time.Now()
				res := s.Send(t.Context(), message(testMessage, "b@example.test"))
				want(t, res, outcome)
				if took := time.Since(begin); took != min(delay, limit) {
					t.Errorf("%s: took %v", stage, took)
				}
			})
		}
	}
	for stage, limit := range map[fakemx.Stage]time.Duration{fakemx.Banner: 5 * time.Minute, fakemx.Ehlo: 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			mx := fakemx.New(fakemx.Config{Script: at(stage, 0, fakemx.Step{Stall: true})})
			client, server := net.Pipe()
			served := make(chan struct{})
			go func() { defer close(served); mx.Serve(server) }()
			begin := time.Now()
			_, err := New(t.Context(), client, Options{HeloName: "client.example.test"})
			wantError(t, err, "451 4.4.2 "+string(stage)+" local lost")
			if took := time.Since(begin); took != limit {
				t.Errorf("%s: gave up after %v, want %v", stage, took, limit)
			}
			<-served
		})
	}
}

// A host that does not read holds a writer for the time of one block.
func TestBlockTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, done := pipe(t, fakemx.Config{Script: at(fakemx.Body, 0, fakemx.Step{Delay: time.Hour})})
		defer done()
		begin := time.Now()
		res := s.Send(t.Context(), message(strings.Repeat("x\r\n", outSize), "b@example.test"))
		want(t, res, "451 4.4.2 body local")
		if took := time.Since(begin); took != 3*time.Minute {
			t.Errorf("took %v, want 3m", took)
		}
	})
}

// DL-23: a host that is alive and very slow keeps a transaction only so long.
func TestDL_23(t *testing.T) {
	t.Parallel()
	t.Run("DL-23", func(t *testing.T) {
		// One line of about a kilobyte a minute is inside every block's time.
		line := strings.Repeat("x", 996) + "\r\n"
		synctest.Test(t, func(t *testing.T) {
			s, _, done := pipe(t, fakemx.Config{SlowRead: time.Minute})
			defer done()
			begin := time.Now()
			res := s.Send(t.Context(), message(strings.Repeat(line, 400), "b@example.test"))
			o := res.Outcomes[0]
			if o.Delivered() || o.Ambiguous || !o.Reply.Temporary() || o.Stage != StageBody {
				t.Errorf("outcome %s", show(o))
			}
			if took := time.Since(begin); took > 32*time.Minute {
				t.Errorf("took %v", took)
			}
		})
		// A drip of replies is bounded too: each in time, all together not.
		synctest.Test(t, func(t *testing.T) {
			s, _, done := pipe(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
				if e.Stage == fakemx.Rcpt {
					return fakemx.Step{Delay: 4 * time.Minute}
				}
				return fakemx.Step{}
			}})
			defer done()
			tx := message(testMessage)
			for range 100 {
				tx.Recipients = append(tx.Recipients, Recipient{Address: "b@example.test"})
			}
			begin := time.Now()
			res := s.Send(t.Context(), tx)
			if o := res.Outcomes[99]; !strings.HasPrefix(o.Reply.Text, replySlow.Text) || !o.Open {
				t.Errorf("outcome %s: %s", show(o), o.Reply)
			}
			if took := time.Since(begin); took != 30*time.Minute {
				t.Errorf("took %v, want 30m", took)
			}
		})
	})
}

// Once the end of the data is out, an interruption only shortens the wait.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		stage  fakemx.Stage
		delay  time.Duration // until the host answers
		cancel time.Duration
		want   string
		after  time.Duration
	}{
		{fakemx.Mail, time.Minute, time.Second, "451 4.3.2 mail local open", time.Second},
		{fakemx.Rcpt, time.Minute, time.Second, "451 4.3.2 rcpt local open", time.Second},
		{fakemx.Data, time.Minute, time.Second, "451 4.3.2 data local open", time.Second},
		{fakemx.End, 20 * time.Second, 5 * time.Second, "250 2.0.0 end", 20 * time.Second},
		{fakemx.End, time.Minute, 5 * time.Second, "451 4.4.2 end local ambiguous", 25 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, _, done := pipe(t, fakemx.Config{Script: at(tc.stage, 0, fakemx.Step{Delay: tc.delay})})
			defer done()
			ctx, cancel := context.WithTimeout(t.Context(), tc.cancel)
			defer cancel()
			begin := time.Now()
			res := s.Send(ctx, message(testMessage, "b@example.test"))
			want(t, res, tc.want)
			if took := time.Since(begin); took != tc.after || s.Usable() {
				t.Errorf("%s: took %v, want %v; usable %v", tc.stage, took, tc.after, s.Usable())
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // while BeforeEnd waits
		s, mx, done := pipe(t, fakemx.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		tx := message(testMessage, "b@example.test")
		tx.BeforeEnd = func(context.Context) error { cancel(); return nil }
		want(t, s.Send(ctx, tx), "451 4.3.2 body local")
		done()
		if len(mx.Complete()) != 0 {
			t.Error("delivered after the interruption")
		}
	})
	synctest.Test(t, func(t *testing.T) { // before anything
		s, _, done := pipe(t, fakemx.Config{})
		defer done()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, s.Send(ctx, message(testMessage, "b@example.test")), "451 4.3.2 mail local open")
	})
}

// shortWriter fails at the n-th write after having handed over some octets.
type shortWriter struct {
	net.Conn
	n, part int // part < 0: all of them
}

func (c *shortWriter) Write(p []byte) (int, error) {
	c.n--
	if c.n != 0 {
		return c.Conn.Write(p)
	}
	part := c.part
	if part < 0 {
		part = len(p)
	}
	n, err := c.Conn.Write(p[:part])
	c.Conn.Close()
	return n, errors.Join(err, io.ErrClosedPipe)
}

// Ambiguous is what may have arrived whole, and nothing else.
func TestAmbiguousOnlyIfTheEndLeft(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		write, part int
		want        string
		complete    bool
	}{
		{2, 5, "451 4.4.2 mail local open", false},
		{3, 0, "451 4.4.2 body local", false},
		{3, len(testMessage) + 2 + 2, "451 4.4.2 body local", false}, // two stuffed dots, and two of the three last octets
		{3, -1, "451 4.4.2 end local ambiguous", true},
	} {
		mx := fakemx.Start(t, fakemx.Config{})
		conn := &shortWriter{Conn: dial(t, mx), n: tc.write, part: tc.part}
		s, err := New(t.Context(), conn, Options{HeloName: "client.example.test"})
		if err != nil {
			t.Fatal(err)
		}
		want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), tc.want)
		mx.Drain(t)
		if got := len(mx.Complete()) == 1; got != tc.complete {
			t.Errorf("write %d, %d octets: complete at the host %v", tc.write, tc.part, got)
		}
	}
}

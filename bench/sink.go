package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"postern/internal/bench"
)

// The receiving server: it takes everything, keeps nothing, and says as fast as
// it can. It is a process of its own, so that its CPU is known.

// sinkState is what the sink writes, one JSON line whenever asked.
type sinkState struct {
	SMTP     string `json:"smtp,omitempty"`
	Messages int64  `json:"messages"`
	Octets   int64  `json:"octets"`
}

// sinkMain serves until ctx ends or standard input closes. Each line on standard
// input is answered with the state.
func sinkMain(ctx context.Context, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	var messages, octets atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = sinkSession(conn, &messages, &octets)
			}()
		}
	}()
	enc := json.NewEncoder(out)
	if err := enc.Encode(sinkState{SMTP: l.Addr().String()}); err != nil {
		return err
	}
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() && ctx.Err() == nil {
		if err := enc.Encode(sinkState{Messages: messages.Load(), Octets: octets.Load()}); err != nil {
			return err
		}
	}
	return asked.Err()
}

var endOfData = []byte("\r\n.\r\n")

// sinkSession is one session: PIPELINING, one write for all replies of a group.
func sinkSession(conn net.Conn, messages, octets *atomic.Int64) error {
	in, out := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriterSize(conn, 4096)
	say := func(s string) { _, _ = out.WriteString(s + "\r\n") }
	say("220 sink.invalid ESMTP")
	for {
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch verb := string(bytes.ToUpper(line[:min(4, len(line))])); verb {
		case "EHLO":
			say("250-sink.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 104857600")
		case "DATA":
			say("354 go on")
			if err := out.Flush(); err != nil {
				return err
			}
			n, err := skipData(in)
			if err != nil {
				return err
			}
			messages.Add(1)
			octets.Add(n)
			say("250 2.0.0 taken")
		case "QUIT":
			say("221 2.0.0 bye")
			return out.Flush()
		default:
			say("250 2.0.0 ok")
		}
	}
}

// skipData reads to the end of the data and returns how many octets came before it.
func skipData(in *bufio.Reader) (int64, error) {
	var n int64
	tail := append(make([]byte, 0, 8), "\r\n"...) // the start of data is a line's start
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return n, err
		}
		n += int64(len(line))
		whole := append(tail, line...)
		if len(line) <= 3 && bytes.HasSuffix(whole, endOfData) {
			return n - 3, nil
		}
		tail = append(tail[:0], whole[max(0, len(whole)-2):]...)
	}
}

// sink is the running process.
type sink struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	addr string
	base int64
}

// startSink runs this program again as a sink.
func startSink() (*sink, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "sink")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &sink{cmd: cmd, in: in, out: json.NewDecoder(out)}
	var state sinkState
	if err := s.out.Decode(&state); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.addr = state.SMTP
	return s, nil
}

// port is the sink's port.
func (s *sink) port() string { return s.addr[strings.LastIndexByte(s.addr, ':')+1:] }

// count asks how many messages have come since reset.
func (s *sink) count() (int64, error) {
	if _, err := io.WriteString(s.in, "\n"); err != nil {
		return 0, err
	}
	var state sinkState
	err := s.out.Decode(&state)
	return state.Messages - s.base, err
}

// reset counts from zero again.
func (s *sink) reset() error {
	s.base = 0
	n, err := s.count()
	s.base = n
	return err
}

// await waits until n messages have come since reset, and fails when none comes for a minute.
func (s *sink) await(ctx context.Context, n int64) error {
	last, since := int64(-1), time.Now()
	for {
		got, err := s.count()
		if err != nil {
			return err
		}
		if got >= n {
			return nil
		}
		if got != last {
			last, since = got, time.Now()
		}
		if time.Since(since) > time.Minute {
			return fmt.Errorf("the sink has %d of %d messages and no more come", got, n)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// usage is what the sink has spent.
func (s *sink) usage() (bench.Usage, error) { return bench.ReadUsage(s.cmd.Process.Pid) }

// stop ends it: it goes when its standard input closes.
func (s *sink) stop() error {
	_ = s.in.Close()
	return s.cmd.Wait()
}

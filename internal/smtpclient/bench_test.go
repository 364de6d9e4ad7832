package smtpclient

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tenKB is a message of 10 KB in lines of 76.
var tenKB = strings.Repeat(strings.Repeat("x", 74)+"\r\n", 135)

// canned answers without a goroutine, so that only the client is measured.
type canned struct {
	scripted
	replies [][]byte
	i       int
}

func (c *canned) Write(p []byte) (int, error) {
	c.in = append(c.in, c.replies[c.i%len(c.replies)]...)
	c.i++
	return len(p), nil
}

// BenchmarkSend is the client's own cost of a message of 10 KB for one recipient
// over a session that is reused.
func BenchmarkSend(b *testing.B) {
	conn := &canned{replies: [][]byte{[]byte("250-mx\r\n250-PIPELINING\r\n250 SIZE 10000000\r\n")}}
	conn.in = []byte("220 mx\r\n")
	s, err := New(context.Background(), conn, Options{HeloName: "client.example.test"})
	if err != nil {
		b.Fatal(err)
	}
	conn.replies, conn.i = [][]byte{[]byte("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go ahead\r\n"), []byte("250 2.0.0 Ok: queued as 1234567890\r\n")}, 0
	benchmark(b, s)
}

// BenchmarkSendLoopback adds the system's part: a real connection, and a sink
// that only counts ends of data.
func BenchmarkSendLoopback(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go sink(ln)
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(context.Background(), conn, Options{HeloName: "client.example.test"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchmark(b, s)
}

func sink(ln net.Listener) {
	conn, err := ln.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	buf := make([]byte, 64<<10)
	io.WriteString(conn, "220 mx\r\n")
	conn.Read(buf)
	io.WriteString(conn, "250-mx\r\n250 PIPELINING\r\n")
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		switch got := string(buf[max(0, n-6):n]); {
		case got == "DATA\r\n":
			io.WriteString(conn, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go ahead\r\n")
		case strings.HasSuffix(got, "\r\n.\r\n"):
			io.WriteString(conn, "250 2.0.0 Ok: queued as 1234567890\r\n")
		}
	}
}

func benchmark(b *testing.B, s *Session) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tx := message(tenKB, "b@example.test")
	reader := tx.Content.(*strings.Reader)
	content := struct{ io.Reader }{reader} // without WriteTo, as stored content is
	tx.Content = content
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		reader.Reset(tenKB)
		if res := s.Send(ctx, tx); !res.Outcomes[0].Delivered() {
			b.Fatalf("%v", res.Err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/float64(b.N), "µs-cpu/op")
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

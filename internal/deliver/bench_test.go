package deliver

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// BenchmarkDeliver is an attempt over a session that is reused, system and a
// simple receiver included: a message of 10 KB for one recipient.
func BenchmarkDeliver(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go receive(ln)
	w := newWorld(b, ln.Addr().(*net.TCPAddr).AddrPort().Port(), func(c *Config) { c.MessagesPerSession = 1 << 30 })
	w.host("mx.example.test", "127.0.0.1")
	w.mx("example.test", "mx.example.test")
	r := w.request("example.test", "b")
	r.Content = &content{data: []byte(strings.Repeat(strings.Repeat("x", 74)+"\r\n", 135))}
	b.ReportAllocs()
	for b.Loop() {
		if res := w.Deliver(b.Context(), r); res.Outcomes[0].State != Delivered {
			b.Fatal(show(res.Outcomes[0]))
		}
	}
	w.Close()
}

func receive(ln net.Listener) {
	conn, err := ln.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	io.WriteString(conn, "220 mx\r\n")
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch string(line) {
		case "EHLO relay.example.test\r\n":
			io.WriteString(conn, "250-mx\r\n250 PIPELINING\r\n")
		case "DATA\r\n":
			io.WriteString(conn, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go ahead\r\n")
		case ".\r\n":
			io.WriteString(conn, "250 2.0.0 Ok\r\n")
		case "QUIT\r\n":
			io.WriteString(conn, "221 2.0.0 Bye\r\n")
			return
		}
	}
}

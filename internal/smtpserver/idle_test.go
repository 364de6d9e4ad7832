package smtpserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// idleBudget is what an idle authenticated TLS connection may cost in memory,
// in octets, after one message (heap and stack, without the kernel's buffers).
const idleBudget = 25 << 10

// idleAddr tells this test, run again as a process of its own, to be the
// clients, so that their memory is not the server's.
const idleAddr = "POSTERN_TEST_IDLE_ADDR"

// discard is a backend that keeps nothing.
type discard struct{}

func (discard) Connect(context.Context, smtpserver.Peer) (smtpserver.Session, error) {
	return discard{}, nil
}
func (discard) Login(context.Context, string) sasl.Exchange {
	return sasl.Exchange{Authenticate: func(context.Context, sasl.Credentials) error { return nil }}
}
func (discard) Helo(context.Context, smtpserver.Peer) error                { return nil }
func (discard) Offers(context.Context, string) bool                        { return true }
func (discard) LoginFailed(context.Context, string, smtpserver.LoginFault) {}
func (discard) Mail(context.Context, smtp.Address, smtp.MailParams) error  { return nil }
func (discard) Rcpt(context.Context, smtp.Address, smtp.RcptParams) error  { return nil }
func (discard) Data(context.Context) (smtpserver.Body, error)              { return discard{}, nil }
func (discard) Reset(context.Context)                                      {}
func (discard) Close()                                                     {}
func (discard) Write(p []byte) (int, error)                                { return len(p), nil }
func (discard) Commit(context.Context) (smtp.Reply, error)                 { return smtp.Reply{}, nil }
func (discard) Abort()                                                     {}

// TestIdleMemory measures what idle sessions hold: no buffers of their own.
func TestIdleMemory(t *testing.T) {
	const n = 1000
	if addr := os.Getenv(idleAddr); addr != "" {
		idleClients(t, addr, n)
		return
	}
	if testing.Short() || raceEnabled {
		t.Skip("a thousand handshakes, measured without the race detector")
	}
	w := start(t, func(c *smtpserver.Config) {
		c.ImplicitTLS = true
		c.Quota = smtpserver.NewQuota(smtpserver.QuotaLimits{PerAddress: n})
	})
	srv, err := smtpserver.New(w.cfg, discard{})
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, srv)
	before := inUse()
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleMemory$")
	cmd.Env = append(os.Environ(), idleAddr+"="+addr)
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer hold.Close() // lets the clients go
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("clients: %q, %v", line, err)
	}
	if got := srv.Sessions(); got != n {
		t.Fatalf("%d sessions are open", got)
	}
	each := (inUse() - before) / n
	t.Logf("%d octets for each of %d idle connections", each, n)
	if each > idleBudget {
		t.Errorf("%d octets for each idle connection, budget %d", each, idleBudget)
	}
}

// inUse is the memory of heap objects and stacks.
func inUse() int {
	var m runtime.MemStats
	for range 3 { // pools are emptied by the second collection, stacks shrink
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// idleClients opens sessions, sends one message of 10 KB over each, and keeps
// them until its input ends.
func idleClients(t *testing.T, addr string, n int) {
	w := &world{t: t, addr: addr}
	body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 130) + ".\r\n"
	for range n {
		c, err := w.tlsDial(clientTLS())
		if err != nil {
			t.Fatal(err)
		}
		c.expect("220")
		c.cmd("EHLO client.test", "250")
		c.cmd("AUTH PLAIN "+plainLogin, "235")
		c.inData()
		c.send(body)
		c.expect("250")
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// serve runs a server that is not the harness's own.
func serve(t testing.TB, srv *smtpserver.Server) string {
	t.Helper()
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// benchmark of whole sessions.
func BenchmarkSession(b *testing.B) {
	for name, cfg := range map[string]*tls.Config{"TLS": clientTLS()} {
		b.Run(name+"/connect+login", func(b *testing.B) {
			w := benchWorld(b)
			for b.Loop() {
				c, err := w.tlsDial(cfg)
				if err != nil {
					b.Fatal(err)
				}
				c.expect("220")
				c.cmd("EHLO client.test", "250")
				c.cmd("AUTH PLAIN "+plainLogin, "235")
				c.cmd("QUIT", "221")
				c.conn.Close()
			}
		})
		b.Run(name+"/message 10 KB pipelined", func(b *testing.B) {
			w := benchWorld(b)
			c := benchLogin(b, w)
			body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 130) + ".\r\n"
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				c.send("MAIL FROM:<a@acme.test>\r\nRCPT TO:<b@inbox.test>\r\nDATA\r\n")
				c.expect("250")
				c.expect("250")
				c.expect("354")
				c.send(body)
				c.expect("250")
			}
		})
		b.Run(name+"/message 10 MB", func(b *testing.B) {
			w := benchWorld(b)
			c := benchLogin(b, w)
			body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 130000) + ".\r\n"
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				c.inData()
				c.send(body)
				c.expect("250")
			}
		})
	}
}

func benchWorld(b *testing.B) *world {
	w := &world{t: b}
	srv, err := smtpserver.New(smtpserver.Config{
		Name: "bench", Role: smtpserver.RoleSubmission, Hostname: testHost, TLS: serverTLS(), ImplicitTLS: true,
		Limits: smtpserver.Limits{Messages: 1 << 30},
	}, discard{})
	if err != nil {
		b.Fatal(err)
	}
	w.addr = serve(b, srv)
	return w
}

func benchLogin(b *testing.B, w *world) *client {
	c, err := w.tlsDial(clientTLS())
	if err != nil {
		b.Fatal(err)
	}
	c.expect("220")
	c.cmd("EHLO client.test", "250")
	c.cmd("AUTH PLAIN "+plainLogin, "235")
	return c
}

package e2e

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ownRelay is a postern made with `init` and run with `serve`, as an operator does.
type ownRelay struct {
	demo // its addresses and key: the clients of the other tests work on it
	dir  string
}

// relayOptions are what a test needs otherwise than other relays have it.
type relayOptions struct {
	account string // of the domains; "main" unless set
	domains []string
	listen  string // lines of the two submission listeners
	conf    string // appended to the configuration
}

var keyPattern = regexp.MustCompile(`SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}`)

// newRelay runs a relay until the test ends.
func newRelay(t testing.TB, o relayOptions) *ownRelay {
	t.Helper()
	r := &ownRelay{demo: demo{bin: binary(t)}, dir: filepath.Join(t.TempDir(), "data")}
	out := r.postern(t, "init", "--dir", r.dir, "--hostname", "relay.sender.test", "--owner", "operator@sender.test")
	if r.APIKey = keyPattern.FindString(out); r.APIKey == "" {
		t.Fatalf("init printed no key:\n%s", out)
	}
	r.ready.SMTPStartTLS, r.ready.SMTPTLS = freeAddr(t), freeAddr(t)
	r.ready.Hostname, r.ready.Username, r.ready.CAFile = "relay.sender.test", "apikey", filepath.Join(r.dir, "ca.crt")
	r.ready.DataDir = r.dir
	mx := freeAddr(t)
	_, port, _ := net.SplitHostPort(freeAddr(t))
	r.ready.HTTP = "localhost:" + port
	conf := filepath.Join(r.dir, "postern.toml")
	write(t, conf, fmt.Sprintf(`hostname = "relay.sender.test"
data_dir = "."
contact = "operator@sender.test"

[[listener]]
name = "submission"
role = "submission"
addresses = [%[1]q]
tls = "starttls"
%[5]s

[[listener]]
name = "submissions"
role = "submission"
addresses = [%[2]q]
tls = "implicit"
%[5]s

[[listener]]
name = "mx"
role = "mx"
addresses = [%[3]q]
tls = "starttls"

[http]
listen = [%[4]q]

[admin]
listen = ""

%[6]s`, r.SMTPStartTLS, r.SMTPTLS, mx, "127.0.0.1:"+port, o.listen, o.conf))
	r.serve(t, conf)
	account := o.account
	if account == "" {
		account = "main"
	}
	for _, d := range o.domains {
		r.postern(t, "domain", "add", d, "--assert", "--all-subusers", "--account", account, "--return-path", "bounces."+d)
	}
	return r
}

// serve starts the process and waits until it listens.
func (r *ownRelay) serve(t testing.TB, conf string) {
	t.Helper()
	p, err := startProcess(filepath.Join(filepath.Dir(r.dir), "serve.log"), r.bin, "serve", "--config", conf)
	if err != nil {
		t.Fatal(err)
	}
	r.process = p
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the relay's log:\n%s", p.tail())
		}
		if err := p.stop(40 * time.Second); err != nil {
			t.Error(err)
		}
	})
	err = p.waitUntil(30*time.Second, func() bool {
		conn, err := net.Dial("tcp", r.SMTPStartTLS)
		if err != nil {
			return false
		}
		defer conn.Close()
		// It greets once all of its listeners answer; a socket alone takes connections
		// before that, and admin.sock may be that of a process that was killed.
		b := make([]byte, 3)
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return false
		}
		_, err = io.ReadFull(conn, b)
		return err == nil && string(b) == "220"
	})
	if err != nil {
		t.Fatal(err)
	}
}

// postern runs a subcommand against the relay and returns what it printed.
func (r *ownRelay) postern(t testing.TB, args ...string) string {
	t.Helper()
	res := command{args: append([]string{r.bin}, args...), env: []string{"POSTERN_DATA_DIR=" + r.dir}}.run(t)
	if res.code != 0 {
		t.Fatalf("postern %s: exit code %d:\n%s", strings.Join(args, " "), res.code, res.out)
	}
	return res.out
}

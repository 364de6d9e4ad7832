package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// rsyslog is a foreign syslog server with TLS: its own process, files and port.
type rsyslog struct {
	testAuthority
	program, dir, addr string
	*process
}

// start runs it with one of its libraries for TLS, gtls or ossl.
func (s *rsyslog) start(t testing.TB, driver string) {
	t.Helper()
	_, port := split(t, s.addr)
	conf := filepath.Join(s.dir, "rsyslog.conf")
	write(t, conf, fmt.Sprintf(`global(
	workDirectory=%[1]q
	maxMessageSize="16k"
	defaultNetstreamDriver=%[2]q
	defaultNetstreamDriverCAFile=%[3]q
	defaultNetstreamDriverCertFile=%[4]q
	defaultNetstreamDriverKeyFile=%[5]q
)
module(load="imtcp" streamDriver.name=%[2]q streamDriver.mode="1" streamDriver.authMode="anon")
template(name="record" type="string" string="%%pri%%\t%%hostname%%\t%%app-name%%\t%%msgid%%\t%%structured-data%%\t%%msg%%\n")
ruleset(name="keep") { action(type="omfile" file=%[6]q template="record") }
input(type="imtcp" address="127.0.0.1" port=%[7]q ruleset="keep")
`, s.dir, driver, s.ca, s.cert, s.key, s.out(), port))
	os.Remove(filepath.Join(s.dir, "rsyslogd.pid")) // of one that was killed
	p, err := startProcess(filepath.Join(s.dir, "rsyslog.log"), s.program, "-n", "-f", conf, "-i", filepath.Join(s.dir, "rsyslogd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of rsyslog's log:\n%s", p.tail())
		}
		_ = p.stop(20 * time.Second)
	})
	if err := p.waitUntil(30*time.Second, func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}); err != nil {
		t.Fatal(err)
	}
}

func (s *rsyslog) out() string { return filepath.Join(s.dir, "records") }

// syslogLine is one record as rsyslog took it apart: facility and severity, host,
// program, MSGID, structured data, and the text with the record behind it.
var (
	syslogLine   = regexp.MustCompile(`^(\d+)\trelay\.sender\.test\tpostern\t([a-z0-9_.-]+)\t\[postern@32473 ([^\t]*)\]\t ?(?:\x{feff})?([^\t]*)$`)
	syslogID     = regexp.MustCompile(`\bid="([^"]+)"`)
	syslogStream = regexp.MustCompile(`\bstream="([^"]+)"`)
)

// facilities by stream, as docs/export.md has them.
var facilities = map[string]string{"logins": "10", "changes": "13", "events": "2"}

func (s *rsyslog) has(t testing.TB) (all []exported) {
	t.Helper()
	text, err := os.ReadFile(s.out())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // it writes
		}
		m := syslogLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("not a record:\n%q", line)
		}
		e := exported{Stream: syslogStream.FindStringSubmatch(m[3])[1], ID: syslogID.FindStringSubmatch(m[3])[1], Name: m[2]}
		var pri int
		fmt.Sscan(m[1], &pri)
		if got := fmt.Sprint(pri / 8); got != facilities[e.Stream] {
			t.Errorf("%s has facility %s", e.ID, got)
		}
		// In the text, a quotation mark that a stranger wrote has a backslash before it.
		at := strings.Index(m[4], ` {"`)
		if at < 0 {
			t.Fatalf("no record in %q", m[4])
		}
		e.Record = []byte(m[4][at+1:])
		all = append(all, e)
	}
	return all
}

// What happens while a syslog server is dead, while postern is, and while both
// are, is with the server afterwards.
func TestExportSyslogLeavesNothingOut(t *testing.T) {
	t.Parallel()
	s := &rsyslog{testAuthority: newTestAuthority(t), program: external(t, "rsyslogd"), dir: t.TempDir(), addr: freeAddr(t)}
	r := newIdentityRelay(t, fmt.Sprintf("[[export]]\nname = \"siem\"\nkind = \"syslog\"\nto = %q\nall = true\nprivate = true\nca_file = %q\n", s.addr, s.ca))
	r.exportTraffic(t, "before", 3) // there is no server yet
	s.start(t, "gtls")
	r.exportTraffic(t, "with", 3)
	r.wantAll(t, "rsyslog", func() []exported { return s.has(t) })

	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.done
	r.exportTraffic(t, "without", 3)
	r.again(t)
	r.exportTraffic(t, "without both", 3)
	s.start(t, "ossl")
	r.exportTraffic(t, "again", 2)
	r.again(t) // while it sends
	r.wantAll(t, "rsyslog", func() []exported { return s.has(t) })
	if log := s.tail() + r.tail(); strings.Contains(log, "panic") {
		t.Error(log)
	}
}

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/testkit/postfix"
)

// receiver is a mail exchanger as others run them: Postfix, with opendkim and
// opendmarc beside it, and Python's verifiers at hand.
type receiver struct {
	*postfix.Instance
	*verifier
	inner  string // where Postfix listens, behind its gates
	policy *policy
}

// receiverName is how it calls itself in Authentication-Results.
const receiverName = "mx.receiver.example"

// outside is the address that the receiver takes the relay for, which SPF is
// about. Verifiers let loopback pass unseen, so that a gate in front of Postfix
// tells it another one.
const (
	outside = "192.0.2.30"
	foreign = "198.51.100.9" // somebody else's
)

// newReceiver runs a mail exchanger for receiver.example, whose boxes are users, at
// the tree's receiver and port; it asks the tree.
func newReceiver(t testing.TB, tree *nameTree, port string, users ...string) *receiver {
	t.Helper()
	dkim, dmarc := openDKIM(t, tree), openDMARC(t, tree)
	inner := freeAddr(t)
	main := postfix.Mailboxes("receiver.example", users...)
	main["myhostname"] = receiverName
	main["smtpd_milters"] = "inet:" + dkim + ", inet:" + dmarc
	main["milter_default_action"] = "tempfail"
	main["smtpd_peername_lookup"] = "no"
	main["mynetworks"], main["smtpd_relay_restrictions"] = "127.0.0.2/32", "reject_unauth_destination"
	p := &policy{}
	main["smtpd_recipient_restrictions"] = "check_policy_service inet:" + p.serve(t)
	i := startPostfix(t, postfix.Config{Listen: []postfix.Service{{Addr: inner, Main: map[string]string{"smtpd_upstream_proxy_protocol": "haproxy"}}}, Main: main})
	gate(t, net.JoinHostPort(tree.host(hostReceiver), port), inner, outside)
	return &receiver{i, newVerifier(t, tree.addr(hostResolver)), inner, p}
}

// stranger is a way into the same Postfix from an address that is not the relay's.
func (r *receiver) stranger(t testing.TB) string {
	t.Helper()
	addr := freeAddr(t)
	gate(t, addr, r.inner, foreign)
	return addr
}

// gate passes connections on, and tells in front whose they are (the PROXY
// protocol, version 1).
func gate(t testing.TB, listen, to, client string) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	ensure(t, err)
	var open sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})
	open.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { pass(in, to, client) })
		}
	})
}

func pass(in net.Conn, to, client string) {
	defer in.Close()
	out, err := net.DialTimeout("tcp", to, 10*time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	host, port, _ := net.SplitHostPort(in.LocalAddr().String())
	fmt.Fprintf(out, "PROXY TCP4 %s %s 40000 %s\r\n", client, host, port)
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(in, out)
	in.Close()
	<-done
}

// policy is what Postfix asks at each recipient, in its policy protocol: late@ is
// put off until it is opened.
type policy struct{ open atomic.Bool }

func (p *policy) serve(t testing.TB) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ensure(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.answer(conn)
		}
	}()
	return l.Addr().String()
}

func (p *policy) answer(conn net.Conn) {
	defer conn.Close()
	late := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "recipient=late@"):
			late = true
		case line == "":
			action := "DUNNO"
			if late && !p.open.Load() {
				action = "DEFER come back later"
			}
			late = false
			fmt.Fprintf(conn, "action=%s\n\n", action)
		}
	}
}

// openDKIM runs opendkim, which verifies what comes in, and returns its address.
func openDKIM(t testing.TB, tree *nameTree) string {
	t.Helper()
	program := external(t, "opendkim")
	needRoot(t)
	dir := t.TempDir()
	addr := freeAddr(t)
	_, port := split(t, addr)
	write(t, filepath.Join(dir, "nobody"), "192.0.2.254\n")
	// A test moves the relay's clock ahead: signatures come from the future.
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf("Mode v\nSocket inet:%s@127.0.0.1\nNameservers %s\nAuthservID %s\nInternalHosts %[4]s\nMinimumKeyBits 1024\nAlwaysAddARHeader yes\nClockDrift 1000000\nSyslog no\nDNSTimeout 30\n",
		port, tree.host(hostResolver), receiverName, filepath.Join(dir, "nobody")))
	listening(t, filepath.Join(dir, "log"), addr, program, "-f", "-x", filepath.Join(dir, "conf"))
	return addr
}

// openDMARC runs opendmarc, which looks at SPF itself and takes opendkim's word
// for signatures, and returns its address.
func openDMARC(t testing.TB, tree *nameTree) string {
	t.Helper()
	program, unshare := external(t, "opendmarc"), external(t, "unshare")
	needRoot(t)
	dir := t.TempDir()
	addr := freeAddr(t)
	_, port := split(t, addr)
	write(t, filepath.Join(dir, "nobody"), "192.0.2.254\n")
	write(t, filepath.Join(dir, "suffixes"), "example\n")
	write(t, filepath.Join(dir, "resolv.conf"), "nameserver "+tree.host(hostResolver)+"\noptions timeout:10\n")
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf("Socket inet:%s@127.0.0.1\nAuthservID %[2]s\nTrustedAuthservIDs %[2]s\nSPFSelfValidate true\nSPFIgnoreResults true\nIgnoreHosts %[3]s/nobody\nPublicSuffixList %[3]s/suffixes\nRejectFailures false\nSyslog false\n",
		port, receiverName, dir))
	// It asks whom /etc/resolv.conf names, and nobody else: it gets one of its own.
	listening(t, filepath.Join(dir, "log"), addr, unshare, "--mount", "sh", "-c", `mount --bind "$1" /etc/resolv.conf && exec "$2" -f -c "$3"`,
		"sh", filepath.Join(dir, "resolv.conf"), program, filepath.Join(dir, "conf"))
	return addr
}

// needRoot skips a test that Postfix and port 53 make need root.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip(postfix.ErrRoot)
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace can be made here: %s", out)
	}
}

// listening runs a program until the test ends, and waits until it takes
// connections.
func listening(t testing.TB, log, addr string, args ...string) {
	t.Helper()
	p, err := startProcess(log, args...)
	ensure(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], p.tail())
		}
		if err := p.stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	ensure(t, p.waitUntil(30*time.Second, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}))
}

// letter is a message as it lies in a mailbox.
type letter struct {
	path string
	raw  string
}

// box is what a user has got so far.
func (r *receiver) box(t testing.TB, user string) (all []letter) {
	t.Helper()
	names, err := filepath.Glob(r.Path("mail", user, "new", "*"))
	ensure(t, err)
	for _, name := range names {
		all = append(all, readLetter(t, name))
	}
	return all
}

func readLetter(t testing.TB, name string) letter {
	t.Helper()
	b, err := os.ReadFile(name)
	ensure(t, err)
	return letter{name, string(b)}
}

// await waits for a message to a user with these words.
func (r *receiver) await(t testing.TB, user, words string) letter {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		for _, l := range r.box(t, user) {
			if strings.Contains(l.raw, words) {
				return l
			}
		}
	}
	t.Fatalf("no mail with %q for %s after 60 s", words, user)
	return letter{}
}

// field returns all fields of a name, unfolded.
func (l letter) field(name string) []string {
	return received{Raw: []byte(strings.ReplaceAll(l.raw, "\n", "\r\n"))}.field(name)
}

// text is what a person reads of a message of one part.
func (l letter) text(t testing.TB) string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(l.raw))
	ensure(t, err)
	body := m.Body
	if strings.EqualFold(m.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	b, err := io.ReadAll(body)
	ensure(t, err)
	return string(b)
}

// verdict is what Postfix's helpers wrote into a message.
func (r *receiver) verdict(t testing.TB, l letter) (all []methodSeen) {
	t.Helper()
	for _, f := range l.field("Authentication-Results") {
		all = append(all, r.results(t, f)...)
	}
	return all
}

// wantAuthentic checks that every verifier accepts a message as a domain's: each
// signature by opendkim and dkimpy, the return path by opendmarc's SPF and pyspf,
// and both aligned by opendmarc. It returns the selectors.
func (r *receiver) wantAuthentic(t testing.TB, l letter, domain string, algorithms ...string) (selectors []string) {
	t.Helper()
	count := map[string]int{}
	for _, m := range r.verdict(t, l) {
		if m.Method != "dkim-atps" { // opendkim's own
			count[m.Method+"="+m.Result]++
		}
	}
	if count["dkim=pass"] != len(algorithms) || count["spf=pass"] != 1 || count["dmarc=pass"] != 1 || len(count) != 3 {
		t.Errorf("Postfix's verifiers say %v, want %d dkim=pass, spf=pass and dmarc=pass:\n%s", count, len(algorithms), head(l.raw))
	}
	seen := r.signatures(t, l.path)
	got := map[string]bool{}
	for _, s := range seen {
		selectors = append(selectors, s.S)
		got[s.A] = true
		if !s.Pass || s.D != domain {
			t.Errorf("dkimpy: %+v, want a pass of %s\n%s", s, domain, head(l.raw))
		}
	}
	for _, a := range algorithms {
		if !got[a] || len(seen) != len(algorithms) {
			t.Errorf("signatures %+v, want one of each of %v", seen, algorithms)
		}
	}
	path := strings.Trim(strings.TrimSpace(strings.Join(l.field("Return-Path"), "")), "<>")
	if _, host, _ := strings.Cut(path, "@"); !strings.HasSuffix(host, "."+domain) {
		t.Errorf("return path %q is not below %s", path, domain)
	}
	if result, why := r.spf(t, outside, path, relayHost); result != "pass" {
		t.Errorf("pyspf: %s (%s) for %s from %s", result, why, path, outside)
	}
	if result, why := r.spf(t, foreign, path, relayHost); result != "fail" {
		t.Errorf("pyspf: %s (%s) for %s from a stranger, want fail", result, why, path)
	}
	return selectors
}

func head(raw string) string {
	h, _, _ := strings.Cut(raw, "\n\n")
	return h
}

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// from logs in by PLAIN from a loopback address and returns the first line of
// the answer, and how long the greeting took. later: the answer is not waited for.
func (r *ownRelay) from(t testing.TB, addr, key string, later bool) (reply string, greeted time.Duration) {
	t.Helper()
	conf, err := r.tlsConfig()
	if err != nil {
		t.Error(err)
		return "", 0
	}
	start := time.Now()
	dialer := &tls.Dialer{Config: conf, NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}}
	conn, err := dialer.Dial("tcp", r.SMTPTLS)
	if err != nil {
		t.Error(err)
		return "", 0
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(40 * time.Second))
	in := bufio.NewReader(conn)
	line := func() string {
		for {
			s, err := in.ReadString('\n')
			if err != nil {
				return err.Error()
			}
			if len(s) < 4 || s[3] != '-' {
				return strings.TrimSpace(s)
			}
		}
	}
	line()
	greeted = time.Since(start)
	io.WriteString(conn, "EHLO client.example\r\n")
	line()
	io.WriteString(conn, "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00apikey\x00"+key))+"\r\n")
	if later {
		time.Sleep(100 * time.Millisecond)
		return "", greeted
	}
	return line(), greeted
}

// guess fails from an address until it is refused: all at once, since each
// answer comes later than the one before.
func (r *ownRelay) guess(t testing.TB, addr string, times int) {
	t.Helper()
	var all sync.WaitGroup
	for range times {
		all.Go(func() { r.from(t, addr, "nonsense", true) })
	}
	all.Wait()
}

// refused lists the subjects of a scope that are refused.
func (r *ownRelay) refused(t testing.TB, scope string) (subjects []string) {
	t.Helper()
	var got struct {
		Result []struct{ Scope, Subject string }
	}
	out := r.postern(t, "access", "bans", "--json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	for _, b := range got.Result {
		if b.Scope == scope {
			subjects = append(subjects, b.Subject)
		}
	}
	slices.Sort(subjects)
	return subjects
}

func (r *ownRelay) again(t testing.TB, stop func() error) {
	t.Helper()
	if err := stop(); err != nil {
		t.Error(err)
	}
	r.serve(t, filepath.Join(r.dir, "postern.toml"))
}

// AU-25, AU-26: who guesses is shut out, over a restart and a crash; who is known
// at the same address is not, and does not wait.
func TestGuessing(t *testing.T) {
	t.Parallel()
	r := newRelay(t, relayOptions{domains: []string{"sender.test"}})
	const home, attacker, shared = "127.0.21.1", "127.0.22.1", "127.0.23.1"
	const throttled, in, refusal = "454 4.7.0 Too many failed logins", "235 2.7.0", "535 5.7.8 Authentication failed: The provided"
	expect := func(addr, key, want string) {
		t.Helper()
		got, greeted := r.from(t, addr, key, false)
		if !strings.HasPrefix(got, want) {
			t.Errorf("from %s: %q, want %s", addr, got, want)
		}
		if want == in && greeted > 5*time.Second {
			t.Errorf("from %s: greeted after %v", addr, greeted)
		}
	}
	expect(home, r.APIKey, in)
	expect(shared, r.APIKey, in)
	r.guess(t, attacker, 25)
	r.guess(t, shared, 25)
	check := func(when string) {
		t.Helper()
		if got := fmt.Sprint(r.refused(t, "address")); got != fmt.Sprint([]string{attacker, shared}) {
			t.Errorf("%s: refused %s", when, got)
		}
		expect(home, r.APIKey, in)
		expect(shared, r.APIKey, in)
	}
	check("at first")

	time.Sleep(4 * time.Second) // what is known is kept within three
	r.again(t, func() error { r.process.cmd.Process.Kill(); <-r.process.done; return nil })
	check("after a crash")

	// The stop does not wait for who is waiting for the greeting.
	waiting := make(chan struct{})
	go func() { defer close(waiting); r.from(t, attacker, "nonsense", true) }()
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	r.again(t, func() error { return r.process.stop(30 * time.Second) })
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("stopped and started in %v", took)
	}
	<-waiting
	check("after a restart")
	// 10 s for the greeting and 16 s for the answer, while the rest goes on.
	var slow sync.WaitGroup
	slow.Go(func() { expect(attacker, r.APIKey, throttled) })

	// One key from everywhere: wrong secrets of its own id.
	k, err := secret.ParseKey(r.APIKey, "SG")
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := secret.NewSecret("SG", k.ID)
	if err != nil {
		t.Fatal(err)
	}
	var guesses sync.WaitGroup
	for i := range 55 {
		guesses.Go(func() { r.from(t, fmt.Sprintf("127.1.%d.1", i), wrong.Text().Reveal(), true) })
	}
	guesses.Wait()
	if got := r.refused(t, "key"); !slices.Equal(got, []string{relay.ID(k.ID).String()}) {
		t.Errorf("refused keys %s", got)
	}
	expect(home, r.APIKey, in)
	expect("127.2.1.1", r.APIKey, refusal)
	r.postern(t, "access", "lift", "key", k.IDText())
	expect("127.2.1.1", r.APIKey, in)
	slow.Wait()
	r.postern(t, "access", "lift", "address", attacker)
	expect(attacker, r.APIKey, in)
}

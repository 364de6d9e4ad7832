package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// domainWorld is a relay that serves its own zone, in a tree of names, with a
// mail exchanger to send to. All of it but the relay was written by others.
type domainWorld struct {
	*identityRelay
	tree     *nameTree
	receiver *receiver
	mx       string // the relay's own mail exchanger
	clock    string // the file that holds how far the relay's clock is ahead; "": it is not
}

// worldOptions are what a test needs otherwise.
type worldOptions struct {
	zones []string // customers'
	users []string // with a mailbox at receiver.example, beside owner
	jumpy bool     // the relay's clock can be moved
	conf  string   // appended to its configuration
}

// newDomainWorld runs one until the test ends. The first account's owner is
// owner@receiver.example.
func newDomainWorld(t testing.TB, o worldOptions) *domainWorld {
	t.Helper()
	for _, p := range []string{"postfix", "opendkim", "opendmarc", "unshare", "nsd", "unbound", "ldns-signzone"} {
		external(t, p)
	}
	needRoot(t)
	mailPython(t)
	w := &domainWorld{identityRelay: &identityRelay{ownRelay: &ownRelay{demo: demo{bin: binary(t)}, dir: filepath.Join(t.TempDir(), "data")}}}
	w.tree = newNameTree(t, o.zones...)
	port := ""
	for port == "" {
		_, p := split(t, freeAddr(t))
		if w.tree.free(hostRelay, p) && w.tree.free(hostReceiver, p) {
			port = p
		}
	}
	w.receiver = newReceiver(t, w.tree, port, append(o.users, "owner")...)
	w.init(t, port, o)
	w.tree.secondary(t)
	w.settled(t)
	return w
}

// init makes the installation and runs it.
func (w *domainWorld) init(t testing.TB, mailPort string, o worldOptions) {
	t.Helper()
	out := w.postern(t, "init", "--dir", w.dir, "--hostname", relayHost, "--owner", "owner@receiver.example")
	if w.APIKey = keyPattern.FindString(out); w.APIKey == "" {
		t.Fatalf("init printed no key:\n%s", out)
	}
	w.ready.SMTPStartTLS, w.ready.SMTPTLS = freeAddr(t), freeAddr(t)
	w.ready.Hostname, w.ready.Username, w.ready.CAFile = relayHost, "apikey", filepath.Join(w.dir, "ca.crt")
	w.ready.DataDir, w.To = w.dir, "bob@receiver.example"
	_, port := split(t, freeAddr(t))
	w.ready.HTTP = "localhost:" + port
	w.mx = net.JoinHostPort(w.tree.host(hostRelay), mailPort)
	conf := filepath.Join(w.dir, "postern.toml")
	write(t, conf, fmt.Sprintf(`hostname = %[1]q
data_dir = "."
contact = "owner@receiver.example"

[[listener]]
name = "submission"
role = "submission"
addresses = [%[2]q]
tls = "starttls"

[[listener]]
name = "submissions"
role = "submission"
addresses = [%[3]q]
tls = "implicit"

[[listener]]
name = "mx"
role = "mx"
addresses = [%[4]q]
tls = "starttls"

[http]
listen = ["127.0.0.1:%[5]s"]
url = "http://127.0.0.1:%[5]s"

[admin]
listen = ""

[deliver]
port = %[6]s
allow_networks = ["127.0.0.0/8"]
dns_servers = [%[7]q]
trust_ad = true
ipv6 = false

[queue]
intervals = ["2s"]

[dns]
zone = %[8]q
listen = [%[9]q]
name_servers = ["ns1.relay.example", "ns2.relay.example"]
secondaries = [%[10]q]
allow_networks = ["127.0.0.0/8"]
ask_port = %[11]s

%[12]s`, relayHost, w.SMTPStartTLS, w.SMTPTLS, w.mx, port, mailPort, w.tree.addr(hostResolver), relayZone, w.tree.addr(hostZone), w.tree.addr(hostSecondary), w.tree.port, o.conf))
	if o.jumpy {
		w.jumpyServe(t, conf)
		return
	}
	w.serve(t, conf)
}

// jumpyServe runs the relay with a clock that jump moves.
func (w *domainWorld) jumpyServe(t testing.TB, conf string) {
	t.Helper()
	bin, err := jumpyBinary()
	ensure(t, err)
	w.clock = filepath.Join(t.TempDir(), "clock")
	write(t, w.clock, "0")
	script := filepath.Join(t.TempDir(), "postern")
	write(t, script, fmt.Sprintf("#!/bin/sh\n%s=%q exec %q \"$@\"\n", jumpEnv, w.clock, bin))
	ensure(t, os.Chmod(script, 0o755))
	w.bin = script
	w.serve(t, conf)
}

// jump moves the relay's clock ahead.
func (w *domainWorld) jump(t testing.TB, by time.Duration) {
	t.Helper()
	b, err := os.ReadFile(w.clock)
	ensure(t, err)
	ahead, err := strconv.Atoi(string(b))
	ensure(t, err)
	draft := w.clock + ".new"
	write(t, draft, strconv.Itoa(ahead+int(by/time.Second)))
	ensure(t, os.Rename(draft, w.clock))
	time.Sleep(100 * time.Millisecond) // it is looked at every 20 ms
}

// settled waits until both name servers of the relay's zone say the same.
func (w *domainWorld) settled(t testing.TB) {
	t.Helper()
	time.Sleep(1200 * time.Millisecond) // the relay's serial may be a second old
	ensure(t, w.waitUntil(60*time.Second, func() bool {
		ours := askAt(w.tree.host(hostZone), w.tree.port, relayZone, 6)
		return strings.Contains(ours, "SOA") && ours == askAt(w.tree.host(hostSecondary), w.tree.port, relayZone, 6)
	}))
}

// domainSeen is what `postern domain show --json` says, as far as tests look at it.
type domainSeen struct {
	Number     int64         `json:"id"`
	Name       string        `json:"domain"`
	State      string        `json:"state"`
	Reason     string        `json:"reason"`
	Disputed   bool          `json:"disputed"`
	Valid      bool          `json:"valid"`
	Token      string        `json:"token"`
	ReturnPath string        `json:"return_path"`
	Selectors  []string      `json:"selectors"`
	Keys       []keyOfDomain `json:"dkim"`
	Records    []recordSeen  `json:"records"`
}

type keyOfDomain struct {
	Selector, State, Record, Algorithm string
	SeenAt                             time.Time `json:"seen_at"`
}

type recordSeen struct {
	Key, Name, Type, Value, Reason string
	Required, Valid                bool
}

// checkSeen is what `postern domain validate --json` says.
type checkSeen struct {
	Valid    bool         `json:"valid"`
	State    string       `json:"state"`
	Reason   string       `json:"reason"`
	Disputed bool         `json:"disputed"`
	Secure   bool         `json:"dnssec"`
	At       time.Time    `json:"checked_at"`
	Servers  []string     `json:"name_servers"`
	Records  []recordSeen `json:"records"`
	Findings []struct{ Severity, Code, Record, Text, Fix, Found, Expected, Server string }
}

// domain shows one.
func (w *domainWorld) domain(t testing.TB, name string, more ...string) (d domainSeen) {
	t.Helper()
	w.read(t, &d, append([]string{"domain", "show", name}, more...)...)
	return d
}

// checkPause is how long the relay answers with its last check before it asks
// the DNS again.
const checkPause = 10 * time.Second

// validate has the relay look at a domain now. Where the clock cannot be moved, it
// waits until the relay would look.
func (w *domainWorld) validate(t testing.TB, name string, more ...string) (c checkSeen) {
	t.Helper()
	args := append([]string{"domain", "validate", name, "--json"}, more...)
	began := time.Now().Add(w.ahead(t))
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		r := w.tries(t, args...) // exit code 1: not valid
		if strings.Contains(r.out, "is being checked") {
			continue
		}
		text := r.out
		if i := strings.IndexByte(text, '{'); i > 0 {
			text = text[i:]
		}
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&c); err != nil {
			t.Fatalf("postern %v: %v in %s", args, err, r.out)
		}
		if !c.At.Before(began) {
			return c
		}
		if w.clock != "" {
			w.jump(t, checkPause+time.Second)
		}
	}
	t.Fatalf("%s was not looked at within a minute", name)
	return c
}

// becomes has the relay look at a domain until it is in a state: the relay looks by
// itself, too, and a look that came too early counts as well.
func (w *domainWorld) becomes(t testing.TB, name, state string, more ...string) (c checkSeen) {
	t.Helper()
	for range 5 {
		if c = w.validate(t, name, more...); c.State == state {
			return c
		}
	}
	t.Fatalf("%s is %s and not %s: %s", name, c.State, state, c.Reason)
	return c
}

// ahead is how far the relay's clock is.
func (w *domainWorld) ahead(t testing.TB) time.Duration {
	t.Helper()
	if w.clock == "" {
		return 0
	}
	b, err := os.ReadFile(w.clock)
	ensure(t, err)
	n, err := strconv.Atoi(string(b))
	ensure(t, err)
	return time.Duration(n) * time.Second
}

// verified adds a domain, publishes what is printed, with more records beside,
// and has it validated.
func (w *domainWorld) verified(t testing.TB, name, more string, flags ...string) (records string) {
	t.Helper()
	snippet := w.postern(t, append([]string{"domain", "add", name, "--zone", "--account", "main", "--ip", outside}, flags...)...)
	w.settled(t)
	w.tree.publish(t, name, more+snippet)
	if c := w.validate(t, name); !c.Valid || c.State != "verified" {
		t.Fatalf("%s is not verified: %+v\n%s", name, c, snippet)
	}
	w.bothSign(t, name, "main")
	return snippet
}

// bothSign waits until a domain's Ed25519 key signs too: it does once its record
// was seen, a moment after RSA.
func (w *domainWorld) bothSign(t testing.TB, name, account string) {
	t.Helper()
	var d domainSeen
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if d = w.domain(t, name, "--account", account); len(d.inState("signing")) == 2 {
			return
		}
	}
	t.Fatalf("%s signs with %v: %+v\n%+v", name, d.Selectors, d.Keys, d.Records)
}

// mail sends one message and returns the reply to it.
func (w *domainWorld) mail(t testing.TB, key, from, to, subject string) string {
	t.Helper()
	return w.talk(t, "127.0.0.1", "client.example").in(key).send(subject, from, to)
}

// alertTexts are the texts of alerts of a kind about a domain.
func (w *domainWorld) alertTexts(t testing.TB, kind, domain string) (texts []string) {
	t.Helper()
	for _, a := range w.alerts(t, kind) {
		if strings.Contains(a.Data.Alert.Text, domain) {
			texts = append(texts, a.Data.Alert.Text)
		}
	}
	return texts
}

// inState are the selectors of a domain's keys in a state.
func (d domainSeen) inState(state string) (selectors []string) {
	for _, k := range d.Keys {
		if k.State == state {
			selectors = append(selectors, k.Selector)
		}
	}
	slices.Sort(selectors)
	return selectors
}

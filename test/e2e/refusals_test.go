package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/secret"
)

// refusal is one reason to be refused that a client must not be able to find out.
type refusal struct {
	name string
	// own lists the protocols on which it has words of its own: they say that the
	// text is no key, or that HTTP Basic is not taken, which the client can see
	// itself. Its time is compared with the others' all the same.
	own  []string
	next func() credential // for each attempt
}

const (
	refusalsShort = 200  // of each kind in make test
	refusalsFull  = 2000 // in make soak
	perBurst      = 12   // of each kind, at once
	// holdBack is when every refusal leaves, after the client's line or request.
	holdBack = 250 * time.Millisecond
)

// TestRefusalsAlike measures from outside whether the time of a refusal says why:
// unknown id, wrong secret, expired, revoked, disabled, outside its networks,
// canary; not a key at all; a person's name and password. The attempts are
// interleaved at random, so that whatever else the machine does meets all kinds
// alike, and come from an address each. Each pair of kinds is put to the
// two-sample Kolmogorov-Smirnov test, on SMTP under TLS and on HTTP.
//
// In make soak there are 2,000 of each kind, and a pair passes with p > 0.01. Of 72
// pairs of equal distributions one or the other falls below that by chance; those
// are measured once more, from fresh attempts, and twice is a failure. In make
// test there are 200, and a pair fails with p < 1e-4 / 72: by Bonferroni chance
// fails one run in 10,000 at most, whatever the load.
func TestRefusalsAlike(t *testing.T) {
	n, full := refusalsShort, os.Getenv("POSTERN_SOAK") == "1"
	if testing.Short() && !full {
		t.Skip("takes a while")
	}
	if full {
		n = refusalsFull
	}
	r := newRelay(t, relayOptions{conf: "[auth]\nfailures = 1000\nkey_failures = 10000\n"}) // by network, key and account
	kinds := refusalKinds(t, r)
	conf, from := clientTLS(t, r), &loopbacks{}
	for _, edge := range []struct {
		name string
		dial func(credential) (stranger, error)
	}{
		{"SMTP", func(c credential) (stranger, error) { return dialSMTP(from.next(), r.SMTPTLS, conf, c) }},
		{"HTTP", func(c credential) (stranger, error) {
			return dialHTTP(from.next(), strings.Replace(r.HTTP, "localhost", "127.0.0.1", 1), c)
		}},
	} {
		t.Run(edge.name, func(t *testing.T) {
			m := measureRefusals(t, kinds, n, edge.dial)
			m.sameWords(t, kinds, edge.name)
			m.notEarly(t)
			low := m.compare(t)
			t.Log("\n" + m.table())
			if !full {
				for _, p := range low {
					if p.p < 1e-4/72 {
						t.Errorf("%s and %s differ: D = %.3f, p = %.2g", p.a, p.b, p.d, p.p)
					}
				}
				return
			}
			low = below(low, 0.01)
			if len(low) == 0 {
				return
			}
			t.Logf("below 0.01: %v; measured once more", low)
			again := measureRefusals(t, kinds, n, edge.dial)
			for _, p := range low {
				if d, p2 := kolmogorovSmirnov(again.took[p.a], again.took[p.b]); p2 <= 0.01 {
					t.Errorf("%s and %s differ twice: D = %.3f, p = %.2g, then D = %.3f, p = %.2g", p.a, p.b, p.d, p.p, d, p2)
				} else {
					t.Logf("%s and %s again: D = %.3f, p = %.2g", p.a, p.b, d, p2)
				}
			}
		})
	}
}

// refusalKinds makes the keys and what strangers do with them.
func refusalKinds(t *testing.T, r *ownRelay) []refusal {
	t.Helper()
	const user = "apikey"
	always := func(c credential) func() credential { return func() credential { return c } }
	fresh := func(make func() (secret.Key, error)) func() credential {
		return func() credential {
			k, err := make()
			if err != nil {
				t.Error(err)
			}
			return credential{user, k.Text().Reveal()}
		}
	}
	key := func(name string, flags ...string) credential {
		return credential{user, r.addKey(t, append([]string{name}, flags...)...).APIKey}
	}
	good, err := secret.ParseKey(key("good").password, "SG")
	must(t, err)
	expired := key("expired", "--expires-in", "2s")
	expiry := time.Now().Add(2500 * time.Millisecond)
	revoked, disabled := key("revoked"), key("disabled")
	r.postern(t, "key", "revoke", "revoked")
	r.postern(t, "key", "disable", "disabled")
	kinds := []refusal{
		{name: "unknown id", next: fresh(func() (secret.Key, error) { return secret.GenerateKey("SG") })},
		{name: "wrong secret", next: fresh(func() (secret.Key, error) { return secret.NewSecret("SG", good.ID) })},
		{name: "expired", next: always(expired)},
		{name: "revoked", next: always(revoked)},
		{name: "wrong network", next: always(key("elsewhere", "--network", "192.0.2.0/24"))},
		{name: "disabled", next: always(disabled)},
		{name: "canary", next: always(key("canary", "--canary"))},
		{name: "not a key", own: []string{"SMTP"}, next: always(credential{user, "SG." + strings.Repeat("x", 22) + "." + strings.Repeat("y", 43)})},
		{name: "a person's password", own: []string{"SMTP", "HTTP"}, next: always(credential{"anna@sender.test", "correct horse battery staple"})},
	}
	time.Sleep(time.Until(expiry))
	return kinds
}

// refusals are the measured times in ms, and the different answers, by kind.
type refusals struct {
	order []string
	took  map[string][]float64
	words map[string]map[string]bool
}

// measureRefusals makes bursts: all connections of one are set up, then the
// credentials go out a millisecond after each other, in random order.
func measureRefusals(t *testing.T, kinds []refusal, n int, dial func(credential) (stranger, error)) *refusals {
	t.Helper()
	m := &refusals{took: map[string][]float64{}, words: map[string]map[string]bool{}}
	for _, k := range kinds {
		m.order, m.words[k.name] = append(m.order, k.name), map[string]bool{}
	}
	var mu sync.Mutex
	for left := n; left > 0 && !t.Failed(); left -= perBurst {
		var burst []refusal
		for _, k := range kinds {
			burst = append(burst, slices.Repeat([]refusal{k}, min(left, perBurst))...)
		}
		rand.Shuffle(len(burst), func(i, j int) { burst[i], burst[j] = burst[j], burst[i] })
		var ready, done sync.WaitGroup
		ready.Add(len(burst))
		start := make(chan struct{})
		for i, k := range burst {
			done.Go(func() {
				s, err := dial(k.next())
				ready.Done()
				if err != nil {
					t.Errorf("%s: connect: %v", k.name, err)
					return
				}
				defer s.close()
				<-start
				time.Sleep(time.Duration(i) * time.Millisecond)
				took, words, err := s.refused()
				if err != nil {
					t.Errorf("%s: %v", k.name, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				m.took[k.name] = append(m.took[k.name], float64(took.Nanoseconds())/1e6)
				m.words[k.name][words] = true
			})
		}
		ready.Wait()
		close(start)
		done.Wait()
	}
	if t.Failed() {
		t.FailNow()
	}
	return m
}

// sameWords: the answers of all kinds are the same bytes, but for those that have
// their own on this protocol, which are alike too.
func (m *refusals) sameWords(t *testing.T, kinds []refusal, protocol string) {
	t.Helper()
	answers := map[bool]map[string][]string{false: {}, true: {}}
	for _, k := range kinds {
		for words := range m.words[k.name] {
			class := answers[slices.Contains(k.own, protocol)]
			class[words] = append(class[words], k.name)
		}
	}
	for _, class := range answers {
		if len(class) > 1 {
			t.Errorf("answers differ: %q", class)
		}
	}
}

// notEarly: none left before its time.
func (m *refusals) notEarly(t *testing.T) {
	t.Helper()
	for name, took := range m.took {
		if first := slices.Min(took); first < holdBack.Seconds()*1000-1 {
			t.Errorf("%s: refused after %.1f ms", name, first)
		}
	}
}

// comparison is one pair of kinds.
type comparison struct {
	a, b string
	d, p float64
}

func (c comparison) String() string { return fmt.Sprintf("%s, %s: p = %.2g", c.a, c.b, c.p) }

// compare tests all pairs, the least alike first.
func (m *refusals) compare(t *testing.T) []comparison {
	t.Helper()
	var all []comparison
	for i, a := range m.order {
		for _, b := range m.order[:i] {
			d, p := kolmogorovSmirnov(m.took[a], m.took[b])
			all = append(all, comparison{b, a, d, p})
		}
	}
	slices.SortFunc(all, func(x, y comparison) int {
		if x.p < y.p {
			return -1
		}
		return 1
	})
	for _, c := range all {
		t.Logf("%-50s D = %.4f  p = %.3f", c.a+" / "+c.b, c.d, c.p)
	}
	return all
}

func below(all []comparison, p float64) []comparison {
	return slices.DeleteFunc(slices.Clone(all), func(c comparison) bool { return c.p > p })
}

// table is a table of the times, and of each kind's p against unknown ids.
func (m *refusals) table() string {
	var b strings.Builder
	b.WriteString("| refusal | of them | 1 % | median | 99 % | p against the first |\n|---|---|---|---|---|---|\n")
	for _, name := range m.order {
		took := slices.Sorted(slices.Values(m.took[name]))
		at := func(q float64) float64 { return took[int(q*float64(len(took)-1))] }
		_, p := kolmogorovSmirnov(m.took[m.order[0]], took)
		fmt.Fprintf(&b, "| %s | %d | %.2f ms | %.2f ms | %.2f ms | %.2f |\n", name, len(took), at(0.01), at(0.5), at(0.99), p)
	}
	return b.String()
}

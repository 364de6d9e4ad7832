package forge

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"postern/internal/api/mailsend"
	"postern/internal/submit"
)

var (
	variants = flag.Uint64("forge.n", 12000, "how many variants to try")
	seedFlag = flag.Uint64("forge.seed", 1, "the seed of all variants")
)

// passed is a variant that was taken, with what would leave.
type passed struct {
	variant
	octets []byte
}

// try hands a variant in. It is nil where it was refused.
func (w *world) try(ctx context.Context, v variant) *passed {
	env := envelope(v.from, v.utf8)
	if v.api != "" {
		raw, utf8, ok := composed(v.api)
		if !ok {
			return nil
		}
		env.SMTPUTF8, v.raw = utf8, raw
	}
	octets, err := w.submit(ctx, v.sender, env, v.raw)
	if err != nil {
		return nil
	}
	return &passed{v, octets}
}

// composed is the message that a request of the HTTP API makes.
func composed(request string) (raw []byte, utf8, ok bool) {
	r, err := mailsend.Parse([]byte(request), mailsend.Options{
		Now: time.Unix(1800000000, 0), Pool: func(string) bool { return true }, Batch: func(string) bool { return true },
	})
	if err != nil {
		return nil, false, false
	}
	head, body, err := r.Compose(0, mailsend.Stamp{MessageID: "<1@relay.test>", Date: time.Unix(1800000000, 0).UTC()})
	if err != nil {
		return nil, false, false
	}
	return append(head, bytes.Join(body, nil)...), r.SMTPUTF8(0), true
}

// Whatever anybody writes, once it is taken no reader shows it as somebody whose
// address or domain the sender does not own (ID-01 to ID-14, ID-19, ID-24).
func TestNobodyIsForged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *submit.Config) { c.IgnoreSMTPAPI = *seedFlag%2 == 0 })
	t.Logf("seed %d, %d variants", *seedFlag, *variants)
	taken, tried := w.all(t, *seedFlag, *variants)
	var octets [][]byte
	perClass := map[string]int{}
	for _, p := range taken {
		octets = append(octets, p.octets)
		perClass[p.class]++
	}
	python := readPython(t, octets)
	bad := 0
	for i, p := range taken {
		all := append(readLenient(p.octets), readStd(p.octets), readGoMessage(p.octets))
		if python != nil {
			all = append(all, python[i]...)
		}
		for _, r := range all {
			if why := r.foreign(p.sender); why != "" {
				if bad++; bad <= 40 {
					t.Errorf("seed %d, variant %d (%s of %s): %s shows %s of\n%q", *seedFlag, p.seed, p.class, p.sender.name, r.Reader, why, fromLines(p.octets))
				}
				break
			}
		}
	}
	t.Logf("%d of %d taken: %v", len(taken), *variants, perClass)
	for class, n := range tried {
		if n > 200 && perClass[class] < n/100 {
			t.Errorf("%s: %d of %d taken: the generator tests nothing", class, perClass[class], n)
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d show somebody else", bad, len(taken))
	}
}

// all tries all variants, in their order in the result.
func (w *world) all(t *testing.T, seed, n uint64) ([]*passed, map[string]int) {
	t.Helper()
	slots := make([]*passed, n)
	tried := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	workers := uint64(2 * runtime.GOMAXPROCS(0))
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < n; i += workers {
				v := generate(seed, i, w.senders)
				mu.Lock()
				tried[v.class]++
				mu.Unlock()
				slots[i] = w.try(t.Context(), v)
			}
		})
	}
	wg.Wait()
	var taken []*passed
	for _, p := range slots {
		if p != nil {
			taken = append(taken, p)
		}
	}
	return taken, tried
}

// fromLines is the part of a message that matters.
func fromLines(raw []byte) string {
	s := string(raw)
	if _, rest, ok := bytes.Cut(raw, []byte("+0000\r\n")); ok && len(rest) < len(raw) {
		s = string(rest)
	}
	if len(s) > 1500 {
		s = fmt.Sprintf("%s… (%d octets)", s[:1500], len(s))
	}
	return s
}

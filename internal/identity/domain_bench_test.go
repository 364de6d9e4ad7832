package identity

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

const manyDomains = 100_000

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Sizes of a sealed RSA-2048 key, a sealed Ed25519 key, and of their records.
const (
	sealedRSA, sealedEd = 1258, 88
	recordRSA, recordEd = 411, 66
)

// manyProven is a snapshot of 100,000 domains of 1,000 accounts, each with two RSA
// and two Ed25519 keys of which one of each signs, made as a store makes it.
func manyProven() *store.Snapshot {
	rnd := rand.New(rand.NewPCG(5, 6))
	id := func() (id relay.ID) {
		for i := range id {
			id[i] = byte(rnd.Uint32())
		}
		return id
	}
	s := &store.Snapshot{Revision: 1, Full: true, Domains: make([]relay.Domain, 0, manyDomains), DKIMKeys: make([]relay.DKIMKey, 0, 4*manyDomains)}
	for i := range 1000 {
		s.Accounts = append(s.Accounts, relay.Account{ID: relay.AccountID{ID: id()}, Name: fmt.Sprint("account ", i), Number: int64(i + 1), CreatedAt: t0})
	}
	for i := range manyDomains {
		name := fmt.Sprintf("customer-%06d.example.test", i)
		label := fmt.Sprintf("em%d", i+1)
		d := relay.Domain{
			ID: relay.DomainID{ID: id()}, Number: int64(i + 1), Account: s.Accounts[i%1000].ID, Name: name, State: relay.DomainVerified, VerifiedAt: t0,
			Token: fmt.Sprintf("%026d", i), Automatic: true, Label: label, ReturnPath: label + "." + name, Subdomains: i%2 == 0, CreatedAt: t0,
		}
		s.Domains = append(s.Domains, d)
		for _, k := range []relay.DKIMKey{
			{Selector: "s1", Algorithm: relay.DKIMRSA, Bits: 2048, Sealed: make([]byte, sealedRSA), Record: strings.Repeat("r", recordRSA), Active: true, ActivatedAt: t0},
			{Selector: "s1e", Algorithm: relay.DKIMEd25519, Sealed: make([]byte, sealedEd), Record: strings.Repeat("e", recordEd), Active: true, ActivatedAt: t0},
			{Selector: "s2", Algorithm: relay.DKIMRSA, Bits: 2048, Record: strings.Repeat("r", recordRSA)},
			{Selector: "s2e", Algorithm: relay.DKIMEd25519, Record: strings.Repeat("e", recordEd)},
		} {
			k.Domain, k.Generation, k.CreatedAt = d.ID, 1, t0
			s.DKIMKeys = append(s.DKIMKeys, k)
		}
	}
	return s
}

// BenchmarkDomainMemory reports what the view of 100,000 domains with four keys
// each holds when the snapshot that it was read from is gone.
func BenchmarkDomainMemory(b *testing.B) {
	for b.Loop() {
		sinkState = nil
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := manyProven()
		began := cpuTime()
		sinkState = emptyState().with(s, newInterner(), t0)
		b.ReportMetric(float64((cpuTime() - began).Milliseconds()), "build-cpu-ms")
		s = nil
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/manyDomains, "B/domain")
	}
}

// BenchmarkDomainDelta puts one changed domain into a view of 100,000.
func BenchmarkDomainDelta(b *testing.B) {
	s, in := manyProven(), newInterner()
	st := emptyState().with(s, in, t0)
	one := &store.Snapshot{Revision: 2, Since: 1, Domains: s.Domains[500:501], DKIMKeys: s.DKIMKeys[2000:2004]}
	b.ReportAllocs()
	began := cpuTime()
	for b.Loop() {
		sinkState = st.with(one, in, t0)
	}
	b.ReportMetric(float64((cpuTime()-began).Microseconds())/float64(b.N), "cpu-us/op")
}

// BenchmarkCovering is the permission check of one author among 100,000 domains:
// a name below a domain, three labels up, and the keys that sign.
func BenchmarkCovering(b *testing.B) {
	s := manyProven()
	d := &Directory{source: silent{b}}
	d.state.Store(emptyState().with(s, newInterner(), t0))
	for _, c := range []struct {
		name  string
		below string
		who   int // 0: the owner, 1: another account
		want  relay.Coverage
	}{{"itself", "", 0, relay.CoverUsable}, {"below", "a.b.c.", 0, relay.CoverUsable}, {"another", "a.b.c.", 1, relay.CoverOther}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				row := &s.Domains[i%manyDomains]
				got, cover := d.Covering(relay.Tenant{Account: s.Domains[(i+c.who)%manyDomains].Account}, c.below+row.Name)
				if cover != c.want {
					b.Fatalf("%s: %s", row.Name, cover)
				}
				if cover == relay.CoverUsable && len(d.DKIMKeys(got.ID)) != 2 {
					b.Fatal("no keys")
				}
				i += 7918
			}
		})
	}
}

// silent is a source that must not be asked.
type silent struct{ tb testing.TB }

func (s silent) Snapshot(context.Context, int64) (*store.Snapshot, error) {
	s.tb.Error("a look-up reads the store")
	return nil, context.Canceled
}
func (s silent) Revision() int64 {
	s.tb.Error("a look-up asks the store for its revision")
	return 0
}
func (s silent) Changed() <-chan struct{} { return nil }
func (s silent) LastChecked() time.Time   { return t0 }

// TestLookupsReadNothing: no question about domains and senders goes to the store.
func TestLookupsReadNothing(t *testing.T) {
	d := &Directory{source: silent{t}, log: slog.New(slog.DiscardHandler)}
	d.state.Store(emptyState().with(&store.Snapshot{Full: true, Domains: []relay.Domain{named(1, acme, "a.test", relay.DomainVerified, wide)}}, newInterner(), t0))
	tenant := relay.Tenant{Account: acme}
	if _, c := d.Covering(tenant, "x.a.test"); c != relay.CoverUsable {
		t.Error(c)
	}
	d.Covering(relay.Tenant{Account: other}, "nobody.test")
	d.DomainFor(tenant, "a.test")
	d.SenderFor(tenant, "x@else.test")
	d.DomainByToken("t")
	d.DomainsNamed("a.test")
	d.Domain(relay.DomainID{ID: relay.ID{1}})
	d.DKIMKeys(relay.DomainID{ID: relay.ID{1}})
	d.AllDKIMKeys(relay.DomainID{ID: relay.ID{1}})
	d.DomainsRevision()
	for range d.AllDomains() {
		d.IsReturnPath("a.test")
	}
}

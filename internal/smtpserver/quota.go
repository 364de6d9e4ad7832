package smtpserver

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// QuotaLimits bound all sessions of the servers that share a Quota. 0 means the
// default in brackets.
type QuotaLimits struct {
	Connections int   // at once [5000]; more: 421 4.3.2
	PerAddress  int   // at once, from one IPv4 address or IPv6 /64 [50], fewer when half of Connections are taken, and four times as many from an IPv6 /48; more: 421 4.7.0
	InFlight    int64 // octets of content of messages that are being received [256 MiB]; more: 452 4.3.1
}

// Quota counts connections and the octets of unfinished messages.
type Quota struct {
	inFlight atomic.Int64
	most     atomic.Int64 // limits.InFlight, read without the lock

	mu     sync.Mutex // guards what follows
	limits QuotaLimits
	total  int
	byAddr map[netip.Prefix]int
}

// NewQuota makes a Quota.
func NewQuota(l QuotaLimits) *Quota {
	q := &Quota{byAddr: make(map[netip.Prefix]int)}
	q.SetLimits(l)
	return q
}

// SetLimits changes the limits. What is over a new one stays until it ends by
// itself.
func (q *Quota) SetLimits(l QuotaLimits) {
	def(&l.Connections, 5000)
	def(&l.PerAddress, 50)
	def(&l.InFlight, 256<<20)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = l
	q.most.Store(l.InFlight)
}

// refusal says which cap a connection met.
type refusal string

const (
	admitted      refusal = ""
	tooManyHere   refusal = "address"
	tooManyInAll  refusal = "total"
	refusedByStop refusal = "draining"
)

// network is what the connections of one client are counted by: mapped IPv4
// addresses count as IPv4, and all of an IPv6 /64 as one.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Addr gives the zero Prefix: peers without an address share a count
	return p
}

// site is the IPv6 /48 around a network: what one customer gets, who could take
// every connection there is with a hundred of its 65,536 networks. IPv4 addresses
// are not come by so easily.
func site(n netip.Prefix) (netip.Prefix, bool) {
	if !n.Addr().Is6() {
		return netip.Prefix{}, false
	}
	p, err := n.Addr().Prefix(48)
	return p, err == nil
}

// perSite is how many times the connections of an address a site may have.
const perSite = 4

// perAddress is how many connections an address may have now. As places get
// scarce it is less, so that a few addresses cannot take them all: a quarter when
// half of all are taken, a sixteenth when three quarters are. Who has more keeps
// them. Where one address is meant to have most of them (a proxy) nothing
// shrinks. The caller holds mu.
func (q *Quota) perAddress() int {
	most := q.limits.PerAddress
	switch all := q.limits.Connections; {
	case most > all/5:
		return most
	case q.total >= all/4*3:
		return max(most/16, 1)
	case q.total >= all/2:
		return max(most/4, 1)
	}
	return most
}

func (q *Quota) enter(a netip.Addr) refusal {
	n := network(a)
	around, wide := site(n)
	q.mu.Lock()
	defer q.mu.Unlock()
	most := q.perAddress()
	if q.byAddr[n] >= most || wide && q.byAddr[around] >= perSite*most {
		return tooManyHere
	}
	if q.total >= q.limits.Connections {
		return tooManyInAll
	}
	q.total++
	q.byAddr[n]++
	if wide {
		q.byAddr[around]++
	}
	return admitted
}

func (q *Quota) leave(a netip.Addr) {
	n := network(a)
	around, wide := site(n)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	q.gone(n)
	if wide {
		q.gone(around)
	}
}

// gone takes one off a count. The caller holds mu.
func (q *Quota) gone(n netip.Prefix) {
	if q.byAddr[n]--; q.byAddr[n] == 0 {
		delete(q.byAddr, n)
	}
}

// Connections is the number of connections that are open.
func (q *Quota) Connections() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// InFlight is the number of octets of unfinished messages.
func (q *Quota) InFlight() int64 { return q.inFlight.Load() }

// full reports that no new message should begin.
func (q *Quota) full() bool { return q.inFlight.Load() >= q.most.Load() }

// take counts n more octets; false (and not counted) over the limit.
func (q *Quota) take(n int64) bool {
	if q.inFlight.Add(n) > q.most.Load() {
		q.inFlight.Add(-n)
		return false
	}
	return true
}

func (q *Quota) give(n int64) { q.inFlight.Add(-n) }

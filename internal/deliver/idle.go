package deliver

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"postern/internal/smtpclient"
	"postern/internal/tlspolicy"
)

// sessionKey is what must be equal for a session to carry another message:
// where from, where to, under which name, with which TLS, as whom.
type sessionKey struct {
	local    netip.Addr // zero: the system's choice
	remote   netip.AddrPort
	helo     string
	level    tlspolicy.Level
	identity string // the host's name where the certificate was judged by it
	user     string // of AUTH
}

// parked is one idle session.
type parked struct {
	key     sessionKey
	site    string
	session *smtpclient.Session
	since   time.Time
	place   *list.Element
}

// idleSessions keeps sessions for the next message, newest first: what a flow
// no longer needs grows old and is ended.
type idleSessions struct {
	max, perSite int
	life         time.Duration
	wake         chan struct{} // something was parked in an empty store
	done         chan struct{} // closed by close

	mu     sync.Mutex // guards what follows
	byKey  map[sessionKey][]*parked
	bySite map[string]int
	order  *list.List // of *parked, oldest first
	closed bool
}

func newIdleSessions(limit, perSite int, life time.Duration) *idleSessions {
	return &idleSessions{
		max: limit, perSite: perSite, life: life, wake: make(chan struct{}, 1), done: make(chan struct{}),
		byKey: make(map[sessionKey][]*parked), bySite: make(map[string]int), order: list.New(),
	}
}

// take returns an idle session, or nil. It is the caller's then.
func (p *idleSessions) take(key sessionKey, now time.Time) *smtpclient.Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	have := p.byKey[key]
	if len(have) == 0 {
		return nil
	}
	newest := have[len(have)-1]
	if now.Sub(newest.since) >= p.life {
		return nil // expire ends it; the others are older
	}
	p.remove(newest)
	return newest.session
}

// park keeps a session, or returns what must be ended instead: the session
// itself where its site has enough, or the oldest of all to make room.
func (p *idleSessions) park(key sessionKey, site string, s *smtpclient.Session, now time.Time) (end *smtpclient.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.max <= 0 || p.bySite[site] >= p.perSite {
		return s
	}
	if p.order.Len() >= p.max {
		oldest := p.order.Front().Value.(*parked)
		p.remove(oldest)
		end = oldest.session
	}
	k := &parked{key: key, site: site, session: s, since: now}
	k.place = p.order.PushBack(k)
	p.byKey[key] = append(p.byKey[key], k)
	p.bySite[site]++
	if p.order.Len() == 1 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	return end
}

// expire removes and returns the sessions whose time is over, and says when to
// ask next.
func (p *idleSessions) expire(now time.Time) (over []*smtpclient.Session, next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.order.Front(); e != nil; e = p.order.Front() {
		k := e.Value.(*parked)
		if age := now.Sub(k.since); age < p.life {
			return over, p.life - age
		}
		p.remove(k)
		over = append(over, k.session)
	}
	return over, time.Hour // wake tells of the next
}

// close returns everything, and keeps nothing from now on.
func (p *idleSessions) close() (all []*smtpclient.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.done)
	}
	for e := p.order.Front(); e != nil; e = p.order.Front() {
		k := e.Value.(*parked)
		p.remove(k)
		all = append(all, k.session)
	}
	return all
}

// remove takes k out of every index. mu is held.
func (p *idleSessions) remove(k *parked) {
	p.order.Remove(k.place)
	have := p.byKey[k.key]
	for i := len(have) - 1; i >= 0; i-- {
		if have[i] == k {
			have = append(have[:i], have[i+1:]...)
			break
		}
	}
	if len(have) == 0 {
		delete(p.byKey, k.key)
	} else {
		p.byKey[k.key] = have
	}
	if p.bySite[k.site]--; p.bySite[k.site] == 0 {
		delete(p.bySite, k.site)
	}
}

// len is the number of idle sessions.
func (p *idleSessions) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.order.Len()
}

package people

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"postern/internal/relay"
)

// notice tells a person what was changed, at the address they have. It follows
// the change, so that it fails is logged and nothing is undone.
func (s *Service) notice(ctx context.Context, u *relay.User, v Visitor, subject, text string) {
	s.noticeTo(ctx, u.Email, u, v, subject, text)
}

func (s *Service) noticeTo(ctx context.Context, to string, u *relay.User, v Visitor, subject, text string) {
	from := "an unknown address"
	if v.Addr.IsValid() {
		from = v.Addr.Unmap().String()
	}
	body := fmt.Sprintf("%s\n\nTime: %s\nAddress: %s\nBrowser: %s\n\nIf it was not you, change your password at once, end all sessions in your profile, and tell who runs this relay.\n", text, s.now().Format("2 January 2006, 15:04 MST"), from, plain(v.Agent, 200))
	if err := s.cfg.Mail(context.WithoutCancel(ctx), to, s.product()+": "+subject, body); err != nil {
		s.cfg.Logger.Error("people: notice not mailed", "user", u.Username, "subject", subject, "error", err)
	}
}

// alert tells who runs the relay.
func (s *Service) alert(u *relay.User, v Visitor, text string) {
	a := relay.Alert{Kind: relay.AlertPerson, Text: text}
	if v.Addr.IsValid() {
		a.Addr = v.Addr.Unmap().String()
	}
	s.cfg.Alert(relay.Tenant{Account: u.Account, Subuser: u.Subuser}, a)
}

// pace bounds letters that strangers, or people of one account, could have mailed
// to others.
type pace struct {
	mu    sync.Mutex
	began time.Time
	sent  map[string]int // since began
}

const (
	paceSpan    = 24 * time.Hour
	paceAddress = 10
	paceAccount = 500
	maxPaced    = 100_000
)

// take counts a letter to an address on behalf of an account, if it may go: in 24
// hours 10 to one address and 500 of one account.
func (p *pace) take(account relay.AccountID, address string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil || now.Sub(p.began).Abs() >= paceSpan || len(p.sent) >= maxPaced {
		p.began, p.sent = now, map[string]int{}
	}
	a, t := "a"+account.String(), "t"+address
	if p.sent[a] >= paceAccount || p.sent[t] >= paceAddress {
		return false
	}
	p.sent[a]++
	p.sent[t]++
	return true
}

// asks bounds how often one address may ask for reset links, so that nobody fills
// the queue that others wait in.
type asks struct {
	mu    sync.Mutex
	began time.Time
	from  map[netip.Prefix]int // since began
}

const (
	asksSpan = time.Hour
	// asksMost from one IPv4 address or IPv6 /64.
	asksMost = 20
	// maxAsks bounds the table; full, it begins anew.
	maxAsks = 50_000
)

func (a *asks) take(addr netip.Addr, now time.Time) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return true // by admin.sock
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return true // cannot be: every address has as many bits
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.from == nil || now.Sub(a.began).Abs() >= asksSpan || len(a.from) >= maxAsks {
		a.began, a.from = now, map[netip.Prefix]int{}
	}
	a.from[p]++
	return a.from[p] <= asksMost
}

// resets bounds how many links to a new password one person is mailed in 24 hours:
// a stranger may ask for them for ever.
type resets struct {
	mu    sync.Mutex
	began time.Time
	sent  map[relay.UserID]*[resetWhys]int // since began
}

// take counts a link, if it may go.
func (r *resets) take(id relay.UserID, why resetWhy, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sent == nil || now.Sub(r.began).Abs() >= paceSpan || len(r.sent) >= maxPaced {
		r.began, r.sent = now, map[relay.UserID]*[resetWhys]int{}
	}
	n := r.sent[id]
	if n == nil {
		n = new([resetWhys]int)
		r.sent[id] = n
	}
	if n[why] >= resetsPerDay[why] {
		return false
	}
	n[why]++
	return true
}

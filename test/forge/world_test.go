// Package forge tries to send as somebody else. A seeded generator writes
// messages of two tenants, a subuser, a key for one address and the owner of a
// single address; they go the way that all mail goes, and what would leave is
// read by several programs that people read mail with. None may show an author
// that the sender does not own. The other way round, unusual but honest messages
// must all be taken.
//
// It holds tests only. The flags -forge.n and -forge.seed ask for more variants
// and for others.
package forge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/identity"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/smtp"
	"postern/internal/store"
	"postern/internal/submit"
)

// sender is somebody who sends, and what is really his.
type sender struct {
	name      string
	principal *relay.Principal
	mine      string   // an address that he may send as
	domains   []string // that he owns
	below     bool     // with their subdomains
	addresses []string // single senders, canonical
}

// owns is what the decision is measured by. It knows nothing of how it is made.
func (s *sender) owns(local, domain string) bool {
	domain = strings.ToLower(domain)
	for _, d := range s.domains {
		if domain == d || s.below && strings.HasSuffix(domain, "."+d) {
			return true
		}
	}
	for _, a := range s.addresses {
		if local+"@"+domain == a {
			return true
		}
	}
	return false
}

// world is a store, a directory and the way in, all real but for the commit, whose
// octets are kept.
type world struct {
	service *submit.Service
	senders []*sender
}

// leaving keeps what a commit was asked to store, by message.
type leaving struct{ *store.Store }

type kept struct{ head, body []byte }

type keeper struct{}

// withKept lets a commit under the context leave its octets in k.
func withKept(ctx context.Context, k *kept) context.Context {
	return context.WithValue(ctx, keeper{}, k)
}

func (l leaving) Accept(ctx context.Context, a *store.Acceptance) error {
	k, ok := ctx.Value(keeper{}).(*kept)
	if !ok {
		return errors.New("nobody wants this message")
	}
	body, ok := a.Body.Bytes()
	if !ok {
		return errors.New("the body is too large for this test")
	}
	k.head, k.body = bytes.Clone(a.Head), bytes.Clone(body)
	return a.Body.Discard(ctx)
}

func (leaving) RecordEvent(relay.Event) {}

type idleQueue struct{}

func (idleQueue) Admit(relay.Tenant, []relay.Lane, int64) (queue.Admission, bool) {
	return queue.Admission{}, false
}
func (idleQueue) Waiting(relay.Lane, relay.Tenant, time.Time) {}

var (
	acme    = relay.AccountID{ID: relay.ID{1}}
	globex  = relay.AccountID{ID: relay.ID{2}}
	system  = relay.AccountID{ID: relay.ID{3}}
	staging = relay.SubuserID{ID: relay.ID{4}} // of acme
	by      = store.By{Who: "test"}
	at      = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

func newWorld(t testing.TB, change func(*submit.Config)) *world {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	fill(t, s)
	d, err := identity.Open(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := submit.Config{
		Store: leaving{s}, Queue: idleQueue{}, Directory: d, Hostname: "relay.test", ReturnPaths: submit.NewReturnPaths(sealer.DeriveAll("return-path")),
	}
	if change != nil {
		change(&cfg)
	}
	return &world{service: submit.New(cfg), senders: people()}
}

// fill makes the tenants, their domains and single senders.
func fill(t testing.TB, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for id, name := range map[relay.AccountID]string{acme: "acme", globex: "globex", system: "system"} {
		must(s.CreateAccount(ctx, by, relay.Account{ID: id, Name: name, TimeZone: "UTC", System: id == system, CreatedAt: at}))
	}
	must(s.CreateSubuser(ctx, by, relay.Subuser{ID: staging, Account: acme, Name: "staging", CreatedAt: at}))
	must(s.CreatePool(ctx, by, relay.Pool{ID: relay.PoolID{ID: relay.ID{9}}, Name: "default", CreatedAt: at}))
	for i, d := range []relay.Domain{
		{Account: system, Name: "relay.test", State: relay.DomainAsserted, System: true},
		{Account: acme, Name: "acme.test", State: relay.DomainVerified},
		{Account: acme, Name: "xn--bcher-kva.test", State: relay.DomainVerified},
		{Account: acme, Name: "team.test", State: relay.DomainVerified, Subusers: []relay.SubuserID{staging}},
		{Account: acme, Name: "pending.test", State: relay.DomainPending},
		{Account: acme, Name: "paused.test", State: relay.DomainPaused},
		{Account: globex, Name: "globex.test", State: relay.DomainVerified, Subdomains: true},
	} {
		d.ID, d.CreatedAt, d.Token = relay.DomainID{ID: relay.ID{20, byte(i)}}, at, strings.Repeat(string(rune('a'+i)), 26)
		_, err := s.CreateDomain(ctx, by, d)
		must(err)
	}
	sum := sha256.Sum256([]byte("link"))
	_, err := s.CreateSender(ctx, by, relay.SingleSender{
		Tenant: relay.Tenant{Account: acme}, FromEmail: "ann@mail.test", Address: "ann@mail.test", ReplyTo: "ann@mail.test",
		Secret: sum[:], MailedAt: at, ValidUntil: at.Add(time.Hour), CreatedAt: at,
	})
	must(err)
	_, err = s.VerifySender(ctx, by, sum[:], at)
	must(err)
}

// people are those who send.
func people() []*sender {
	key := func(a relay.AccountID, s relay.SubuserID, senders ...string) *relay.Principal {
		return &relay.Principal{
			Tenant: relay.Tenant{Account: a, Subuser: s}, Key: &relay.Key{Account: a, Subuser: s, Mode: relay.KeyLive, Senders: senders},
		}
	}
	ofAcme := []string{"acme.test", "xn--bcher-kva.test", "team.test"}
	return []*sender{
		{name: "acme", principal: key(acme, relay.SubuserID{}), mine: "me@acme.test", domains: ofAcme, addresses: []string{"ann@mail.test"}},
		{name: "globex", principal: key(globex, relay.SubuserID{}), mine: "me@globex.test", domains: []string{"globex.test"}, below: true},
		{name: "staging", principal: key(acme, staging), mine: "me@team.test", domains: []string{"team.test"}},
		{name: "single", principal: key(acme, relay.SubuserID{}, "ann@mail.test"), mine: "ann@mail.test", domains: ofAcme, addresses: []string{"ann@mail.test"}},
	}
}

// submit hands a message in and returns what would leave.
func (w *world) submit(ctx context.Context, s *sender, env submit.Envelope, raw []byte) ([]byte, error) {
	in, err := w.service.Begin(ctx, s.principal, env)
	if err != nil {
		return nil, err
	}
	in.Write(ctx, raw)
	var k kept
	if err := in.Commit(withKept(ctx, &k), s.principal); err != nil {
		return nil, err
	}
	return append(k.head, k.body...), nil
}

func envelope(from string, utf8 bool) submit.Envelope {
	env := submit.Envelope{SMTPUTF8: utf8, Source: relay.Source{Helo: "client.example", Protocol: "ESMTPSA"}}
	if a, err := smtp.ParseAddress(from, utf8); err == nil {
		env.From = a
	}
	to, err := smtp.ParseAddress("b@one.test", false)
	if err != nil {
		panic(err)
	}
	env.Recipients = []submit.Recipient{{Address: to}}
	return env
}

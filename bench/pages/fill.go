package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

const (
	days = 29
	keys = 50
)

// fill makes a person with a session, keys, and n messages that were delivered.
func (w *world) fill(ctx context.Context, n int) (err error) {
	sealer, err := secret.OpenSealer(filepath.Join(w.dir, "sealing.key"))
	if err != nil {
		return err
	}
	s, _, err := store.Open(ctx, store.Config{
		Path: filepath.Join(w.dir, "postern.db"), Sealer: sealer, Logger: slog.New(slog.DiscardHandler), MinFree: -1, KeepEvents: 60 * 24 * time.Hour,
	})
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(run) }()
	defer func() {
		stop()
		err = errors.Join(err, <-done, s.Close())
	}()
	snap, err := s.Snapshot(ctx, 0)
	if err != nil {
		return err
	}
	for _, a := range snap.Accounts {
		if !a.System {
			w.account = a.ID
		}
	}
	if err := w.enter(ctx, s); err != nil {
		return err
	}
	memo := filepath.Join(w.dir, "seen.json")
	if n == 0 { // filled before
		text, err := os.ReadFile(memo)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &w.seen)
	}
	made, err := w.makeKeys(ctx, s)
	if err != nil {
		return err
	}
	if err := w.send(ctx, s, snap.Pools[0].ID, made, n); err != nil {
		return err
	}
	text, err := json.Marshal(w.seen)
	if err != nil {
		return err
	}
	return os.WriteFile(memo, text, 0o600)
}

var by = store.By{Who: "bench", From: "command line"}

// enter makes an owner who is logged in.
func (w *world) enter(ctx context.Context, s *store.Store) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	u, err := s.UserNamed(ctx, "bench")
	if relay.KindOf(err) == relay.NotFound {
		u = relay.User{ID: relay.UserID{ID: relay.NewID(now)}, Account: w.account, Username: "bench", Email: "bench@example.org", Role: relay.RoleOwner, CreatedAt: now}
		if err := s.CreateUser(ctx, by, u); err != nil {
			return err
		}
		if err := s.SetTOTP(ctx, by, u.ID, []byte("not a secret that opens"), 0, now, relay.SessionID{}); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	token, hash := newToken()
	w.token = token
	return s.CreateSession(ctx, relay.Session{
		ID: relay.SessionID{ID: relay.NewID(now)}, User: u.ID, Level: relay.SessionFull, Method: "password+totp", Addr: netip.MustParseAddr("127.0.0.1"),
		Agent: "bench", CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(12 * time.Hour),
	}, hash)
}

func (w *world) makeKeys(ctx context.Context, s *store.Store) ([]relay.KeyID, error) {
	var out []relay.KeyID
	now := time.Now().UTC()
	for i := range keys {
		drawn, err := secret.GenerateKey("SG")
		if err != nil {
			return nil, err
		}
		v, err := secret.NewVerifier(drawn)
		if err != nil {
			return nil, err
		}
		k := relay.Key{
			ID: relay.KeyID{ID: drawn.ID}, Account: w.account, Kind: relay.KeyAPI, Name: fmt.Sprintf("service %d", i), Scopes: []string{relay.ScopeMailSend}, Mode: relay.KeyLive,
			Verifier: relay.Verifier(v), CreatedAt: now.AddDate(0, 0, -days), CreatedBy: by.Who,
		}
		if err := s.CreateKey(ctx, by, k); err != nil {
			return nil, err
		}
		out = append(out, k.ID)
	}
	return out, nil
}

// send accepts the messages and records that they were delivered, or bounced, as
// the relay does, but at times of the last month.
func (w *world) send(ctx context.Context, s *store.Store, pool relay.PoolID, made []relay.KeyID, n int) error {
	work, errs := make(chan int, 1024), make(chan error, 64)
	var wg sync.WaitGroup
	end := time.Now().UTC().Truncate(time.Microsecond)
	for range 64 {
		wg.Go(func() {
			for i := range work {
				if err := w.one(ctx, s, pool, made, end.Add(-time.Duration(float64(days*24*time.Hour)*float64(n-i)/float64(n))), i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case work <- i:
		case err := <-errs:
			return err
		}
		if i%50_000 == 49_999 {
			fmt.Fprintf(os.Stderr, "\rfilled %d of %d", i+1, n)
		}
	}
	fmt.Fprintln(os.Stderr)
	close(work)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

var words = []string{"invoice", "order", "welcome", "reset", "weekly", "digest", "offer", "receipt", "reminder", "security", "login", "update"}

// one is the life of one message.
func (w *world) one(ctx context.Context, s *store.Store, pool relay.PoolID, made []relay.KeyID, when time.Time, i int) error {
	rng := rand.New(rand.NewPCG(7, uint64(i)))
	id := relay.MessageID{ID: relay.NewID(when)}
	tenant := relay.Tenant{Account: w.account}
	site := fmt.Sprintf("d%d.test", rng.IntN(2000))
	if rng.IntN(3) == 0 {
		site = "gmail.test"
	}
	from, to := fmt.Sprintf("team%d@shop.test", rng.IntN(20)), fmt.Sprintf("user%d@%s", rng.IntN(300_000), site)
	subject := words[rng.IntN(len(words))] + " " + words[rng.IntN(len(words))] + fmt.Sprintf(" %d", i)
	src := relay.Source{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.IntN(250))}), Helo: "client.example.test", Protocol: "ESMTPSA", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256", Mechanism: "PLAIN"}
	m := relay.Message{
		ID: id, Tenant: tenant, Key: made[rng.IntN(len(made))], Pool: pool, State: relay.MessageQueued, EnvelopeFrom: from, ReturnPath: "b@relay.example.org",
		HeaderFrom: from, Subject: subject, Body: relay.Body7Bit, AcceptedAt: when, ExpiresAt: when.Add(96 * time.Hour), Size: 200, Source: src,
	}
	event := func(kind relay.EventKind, at time.Time, n int, to string, d relay.EventData) (relay.Event, error) {
		text, err := json.Marshal(d)
		return relay.Event{At: at, Kind: kind, Tenant: tenant, Key: m.Key, Message: id, N: n, Recipient: to, Data: text}, err
	}
	received, err := event(relay.EventReceived, when, -1, "", relay.EventData{EnvelopeFrom: from, From: from, Subject: subject, Size: 200, Recipients: []string{to}, Source: &src})
	if err != nil {
		return err
	}
	result := relay.EventData{Attempt: 1, Code: 250, Reply: "250 2.0.0 Ok: queued", Host: "mx." + site, IP: "198.51.100.1", TLS: src.TLS}
	kind := relay.EventDelivered
	if i%100 == 1 {
		kind, result.Code, result.Reply = relay.EventBounced, 550, "550 5.1.1 no such user"
	}
	final, err := event(kind, when.Add(time.Second), 0, to, result)
	if err != nil {
		return err
	}
	err = s.Accept(ctx, &store.Acceptance{
		Message: m, Head: []byte("From: " + from + "\r\nSubject: " + subject + "\r\n\r\n"), Events: []relay.Event{received},
		Recipients: []relay.Recipient{{Message: id, Address: to, Site: site, DueAt: when, Lease: s.Epoch(), Generation: 1}},
	})
	if err != nil {
		return err
	}
	err = s.Finish(ctx, store.Result{Message: id, Recipients: []store.RecipientResult{{N: 0, Generation: 1, Final: true}}, Events: []relay.Event{final}})
	if i == 1000 {
		w.seen = seen{Message: id, Recipient: to, Sender: from, Key: m.Key}
	}
	return err
}

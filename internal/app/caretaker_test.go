package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sink"
	"postern/internal/store"
)

// fill changes the store of an installation that does not run.
func (x *installation) fill(change func(ctx context.Context, st *store.Store, account relay.Account) error) {
	x.t.Helper()
	sealer, err := secret.OpenSealer(x.conf.SealingKeyPath())
	if err != nil {
		x.t.Fatal(err)
	}
	st, _, err := store.Open(x.t.Context(), store.Config{Path: x.conf.DatabasePath(), Sealer: sealer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		x.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	all, err := st.Accounts(ctx)
	if n := slices.IndexFunc(all, func(a relay.Account) bool { return !a.System }); err == nil && n >= 0 {
		err = change(ctx, st, all[n])
	}
	cancel()
	if err = errors.Join(err, <-done, st.Close()); err != nil {
		x.t.Fatal(err)
	}
}

// ending makes a key that was made some time ago and ends after a while.
func ending(ctx context.Context, st *store.Store, t relay.Tenant, name string, ago, left time.Duration) (relay.KeyID, error) {
	k, err := secret.GenerateKey("SG")
	if err != nil {
		return relay.KeyID{}, err
	}
	v, err := secret.NewVerifier(k)
	if err != nil {
		return relay.KeyID{}, err
	}
	now := time.Now().UTC()
	id := relay.KeyID{ID: k.ID}
	return id, st.CreateKey(ctx, store.By{Who: "test", From: "test"}, relay.Key{
		ID: id, Account: t.Account, Subuser: t.Subuser, Name: name, Scopes: []string{relay.ScopeMailSend}, Mode: relay.KeyLive,
		Verifier: relay.Verifier(v), CreatedAt: now.Add(-ago), ExpiresAt: now.Add(left),
	})
}

// The person who answers for a key hears of its end before it comes, by mail and
// by an alert, once; of what ends later, or was made to be short, nobody hears.
func TestReminderOfEndingKeys(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	const day = 24 * time.Hour
	var soon, later, brief relay.KeyID
	x.fill(func(ctx context.Context, st *store.Store, account relay.Account) error {
		sub := relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(time.Now())}, Account: account.ID, Name: "shop", Email: reader, CreatedAt: time.Now().UTC()}
		err := st.CreateSubuser(ctx, store.By{Who: "test", From: "test"}, sub)
		tenant := relay.Tenant{Account: account.ID, Subuser: sub.ID}
		for _, k := range []struct {
			id        *relay.KeyID
			name      string
			ago, left time.Duration
		}{{&soon, "checkout", 80 * day, 2 * day}, {&later, "nightly", 80 * day, 20 * day}, {&brief, "just now", 0, 2 * day}} {
			if err == nil {
				*k.id, err = ending(ctx, st, tenant, k.name, k.ago, k.left)
			}
		}
		return err
	})
	alerted := func() (ids []string) {
		var page struct {
			Result []relay.Event
		}
		if err := json.Unmarshal([]byte(x.ask("GET", "/admin/v1/events?event=alert", nil)), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Result {
			var d relay.EventData
			if err := json.Unmarshal(e.Data, &d); err == nil && d.Alert.Kind == relay.AlertExpiry && strings.Contains(d.Alert.Text, "checkout") {
				ids = append(ids, e.Key.String())
			}
		}
		return ids
	}
	letters := func() int {
		return len(slices.DeleteFunc(x.inbox.List(), func(m sink.Message) bool { return !strings.Contains(string(m.Raw), "checkout") }))
	}
	x.run()
	x.eventually("the reminder", func() bool { return letters() == 1 && len(alerted()) == 1 })
	if got := alerted(); got[0] != soon.String() {
		t.Errorf("alerts about %v, want %v", got, soon)
	}
	m := x.inbox.List()[0]
	if len(m.RcptTo) != 1 || m.RcptTo[0] != reader || !strings.Contains(string(m.Raw), soon.String()) {
		t.Errorf("to %v:\n%s", m.RcptTo, m.Raw)
	}
	x.stop()
	// What keeps a restart from telling again: identity's tests have the rest.
	x.fill(func(ctx context.Context, st *store.Store, account relay.Account) error {
		keys, err := st.Keys(ctx, account.ID)
		for _, k := range keys {
			if k.RemindedAt.IsZero() == (k.ID == soon) {
				t.Errorf("key %q was reminded of at %v", k.Name, k.RemindedAt)
			}
		}
		return err
	})
	if n := len(x.inbox.List()); n != 1 {
		t.Errorf("%d letters", n)
	}
}

package v3

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// fakeRecords answers as the store does, and notes how it was asked.
type fakeRecords struct {
	w       *world
	logins  []store.StoredLogin
	changes []store.StoredChange
	damaged map[relay.AccountID]bool
	pruned  []string
	reads   []int // how many records each read asked for
	failAt  int   // the read that fails, from 1; 0: none
	key     ed25519.PublicKey
	back    time.Time // how far back the newest logins are looked for; zero: all the way
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeRecords{w: w, damaged: map[relay.AccountID]bool{}, key: make(ed25519.PublicKey, ed25519.PublicKeySize)}
		w.extra["records"], s.Records, s.CursorKey = f, f, []byte("cursors of the tests")
	})
}

func recordsOf(w *world) *fakeRecords { return w.extra["records"].(*fakeRecords) }

// login adds a record.
func (f *fakeRecords) login(of relay.Tenant, at time.Time, edit func(*relay.Login)) {
	l := relay.Login{At: at, Protocol: "smtp", Mechanism: "PLAIN", Tenant: of, Addr: netip.MustParseAddr(here), Network: "192.0.2.0/24", Helo: "client.example", Result: relay.LoginOK, Count: 1}
	if edit != nil {
		edit(&l)
	}
	f.logins = append(f.logins, store.StoredLogin{ID: int64(len(f.logins)+1) << 40, Login: l})
}

// change adds a record in its account's chain.
func (f *fakeRecords) change(of relay.AccountID, at time.Time, action string) {
	c := store.StoredChange{ID: int64(len(f.changes) + 1), Seq: 1, Change: relay.Change{At: at, Account: of, By: "key x", From: here, Action: action, Subject: "thing", After: []byte(`{"a":1}`)}}
	for _, x := range f.changes {
		if x.Account == of {
			c.Seq, c.PrevHash = x.Seq+1, x.Hash
		}
	}
	sum := sha256.Sum256([]byte(fmt.Sprint(c.Account, c.Seq)))
	c.Hash = sum[:]
	f.changes = append(f.changes, c)
}

func (f *fakeRecords) asked(n int) error {
	f.reads = append(f.reads, n)
	if f.failAt == len(f.reads) {
		return errors.New("disk on fire")
	}
	return f.w.fail
}

func (f *fakeRecords) Logins(_ context.Context, q store.LoginFilter) ([]store.StoredLogin, error) {
	if err := f.asked(q.Limit); err != nil {
		return nil, err
	}
	var out []store.StoredLogin
	first, _ := slices.BinarySearchFunc(f.logins, q.After+1, func(l store.StoredLogin, id int64) int { return cmp.Compare(l.ID, id) })
	for _, l := range f.logins[first:] {
		switch {
		case !q.Account.IsZero() && l.Account != q.Account, !q.Subuser.IsZero() && l.Subuser != q.Subuser, !q.Key.IsZero() && l.Key != q.Key,
			q.Addr != "" && l.Addr.String() != q.Addr, q.Network != "" && l.Network != q.Network,
			!lets(q.Mechanism, l.Mechanism), !lets(q.TLS, strings.Fields(l.TLS + " -")[0]),
			q.Tried != "" && l.Tried != q.Tried, q.Result != "" && l.Result != q.Result, !q.Since.IsZero() && l.At.Before(q.Since),
			!q.Until.IsZero() && l.At.After(q.Until):
			continue
		}
		if out = append(out, l); len(out) == q.Limit && !q.Newest {
			break
		}
	}
	return cutTo(out, q.Limit, q.Newest), nil
}

// lets is a filter in which none stands for nothing.
func lets(want, have string) bool {
	return want == "" || want == have || want == store.LoginNone && (have == "" || have == "-")
}

// LatestLogins are looked for no further back than f.back.
func (f *fakeRecords) LatestLogins(ctx context.Context, q store.LoginFilter, budget time.Duration) ([]store.StoredLogin, time.Time, error) {
	if budget <= 0 {
		return nil, time.Time{}, errors.New("the search has no bound")
	}
	q.Newest = true
	if q.Since.Before(f.back) {
		q.Since = f.back
	}
	list, err := f.Logins(ctx, q)
	return list, f.back, err
}

func cutTo[T any](all []T, limit int, newest bool) []T {
	switch {
	case len(all) <= limit:
		return all
	case newest:
		return all[len(all)-limit:]
	}
	return all[:limit]
}

func (f *fakeRecords) Changes(_ context.Context, q store.ChangeFilter) ([]store.StoredChange, error) {
	if err := f.asked(q.Limit); err != nil {
		return nil, err
	}
	var out []store.StoredChange
	for _, c := range f.changes {
		if (q.Account.IsZero() || c.Account == q.Account) && (q.Action == "" || c.Action == q.Action) && (q.Since.IsZero() || !c.At.Before(q.Since)) &&
			(q.Until.IsZero() || !c.At.After(q.Until)) && c.ID > q.After && (q.Before == 0 || c.ID < q.Before) &&
			(strings.HasPrefix(c.By+" ", q.By+" ") || q.By == "") && (strings.HasPrefix(c.Subject+" ", q.Subject+" ") || q.Subject == "") {
			out = append(out, c)
		}
	}
	return cutTo(out, q.Limit, q.Newest), nil
}

func (f *fakeRecords) VerifyChanges(_ context.Context, account relay.AccountID) (store.Proof, error) {
	p := store.Proof{Account: account, From: 1}
	for _, c := range f.changes {
		if c.Account == account {
			p.Records, p.To, p.Head = p.Records+1, c.Seq, c.Hash
		}
	}
	if f.damaged[account] {
		return p, fmt.Errorf("verify changes: %w: the chains of all accounts have 7 changes, 9 were recorded", store.ErrDamaged)
	}
	return p, f.w.fail
}

func (f *fakeRecords) ChangeHeads(context.Context) ([]store.ChangeHead, error) {
	heads := map[relay.AccountID]store.ChangeHead{}
	for _, c := range f.changes {
		heads[c.Account] = store.ChangeHead{Account: c.Account, Seq: c.Seq, Hash: c.Hash, At: c.At, Signature: []byte("signed")}
	}
	var out []store.ChangeHead
	for _, h := range heads {
		out = append(out, h)
	}
	return out, f.w.fail
}

func (f *fakeRecords) PruneChanges(_ context.Context, by store.By, what store.Prune) (store.Checkpoint, error) {
	if f.damaged[what.Account] {
		return store.Checkpoint{}, fmt.Errorf("prune changes: %w", store.ErrDamaged)
	}
	f.pruned = append(f.pruned, what.Account.String()+" "+what.Before.Format(time.RFC3339)+strings.Join(append([]string{""}, what.Unexported...), " unexported "))
	return store.Checkpoint{Account: what.Account, Seq: 3, Hash: []byte("hash"), At: t0, Count: 3, Signature: []byte("signed")}, f.w.noted(by, "prune")
}

func (f *fakeRecords) AuditKey() ed25519.PublicKey { return f.key }

// many adds logins, one a second, to a tenant.
func (f *fakeRecords) many(t testing.TB, of relay.Tenant, n int) {
	t.Helper()
	for i := range n {
		f.login(of, t0.Add(time.Duration(i)*time.Second), func(l *relay.Login) { l.Tried = strconv.Itoa(i) })
	}
}

package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// recorded opens a store with a world and n more changes of its key: 4+n in the
// account's chain.
func recorded(t testing.TB, cfg Config, n int) (*Store, *world) {
	t.Helper()
	s, _ := openTest(t, cfg)
	w := newWorld(t, s)
	more(t, s, w, n)
	return s, w
}

func more(t testing.TB, s *Store, w *world, n int) {
	t.Helper()
	for i := range n {
		if err := s.SetKeyDisabled(context.Background(), testBy, w.key.ID, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
}

// tamper changes the database as somebody who has its file, and not the keys.
func tamper(t testing.TB, s *Store, query string, args ...any) {
	t.Helper()
	err := s.eng.transact(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		for _, q := range strings.Split(query, ";") {
			if _, err := tx.Exec(q, args[:strings.Count(q, "$")]...); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever is altered in the record of changes is found, and stays found
// when the record goes on.
func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		of := ` WHERE account_id = $1 AND seq = `
		for name, query := range map[string]string{
			"time":               `UPDATE changes SET at = at + 1` + of + `4`,
			"who":                `UPDATE changes SET who = 'nobody'` + of + `4`,
			"from":               `UPDATE changes SET from_addr = 'x'` + of + `4`,
			"action":             `UPDATE changes SET action = 'x'` + of + `4`,
			"subject":            `UPDATE changes SET subject = 'x'` + of + `4`,
			"before":             `UPDATE changes SET before = '{}'` + of + `4`,
			"after":              `UPDATE changes SET after = '{}'` + of + `4`,
			"hash before":        `UPDATE changes SET prev_hash = hash` + of + `4`,
			"hash":               `UPDATE changes SET hash = prev_hash` + of + `4`,
			"number":             `UPDATE changes SET seq = 99` + of + `4`,
			"account":            `UPDATE changes SET account_id = x'00112233445566778899aabbccddeeff'` + of + `4`,
			"place":              `UPDATE changes SET id = id + 1000` + of + `4`,
			"first is gone":      `DELETE FROM changes` + of + `1`,
			"one is gone":        `DELETE FROM changes` + of + `5`,
			"last is gone":       `DELETE FROM changes` + of + `9`,
			"all are gone":       `DELETE FROM changes WHERE account_id = $1`,
			"head is gone":       `DELETE FROM change_heads WHERE account_id = $1`,
			"account is gone":    `DELETE FROM changes WHERE account_id = $1; DELETE FROM change_heads WHERE account_id = $1`,
			"order":              `UPDATE changes SET seq = -5` + of + `5;UPDATE changes SET seq = 5` + of + `6;UPDATE changes SET seq = 6` + of + `-5`,
			"head put back":      `UPDATE change_heads SET seq = 3 WHERE account_id = $1`,
			"head's time":        `UPDATE change_heads SET at = at - 1 WHERE account_id = $1`,
			"head's signature":   `UPDATE change_heads SET signature = hash WHERE account_id = $1`,
			"number of all":      `UPDATE settings SET value = '1:00' WHERE name = 'changes_total'`,
			"number of all gone": `DELETE FROM settings WHERE name = 'changes_total'`,
			// Whoever computes all hashes anew has not the key that signs the head.
			"last is gone, head put back": `DELETE FROM changes` + of + `9; UPDATE change_heads SET seq = 8, signature = hash,
				hash = (SELECT hash FROM changes c WHERE c.account_id = change_heads.account_id AND c.seq = 8) WHERE account_id = $1`,
		} {
			if cfg.URL != "" {
				if name != "who" && name != "account is gone" && name != "last is gone, head put back" {
					continue // enough to see that the engine matters not
				}
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := cfg
				if c.URL != "" {
					c.URL = sharedPg(t).Database(t)
				} else {
					c.Path = filepath.Join(t.TempDir(), "postern.db")
				}
				s, w := recorded(t, c, 5)
				if p, err := s.VerifyChanges(context.Background(), w.account.ID); err != nil || p.Records != 9 || p.From != 1 || p.To != 9 {
					t.Fatalf("before: %+v, %v", p, err)
				}
				tamper(t, s, query, blob(w.account.ID.ID))
				if _, err := s.VerifyChanges(context.Background(), w.account.ID); !errors.Is(err, ErrDamaged) {
					t.Errorf("not found: %v", err)
				}
				more(t, s, w, 2)
				if p, err := s.VerifyChanges(context.Background(), w.account.ID); !errors.Is(err, ErrDamaged) {
					t.Errorf("whole again after two changes: %+v, %v", p, err)
				}
			})
		}
	})
}

// The head of an older copy, with its true signature and its records, does
// not pass in a database that has gone on.
func TestAnOldHeadIsFound(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, w := recorded(t, cfg, 1)
		ctx := context.Background()
		heads, err := s.ChangeHeads(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var old ChangeHead
		for _, h := range heads {
			if !h.Signed(s.AuditKey()) {
				t.Errorf("head %+v is not signed", h)
			}
			if h.Account == w.account.ID {
				old = h
			}
		}
		if old.Seq != 5 {
			t.Fatalf("heads %+v", heads)
		}
		more(t, s, w, 2)
		tamper(t, s, `DELETE FROM changes WHERE account_id = $1 AND seq > 5`, blob(w.account.ID.ID))
		tamper(t, s, `UPDATE change_heads SET seq = 5, hash = $1, at = $2, signature = $3 WHERE account_id = $4`, old.Hash, micros(old.At), old.Signature, blob(w.account.ID.ID))
		if p, err := s.VerifyChanges(ctx, w.account.ID); !errors.Is(err, ErrDamaged) {
			t.Errorf("not found: %+v, %v", p, err)
		}
		more(t, s, w, 3)
		if p, err := s.VerifyChanges(ctx, w.account.ID); !errors.Is(err, ErrDamaged) {
			t.Errorf("whole again: %+v, %v", p, err)
		}
	})
}

// TestHeadsProveOutside: a head that was kept tells of another installation's,
// and of any change to itself.
func TestHeadsProveOutside(t *testing.T) {
	t.Parallel()
	s, w := recorded(t, Config{}, 1)
	heads, err := s.ChangeHeads(context.Background())
	if err != nil || len(heads) != 2 {
		t.Fatalf("heads %+v, %v", heads, err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := heads[1]
	if h.Account != w.account.ID || !h.Signed(s.AuditKey()) || h.Signed(other) || h.Signed(nil) {
		t.Errorf("head %+v", h)
	}
	for what, edit := range map[string]func(*ChangeHead){
		"account": func(h *ChangeHead) { h.Account = relay.AccountID{} }, "seq": func(h *ChangeHead) { h.Seq++ },
		"hash": func(h *ChangeHead) { h.Hash = bytes.Repeat([]byte{1}, 32) }, "time": func(h *ChangeHead) { h.At = h.At.Add(time.Microsecond) },
		"signature": func(h *ChangeHead) { h.Signature = nil },
	} {
		forged := h
		if edit(&forged); forged.Signed(s.AuditKey()) {
			t.Errorf("another %s passes", what)
		}
	}
}

// TestPruneChanges: a checkpoint stands for what was pruned, again and again, and
// the chain goes on.
func TestPruneChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		cfg.Now = func() time.Time { now = now.Add(time.Second); return now }
		s, w := recorded(t, cfg, 6)
		ctx := context.Background()
		all, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID})
		if err != nil || len(all) != 10 {
			t.Fatalf("%d changes, %v", len(all), err)
		}
		if _, err := s.PruneChanges(ctx, testBy, Prune{Account: w.account.ID, Before: all[0].At}); relay.KindOf(err) != relay.NotFound {
			t.Errorf("nothing to prune: %v", err)
		}
		c, err := s.PruneChanges(ctx, testBy, Prune{Account: w.account.ID, Before: all[6].At})
		if err != nil || c.Seq != 6 || c.Count != 6 || !bytes.Equal(c.Hash, all[5].Hash) || !c.Signed(s.AuditKey()) {
			t.Fatalf("checkpoint %+v, %v", c, err)
		}
		p, err := s.VerifyChanges(ctx, w.account.ID)
		if err != nil || p.From != 7 || p.To != 11 || p.Records != 5 || len(p.Checkpoints) != 1 {
			t.Errorf("proof %+v, %v", p, err)
		}
		rest, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID})
		if err != nil || len(rest) != 5 || rest[0].Seq != 7 || rest[4].Action != "changes.prune" || rest[4].By != testBy.Who {
			t.Errorf("rest %+v, %v", rest, err)
		}
		more(t, s, w, 3)
		c2, err := s.PruneChanges(ctx, testBy, Prune{Account: w.account.ID, Before: now.Add(time.Hour)}) // all of them
		if err != nil || c2.Seq != 14 || c2.Count != 8 {
			t.Errorf("checkpoint %+v, %v", c2, err)
		}
		more(t, s, w, 1)
		p, err = s.VerifyChanges(ctx, w.account.ID)
		same(t, "proof", Proof{Account: w.account.ID, Records: 2, From: 15, To: 16, Head: p.Head, Checkpoints: []Checkpoint{c, c2}}, p, err)
		if _, err := s.VerifyChanges(ctx, relay.AccountID{}); err != nil {
			t.Errorf("the installation's: %v", err)
		}
		// Other nodes read the same; and the signed total still fits.
		if _, err := s.PruneChanges(ctx, testBy, Prune{Account: relay.AccountID{ID: relay.NewID(now)}, Before: now}); relay.KindOf(err) == relay.Internal && !errors.Is(err, ErrDamaged) {
			t.Errorf("of no account: %v", err)
		}
	})
}

// Neither a checkpoint of one's own making, nor one taken away or moved,
// passes for what was pruned; and what does not fit is not pruned.
func TestCheckpointsCannotBeForged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		for name, query := range map[string]string{
			"taken away":      `DELETE FROM change_checkpoints WHERE account_id = $1`,
			"first is gone":   `DELETE FROM change_checkpoints WHERE account_id = $1 AND seq = 3`,
			"last is gone":    `DELETE FROM change_checkpoints WHERE account_id = $1 AND seq = 6`,
			"count":           `UPDATE change_checkpoints SET count = 4 WHERE account_id = $1 AND seq = 6`,
			"hash":            `UPDATE change_checkpoints SET hash = signature WHERE account_id = $1 AND seq = 6`,
			"time":            `UPDATE change_checkpoints SET at = at + 1 WHERE account_id = $1 AND seq = 6`,
			"signature":       `UPDATE change_checkpoints SET signature = hash WHERE account_id = $1 AND seq = 6`,
			"place":           `UPDATE change_checkpoints SET seq = 7 WHERE account_id = $1 AND seq = 6`,
			"one more pruned": `DELETE FROM changes WHERE account_id = $1 AND seq = 7; UPDATE change_checkpoints SET seq = 7, count = 4 WHERE account_id = $1 AND seq = 6`,
		} {
			if cfg.URL != "" && name != "taken away" && name != "one more pruned" {
				continue // enough to see that the engine matters not
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := cfg
				if c.URL != "" {
					c.URL = sharedPg(t).Database(t)
				} else {
					c.Path = filepath.Join(t.TempDir(), "postern.db")
				}
				now := time.Now().UTC().Truncate(time.Microsecond)
				c.Now = func() time.Time { now = now.Add(time.Second); return now }
				s, w := recorded(t, c, 6)
				ctx := context.Background()
				all, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID})
				if err != nil {
					t.Fatal(err)
				}
				for _, before := range []int{3, 6} {
					if _, err := s.PruneChanges(ctx, testBy, Prune{Account: w.account.ID, Before: all[before].At}); err != nil {
						t.Fatal(err)
					}
				}
				if p, err := s.VerifyChanges(ctx, w.account.ID); err != nil || len(p.Checkpoints) != 2 {
					t.Fatalf("before: %+v, %v", p, err)
				}
				tamper(t, s, query, blob(w.account.ID.ID))
				if p, err := s.VerifyChanges(ctx, w.account.ID); !errors.Is(err, ErrDamaged) {
					t.Errorf("not found: %+v, %v", p, err)
				}
				if _, err := s.PruneChanges(ctx, testBy, Prune{Account: w.account.ID, Before: now.Add(time.Hour)}); !errors.Is(err, ErrDamaged) {
					t.Errorf("pruned what does not fit: %v", err)
				}
			})
		}
	})
}

// TestAuditKeyIsTheInstallations: it is the same at each start and on each node,
// nobody without the sealing key can put another in its place, and a new one
// leaves its mark.
func TestAuditKeyIsTheInstallations(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, w := recorded(t, cfg, 1)
		ctx := context.Background()
		key := s.AuditKey()
		if cfg.URL != "" {
			node, _ := openTest(t, cfg)
			if !node.AuditKey().Equal(key) {
				t.Error("another node has another key")
			}
		}
		made, err := s.Changes(ctx, ChangeFilter{Action: "audit.key"})
		if err != nil || len(made) != 1 || !strings.Contains(string(made[0].After), hexEncode(key)) {
			t.Errorf("record %+v, %v", made, err)
		}
		var value string
		if err := s.db.QueryRow(selectAudit).Scan(&value); err != nil || strings.Contains(value, hexEncode(s.audit.private.Seed())) {
			t.Errorf("the key lies open: %v", err)
		}
		tamper(t, s, `DELETE FROM settings WHERE name = 'audit_key'`)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = openTest(t, cfg)
		if s.AuditKey().Equal(key) {
			t.Error("the key came back")
		}
		if _, err := s.VerifyChanges(ctx, w.account.ID); !errors.Is(err, ErrDamaged) {
			t.Errorf("a record that another key has signed: %v", err)
		}
		if made, err := s.Changes(ctx, ChangeFilter{Action: "audit.key"}); err != nil || len(made) != 2 {
			t.Errorf("%d keys are recorded, %v", len(made), err)
		}
		tamper(t, s, `UPDATE settings SET value = '00' WHERE name = 'audit_key'`)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.Sealer, cfg.Logger = testSealer, quiet
		if got, _, err := Open(ctx, cfg); !errors.Is(err, ErrDamaged) {
			t.Errorf("opened with a key that cannot be unsealed: %v, %v", got, err)
		}
	})
}

// TestNodesShareOneRecord: changes of two nodes at once are one chain for each
// account, in the order of their ids, and each is signed.
func TestNodesShareOneRecord(t *testing.T) {
	t.Parallel()
	url := sharedPg(t).Database(t)
	var nodes []*Store
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 3 { // all at once: one makes the key
		wg.Go(func() {
			s, _ := openTest(t, Config{URL: url, LeaseTime: time.Hour})
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, s)
		})
	}
	wg.Wait()
	worlds := []*world{newWorld(t, nodes[0]), newWorld(t, nodes[1])}
	for i := range 6 {
		s, w := nodes[i%3], worlds[i%2]
		wg.Go(func() { more(t, s, w, 8) })
	}
	wg.Wait()
	for _, w := range worlds {
		if p, err := nodes[2].VerifyChanges(context.Background(), w.account.ID); err != nil || p.Records != 4+24 {
			t.Errorf("proof %+v, %v", p, err)
		}
	}
}

// What is not a row of the store is recorded all the same: in its account's
// chain, or in the installation's.
func TestRecordChange(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, w := recorded(t, cfg, 0)
		ctx := context.Background()
		before := s.Revision()
		lifted := relay.Change{Account: w.account.ID, Action: "ban.lift", Subject: "key x", Before: []byte(`{"failures":7}`), By: "somebody else", From: "nowhere"}
		if err := s.RecordChange(ctx, testBy, lifted); err != nil {
			t.Fatal(err)
		}
		if err := s.RecordChange(ctx, testBy, relay.Change{Action: "ban.set", Subject: "network 192.0.2.0/24", After: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
		for account, want := range map[relay.AccountID]string{
			w.account.ID: `ban.lift key x {"failures":7} `, {}: "ban.set network 192.0.2.0/24  {}",
		} {
			last, err := s.Changes(ctx, ChangeFilter{Account: account, Newest: true, Limit: 1})
			if err != nil || len(last) != 1 {
				t.Fatal(last, err)
			}
			c := last[0]
			if got := fmt.Sprintf("%s %s %s %s", c.Action, c.Subject, c.Before, c.After); got != want || c.By != testBy.Who || c.From != testBy.From || c.At.IsZero() {
				t.Errorf("recorded %q by %q from %q at %v; want %q", got, c.By, c.From, c.At, want)
			}
			if _, err := s.VerifyChanges(ctx, account); err != nil {
				t.Error(err)
			}
		}
		if s.Revision() != before {
			t.Error("the revision rose, and every node reads what did not change")
		}
		for want, c := range map[relay.Kind]relay.Change{
			relay.NotFound: {Account: relay.AccountID{ID: relay.NewID(time.Now())}, Action: "ban.set"},
			relay.Invalid:  {Account: w.account.ID},
		} {
			if err := s.RecordChange(ctx, testBy, c); relay.KindOf(err) != want {
				t.Errorf("%+v: %v", c, err)
			}
		}
	})
}

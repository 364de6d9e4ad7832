package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// actionsOf are the actions of records, which the tests here number.
func actionsOf(all []StoredChange) string {
	var names []string
	for i := range all {
		names = append(names, all[i].Action)
	}
	return strings.Join(names, " ")
}

// changed records changes by who of what, named c1, c2, … in the order given, all at
// one time.
func changed(t testing.TB, s *Store, account relay.AccountID, whoWhat ...[2]string) {
	t.Helper()
	for i, x := range whoWhat {
		c := relay.Change{Account: account, Action: "c" + string(rune('1'+i)), Subject: x[1]}
		if err := s.RecordChange(context.Background(), By{Who: x[0], From: "test"}, c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangesByWhoAndWhat(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		now := time.Now().UTC().Truncate(time.Second)
		cfg.Now = func() time.Time { return now }
		s, _ := openTest(t, cfg)
		a, other := newWorld(t, s).account.ID, newWorld(t, s).account.ID
		changed(t, s, a, [2]string{"user anna", "domain x.test"}, [2]string{"user annabelle", "domain x.test.evil.test"}, [2]string{"key k1", "domain x.test"},
			[2]string{"anna", "key k1 (ci)"}, [2]string{"user Anna", "key k12 (ci)"}, [2]string{"user anna", "domain%"}, [2]string{"postern init", "Domain x.test"})
		changed(t, s, other, [2]string{"user anna", "domain x.test"}, [2]string{"sso work", "key k1"})
		for name, x := range map[string]struct {
			f    ChangeFilter
			want string
		}{
			"somebody":                  {ChangeFilter{By: "user anna"}, "c1 c6"},
			"a name alone":              {ChangeFilter{By: "anna"}, "c1 c4 c6"},
			"a key's id alone":          {ChangeFilter{By: "k1"}, "c3"},
			"all people":                {ChangeFilter{By: "user"}, "c1 c2 c5 c6"},
			"a part of a word":          {ChangeFilter{By: "user ann"}, ""},
			"a thing":                   {ChangeFilter{Subject: "domain x.test"}, "c1 c3"},
			"a thing with a name":       {ChangeFilter{Subject: "key k1"}, "c4"},
			"all of a kind":             {ChangeFilter{Subject: "key"}, "key.create c4 c5"},
			"a wildcard is none":        {ChangeFilter{Subject: "domain%"}, "c6"},
			"who and what":              {ChangeFilter{By: "user anna", Subject: "domain x.test"}, "c1"},
			"a name, and what":          {ChangeFilter{By: "anna", Subject: "key"}, "c4"},
			"with the action":           {ChangeFilter{By: "anna", Action: "c6"}, "c6"},
			"the newest":                {ChangeFilter{By: "anna", Newest: true, Limit: 2}, "c4 c6"},
			"the oldest":                {ChangeFilter{By: "anna", Limit: 2}, "c1 c4"},
			"of this time":              {ChangeFilter{By: "anna", Since: now, Until: now}, "c1 c4 c6"},
			"of later":                  {ChangeFilter{By: "anna", Since: now.Add(time.Second)}, ""},
			"of before":                 {ChangeFilter{By: "anna", Until: now.Add(-time.Second)}, ""},
			"what no database can hold": {ChangeFilter{By: "anna\x00", Subject: "\xff"}, ""},
		} {
			x.f.Account = a
			got, err := s.Changes(t.Context(), x.f)
			if err != nil || actionsOf(got) != x.want {
				t.Errorf("%s: %q, %v, want %q", name, actionsOf(got), err, x.want)
			}
		}
		// Without an account, the changes of all and of the installation itself.
		changed(t, s, relay.AccountID{}, [2]string{"user anna", "pool x"})
		for want, f := range map[string]ChangeFilter{"c1 c6 c1 c1": {By: "user anna"}, "c4 c2": {Subject: "key k1"}, "c1": {Subject: "pool x"}} {
			if got, err := s.Changes(t.Context(), f); err != nil || actionsOf(got) != want {
				t.Errorf("%+v: %q, %v, want %q", f, actionsOf(got), err, want)
			}
		}
	})
}

// Who walks through a list from either end meets each record once, though all are of
// one moment, other accounts' stand between them, and some were pruned.
func TestWalksThroughChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		now := time.Now().UTC().Truncate(time.Second)
		cfg.Now = func() time.Time { return now }
		s, _ := openTest(t, cfg)
		a, other := newWorld(t, s).account.ID, newWorld(t, s).account.ID
		for range 3 {
			changed(t, s, a, [2]string{"user anna", "queue"}, [2]string{"user otto", "queue"}, [2]string{"user anna", "queue"})
			changed(t, s, other, [2]string{"user anna", "queue"})
		}
		for name, f := range map[string]ChangeFilter{"all": {Account: a}, "by somebody": {Account: a, By: "anna"}, "of a thing": {Account: a, Subject: "queue"},
			"of all accounts": {}, "of all accounts, by somebody": {By: "user anna"}} {
			f.Limit = 1000
			want, err := s.Changes(t.Context(), f)
			if err != nil || len(want) < 6 {
				t.Fatalf("%s: %d, %v", name, len(want), err)
			}
			if got := walkChanges(t, s, f); !slices.Equal(got, idsOf(want)) {
				t.Errorf("%s: %v, want %v", name, got, idsOf(want))
			}
			f.Newest = true
			if got := walkChanges(t, s, f); !slices.Equal(got, idsOf(want)) {
				t.Errorf("%s, from the end: %v, want %v", name, got, idsOf(want))
			}
		}
		// The places of records that are gone, or of another account.
		all, err := s.Changes(t.Context(), ChangeFilter{Account: a, Limit: 1000})
		theirs, errTheirs := s.Changes(t.Context(), ChangeFilter{Account: other, Newest: true, Limit: 3})
		if err != nil || errTheirs != nil {
			t.Fatal(err, errTheirs)
		}
		gone, left := all[len(all)-6], all[len(all)-5:]
		if err := s.eng.transact(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM changes WHERE account_id = $1 AND id <= $2`, blob(a.ID), gone.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for name, x := range map[string]struct {
			f    ChangeFilter
			want []StoredChange
		}{
			"behind one that is gone":  {ChangeFilter{After: gone.ID}, left},
			"before one that is gone":  {ChangeFilter{Before: gone.ID, Newest: true}, nil},
			"behind another account's": {ChangeFilter{After: theirs[1].ID}, left[2:]},
			"before another account's": {ChangeFilter{Before: theirs[1].ID, Newest: true}, left[:2]},
		} {
			x.f.Account = a
			if got, err := s.Changes(t.Context(), x.f); err != nil || !slices.Equal(idsOf(got), idsOf(x.want)) {
				t.Errorf("%s: %v, %v, want %v", name, idsOf(got), err, idsOf(x.want))
			}
		}
	})
}

func idsOf(all []StoredChange) (ids []int64) {
	for i := range all {
		ids = append(ids, all[i].ID)
	}
	return ids
}

// walkChanges reads a list by twos, and returns the ids from the oldest on.
func walkChanges(t testing.TB, s *Store, f ChangeFilter) (ids []int64) {
	t.Helper()
	f.Limit = 2
	for {
		list, err := s.Changes(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return ids
		}
		if f.Newest {
			ids, f.Before = append(idsOf(list), ids...), list[0].ID
		} else {
			ids, f.After = append(ids, idsOf(list)...), list[len(list)-1].ID
		}
	}
}

// An upgrade leaves PostgreSQL with the statistics by which it chooses the index that a
// filter of changes was made for: altering a column throws them away.
func TestUpgradeKeepsStatisticsOfChanges(t *testing.T) {
	t.Parallel()
	cfg := Config{URL: sharedPg(t).Database(t), LeaseTime: time.Hour}
	db, d := firstVersion(t, cfg)
	fillFirstVersion(t, db, d)
	if err := migrateFiles(t.Context(), db, d, known(t, d, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`ANALYZE changes`); err != nil {
		t.Fatal(err)
	}
	openTest(t, cfg)
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM pg_stats WHERE tablename = 'changes' AND attname IN ('who', 'subject')`).Scan(&n); err != nil || n != 2 {
		t.Errorf("statistics of %d columns, %v", n, err)
	}
}

package mailsend

import (
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestBatches(t *testing.T) {
	t.Parallel()
	old, current := []byte("old key"), []byte("current key")
	acme := relay.Tenant{Account: relay.AccountID{ID: relay.ID{1}}}
	b := NewBatches([][]byte{current, old})
	id, ok := b.Make(acme, now)
	if !ok || len(id) != 43 {
		t.Fatalf("%q, %v", id, ok)
	}
	if other, _ := b.Make(acme, now); other == id {
		t.Error("the same id twice")
	}
	before, _ := NewBatches([][]byte{old}).Make(acme, now)
	for name, c := range map[string]struct {
		tenant relay.Tenant
		id     string
		at     time.Time
		want   bool
	}{
		"right":                   {acme, id, now, true},
		"just in time":            {acme, id, now.Add(BatchLife - time.Second), true},
		"old":                     {acme, id, now.Add(BatchLife), false},
		"of the key before":       {acme, before, now, true},
		"of another account":      {relay.Tenant{Account: relay.AccountID{ID: relay.ID{2}}}, id, now, false}, // AP-01
		"of its subuser":          {relay.Tenant{Account: acme.Account, Subuser: relay.SubuserID{ID: relay.ID{1}}}, id, now, false},
		"changed":                 {acme, "B" + id[1:], now, false},
		"cut":                     {acme, id[:42], now, false},
		"with a line end":         {acme, id + "\n", now, false},
		"empty":                   {acme, "", now, false},
		"of nothing but the same": {acme, strings.Repeat("A", 43), now, false},
	} {
		if got := b.Valid(c.tenant, c.id, c.at); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	var none *Batches
	if _, ok := none.Make(acme, now); ok || none.Valid(acme, id, now) {
		t.Error("ids of nobody")
	}
	if _, ok := NewBatches(nil).Make(acme, now); ok || NewBatches(nil).Valid(acme, id, now) {
		t.Error("ids without a key")
	}
}

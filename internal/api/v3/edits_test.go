package v3

import (
	"testing"
	"testing/synctest"

	"postern/internal/relay"
)

// An account's edits wait for one another, and for nobody else's; of those that are
// over nothing is kept.
func TestEditsWaitForTheirOwnAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var e edits
		var same, others int
		unlock := e.lock(relay.AccountID{})
		for i := range 3 {
			go func() {
				defer e.lock(relay.AccountID{})()
				same++
			}()
			go func() { // ids that differ in one octet, wherever it is
				for n := range len(relay.ID{}) {
					id := relay.ID{}
					id[n] = byte(64 * (i + 1))
					unlock := e.lock(relay.AccountID{ID: id})
					others++
					unlock()
				}
			}()
			synctest.Wait()
			if same != 0 || others != (i+1)*len(relay.ID{}) {
				t.Errorf("%d of the same account, %d of others", same, others)
			}
		}
		unlock()
		synctest.Wait()
		if same != 3 || len(e.of) != 0 {
			t.Errorf("%d edits, %d accounts are remembered", same, len(e.of))
		}
	})
}

package submit

import (
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// A bounce of mail that nothing is recorded of any more is taken and dropped: a
// temporary refusal would make its sender try for days.
func TestBounceAfterRetention(t *testing.T) {
	w := newWorld(t, nil)
	in, _ := w.intake(nil)
	long := relay.MessageID{ID: relay.NewID(time.Now().Add(-60 * 24 * time.Hour))}
	rp := w.service.cfg.ReturnPaths.Make(long, "em.acme.test")
	if err := in.take(t, rp, strings.NewReplacer("%RP%", rp, "%TO%", "b@one.test").Replace(dsn)); err != nil {
		t.Errorf("%v, want it taken", err)
	}
}

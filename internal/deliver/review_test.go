package deliver

import (
	"testing"
	"testing/synctest"

	"postern/internal/dns"
	"postern/internal/testkit/fakemx"
)

// An attempt that outlives Close ends its session at once: adding to what Close
// waits for, or has waited for, would be a misuse of it, and a panic at worst.
func TestAttemptThatOutlivesClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mx := fakemx.New(fakemx.Config{})
		d, err := New(Config{Resolver: &dns.Static{}, Hostname: "relay.example.test"})
		if err != nil {
			t.Fatal(err)
		}
		s := pipeSession(t, mx)
		d.Close()
		d.retire(s)
		if s.Quit(t.Context()); s.Usable() {
			t.Error("the session is still usable")
		}
		if len(d.quitSem) != 0 {
			t.Error("somebody says goodbye after Close")
		}
		mx.Close()
	})
}

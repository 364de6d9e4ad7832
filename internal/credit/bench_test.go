package credit

import (
	"testing"
	"time"

	"postern/internal/relay"
)

// A message of a tenant without limits, and one with every limit there is and an
// hour of use behind it.
func BenchmarkReserve(b *testing.B) {
	for name, set := range map[string]func(*Claim){
		"unlimited": nil,
		"limited": func(c *Claim) {
			const much = 1 << 40
			c.Account.Plan = relay.Plan{Hour: much, Day: much, Month: much}
			c.Subuser.Plan = relay.Plan{Hour: much, Day: much, Month: much, Credits: relay.Credits{Type: relay.CreditsRecurring, Total: much}}
			c.Key.PerMinute, c.Key.PerHour, c.Key.PerDay, c.Key.PerMonth = much, much, much, much
			c.Account.TimeZone = "Europe/Berlin"
		},
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, set)
			for range 3600 {
				w.now = w.now.Add(time.Second)
				w.sends(1)
			}
			b.ReportAllocs()
			for b.Loop() {
				r, err := w.reserve(1)
				if err != nil {
					b.Fatal(err)
				}
				r.Settle()
			}
		})
	}
}

// What is refused costs no more than what is taken.
func BenchmarkRefuse(b *testing.B) {
	w := newWorld(b, func(c *Claim) { c.Account.Plan.Hour, c.Key.PerMinute = 3600, 60 })
	for range 60 {
		w.sends(1)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.reserve(1); err == nil {
			b.Fatal("taken")
		}
	}
}

// BenchmarkExhausted is what each AUTH and each MAIL of a tenant without limits
// pays.
func BenchmarkExhausted(b *testing.B) {
	w := newWorld(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if w.ledger.Exhausted(b.Context(), w.claim.Account, w.claim.Subuser, w.claim.Key) != nil {
			b.Fatal("exhausted")
		}
	}
}

package dns

import "time"

// Trusted reports whether the AD bit of the nth server counts.
func Trusted(c *Client, n int) bool { return c.servers[n].trusted }

// NotifyFaster shortens how long changes are gathered. The server must not run yet.
func NotifyFaster(s *ZoneServer, by time.Duration) {
	s.notifier.delay, s.notifier.every = s.notifier.delay/by, s.notifier.every/by
}

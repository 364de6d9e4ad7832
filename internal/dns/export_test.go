package dns

// Trusted reports whether the AD bit of the nth server counts.
func Trusted(c *Client, n int) bool { return c.servers[n].trusted }

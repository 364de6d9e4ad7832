package dns_test

import (
	"testing"
	"time"

	"postern/internal/dns"
)

// newZone makes a zone of records given as {name, type, rdata…}.
func newZone(tb testing.TB, origin string, records ...[]string) *dns.Zone {
	tb.Helper()
	z, err := dns.NewZone(dns.ZoneConfig{Origin: origin})
	if err != nil {
		tb.Fatal(err)
	}
	for _, r := range records {
		if err := z.Set(r[0], r[1], time.Minute, r[2:]...); err != nil {
			tb.Fatal(err)
		}
	}
	return z
}

// serve runs a zone server for as long as the test.
func serve(tb testing.TB, zones ...*dns.Zone) *dns.ZoneServer {
	tb.Helper()
	return serveWith(tb, dns.ServeConfig{}, zones...)
}

// client asks one server, without a cache unless c says so.
func client(tb testing.TB, c dns.Config) *dns.Client {
	tb.Helper()
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	cl, err := dns.NewClient(c)
	if err != nil {
		tb.Fatal(err)
	}
	return cl
}

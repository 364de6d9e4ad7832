package config

import (
	"net/netip"
	"testing"
)

// AC-09: where links lead is said by the configuration and the listeners alone.
func TestBaseURL(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		http  HTTP
		bound []netip.AddrPort
		want  string
	}{
		"by default":                     {Default().HTTP, nil, "http://localhost:8025"},
		"as configured":                  {HTTP{URL: "https://mail.example.com/relay/", Listen: []string{"127.0.0.1:8025"}}, nil, "https://mail.example.com/relay"},
		"nothing listens":                {HTTP{}, nil, ""},
		"nothing was bound":              {HTTP{Listen: []string{"127.0.0.1:8025"}}, []netip.AddrPort{}, ""},
		"TLS to the world":               {HTTP{TLS: true, Listen: []string{"0.0.0.0:443", "[::]:443"}}, nil, "https://relay.example.org"},
		"TLS at another port":            {HTTP{TLS: true, Listen: []string{"192.0.2.1:8443"}}, nil, "https://relay.example.org:8443"},
		"TLS here, and to the world":     {HTTP{TLS: true, Listen: []string{"127.0.0.1:8025", "192.0.2.1:8443"}}, nil, "https://relay.example.org:8443"},
		"TLS on this machine only":       {HTTP{TLS: true, Listen: []string{"[::1]:8443"}}, nil, "https://localhost:8443"},
		"behind a proxy that has a name": {HTTP{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, Listen: []string{"192.0.2.7:8080", "127.0.0.1:8025"}}, nil, "http://localhost:8025"},
		"behind a proxy, everywhere":     {HTTP{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, Listen: []string{"[::]:80"}}, nil, "http://localhost"},
		"the port that it got":           {HTTP{Listen: []string{"127.0.0.1:0"}}, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:40001")}, "http://localhost:40001"},
		"TLS here, IPv4 in IPv6":         {HTTP{TLS: true}, []netip.AddrPort{netip.MustParseAddrPort("[::ffff:127.0.0.1]:443")}, "https://localhost"},
		"the port that it got, TLS":      {HTTP{TLS: true, Listen: []string{"0.0.0.0:0"}}, []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:40001")}, "https://relay.example.org:40001"},
	} {
		c := Default()
		c.Hostname, c.HTTP = "relay.example.org", x.http
		if got := BaseURL(c, x.bound); got != x.want {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}

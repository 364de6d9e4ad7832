package config

import "testing"

func TestX(t *testing.T) {
	c := Default()
	c.Hostname, c.DataDir, c.Contact = "relay.example.org", "/tmp/x", "ops@example.net"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	_, p := parse([]byte("hostname='a.b'\nhostnmae=3\nfoo=3\n[limits]\nidle=30\nrecipients='x'\n[listener]\nname='x'\n[limit]\nx=3\n[queue]\nintervals=['3']\nhostname='x'"), "/x")
	for _, x := range p {
		t.Log(x)
	}
}

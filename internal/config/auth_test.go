package config

import (
	"slices"
	"testing"
)

func TestOffered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		l    Listener
		want []string
	}{
		{Listener{TLS: TLSStart}, []string{"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"}},
		{Listener{TLS: TLSImplicit}, []string{"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}},
		{Listener{TLS: TLSStart, Mechanisms: []string{"CRAM-MD5"}}, []string{"CRAM-MD5"}},
	} {
		if got := c.l.Offered(); !slices.Equal(got, c.want) {
			t.Errorf("%+v offers %v, want %v", c.l, got, c.want)
		}
	}
	for _, l := range Default().Listen {
		without := l
		without.Mechanisms = nil
		if !slices.Equal(l.Mechanisms, without.Offered()) {
			t.Errorf("%s is shown with %v and offers %v when nothing is said", l.Name, l.Mechanisms, without.Offered())
		}
	}
}

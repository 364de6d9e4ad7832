package dmarc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"postern/internal/dns"
)

func TestEvaluate(t *testing.T) {
	t.Parallel()
	records := map[string]string{
		"example.com": "v=DMARC1; p=reject", "strict.test": "v=DMARC1; p=quarantine; adkim=s; aspf=s", "try.test": "v=DMARC1; p=reject; t=y",
		"own.example.com": "v=DMARC1; p=none; psd=n", "gov.test": "v=DMARC1; p=reject; psd=y", "tryq.test": "v=DMARC1; p=quarantine; t=y",
	}
	r := zone(records)
	r.Fail = []string{"txt _dmarc.down.example.com", "txt _dmarc.down.test"}
	pass := func(d string) Check { return Check{Domain: d, Pass: true} }
	temp := func(d string) Check { return Check{Domain: d, Temp: true} }
	for _, tt := range []struct {
		name   string
		author string
		spf    Check
		dkim   []Check
		want   string // outcome, disposition, by what
	}{
		{"both, same domain", "example.com", pass("example.com"), []Check{pass("example.com")}, "pass none spf dkim"},
		{"DKIM alone (forwarded)", "example.com", Check{Domain: "example.com"}, []Check{pass("example.com")}, "pass none dkim"},
		{"SPF alone", "example.com", pass("example.com"), nil, "pass none spf"},
		{"relaxed: child", "example.com", pass("bounce.example.com"), nil, "pass none spf"},
		{"relaxed: parent", "mail.example.com", Check{}, []Check{pass("example.com")}, "pass none dkim"},
		{"relaxed: siblings", "mail.example.com", Check{}, []Check{pass("other.example.com")}, "pass none dkim"},
		{"any case", "example.com", Check{}, []Check{pass("EXAMPLE.com.")}, "pass none dkim"},
		{"one of several signatures", "example.com", Check{}, []Check{pass("relay.test"), {Domain: "example.com"}, pass("example.com")}, "pass none dkim"},
		{"strict: same", "strict.test", pass("strict.test"), nil, "pass none spf"},
		{"strict: child", "strict.test", pass("a.strict.test"), []Check{pass("a.strict.test")}, "fail quarantine"},
		{"nothing passed", "example.com", Check{Domain: "example.com"}, []Check{{Domain: "example.com"}}, "fail reject"},
		{"a stranger passed", "example.com", pass("relay.test"), []Check{pass("notexample.com")}, "fail reject"},
		{"the suffix passed", "example.com", pass("com"), []Check{pass("com")}, "fail reject"},
		{"below a psd=n of its own: another organization", "example.com", Check{}, []Check{pass("own.example.com")}, "fail reject"},
		{"and the other way", "own.example.com", Check{}, []Check{pass("example.com")}, "fail none"},
		{"two names below one public suffix", "a.gov.test", Check{}, []Check{pass("b.gov.test")}, "fail reject"},
		{"the public suffix itself does not align", "a.gov.test", Check{}, []Check{pass("gov.test")}, "fail reject"},
		{"below one name below a public suffix", "x.a.gov.test", Check{}, []Check{pass("y.a.gov.test")}, "pass none dkim"},
		{"parents publish nothing: a parent's signature is a stranger's", "mail.nothing.test", Check{}, []Check{pass("nothing.test")}, "none none"},
		{"test mode: reject is quarantine", "try.test", Check{}, nil, "fail quarantine"},
		{"test mode: quarantine is none", "tryq.test", Check{}, nil, "fail none"},
		{"no policy", "other.test", pass("other.test"), nil, "none none"},
		{"DNS down for the author", "down.test", pass("down.test"), nil, "temperror none"},
		{"DNS down for an identifier", "example.com", pass("down.example.com"), nil, "temperror none"},
		{"DNS down for one, another passed", "example.com", pass("down.example.com"), []Check{pass("example.com")}, "pass none dkim"},
		{"DNS down for a stranger is no matter", "example.com", pass("down.test"), nil, "fail reject"},
		{"an aligned check failed for now", "example.com", temp("example.com"), nil, "temperror none"},
		{"a stranger's check failed for now", "example.com", temp("relay.test"), nil, "fail reject"},
		{"identifiers that are no names", "example.com", pass(""), []Check{pass("..example.com"), pass("x .example.com")}, "fail reject"},
		{"an author that is no name", "", pass(""), nil, "permerror none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := Evaluate(context.Background(), r, Input{Author: tt.author, SPF: tt.spf, DKIM: tt.dkim})
			got := fmt.Sprintf("%s %s", res.Outcome, res.Disposition)
			if res.SPF {
				got += " spf"
			}
			if res.DKIM {
				got += " dkim"
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, res.Err, tt.want)
			}
			if (res.Outcome == Pass) != (len(res.Aligned) > 0) || (res.Err != nil) != (res.Outcome == TempError || res.Outcome == PermError) {
				t.Errorf("aligned %v, error %v", res.Aligned, res.Err)
			}
		})
	}
}

// RX-13: a message cannot make its receiver ask without end.
func TestEvaluateIsBounded(t *testing.T) {
	t.Parallel()
	r := &counting{Resolver: zone(map[string]string{"example.com": "v=DMARC1; p=reject; psd=n"})}
	in := Input{Author: "a.b.c.d.e.f.g.h.i.j.example.com", SPF: Check{Domain: "x.example.com", Pass: true}}
	for i := range 1000 {
		in.DKIM = append(in.DKIM, Check{Domain: fmt.Sprintf("stranger%d.test", i), Pass: true}, Check{Domain: fmt.Sprintf("1.2.3.4.5.6.7.8.9.n%d.example.com", i), Pass: true})
	}
	res := Evaluate(context.Background(), r, in)
	if res.Outcome != Pass {
		t.Errorf("got %+v", res)
	}
	if most := maxQueries * (2 + maxSignatures/2); len(r.asked) > most {
		t.Errorf("asked %d times, want at most %d", len(r.asked), most)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if res := Evaluate(ctx, r, in); res.Outcome != TempError || !errors.Is(res.Err, dns.ErrTemporary) {
		t.Errorf("a caller that gave up got %+v", res)
	}
}

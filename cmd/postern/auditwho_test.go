package main

import (
	"bytes"
	"strings"
	"testing"

	"postern/internal/audit"
	"postern/internal/smtp"
)

func TestWhoCanSend(t *testing.T) {
	t.Parallel()
	row := func(name string, active, can bool, senders ...string) audit.SenderRow {
		return audit.SenderRow{Name: name, Active: active, CanSend: can, Senders: senders}
	}
	r := &audit.Report{
		Domains: []audit.DomainRow{{Name: "Example.com", State: "verified"}, {Name: "com", State: "pending"}, {Name: "gone.test", State: "paused"}, {Name: "xn--mller-kva.test", State: "verified"}},
		Senders: []audit.SenderRow{
			row("any", true, true), row("revoked", false, true), row("reader", true, false), row("exact", true, true, "ceo@EXAMPLE.com"),
			row("case", true, true, "CEO@example.com"), row("domain", true, true, "other.test", "example.com"), row("other", true, true, "example.com.other.test", "info@example.com"),
		},
	}
	for address, want := range map[string]string{
		"ceo@example.com":     "any exact domain; Example.com is verified.",
		"ceo@sub.example.com": "any; Example.com is verified; names below it count only if",
		"ceo@müller.test":     "any; xn--mller-kva.test is verified.",
		"ceo@gone.test":       "any; gone.test is paused: mail as it is refused for now.",
		"ceo@other.test":      "any domain; ceo@other.test is at no domain of the account",
		"ceo@notexample.com":  "any; com is pending; names below it count only if",
	} {
		a, err := smtp.ParseAddress(address, true)
		if err != nil {
			t.Fatal(err)
		}
		v := whoCanSend(r, a)
		var names []string
		for _, k := range v.Keys {
			names = append(names, k.Name)
		}
		var out bytes.Buffer
		if err := (&cli{streams: streams{out: &out}}).showWho(v); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(names, " ") + "; " + out.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s\nwant %s", address, got, want)
		}
	}
}

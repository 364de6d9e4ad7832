package e2e

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"postern/internal/testkit/postfix"
)

// A real zone in front of a real server: nsd says where receiver.test's mail
// goes, unbound asks it, Postfix takes the mail.
func TestPostfixAsReceivingServer(t *testing.T) {
	t.Parallel()
	binary(t)
	mx := freeAddr(t)
	_, port := split(t, mx)
	boxes := postfix.Mailboxes("receiver.test", "bob", "carol")
	boxes["virtual_mailbox_domains"] = "receiver.test, sender.test"
	boxes["virtual_mailbox_maps"] = "inline:{ { bob@receiver.test = bob/ }, { carol@receiver.test = carol/ }, { alice@sender.test = alice/ } }"
	boxes["myhostname"] = "mx.receiver.test"
	// As towards the rest of the world: no relaying for neighbours.
	boxes["mynetworks"], boxes["smtpd_relay_restrictions"] = "127.0.0.2/32", "reject_unauth_destination"
	p := startPostfix(t, postfix.Config{Listen: []postfix.Service{{Addr: mx}}, Main: boxes})
	resolver := realZones(t, map[string]string{
		// The preferred exchanger does not answer: the next one gets the mail.
		"receiver.test": "@ MX 5 dead\n@ MX 10 mx\ndead A 127.0.0.99\nmx A 127.0.0.1\n",
		"sender.test":   "@ MX 10 mx.receiver.test.\n@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\nbounces MX 10 relay\nrelay A 127.0.0.1\n",
		"nullmx.test":   "@ MX 0 .\n",
		"address.test":  "@ A 127.0.0.1\n", // no MX: its address is its exchanger (RFC 5321 §5.1)
	})
	r := newRelay(t, relayOptions{
		domains: []string{"sender.test"},
		conf:    fmt.Sprintf("[deliver]\nport = %s\nallow_networks = [\"127.0.0.0/8\"]\ndns_servers = [%q]\nipv6 = false\n", port, resolver),
	})
	send := func(t *testing.T, tok string, to ...string) {
		t.Helper()
		c, err := r.dialGo(false)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		message := "From: Alice <alice@sender.test>\r\nTo: " + strings.Join(to, ", ") + "\r\nSubject: " + tok +
			"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + hardBody
		if err := submitGo(c, "alice@sender.test", to, message); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("delivered by way of the MX, unchanged", func(t *testing.T) {
		tok := token("mx")
		send(t, tok, "bob@receiver.test", "carol@receiver.test")
		for _, user := range []string{"bob", "carol"} {
			got := waitMail(t, p, user, tok)
			head, body, _ := strings.Cut(got, "\n\n")
			if want := strings.ReplaceAll(hardBody, "\r\n", "\n"); body != want {
				t.Errorf("%s's body changed:\n%q, want\n%q", user, body, want)
			}
			if !strings.Contains(head, "\nDKIM-Signature: ") || !strings.Contains(head, "by mx.receiver.test (Postfix)") {
				t.Errorf("header of %s's copy:\n%s", user, head)
			}
		}
	})
	for _, c := range []struct{ name, to, status, words string }{
		{"unknown user", "nobody@receiver.test", "5.1.1", "User unknown"},
		{"null MX", "x@nullmx.test", "5.1.10", ""},
		{"no such domain", "x@none.receiver.test", "5.1.2", ""},
		{"a domain that Postfix does not know", "x@address.test", "5.7.1", "Relay access denied"},
	} {
		t.Run("notice: "+c.name, func(t *testing.T) {
			tok := token("dsn")
			send(t, tok, c.to)
			checkNotice(t, waitMail(t, p, "alice", tok), c.to, c.status, c.words)
		})
	}
}

// waitMail waits for the mail with the token in a user's mailbox.
func waitMail(t testing.TB, p *postfix.Instance, user, token string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		mails, err := p.Mails(user)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mails {
			if strings.Contains(m, token) {
				return m
			}
		}
	}
	t.Fatalf("no mail with %s for %s after 30 s", token, user)
	return ""
}

// checkNotice reads a delivery status notification as RFC 3464 has it.
func checkNotice(t testing.TB, raw, rcpt, status, words string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get("Return-Path"); got != "<>" {
		t.Errorf("Return-Path %q: a notice comes from nobody", got)
	}
	if m.Header.Get("Auto-Submitted") != "auto-replied" && m.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("Auto-Submitted %q", m.Header.Get("Auto-Submitted"))
	}
	if m.Header.Get("DKIM-Signature") == "" {
		t.Error("the notice is not signed")
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("Content-Type %q (%v)", m.Header.Get("Content-Type"), err)
	}
	parts := map[string]string{}
	for mr := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := mr.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		parts[kind] = string(bytes.TrimSpace(b))
	}
	report := parts["message/delivery-status"]
	// Case and the blank after a semicolon are free.
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "; ", ";")) }
	for _, want := range []string{"Final-Recipient: rfc822;" + rcpt, "Action: failed", "Status: " + status, "Reporting-MTA: dns;relay.sender.test"} {
		if !strings.Contains(plain(report), plain(want)) {
			t.Errorf("no %q in the report:\n%s", want, report)
		}
	}
	if !strings.Contains(strings.ReplaceAll(report, "\n ", " "), words) {
		t.Errorf("the other server's words %q are not in the report:\n%s", words, report)
	}
	if text := parts["text/plain"]; !strings.Contains(text, rcpt) {
		t.Errorf("the text for people does not name %s:\n%s", rcpt, text)
	}
}

package submit

import (
	"strings"
	"testing"

	"postern/internal/relay"
	"postern/internal/smtp"
)

// The rows of the attack catalogue that are about what submit does to a message.
func TestRows(t *testing.T) {
	w := newWorld(t, nil)
	accepted := func(t *testing.T, env Envelope, raw string) (relay.Message, string) {
		t.Helper()
		id, err := w.send(env, raw, 100)
		if err != nil {
			t.Fatal(err)
		}
		q, err := w.store.Message(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return q.Message, w.content(id)
	}
	gone := func(t *testing.T, raw string, names ...string) {
		t.Helper()
		_, got := accepted(t, envelope("b@one.test"), raw)
		for _, n := range names {
			if strings.Contains(got, n) {
				t.Errorf("%q is still there:\n%s", n, got)
			}
		}
	}
	t.Run("AD-07", func(t *testing.T) {
		id, err := w.send(envelope("b@one.test", "b@one.test", "b@ONE.TEST"), plain, 100)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := w.store.Message(t.Context(), id); err != nil || len(q.Recipients) != 1 {
			t.Errorf("%d recipients, %v", len(q.Recipients), err)
		}
	})
	t.Run("HD-07", func(t *testing.T) {
		gone(t, "Bcc: x@hidden.test\r\nResent-Bcc: y@hidden.test\r\nRETURN-PATH: <z@hidden.test>\r\n"+plain, "hidden.test", "Bcc", "RETURN-PATH")
	})
	t.Run("HD-08", func(t *testing.T) {
		gone(t, "Authentication-Results: relay.test; dmarc=pass\r\n"+plain, "dmarc=pass")
	})
	t.Run("HD-12", func(t *testing.T) {
		m, got := accepted(t, envelope("b@one.test"), "From: sender@acme.test\r\n\r\nx\r\n")
		if strings.Count(got, "\r\nDate: ") != 1 || strings.Count(got, "\r\nMessage-ID: ") != 1 || m.HeaderID == "" {
			t.Errorf("not filled in:\n%s", got)
		}
		_, got = accepted(t, envelope("b@one.test"), "Date: nonsense\r\nMessage-ID: also nonsense\r\nFrom: sender@acme.test\r\n\r\nx\r\n")
		if !strings.Contains(got, "Date: nonsense\r\n") || !strings.Contains(got, "Message-ID: also nonsense\r\n") {
			t.Errorf("what was there was replaced:\n%s", got)
		}
	})
	t.Run("ID-02", func(t *testing.T) {
		env := envelope("b@one.test")
		env.From = addr("ceo@bank.test")
		m, _ := accepted(t, env, plain)
		if strings.Contains(m.ReturnPath, "bank.test") {
			t.Errorf("a foreign envelope sender leaves: %q", m.ReturnPath)
		}
	})
	t.Run("ID-09", func(t *testing.T) {
		env := envelope("b@one.test")
		env.From = smtp.Address{}
		if _, err := w.send(env, "From: ceo@globex.test\r\n\r\nx\r\n", 100); err == nil {
			t.Error("a null reverse-path switched the check of From off")
		}
	})
	t.Run("ID-13", func(t *testing.T) {
		// In From it is refused (TestRefusals); elsewhere it stays as it is.
		field := "Reply-To: =?utf-8?q?Ann,_x=40evil=2Etest?= <x@evil.test>\r\nSubject: =?utf-8?q?Ann=0D=0ABcc=3A_x=40evil=2Etest?=\r\n"
		_, got := accepted(t, envelope("b@one.test"), "From: sender@acme.test\r\n"+field+"\r\nx\r\n")
		if !strings.Contains(got, field) || strings.Contains(got, "\nBcc") {
			t.Errorf("an encoded line break did not stay encoded:\n%s", got)
		}
	})
	t.Run("ID-21", func(t *testing.T) {
		gone(t, "X-Postern-Tenant: globex\r\nx-postern-pool: fast\r\n"+plain, "ostern-Tenant", "ostern-pool")
	})
	t.Run("ID-23", func(t *testing.T) {
		raw := "Received-SPF: pass (relay.test: fine) receiver=relay.test\r\nARC-Authentication-Results: i=1; relay.test; dkim=pass\r\nAuthentication-Results: other.test; dkim=pass\r\n"
		gone(t, raw+plain, "Received-SPF", "ARC-Authentication-Results")
		_, got := accepted(t, envelope("b@one.test"), raw+plain)
		if !strings.Contains(got, "Authentication-Results: other.test") {
			t.Error("results of others are theirs and stay")
		}
	})
}

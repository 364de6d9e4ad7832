package smtpserver_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// TestDialogues plays the conversations of testdata/dialogues.
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d dialogues, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			play(t, strings.Split(strings.TrimSpace(string(text)), "\n"))
		})
	}
}

func play(t *testing.T, lines []string) {
	kind := "submission"
	if k, ok := strings.CutPrefix(lines[0], "listener "); ok {
		kind, lines = k, lines[1:]
	}
	w := start(t, func(c *smtpserver.Config) {
		c.ImplicitTLS = kind == "tls"
		if kind == "mx" {
			c.Role = smtpserver.RoleMX
		}
	})
	w.backend.onAuth = func(c sasl.Credentials) error {
		if c.User != "apikey" || c.Secret.Reveal() != "secret" {
			return refusedLogin
		}
		return nil
	}
	w.backend.onRcpt = func(a smtp.Address) error {
		if kind == "mx" && a.Local() != "postmaster" {
			return smtp.R(550, 5, 7, 1, "Unauthenticated senders not allowed")
		}
		return nil
	}
	c := w.dial()
	if kind == "tls" {
		c.upgrade(clientTLS())
	}
	for n, line := range lines {
		step(t, w, c, n+1, line)
	}
}

func step(t *testing.T, w *world, c *client, n int, line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "#", "":
	case "C:":
		c.send(rest + "\r\n")
	case "S:":
		got, err := c.br.ReadString('\n')
		got, crlf := strings.CutSuffix(got, "\r\n")
		want, more := strings.CutSuffix(rest, "...")
		if err != nil || !crlf || got != rest && !(more && strings.HasPrefix(got, want)) {
			t.Fatalf("line %d: %q, %v; want %q", n, got, err, rest)
		}
	case "TLS":
		c.upgrade(clientTLS())
	case "CLOSED":
		c.gone()
	case "KEPT":
		if want, err := strconv.Atoi(rest); err != nil || len(w.backend.kept()) != want {
			t.Fatalf("line %d: %d messages kept, %v", n, len(w.backend.kept()), err)
		}
	default:
		t.Fatalf("line %d: %q is no step", n, line)
	}
}

package smtpclient

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/testkit/fakemx"
)

// authHost is a host that offers mechanisms and has its own mind about them:
// answer gets each line of the exchange and returns the reply.
func authHost(t *testing.T, offered string, auth Auth, answer func(line string) string) (lines []string, err error) {
	t.Helper()
	ours, theirs := net.Pipe()
	conf := fakemx.NewCA(t).Server(t, time.Hour, "mx.example.test")
	done := make(chan []string, 1)
	go func() {
		var got []string
		defer func() { done <- got }()
		conn := tls.Server(theirs, conf)
		defer conn.Close()
		say := func(s string) { conn.Write([]byte(s + "\r\n")) }
		say("220 mx.example.test")
		for in := bufio.NewScanner(conn); in.Scan(); {
			line := in.Text()
			if strings.HasPrefix(line, "EHLO") {
				say("250-mx.example.test\r\n250 AUTH " + offered)
				continue
			}
			got = append(got, line)
			say(answer(line))
		}
	}()
	s, err := New(context.Background(), ours, Options{
		HeloName: "client.example.test", TLS: TLSImmediate, TLSConfig: &tls.Config{InsecureSkipVerify: true}, Auth: auth,
	})
	if err == nil {
		s.Close()
	}
	ours.Close()
	return <-done, err
}

// TestAuthLongResponse: an initial response that makes the command longer than
// every host takes goes in a line of its own.
func TestAuthLongResponse(t *testing.T) {
	t.Parallel()
	for n, late := range map[int]bool{330: false, 400: true, 9000: true} {
		token := strings.Repeat("x", n)
		msg := base64.StdEncoding.EncodeToString([]byte("user=\x01auth=Bearer " + token + "\x01\x01"))
		want := []string{"AUTH XOAUTH2 " + msg}
		if late {
			want = []string{"AUTH XOAUTH2", msg}
		}
		lines, err := authHost(t, "XOAUTH2", sasl.NewXOAuth2Client("", secret.Redacted(token)), func(line string) string {
			if line == "AUTH XOAUTH2" {
				return "334 "
			}
			return "235 2.7.0 In"
		})
		if err != nil || !slices.Equal(lines, want) {
			t.Errorf("token of %d: %v, %.80q", n, err, lines)
		}
		if len(want[0])+2 > maxAuthCommand {
			t.Errorf("AUTH command of %d octets", len(want[0]))
		}
	}
	// A host that does not wait for it, or asks something else, has not judged it.
	for _, reply := range []string{"235 2.7.0 In", "334 eA=="} {
		_, err := authHost(t, "XOAUTH2", sasl.NewXOAuth2Client("", secret.Redacted(strings.Repeat("x", 9000))), func(string) string { return reply })
		wantError(t, err, "454 4.7.0 auth local")
	}
}

// TestAuthMutual: in SCRAM the host has to prove itself; one that lets the client
// in without may be anybody.
func TestAuthMutual(t *testing.T) {
	t.Parallel()
	salted, err := pbkdf2.Key(sha256.New, "secret", []byte("salt"), 4096, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	for name, cheat := range map[string]string{"honest": "", "at once": "AUTH", "after the proof": "proof"} {
		server := sasl.SCRAMSHA256.New(scramExchange(salted))
		lines, err := authHost(t, "SCRAM-SHA-256", sasl.NewSCRAMClient("tim", "secret", sasl.SCRAMBinding{}), func(line string) string {
			if strings.HasPrefix(line, "AUTH") && cheat == "AUTH" || cheat == "proof" && !strings.HasPrefix(line, "AUTH") {
				return "235 2.7.0 In"
			}
			p, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "AUTH SCRAM-SHA-256 "))
			if err != nil {
				t.Errorf("%q: %v", line, err)
			}
			challenge, done, err := server.Next(context.Background(), p)
			switch {
			case err != nil:
				return "535 5.7.8 " + err.Error()
			case done:
				return "235 2.7.0 In"
			}
			return "334 " + base64.StdEncoding.EncodeToString(challenge)
		})
		if cheat != "" {
			wantError(t, err, "454 4.7.0 auth local")
			continue
		}
		if err != nil || len(lines) != 3 || lines[2] != "" {
			t.Errorf("%s: %v, %q", name, err, lines)
		}
	}
}

func scramExchange(salted []byte) sasl.Exchange {
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return sasl.Exchange{
		SCRAM: func(context.Context, string) sasl.SCRAMUser {
			return sasl.SCRAMUser{Salt: []byte("salt"), Iterations: 4096, Keys: []sasl.SCRAMKeys{{StoredKey: stored[:], ServerKey: mac(salted, "Server Key")}}}
		},
		Proved: func(context.Context, sasl.Proof) error { return nil },
	}
}

package relay

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// AU-35: whatever way a person, a session, a passkey or a link gets into a log,
// no hash and nothing sealed goes with it.
func TestPrintHidesSecrets(t *testing.T) {
	t.Parallel()
	const secret = "$argon2id$a-secret-of-32-octets!"
	var hash [32]byte
	copy(hash[:], secret)
	id := UserID{NewID(time.Unix(1, 0))}
	for _, c := range []struct {
		name, shows string
		value       any
	}{
		{"user", "anna", User{ID: id, Username: "anna", Password: secret, TOTP: []byte(secret)}},
		{"pointer to a user", "anna", &User{ID: id, Username: "anna", Password: secret, TOTP: []byte(secret)}},
		{"users", "anna", []User{{Username: "anna", Password: secret, TOTP: []byte(secret)}}},
		{"a struct with a user", "anna", struct{ Of User }{User{Username: "anna", Password: secret, TOTP: []byte(secret)}}},
		{"session", "password+totp", Session{Method: "password+totp", Pending: []byte(secret)}},
		{"passkey", "laptop", Passkey{Name: "laptop", Credential: []byte(secret)}},
		{"link", "anna@example.org", Link{Email: "anna@example.org", Kind: LinkReset, Hash: hash}},
	} {
		var texts []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x"} {
			texts = append(texts, fmt.Sprintf(verb, c.value))
		}
		if !strings.Contains(texts[1], c.shows) {
			t.Errorf("%s: %s does not show %q", c.name, texts[1], c.shows)
		}
		var text, lines bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("it", "value", c.value)
		slog.New(slog.NewJSONHandler(&lines, nil)).Info("it", "value", c.value)
		b, err := json.Marshal(c.value)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text.String(), lines.String(), string(b))
		part := []byte(secret[10:22])
		numbers := strings.Trim(fmt.Sprint(part), "[]")
		for _, shown := range texts {
			for _, form := range []string{
				string(part), hex.EncodeToString(part), fmt.Sprintf("% x", part), numbers, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"), base64.StdEncoding.EncodeToString([]byte(secret))[:20],
			} {
				if strings.Contains(strings.ToLower(shown), strings.ToLower(form)) {
					t.Errorf("%s shows its secret: %s", c.name, shown)
				}
			}
		}
	}
	if got := fmt.Sprintf("%+v", User{Password: secret}); !strings.Contains(got, "Password:[redacted]") {
		t.Errorf("whether there is a password cannot be seen: %s", got)
	}
}

package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func testKey(t testing.TB) Key {
	t.Helper()
	k, err := GenerateKey(DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyRoundTrip(t *testing.T) {
	t.Parallel()
	for range 200 {
		k := testKey(t)
		s := k.Text().Reveal()
		if len(s) != 2+1+22+1+43 || !isLetter(s[3]) {
			t.Fatalf("bad form, %d characters, id starts with %q", len(s), s[3])
		}
		back, err := ParseKey(s, DefaultPrefix)
		if err != nil || back != k {
			t.Fatalf("parse: %v", err)
		}
		if !VerifySHA256(back, k.SHA256()) {
			t.Fatal("own hash does not verify")
		}
	}
}

func TestVerifySHA256RefusesAnother(t *testing.T) {
	t.Parallel()
	a, b := testKey(t), testKey(t)
	if VerifySHA256(a, b.SHA256()) {
		t.Fatal("another key's hash verified")
	}
	b.ID = a.ID // the id alone must not do
	if VerifySHA256(b, a.SHA256()) {
		t.Fatal("a key with the same id verified")
	}
}

// TestParseKeyOneSpelling changes every character of a key to every other one
// that base64url has, and to some that it has not: nothing but the original may
// parse. The CRC finds every single change, the strict decoder the last bits.
func TestParseKeyOneSpelling(t *testing.T) {
	t.Parallel()
	s := testKey(t).Text().Reveal()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \r\n\x00\xff"
	for i := range len(s) {
		for j := range len(alphabet) {
			if alphabet[j] == s[i] {
				continue
			}
			bad := s[:i] + alphabet[j:j+1] + s[i+1:]
			if _, err := ParseKey(bad, DefaultPrefix); !errors.Is(err, ErrMalformed) {
				t.Fatalf("character %d as %q: %v", i, alphabet[j], err)
			}
		}
	}
}

func TestParseKeyErrors(t *testing.T) {
	t.Parallel()
	s := testKey(t).Text().Reveal()
	wrong := []byte(s)
	if wrong[30]++; !isLetter(wrong[30]) {
		wrong[30] = 'a' + (s[30] & 7)
		if wrong[30] == s[30] {
			wrong[30] = 'z'
		}
	}
	for _, c := range []struct {
		name, in, prefix string
		want             error
	}{
		{"empty", "", "SG", ErrKeyPrefix},
		{"prefix only", "SG", "SG", ErrKeyPrefix},
		{"other prefix", s, "PO", ErrKeyPrefix},
		{"lower-case prefix", "sg" + s[2:], "SG", ErrKeyPrefix},
		{"no dot after prefix", "SGx" + s[3:], "SG", ErrKeyPrefix},
		{"short", s[:len(s)-1], "SG", ErrKeyShape},
		{"long", s + "A", "SG", ErrKeyShape},
		{"trailing newline", s + "\n", "SG", ErrKeyShape},
		{"newline inside", s[:10] + "\n" + s[10:len(s)-1], "SG", ErrKeyShape},
		{"newline for a character", s[:10] + "\n" + s[11:], "SG", ErrKeyShape},
		{"padding", s[:len(s)-1] + "=", "SG", ErrKeyShape},
		{"one changed", string(wrong), "SG", ErrKeyChecksum},
		{"same key, other prefix", "PO" + s[2:], "PO", ErrKeyChecksum},
	} {
		k, err := ParseKey(c.in, c.prefix)
		if !errors.Is(err, c.want) || !errors.Is(err, ErrMalformed) || k != (Key{}) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil && len(c.in) > 20 && strings.Contains(err.Error(), c.in[5:15]) {
			t.Errorf("%s: the error shows the input", c.name)
		}
	}
}

func TestValidPrefix(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"SG": true, "a": true, "Post3rn": true, strings.Repeat("a", 16): true,
		"": false, "1a": false, "S.G": false, "S-G": false, "é": false, strings.Repeat("a", 17): false,
	} {
		if ValidPrefix(p) != want {
			t.Errorf("ValidPrefix(%q) = %t", p, !want)
		}
		if _, err := GenerateKey(p); (err == nil) != want {
			t.Errorf("GenerateKey(%q): %v", p, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	s := testKey(f).Text().Reveal()
	f.Add(s)
	f.Add("SG.")
	f.Add(s[:25] + "\r\n" + s[27:])
	f.Add("SG." + strings.Repeat("A", 22) + "." + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, in string) {
		k, err := ParseKey(in, DefaultPrefix)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if k.Text().Reveal() != in {
			t.Fatalf("second spelling accepted: %q", in)
		}
	})
}

// TestNothingPrintsASecret sends each secret type through every way of printing.
func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	k, sk := testKey(t), NewSealingKey()
	whole := k.Text()
	secretPart := whole.Reveal()[26:]
	var log strings.Builder
	lg := slog.New(slog.NewJSONHandler(&log, nil))
	lt := slog.New(slog.NewTextHandler(&log, nil))
	for _, v := range []any{k, &k, whole, &whole, sk, &sk, struct{ K Key }{k}, struct{ R Redacted }{whole}, []Redacted{whole}, struct{ S SealingKey }{sk}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb, v)
		}
		fmt.Fprintln(&log, v)
		lg.Info("x", "v", v)
		lt.Info("x", "v", v)
		if j, err := json.Marshal(v); err == nil {
			log.Write(j)
		}
	}
	raw := log.String()
	for name, s := range map[string]string{
		"key text": secretPart, "key hex": fmt.Sprintf("%x", k.secret[:6]), "key bytes": strings.Trim(fmt.Sprintf("%d", k.secret[:6]), "[]"),
		"key text in hex": fmt.Sprintf("%x", secretPart[:8]),
		"root hex":        fmt.Sprintf("%x", sk.root[:6]), "root bytes": strings.Trim(fmt.Sprintf("%d", sk.root[:6]), "[]"),
		"go bytes": strings.Trim(fmt.Sprintf("%#v", sk.root[:4]), "[]byte{}"),
	} {
		if strings.Contains(raw, s) {
			t.Errorf("%s was printed", name)
		}
	}
	if !strings.Contains(raw, redactedText) {
		t.Error("the test printed nothing")
	}
}

package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"postern/internal/message"
)

// rfc8463Message is the message of RFC 8463 appendix A.3 without its
// signatures; that of RFC 6376 appendix A has the same body.
const rfc8463Message = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n" +
	"Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n" +
	"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n" +
	"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"

func rfc8463Seed(tb testing.TB) []byte {
	tb.Helper()
	return decode(tb, "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
}

// TestRFCSignatures checks the two signatures of RFC 8463 appendix A.3 against
// our canonical octets of their fields: the RSA one with its published public
// key; the Ed25519 one by making it anew, for it is deterministic and its
// private key is published too.
func TestRFCSignatures(t *testing.T) {
	t.Parallel()
	digest := func(tags string) [sha256.Size]byte {
		h, err := message.ParseHeader([]byte(rfc8463Message), message.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var input []byte
		for _, name := range []string{"from", "to", "subject", "date", "message-id"} {
			f, ok := h.First(name)
			if !ok {
				t.Fatalf("no %s", name)
			}
			input = appendRelaxed(input, f.Name, f.Value())
		}
		input = appendRelaxed(input, "DKIM-Signature", []byte(tags))
		return sha256.Sum256(input[:len(input)-2])
	}
	k := Key{Algorithm: Ed25519, Signer: ed25519.NewKeyFromSeed(rfc8463Seed(t))}
	sig, err := k.signDigest(digest(" v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n" +
		" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n" +
		" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b="))
	const want = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
	if got := base64.StdEncoding.EncodeToString(sig); err != nil || got != want {
		t.Errorf("Ed25519: b=%s, %v", got, err)
	}
	pub, err := x509.ParsePKIXPublicKey(decode(t, "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"))
	if err != nil {
		t.Fatal(err)
	}
	sum := digest(" v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n" +
		" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n date : message-id : from : subject : date;\r\n" +
		" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=")
	sig = decode(t, "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=")
	if err := rsa.VerifyPKCS1v15(pub.(*rsa.PublicKey), crypto.SHA256, sum[:], sig); err != nil {
		t.Errorf("RSA: %v", err)
	}
}

func decode(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func bodyHash(s string) string {
	h := NewBodyHash()
	io.WriteString(h, s)
	sum := h.Sum()
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestBodyHashVectors: RFC 6376 §3.4.4 and §3.4.5, RFC 8463 appendix A.3.
func TestBodyHashVectors(t *testing.T) {
	t.Parallel()
	sum := func(s string) string {
		b := sha256.Sum256([]byte(s))
		return base64.StdEncoding.EncodeToString(b[:])
	}
	_, body, _ := strings.Cut(rfc8463Message, "\r\n\r\n")
	for in, want := range map[string]string{
		"":                          "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", // §3.4.4, SHA-256 of nothing
		"\r\n\r\n":                  "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		body:                        "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=",
		" C \r\nD \t E\r\n\r\n\r\n": sum(" C\r\nD E\r\n"), // §3.4.5
		" \r\n":                     sum(""),
		"a":                         sum("a\r\n"),
		"a\r":                       sum("a\r\r\n"),
		"a \r":                      sum("a \r\r\n"),
		"\r\n\r\na":                 sum("\r\n\r\na\r\n"),
		"a\r\n \r\nb":               sum("a\r\n\r\nb\r\n"),
		"a\nb \n":                   sum("a\nb \n\r\n"), // bare LFs are octets
		"a \r\r\n":                  sum("a \r\r\n"),
		"\t\ta\r\n":                 sum(" a\r\n"),
	} {
		if got := bodyHash(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestRelaxedHeaderVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		{"A", " X", "a:X\r\n"}, // RFC 6376 §3.4.5
		{"B ", " Y\t\r\n\tZ  ", "b :Y Z\r\n"},
		{"Subject", "", "subject:\r\n"},
		{"S", " \t ", "s:\r\n"},
		{"S", "a\r\n b", "s:a b\r\n"},
		{"S", "\r\n a", "s:a\r\n"},
	} {
		if got := string(appendRelaxed(nil, c.name, []byte(c.value))); got != c.want {
			t.Errorf("%q %q: %q", c.name, c.value, got)
		}
	}
}

// slowBody is relaxed form written the plain way, from the RFC's words.
func slowBody(s string) string {
	lines := strings.Split(s, "\r\n")
	for i, l := range lines {
		var b strings.Builder
		space := false
		for _, c := range []byte(l) {
			if c == ' ' || c == '\t' {
				space = true
				continue
			}
			if space {
				b.WriteByte(' ')
			}
			space = false
			b.WriteByte(c)
		}
		lines[i] = b.String()
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// TestBodyHashExhaustively tries every short body of the octets that matter,
// with every one cut between two writes; behind other text too, so that the
// part that looks at eight octets at once is tried as well.
func TestBodyHashExhaustively(t *testing.T) {
	t.Parallel()
	for prefix, length := range map[string]int{"": 7, "01 3456": 5, "0123456789abcde": 5} {
		tryBodies(t, []byte(prefix), len(prefix)+length)
	}
}

func tryBodies(t *testing.T, body []byte, length int) {
	h := NewBodyHash()
	want := sha256.Sum256([]byte(slowBody(string(body))))
	for cut := range len(body) + 1 {
		h.Reset()
		h.Write(body[:cut])
		h.Write(body[cut:])
		if h.Sum() != want {
			t.Fatalf("%q cut at %d: hash of %q expected", body, cut, slowBody(string(body)))
		}
	}
	if len(body) == length {
		return
	}
	for _, c := range []byte("a \t\r\n") {
		tryBodies(t, append(body[:len(body):len(body)], c), length)
	}
}

// FuzzBodyHash compares with the plain way, whatever the cuts between writes.
func FuzzBodyHash(f *testing.F) {
	for _, msg := range corpus {
		if len(msg) < 2000 {
			f.Add([]byte(msg), uint16(7))
		}
	}
	f.Add([]byte(strings.Repeat("abc def\r\n", 300)+"a  b\r\n"+strings.Repeat("x\r\n", 300)), uint16(1000))
	f.Add([]byte(strings.Repeat("y", 700)+" \r\n\r\n\r\n"), uint16(1))
	f.Add([]byte("a\r"), uint16(1))
	f.Add([]byte("a\r "), uint16(8))
	f.Add([]byte("000  0"), uint16(3))
	f.Add([]byte("00000\r\n\r\n"), uint16(7))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		want := sha256.Sum256([]byte(slowBody(string(b))))
		h := NewBodyHash()
		for rest, n := b, int(cut)%997+1; len(rest) > 0; {
			k := min(n, len(rest))
			h.Write(rest[:k])
			rest = rest[k:]
		}
		if got := h.Sum(); got != want {
			t.Fatalf("%q cut every %d: hash of %q expected", b, int(cut)%997+1, slowBody(string(b)))
		}
		h.Reset()
		h.Write(b)
		if got := h.Sum(); got != want {
			t.Fatalf("%q in one: hash of %q expected", b, slowBody(string(b)))
		}
	})
}

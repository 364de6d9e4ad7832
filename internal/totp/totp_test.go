package totp

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// rfcSecret is the seed of the test vectors of RFC 4226 and RFC 6238 for SHA-1.
var rfcSecret = []byte("12345678901234567890")

// RFC 6238 appendix B.
func TestRFC6238Vectors(t *testing.T) {
	for _, c := range []struct {
		unix int64
		want string
	}{
		{59, "94287082"}, {1111111109, "07081804"}, {1111111111, "14050471"},
		{1234567890, "89005924"}, {2000000000, "69279037"}, {20000000000, "65353130"},
	} {
		if got := code(rfcSecret, Step(time.Unix(c.unix, 0)), 8); got != c.want {
			t.Errorf("at %d: %s, want %s", c.unix, got, c.want)
		}
	}
}

// RFC 4226 appendix D: the same with six digits.
func TestRFC4226Vectors(t *testing.T) {
	for step, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := Code(rfcSecret, int64(step)); got != want {
			t.Errorf("step %d: %s, want %s", step, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	at := Step(now)
	for _, c := range []struct {
		name  string
		given string
		last  int64
		want  int64
		ok    bool
	}{
		{"now", Code(rfcSecret, at), 0, at, true},
		{"typed in two groups", Code(rfcSecret, at)[:3] + " " + Code(rfcSecret, at)[3:], 0, at, true},
		{"one step late", Code(rfcSecret, at-1), 0, at - 1, true},
		{"one step early", Code(rfcSecret, at+1), 0, at + 1, true},
		{"AC-04: two steps late", Code(rfcSecret, at-2), 0, 0, false},
		{"AC-04: two steps early", Code(rfcSecret, at+2), 0, 0, false},
		{"AC-03: used before", Code(rfcSecret, at), at, 0, false},
		{"AC-03: older than the one that was used", Code(rfcSecret, at-1), at, 0, false},
		{"after the one that was used", Code(rfcSecret, at), at - 1, at, true},
		{"empty", "", 0, 0, false},
		{"too short", Code(rfcSecret, at)[:5], 0, 0, false},
		{"too long", Code(rfcSecret, at) + "0", 0, 0, false},
		{"of another secret", Code([]byte("another secret......"), at), 0, 0, false},
	} {
		if step, ok := Check(rfcSecret, c.given, now, c.last); step != c.want || ok != c.ok {
			t.Errorf("%s: %d %v, want %d %v", c.name, step, ok, c.want, c.ok)
		}
	}
}

func TestSecretAndURI(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if len(a) != SecretBytes || string(a) == string(b) {
		t.Fatalf("secrets %x and %x", a, b)
	}
	text := Text(rfcSecret)
	if text != "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ" {
		t.Errorf("text %q", text)
	}
	u, err := url.Parse(URI("Mail: relay", "ann+x@example.test", rfcSecret))
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Mail  relay:ann+x@example.test" || strings.Contains(u.RawQuery, "+") {
		t.Errorf("uri %s", u)
	}
	q := u.Query()
	if q.Get("secret") != strings.ReplaceAll(text, " ", "") || q.Get("issuer") != "Mail: relay" || q.Get("digits") != "6" || q.Get("period") != "30" {
		t.Errorf("query %v", q)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("755224", int64(0))
	f.Fuzz(func(t *testing.T, given string, last int64) {
		now := time.Unix(1_800_000_000, 0)
		if step, ok := Check(rfcSecret, given, now, last); ok && (step <= last || step < Step(now)-1 || step > Step(now)+1) {
			t.Errorf("%q after %d: step %d", given, last, step)
		}
	})
}

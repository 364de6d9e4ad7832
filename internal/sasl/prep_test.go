package sasl_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"

	"postern/internal/sasl"
)

// TestPrepare: AU-30, with the examples of RFC 4013 §3.
func TestPrepare(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"I\u00adX": "IX", "user": "user", "USER": "USER", "\u00aa": "a", "\u2168": "IX", // RFC 4013 §3
		"a b": "a b", "a\u00a0b": "a b", "a\u3000b": "a b", "a\u200bb": "ab", "a\ufeffb": "ab",
		"cafe\u0301": "caf\u00e9", "caf\u00e9": "caf\u00e9", "\uff41pikey": "apikey", "\u212a": "K",
		"\u0627\u0628": "\u0627\u0628", "\u05d01\u05d0": "\u05d01\u05d0", "\U0001f511": "\U0001f511",
	} {
		if got, err := sasl.Prepare(in); got != want || err != nil {
			t.Errorf("%+q: %+q, %v; want %+q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"\x07", "\u0627\x31", // RFC 4013 §3
		"", "\u00ad", "a\x00", "a\x7f", "a\u0085", "a\u06dd", "a\u2028", "a\U0001d173", "\ue000", "\U00100000", "\ufdd0", "\ufffe", "\U0001ffff",
		"\ufffd", "\u2ff0", "\u200e", "\u202e", "\u206a", "\U000e0001", "\U000e0041", "\u05d0a\u05d0", "1\u05d0",
	} {
		if got, err := sasl.Prepare(in); !errors.Is(err, sasl.ErrProhibited) || !errors.Is(err, sasl.ErrRefused) || got != "" {
			t.Errorf("%+q: %+q, %v", in, got, err)
		}
	}
	if _, err := sasl.Prepare("a\xff"); !errors.Is(err, sasl.ErrMalformed) {
		t.Errorf("not UTF-8: %v", err)
	}
}

// FuzzPrepare compares with a second implementation: what it takes, ours takes,
// with the same result. It refuses more: what Unicode 3.2 had not assigned.
func FuzzPrepare(f *testing.F) {
	for _, s := range []string{"user", "I\u00adX", "\u0627\x31", "caf\u00e9", "\u2168", "a\u00a0b", "\u05d0\u05d1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := sasl.Prepare(s)
		if again, e := sasl.Prepare(got); err == nil && (e != nil || again != got) {
			t.Fatalf("%+q: prepared %+q, and again %+q, %v", s, got, again, e)
		}
		if !utf8.ValidString(s) {
			return
		}
		want, theirs := stringprep.SASLprep.Prepare(s)
		switch {
		case theirs == nil && want != "" && (err != nil || got != want):
			t.Fatalf("%+q: %+q, %v; want %+q", s, got, err, want)
		case theirs != nil && err == nil && !strings.ContainsFunc(s, stringprep.TableA1.Contains):
			t.Fatalf("%+q: %+q; want %v", s, got, theirs)
		}
	})
}

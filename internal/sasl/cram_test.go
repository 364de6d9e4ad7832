package sasl_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"postern/internal/sasl"
	"postern/internal/secret"
)

var cramForm = regexp.MustCompile(`^<[0-9a-f]{32}\.[0-9]{10,}@mail\.test>$`)

// cramServer lets tim in with either of two secrets.
func cramServer(asked *[]string) sasl.Server {
	return sasl.CRAMMD5.New(sasl.Exchange{Host: "mail.test", CRAM: func(_ context.Context, user string, fits func(secret.Redacted) bool) error {
		*asked = append(*asked, user)
		if user != "tim" && user != "tim jones" || !fits("newsecret") && !fits("oldsecret") {
			return errWrong
		}
		return nil
	}})
}

// TestCRAM: AU-15.
func TestCRAM(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		user, password string
		err            error
	}{{"tim", "newsecret", nil}, {"tim", "oldsecret", nil}, {"tim jones", "newsecret", nil}, {"tim", "nosecret", errWrong}, {"kurt", "newsecret", errWrong}} {
		var asked []string
		s := cramServer(&asked)
		c := sasl.NewCRAMMD5Client(tt.user, secret.Redacted(tt.password))
		if err := run(c, "CRAM-MD5", func(p []byte) ([]byte, bool, error) { return s.Next(t.Context(), p) }); !errors.Is(err, tt.err) || len(asked) != 1 {
			t.Errorf("%+v: %v, asked about %q", tt, err, asked)
		}
		if _, err := c.Next([]byte("<1@x>")); err == nil {
			t.Error("a client answers twice")
		}
	}
	var asked []string
	seen, recorded := map[string]bool{}, []byte(nil)
	for range 100 {
		s := cramServer(&asked)
		challenge, done, err := s.Next(t.Context(), nil)
		if !cramForm.Match(challenge) || seen[string(challenge)] || done || err != nil {
			t.Fatalf("challenge %q, %v, %v", challenge, done, err)
		}
		seen[string(challenge)] = true
		if recorded != nil { // AU-15: a replayed response
			if _, done, err := s.Next(t.Context(), recorded); done || !errors.Is(err, errWrong) {
				t.Fatalf("replayed: %v, %v", done, err)
			}
			if _, done, err := s.Next(t.Context(), recorded); done || !errors.Is(err, sasl.ErrOver) {
				t.Fatalf("the challenge is used again: %v, %v", done, err)
			}
			continue
		}
		if recorded, err = sasl.NewCRAMMD5Client("tim", "newsecret").Next(challenge); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCRAMMalformed(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("0a", 16)
	for in, want := range map[string]error{
		"": sasl.ErrMalformed, "tim": sasl.ErrMalformed, "tim ": sasl.ErrMalformed, " " + digest: sasl.ErrMalformed, digest: sasl.ErrMalformed,
		"tim " + digest[1:]: sasl.ErrMalformed, "tim " + digest + "0": sasl.ErrMalformed, "tim " + strings.ToUpper(digest): sasl.ErrMalformed,
		"tim\t" + digest: sasl.ErrMalformed, "tim " + digest + " ": sasl.ErrMalformed, "tim " + digest[1:] + "g": sasl.ErrMalformed,
		"t\x00m " + digest: sasl.ErrMalformed, "\xff " + digest: sasl.ErrMalformed, strings.Repeat("u", 321) + " " + digest: sasl.ErrMalformed,
		"t\u202em " + digest: sasl.ErrProhibited, "tim " + digest: errWrong,
	} {
		var asked []string
		s := cramServer(&asked)
		if _, _, err := s.Next(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Next(t.Context(), []byte(in)); done || !errors.Is(err, want) || (len(asked) > 0) != (want == errWrong) {
			t.Errorf("%q: %v, %v; want %v", in, done, err, want)
		}
	}
	var asked []string
	s := cramServer(&asked) // the server speaks first
	if _, done, err := s.Next(t.Context(), []byte("tim "+digest)); done || !errors.Is(err, sasl.ErrMalformed) {
		t.Errorf("initial response: %v, %v", done, err)
	}
}

func FuzzCRAM(f *testing.F) {
	f.Add([]byte("tim b913a602c7eda7a495b4e6e7334d3890"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var asked []string
		s := cramServer(&asked)
		s.Next(t.Context(), nil)
		if _, done, err := s.Next(t.Context(), in); done || err == nil {
			t.Fatalf("%q is a login", in)
		}
		for _, user := range asked {
			if user == "" || len(user) > sasl.MaxIdentity {
				t.Fatalf("%q: asked about %q", in, user)
			}
		}
	})
}

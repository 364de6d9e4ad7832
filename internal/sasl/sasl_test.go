package sasl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/sasl"
	"postern/internal/secret"
)

var errWrong = errors.New("wrong")

// server starts an exchange that lets tim in, and notes what it was asked.
func server(m sasl.Mechanism, seen *[]sasl.Credentials) sasl.Server {
	return m.New(sasl.Exchange{Authenticate: func(_ context.Context, c sasl.Credentials) error {
		*seen = append(*seen, c)
		if c.User != "tim" || c.Secret.Reveal() != "tanstaaftanstaaf" {
			return errWrong
		}
		return nil
	}})
}

// TestPlain has the examples of RFC 4616 §4, and what is not allowed.
func TestPlain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		err   error
		asked bool
	}{
		{"\x00tim\x00tanstaaftanstaaf", nil, true},
		{"tim\x00tim\x00tanstaaftanstaaf", nil, true},
		{"\x00tim\x00wrong", errWrong, true},
		{"\x00kurt\x00xipj3plmq", errWrong, true},
		{"Ursel\x00Kurt\x00xipj3plmq", sasl.ErrAuthzid, false}, // RFC 4616 §4: allowed there, by policy not here
		{"tim\x00\x00tanstaaftanstaaf", sasl.ErrMalformed, false},
		{"", sasl.ErrMalformed, false},
		{"tim", sasl.ErrMalformed, false},
		{"\x00tim", sasl.ErrMalformed, false},
		{"\x00tim\x00", sasl.ErrMalformed, false},
		{"\x00\x00x", sasl.ErrMalformed, false},
		{"\x00tim\x00a\x00b", sasl.ErrMalformed, false},
		{"\x00t\x01m\x00x", sasl.ErrMalformed, false},
		{"\x00tim\x00\xff", sasl.ErrMalformed, false},
		{"\x00\uff54im\x00tan\u00adstaaftanstaaf", nil, true}, // AU-30: prepared, it is equal
		{"\uff54im\x00tim\x00tanstaaftanstaaf", nil, true},
		{"\x00t\u202eim\x00tanstaaftanstaaf", sasl.ErrProhibited, false},
		{"\x00tim\x00tanstaaftanstaaf\u202e", sasl.ErrProhibited, false},
		{"\x00tim\x00tanstaaf\ttanstaaf", sasl.ErrProhibited, false},
		{"\x00\xff\x00x", sasl.ErrMalformed, false},
		{"\x00" + strings.Repeat("u", sasl.MaxIdentity+1) + "\x00x", sasl.ErrMalformed, false},
		{strings.Repeat("u", sasl.MaxIdentity+1) + "\x00tim\x00x", sasl.ErrMalformed, false},
	}
	for _, tt := range tests {
		for _, initial := range []bool{true, false} {
			var seen []sasl.Credentials
			s := server(sasl.Plain, &seen)
			if !initial {
				if ch, done, err := s.Next(t.Context(), nil); ch == nil || len(ch) != 0 || done || err != nil {
					t.Fatalf("first challenge %q, %v, %v", ch, done, err)
				}
			}
			_, done, err := s.Next(t.Context(), []byte(tt.in))
			if done != (tt.err == nil) || !errors.Is(err, tt.err) || tt.asked != (len(seen) == 1) {
				t.Errorf("%q: %v, %v, asked %v", tt.in, done, err, seen)
			}
			if _, done, err := s.Next(t.Context(), []byte("\x00tim\x00tanstaaftanstaaf")); done || !errors.Is(err, sasl.ErrOver) {
				t.Errorf("%q: a second message after the end: %v, %v", tt.in, done, err)
			}
		}
	}
	var seen []sasl.Credentials
	s := server(sasl.Plain, &seen)
	s.Next(t.Context(), nil)
	if _, done, err := s.Next(t.Context(), nil); done || err == nil {
		t.Error("nothing at all is a login")
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	for _, initial := range []bool{true, false} {
		for _, tt := range []struct {
			user, password string
			err            error
		}{
			{"tim", "tanstaaftanstaaf", nil}, {"tim", "x", errWrong}, {"", "x", sasl.ErrMalformed}, {"a\x00b", "x", sasl.ErrMalformed},
			{"\uff54im", "tanstaaf\u00adtanstaaf", nil}, {"t\u202eim", "x", sasl.ErrProhibited}, {"tim", "\u202e", sasl.ErrProhibited}, // AU-30
			{"tim", "", sasl.ErrMalformed}, {"tim", "a\x00b", sasl.ErrMalformed}, {strings.Repeat("u", 321), "x", sasl.ErrMalformed},
		} {
			var seen []sasl.Credentials
			s := server(sasl.Login, &seen)
			if !initial {
				if ch, done, err := s.Next(t.Context(), nil); string(ch) != "Username:" || done || err != nil {
					t.Fatalf("first challenge %q, %v, %v", ch, done, err)
				}
			}
			ch, done, err := s.Next(t.Context(), []byte(tt.user))
			if err == nil {
				if string(ch) != "Password:" || done {
					t.Fatalf("second challenge %q, %v", ch, done)
				}
				_, done, err = s.Next(t.Context(), []byte(tt.password))
			}
			if done != (tt.err == nil) || !errors.Is(err, tt.err) {
				t.Errorf("%+v: %v, %v", tt, done, err)
			}
			if _, done, err := s.Next(t.Context(), []byte("tim")); done || !errors.Is(err, sasl.ErrOver) {
				t.Errorf("%+v: after the end: %v, %v", tt, done, err)
			}
		}
	}
}

// TestClients logs our clients in with our servers, and with those of a second
// implementation.
func TestClients(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]func() sasl.Client{
		"PLAIN": func() sasl.Client { return sasl.NewPlainClient("tim", "tanstaaftanstaaf") },
		"LOGIN": func() sasl.Client { return sasl.NewLoginClient("tim", "tanstaaftanstaaf") },
	} {
		var seen []sasl.Credentials
		ours := map[string]sasl.Mechanism{"PLAIN": sasl.Plain, "LOGIN": sasl.Login}[name]
		s := server(ours, &seen)
		if err := run(c(), name, func(p []byte) ([]byte, bool, error) { return s.Next(t.Context(), p) }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	theirs := gosasl.NewPlainServer(func(_, user, password string) error {
		if user != "tim" || password != "tanstaaftanstaaf" {
			return errWrong
		}
		return nil
	})
	if err := run(sasl.NewPlainClient("tim", "tanstaaftanstaaf"), "PLAIN", theirs.Next); err != nil {
		t.Errorf("PLAIN with a foreign server: %v", err)
	}
	if _, _, err := sasl.NewPlainClient("t\x00m", "x").Start(); err == nil {
		t.Error("a client sends NUL in a name")
	}
	if _, err := sasl.NewPlainClient("tim", "x").Next([]byte("more?")); err == nil {
		t.Error("PLAIN has an answer to a challenge")
	}
	l := sasl.NewLoginClient("tim", "x")
	l.Next(nil)
	l.Next(nil)
	if _, err := l.Next([]byte("Password:")); err == nil {
		t.Error("LOGIN tells its password twice")
	}
}

func run(c sasl.Client, name string, next func([]byte) ([]byte, bool, error)) error {
	mech, response, err := c.Start()
	if err != nil || mech != name {
		return fmt.Errorf("start: %s, %w", mech, err)
	}
	for range 4 {
		challenge, done, err := next(response)
		if done || err != nil {
			return err
		}
		if response, err = c.Next(challenge); err != nil {
			return err
		}
	}
	return errors.New("no end")
}

func TestNamed(t *testing.T) {
	t.Parallel()
	names := func(list []sasl.Mechanism) (s string) {
		for _, m := range list {
			s += m.Name + " "
		}
		return s
	}
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{nil, ""},
		{[]string{"LOGIN", "PLAIN", "SCRAM-SHA-256", "PLAIN"}, "SCRAM-SHA-256 PLAIN LOGIN "},
		{
			[]string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "CRAM-MD5"},
			"SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5 ",
		},
	} {
		if got, err := sasl.Named(tt.in); names(got) != tt.want || got == nil || err != nil {
			t.Errorf("%q: %s, %v", tt.in, names(got), err)
		}
	}
	for _, bad := range []string{"", "plain", "GSSAPI"} {
		if got, err := sasl.Named([]string{"PLAIN", bad}); err == nil || got != nil {
			t.Errorf("%q: %s", bad, names(got))
		}
	}
}

// TestSecretsStaySecret: credentials that reach a log by mistake show nothing.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	c := sasl.Credentials{Mechanism: "PLAIN", User: "tim", Secret: secret.Redacted("hunter2")}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %q %x", c, c, c, c.Secret, c.Secret), string(j)} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, "68756e74657232") {
			t.Errorf("shown: %s", s)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x00tim\x00tanstaaftanstaaf"))
	f.Add([]byte("a\x00b\x00c\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, m := range []sasl.Mechanism{sasl.Plain, sasl.Login} {
			var seen []sasl.Credentials
			s := server(m, &seen)
			_, done, _ := s.Next(t.Context(), in)
			if !done {
				s.Next(t.Context(), in)
			}
			for _, c := range seen {
				if c.User == "" || c.Secret == "" || len(c.User) > sasl.MaxIdentity || strings.ContainsRune(c.User, 0) || c.Authzid != "" && c.Authzid != c.User {
					t.Fatalf("%q: asked about %q %q", in, c.User, c.Authzid)
				}
			}
		}
	})
}

package sasl_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"postern/internal/sasl"
	"postern/internal/secret"
)

const token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="

// bearerServer knows one token, and notes what it was asked.
func bearerServer(m sasl.Mechanism, seen *[]sasl.Bearer) sasl.Server {
	return m.New(sasl.Exchange{Host: "server.example.com", Port: 587, Bearer: func(_ context.Context, b sasl.Bearer) error {
		*seen = append(*seen, b)
		if b.Token.Reveal() != token {
			return errWrong
		}
		return nil
	}})
}

// TestOAuthBearer has the messages of RFC 7628 §4, and what is not allowed.
func TestOAuthBearer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 9000)
	for in, tt := range map[string]struct {
		err   error
		user  string
		asked string // token
	}{
		"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer " + token + "\x01\x01": {nil, "user@example.com", token}, // §4.1
		"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=\x01\x01":                     {sasl.ErrNoToken, "", ""},        // §4.3
		"n,,\x01auth=Bearer " + token + "\x01\x01":                                                          {nil, "", token},
		"y,,\x01auth=Bearer " + token + "\x01\x01":                                                          {nil, "", token},
		"n,,\x01auth=bearer " + token + "\x01\x01":                                                          {nil, "", token},
		"n,,\x01auth=Bearer " + long + "\x01\x01":                                                           {errWrong, "", long},
		"n,,\x01auth=Bearer a.b-c_d~e+f/g=\x01\x01":                                                         {errWrong, "", "a.b-c_d~e+f/g="},
		"n,,\x01host=SERVER.example.com.\x01auth=Bearer " + token + "\x01\x01":                              {nil, "", token},
		"n,,\x01auth=Bearer " + token + "\x01mthd=POST\x01path=/\x01post=\x01qs=\x01\x01":                   {nil, "", token},
		"n,a=a=2Cb=3Dc,\x01auth=Bearer " + token + "\x01\x01":                                               {nil, "a,b=c", token},
		"n,a=cafe\u0301,\x01auth=Bearer " + token + "\x01\x01":                                              {nil, "caf\u00e9", token}, // AU-30
		"n,a=\u202e,\x01auth=Bearer " + token + "\x01\x01":                                                  {sasl.ErrProhibited, "", ""},
		// AU-29: meant for another server.
		"n,,\x01host=other.example.com\x01auth=Bearer " + token + "\x01\x01": {sasl.ErrElsewhere, "", ""},
		"n,,\x01port=465\x01auth=Bearer " + token + "\x01\x01":               {sasl.ErrElsewhere, "", ""},

		"p=tls-exporter,,\x01auth=Bearer " + token + "\x01\x01":                         {sasl.ErrBinding, "", ""},
		"F,n,,\x01auth=Bearer " + token + "\x01\x01":                                    {sasl.ErrMalformed, "", ""},
		"n,user@example.com,\x01auth=Bearer " + token + "\x01\x01":                      {sasl.ErrMalformed, "", ""},
		"n,a=,\x01auth=Bearer " + token + "\x01\x01":                                    {sasl.ErrMalformed, "", ""},
		"n,a=a=2cb,\x01auth=Bearer " + token + "\x01\x01":                               {sasl.ErrMalformed, "", ""},
		"n,a=" + strings.Repeat("u", 321) + ",\x01auth=Bearer " + token + "\x01\x01":    {sasl.ErrMalformed, "", ""},
		"n,,auth=Bearer " + token + "\x01\x01":                                          {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer " + token + "\x01":                                          {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer " + token:                                                   {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer " + token + "\x01\x01\x01":                                  {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer " + token + "\x01\x01x":                                     {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer " + token + "\x01auth=Bearer " + token + "\x01\x01":         {sasl.ErrMalformed, "", ""},
		"n,,\x01host=a\x01host=server.example.com\x01auth=Bearer " + token + "\x01\x01": {sasl.ErrMalformed, "", ""},
		"n,,\x01host=\x01auth=Bearer " + token + "\x01\x01":                             {sasl.ErrMalformed, "", ""},
		"n,,\x01port=0\x01auth=Bearer " + token + "\x01\x01":                            {sasl.ErrMalformed, "", ""},
		"n,,\x01port=\x01auth=Bearer " + token + "\x01\x01":                             {sasl.ErrMalformed, "", ""},
		"n,,\x01port=+587\x01auth=Bearer " + token + "\x01\x01":                         {sasl.ErrMalformed, "", ""},
		"n,,\x01port=66123\x01auth=Bearer " + token + "\x01\x01":                        {sasl.ErrMalformed, "", ""},
		"n,,\x01port=587x\x01auth=Bearer " + token + "\x01\x01":                         {sasl.ErrMalformed, "", ""},
		"n,,\x01=x\x01auth=Bearer " + token + "\x01\x01":                                {sasl.ErrMalformed, "", ""},
		"n,,\x01a1=x\x01auth=Bearer " + token + "\x01\x01":                              {sasl.ErrMalformed, "", ""},
		"n,,\x01x=\xff\x01auth=Bearer " + token + "\x01\x01":                            {sasl.ErrMalformed, "", ""},
		"n,,\x01host=server.example.com\x01\x01":                                        {sasl.ErrMalformed, "", ""},
		"n,,\x01\x01":                                                                   {sasl.ErrMalformed, "", ""}, "n,,": {sasl.ErrMalformed, "", ""}, "\x01": {sasl.ErrMalformed, "", ""}, "": {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Basic " + token + "\x01\x01":       {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer\x01\x01":                    {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer \x01\x01":                   {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer ==\x01\x01":                 {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer a=b\x01\x01":                {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer  " + token + "\x01\x01":     {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer a b\x01\x01":                {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer a\r\nX: y\x01\x01":          {sasl.ErrMalformed, "", ""},
		"n,,\x01auth=Bearer \u00e9\x01\x01":             {sasl.ErrMalformed, "", ""},
		"user=tim\x01auth=Bearer " + token + "\x01\x01": {sasl.ErrMalformed, "", ""},
	} {
		checkBearer(t, sasl.OAuthBearer, in, `{"status":"invalid_token","scope":"mail.send"}`, tt.err, tt.user, tt.asked)
	}
}

func TestXOAuth2(t *testing.T) {
	t.Parallel()
	for in, tt := range map[string]struct {
		err   error
		user  string
		asked string
	}{
		"user=tim@example.com\x01auth=Bearer " + token + "\x01\x01": {nil, "tim@example.com", token},
		"user=\x01auth=Bearer " + token + "\x01\x01":                {nil, "", token},
		"user=a=b,c\x01auth=bearer " + token + "\x01\x01":           {nil, "a=b,c", token},
		"user=tim\x01auth=Bearer x\x01\x01":                         {errWrong, "tim", "x"},
		"user=\u202e\x01auth=Bearer " + token + "\x01\x01":          {sasl.ErrProhibited, "", ""},

		"user=tim\x01auth=\x01\x01":                                      {sasl.ErrMalformed, "", ""},
		"user=tim\x01auth=Bearer " + token + "\x01":                      {sasl.ErrMalformed, "", ""},
		"user=tim\x01auth=Bearer " + token + "\x01\x01\x01":              {sasl.ErrMalformed, "", ""},
		"user=tim\x01auth=Bearer " + token + "\x01x=y\x01\x01":           {sasl.ErrMalformed, "", ""},
		"user=tim\x01x=y\x01auth=Bearer " + token + "\x01\x01":           {sasl.ErrMalformed, "", ""},
		"auth=Bearer " + token + "\x01user=tim\x01\x01":                  {sasl.ErrMalformed, "", ""},
		"auth=Bearer " + token + "\x01\x01":                              {sasl.ErrMalformed, "", ""},
		"User=tim\x01auth=Bearer " + token + "\x01\x01":                  {sasl.ErrMalformed, "", ""},
		"user=t\x00m\x01auth=Bearer " + token + "\x01\x01":               {sasl.ErrMalformed, "", ""},
		"user=tim\x01auth=Bearer a\x01auth=Bearer b\x01\x01":             {sasl.ErrMalformed, "", ""},
		"user=tim\x01auth=Bearer \x01\x01":                               {sasl.ErrMalformed, "", ""},
		"user=tim\x01auth=Basic eDp5\x01\x01":                            {sasl.ErrMalformed, "", ""},
		"n,a=tim,\x01auth=Bearer " + token + "\x01\x01":                  {sasl.ErrMalformed, "", ""},
		"user=" + strings.Repeat("u", 321) + "\x01auth=Bearer x\x01\x01": {sasl.ErrMalformed, "", ""},
		"": {sasl.ErrMalformed, "", ""}, "user=tim": {sasl.ErrMalformed, "", ""}, "\x01\x01": {sasl.ErrMalformed, "", ""},
	} {
		checkBearer(t, sasl.XOAuth2, in, `{"status":"400","schemes":"Bearer","scope":"mail.send"}`, tt.err, tt.user, tt.asked)
	}
}

func checkBearer(t *testing.T, m sasl.Mechanism, in, refused string, want error, user, asked string) {
	t.Helper()
	for _, initial := range []bool{true, false} {
		var seen []sasl.Bearer
		s := bearerServer(m, &seen)
		if !initial {
			if ch, done, err := s.Next(t.Context(), nil); ch == nil || len(ch) > 0 || done || err != nil {
				t.Fatalf("first challenge %q, %v, %v", ch, done, err)
			}
		}
		ch, done, err := s.Next(t.Context(), []byte(in))
		if done != (want == nil) || !errors.Is(err, want) {
			t.Errorf("%s %.80q: %v, %v; want %v", m.Name, in, done, err, want)
		}
		// RFC 7628 §3.2.2: a message that is understood is refused in words.
		words := want != nil && !errors.Is(want, sasl.ErrMalformed) && !errors.Is(want, sasl.ErrProhibited) && !errors.Is(want, sasl.ErrBinding)
		if words && (string(ch) != refused || !json.Valid(ch)) || !words && ch != nil {
			t.Errorf("%s %.80q: challenge %q", m.Name, in, ch)
		}
		if (len(seen) > 0) != (asked != "") || asked != "" && seen[0] != (sasl.Bearer{Mechanism: m.Name, User: user, Token: secret.Redacted(asked)}) {
			t.Errorf("%s %.80q: asked %d times", m.Name, in, len(seen))
		}
		if _, done, err := s.Next(t.Context(), []byte{1}); done || !errors.Is(err, sasl.ErrOver) {
			t.Errorf("%s %.80q: after the end: %v, %v", m.Name, in, done, err)
		}
	}
}

// TestBearerClients logs our clients in, and refuses them, and logs in with and
// to a second implementation.
func TestBearerClients(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]func(secret.Redacted) sasl.Client{
		"OAUTHBEARER": func(tok secret.Redacted) sasl.Client {
			return sasl.NewOAuthBearerClient("a,b=c", tok, "server.example.com", 587)
		},
		"XOAUTH2": func(tok secret.Redacted) sasl.Client { return sasl.NewXOAuth2Client("a,b=c", tok) },
	} {
		var seen []sasl.Bearer
		s := bearerServer(mechanism(t, name), &seen)
		if err := run(c(token), name, func(p []byte) ([]byte, bool, error) { return s.Next(t.Context(), p) }); err != nil || seen[0].User != "a,b=c" {
			t.Errorf("%s: %v, %+v", name, err, seen)
		}
		client := c("wrong")
		_, msg, err := client.Start()
		if err != nil {
			t.Fatal(err)
		}
		ch, _, err := bearerServer(mechanism(t, name), &seen).Next(t.Context(), msg)
		if !errors.Is(err, errWrong) || ch == nil {
			t.Fatalf("%s: %q, %v", name, ch, err)
		}
		dummy, err := client.Next(ch)
		if want := map[string]string{"OAUTHBEARER": "\x01", "XOAUTH2": ""}[name]; string(dummy) != want || dummy == nil || err != nil {
			t.Errorf("%s: dummy %q, %v", name, dummy, err)
		}
		if _, err := client.Next(ch); err == nil {
			t.Errorf("%s: a client answers for ever", name)
		}
		for _, bad := range []secret.Redacted{"", "a b", "a\x01b", "a\r\nb"} {
			if _, msg, err := c(bad).Start(); err == nil {
				t.Errorf("%s: sends %q", name, msg)
			}
		}
	}
	theirs := gosasl.NewOAuthBearerServer(func(o gosasl.OAuthBearerOptions) *gosasl.OAuthBearerError {
		if o.Token != token || o.Username != "tim" || o.Host != "h.test" || o.Port != 587 {
			return &gosasl.OAuthBearerError{Status: "invalid_token"}
		}
		return nil
	})
	if err := run(sasl.NewOAuthBearerClient("tim", token, "h.test", 587), "OAUTHBEARER", theirs.Next); err != nil {
		t.Errorf("OAUTHBEARER with a foreign server: %v", err)
	}
	var seen []sasl.Bearer
	_, msg, err := gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Username: "tim", Token: token, Host: "server.example.com", Port: 587}).Start()
	if _, done, e := bearerServer(sasl.OAuthBearer, &seen).Next(t.Context(), msg); err != nil || !done || e != nil || seen[0].User != "tim" {
		t.Errorf("OAUTHBEARER with a foreign client: %v, %v, %v", err, done, e)
	}
}

// TestExternal is RFC 4422 appendix A.
func TestExternal(t *testing.T) {
	t.Parallel()
	for in, tt := range map[string]struct {
		err   error
		asked bool
	}{
		"": {nil, true}, "tim": {nil, true}, "kurt": {errWrong, true}, "t\x00m": {sasl.ErrMalformed, false}, "\xff": {sasl.ErrMalformed, false},
		strings.Repeat("u", 321): {sasl.ErrMalformed, false}, "\u202e": {sasl.ErrProhibited, false},
	} {
		for _, initial := range []bool{true, false} {
			var asked []string
			s := sasl.External.New(sasl.Exchange{External: func(_ context.Context, authzid string) error {
				if asked = append(asked, authzid); authzid == "kurt" {
					return errWrong
				}
				return nil
			}})
			if !initial {
				if ch, done, err := s.Next(t.Context(), nil); ch == nil || len(ch) > 0 || done || err != nil {
					t.Fatalf("first challenge %q, %v, %v", ch, done, err)
				}
			}
			_, done, err := s.Next(t.Context(), []byte(in))
			if done != (tt.err == nil) || !errors.Is(err, tt.err) || tt.asked != (len(asked) == 1) || tt.asked && asked[0] != in {
				t.Errorf("%q: %v, %v, asked %q", in, done, err, asked)
			}
			if _, done, err := s.Next(t.Context(), []byte{}); done || !errors.Is(err, sasl.ErrOver) {
				t.Errorf("%q: after the end: %v, %v", in, done, err)
			}
		}
	}
	for authzid, ok := range map[string]bool{"": true, "tim": true, "a\nb": false} {
		name, msg, err := sasl.NewExternalClient(authzid).Start()
		if (err == nil) != ok || ok && (name != "EXTERNAL" || msg == nil || string(msg) != authzid) {
			t.Errorf("client as %q: %s %q, %v", authzid, name, msg, err)
		}
	}
}

// TestUnserved: a mechanism that the server cannot serve lets nobody in.
func TestUnserved(t *testing.T) {
	t.Parallel()
	for _, m := range sasl.All {
		for _, in := range [][]byte{nil, {}, []byte("n,,n=tim,r=abc"), []byte("n,,\x01auth=Bearer x\x01\x01"), []byte("user=\x01auth=Bearer x\x01\x01")} {
			s := m.New(sasl.Exchange{})
			if ch, done, err := s.Next(t.Context(), in); done || err == nil || ch != nil {
				t.Errorf("%s %q: %q, %v, %v", m.Name, in, ch, done, err)
			}
		}
	}
}

func FuzzBearer(f *testing.F) {
	f.Add([]byte("n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer abc\x01\x01"))
	f.Add([]byte("user=tim\x01auth=Bearer abc\x01\x01"))
	f.Add([]byte("tim"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, m := range []sasl.Mechanism{sasl.OAuthBearer, sasl.XOAuth2, sasl.External} {
			calls := 0
			s := m.New(sasl.Exchange{
				Bearer: func(_ context.Context, b sasl.Bearer) error {
					if calls++; b.Token == "" || strings.ContainsAny(b.Token.Reveal(), " \x00\x01\r\n") || len(b.User) > sasl.MaxIdentity {
						t.Fatalf("%q: asked about %q", in, b.User)
					}
					return errWrong
				},
				External: func(context.Context, string) error { calls++; return errWrong },
			})
			if _, done, err := s.Next(t.Context(), in); done || err == nil || calls > 1 || errors.Is(err, errWrong) != (calls == 1) {
				t.Fatalf("%s %q: %v, %v, asked %d times", m.Name, in, done, err, calls)
			}
		}
	})
}

// AU-29: a host by which the server is also known is no other host.
func TestOAuthBearerKnownHosts(t *testing.T) {
	t.Parallel()
	for host, ok := range map[string]bool{"server.example.com": true, "SERVER.example.com.": true, "alias.example.com": true, "evil.example": false} {
		s := sasl.OAuthBearer.New(sasl.Exchange{
			Host: "server.example.com", KnownAs: func(h string) bool { return h == "alias.example.com" },
			Bearer: func(context.Context, sasl.Bearer) error { return nil },
		})
		_, done, err := s.Next(t.Context(), []byte("n,,\x01host="+host+"\x01auth=Bearer dG9rZW4=\x01\x01"))
		if done != ok || (err == nil) != ok {
			t.Errorf("%s: let in %v, %v; want %v", host, done, err, ok)
		}
	}
}

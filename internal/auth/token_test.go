package auth

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// mint logs a key in and asks for a token.
func (w *world) mint(t *testing.T, key secret.Key, scopes []string, life time.Duration) (secret.Redacted, relay.Token) {
	t.Helper()
	if err := w.plain("apikey", key.Text()); err != nil {
		t.Fatal(err)
	}
	text, token, err := w.MintToken(w.who, scopes, life)
	if err != nil {
		t.Fatal(err)
	}
	return text, token
}

func TestTokenRoundTrip(t *testing.T) {
	w := newWorld(t, nil)
	key, row := w.apiKey(t, func(k *relay.Key) { k.Scopes = relay.FullAccess() })
	text, token := w.mint(t, key, nil, 0)
	if !strings.HasPrefix(text.Reveal(), "pst_") || len(text) > 300 {
		t.Errorf("%d characters", len(text))
	}
	got, err := w.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(row.Scopes)
	if got.ID != token.ID || got.Key != row.ID || got.ExpiresAt != t0.Add(time.Hour) || got.IssuedAt != t0 || !slices.Equal(got.Scopes, row.Scopes) || !slices.Equal(token.Scopes, row.Scopes) {
		t.Errorf("%+v", got)
	}
	_, token = w.mint(t, key, []string{"stats.read", "mail.send", "stats.read"}, 2*time.Hour)
	if !slices.Equal(token.Scopes, []string{"mail.send", "stats.read"}) || token.ExpiresAt != t0.Add(time.Hour) {
		t.Errorf("narrowed: %+v", token)
	}
}

// A token is never more than what minted it: scopes, life, and not by a token.
func TestTokensAreNarrow(t *testing.T) {
	w := newWorld(t, nil)
	key, _ := w.apiKey(t, func(k *relay.Key) { k.ExpiresAt = t0.Add(10 * time.Minute) })
	_, token := w.mint(t, key, nil, time.Hour)
	if token.ExpiresAt != t0.Add(10*time.Minute) {
		t.Errorf("outlives its key: %v", token.ExpiresAt)
	}
	p := w.who
	for _, bad := range [][]string{{"api_keys.create"}, {"mail.send", "no such scope"}, {strings.Repeat("x", 10_000)}} {
		if _, _, err := w.MintToken(p, bad, 0); relay.KindOf(err) != relay.Invalid || len(err.Error()) > 200 {
			t.Errorf("%.30v: %v", bad, err)
		}
	}
	if _, _, err := w.MintToken(p, nil, -time.Second); relay.KindOf(err) != relay.Invalid {
		t.Errorf("negative life: %v", err)
	}
	byToken := *p
	byToken.Token = &token
	device := *p
	device.Key = &relay.Key{Kind: relay.KeyAppPassword, Scopes: p.Key.Scopes}
	for name, who := range map[string]*relay.Principal{"a token": &byToken, "an app password": &device, "nobody": {}} {
		if _, _, err := w.MintToken(who, nil, 0); relay.KindOf(err) != relay.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.now = t0.Add(10 * time.Minute)
	if _, _, err := w.MintToken(p, nil, 0); relay.KindOf(err) != relay.Forbidden {
		t.Errorf("of an expired key: %v", err)
	}
	if _, _, err := New(Config{}).MintToken(p, nil, 0); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("without a sealing key: %v", err)
	}
}

// AU-22: forged, damaged and respelled tokens are nothing; a rotated sealing key
// invalidates none.
func TestForgedTokens(t *testing.T) {
	w := newWorld(t, nil)
	key, _ := w.apiKey(t, nil)
	text, _ := w.mint(t, key, nil, 0)
	s := text.Reveal()
	dot := strings.IndexByte(s, '.')
	for i := range len(s) {
		for _, c := range "AZaz09-_.+/= \r\n" {
			if bad := s[:i] + string(c) + s[i+1:]; bad != s {
				if _, err := w.ParseToken(secret.Redacted(bad)); relay.KindOf(err) != relay.Unauthenticated {
					t.Fatalf("character %d as %q: %v", i, c, err)
				}
			}
		}
	}
	std := base64.StdEncoding.EncodeToString([]byte("x"))
	for name, bad := range map[string]string{
		"empty": "", "prefix": "pst_", "no MAC": s[:dot], "empty MAC": s[:dot+1], "no payload": "pst_" + s[dot:], "twice": s + s, "line end": s + "\n",
		"line end inside": s[:dot-4] + "\n" + s[dot-4:], "padding": s + "=", "other prefix": "PST_" + s[4:], "JWT": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.",
		"long": s + strings.Repeat("A", 9000), "std alphabet": "pst_" + std + "." + std,
	} {
		if _, err := w.ParseToken(secret.Redacted(bad)); relay.KindOf(err) != relay.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newWorld(t, nil).ParseToken(text); err == nil {
		t.Error("another installation takes the token")
	}
	old, fresh := secret.NewSealingKey(), secret.NewSealingKey()
	before, _ := secret.NewSealer(old)
	after, _ := secret.NewSealer(fresh, old)
	gone, _ := secret.NewSealer(fresh)
	made := newWorld(t, func(c *Config) { c.Sealer = before })
	k, _ := made.apiKey(t, func(k *relay.Key) { k.Verifier.SealedCRAM = nil })
	text, _ = made.mint(t, k, nil, 0)
	if _, err := newWorld(t, func(c *Config) { c.Sealer = after }).ParseToken(text); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	if _, err := newWorld(t, func(c *Config) { c.Sealer = gone }).ParseToken(text); err == nil {
		t.Error("after its sealing key was taken away")
	}
	w.now = t0.Add(time.Hour)
	if _, err := w.ParseToken(secret.Redacted(s)); err == nil {
		t.Error("a token lives at its very end")
	}
	w.now = t0.Add(-2 * time.Minute)
	if _, err := w.ParseToken(secret.Redacted(s)); err == nil {
		t.Error("a token from the future")
	}
}

// Tokens in XOAUTH2 and OAUTHBEARER: as good as the key and narrower, dead with
// the secret they were given for. AU-29, AU-31.
func TestOwnTokensLogIn(t *testing.T) {
	bearers := []struct {
		sasl.Mechanism
		client func(user string, token secret.Redacted) sasl.Client
	}{
		{sasl.XOAuth2, sasl.NewXOAuth2Client},
		{sasl.OAuthBearer, func(u string, s secret.Redacted) sasl.Client { return sasl.NewOAuthBearerClient(u, s, "", 0) }},
	}
	for _, m := range bearers {
		t.Run(m.Name, func(t *testing.T) {
			w := newWorld(t, nil)
			key, row := w.apiKey(t, nil)
			text, token := w.mint(t, key, []string{"mail.send"}, 0)
			login := func(user string) error { return w.login(m.Mechanism, m.client(user, text)) }
			for _, user := range []string{"", "apikey", key.IDText()} {
				w.expect(t, "as "+user, login(user), relay.LoginOK, smtp.Reply{})
				if w.who != nil && (w.who.Token == nil || w.who.Allows("stats.read") || !w.who.Allows("mail.send")) {
					t.Errorf("principal %+v", w.who)
				}
			}
			for _, user := range []string{"somebody", "anna@acme.test", strings.Repeat("A", 22)} { // AU-29
				w.expect(t, "as "+user, login(user), relay.LoginToken, ReplyRefused)
			}
			w.expect(t, "an API key is no token", w.login(m.Mechanism, m.client("", key.Text())), relay.LoginToken, ReplyRefused)
			session := w.checkable(t, login)
			w.dir.revoked = map[relay.TokenID]bool{token.ID: true}
			w.expect(t, "revoked", login(""), relay.LoginToken, ReplyRefused)
			session("revoked token", ReplyEnded)
			w.dir.revoked = nil

			w.rotate(t, row)
			w.expect(t, "rotated, in the overlap", login(""), relay.LoginOK, smtp.Reply{})
			if !w.who.Previous {
				t.Error("the old secret's token is not marked")
			}
			w.dir.keys[row.ID].PreviousUntil = w.now
			w.expect(t, "rotated", login(""), relay.LoginToken, ReplyRefused)
			session("rotated key", ReplyEnded)
			w.dir.keys[row.ID] = row

			row.DisabledAt = t0
			w.expect(t, "key disabled", login(""), relay.LoginDisabled, ReplyRefused)
			row.DisabledAt = time.Time{}
			row.Networks = prefixes("10.0.0.0/8")
			w.expect(t, "network", login(""), relay.LoginNetwork, ReplyRefused)
			row.Networks = nil
			w.now = token.ExpiresAt
			w.expect(t, "expired", login(""), relay.LoginToken, ReplyRefused)
			session("expired token", ReplyEnded)
			w.now = t0
			delete(w.dir.keys, row.ID)
			w.expect(t, "key gone", login(""), relay.LoginUnknown, ReplyRefused)
		})
	}
	w := newWorld(t, nil)
	key, _ := w.apiKey(t, nil)
	text, _ := w.mint(t, key, []string{"stats.read"}, 0)
	w.expect(t, "a token without mail.send", w.login(sasl.XOAuth2, sasl.NewXOAuth2Client("", text)), relay.LoginScope, ReplyNoScope)
}

func FuzzParseToken(f *testing.F) {
	w := newWorld(f, nil)
	key, row := w.apiKey(f, nil)
	text, _, err := w.MintToken(&relay.Principal{Key: row}, nil, 0)
	if err != nil {
		f.Fatal(err)
	}
	_ = key
	f.Add(text.Reveal())
	f.Add("pst_")
	f.Add("pst_AAAA.BBBB")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := w.ParseToken(secret.Redacted(s))
		if err != nil {
			if relay.KindOf(err) != relay.Unauthenticated || len(err.Error()) > 200 {
				t.Fatalf("%v", err)
			}
			return
		}
		if s != text.Reveal() || token.Key != row.ID {
			t.Fatalf("a token that was never made: %q", s)
		}
	})
}

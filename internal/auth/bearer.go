package auth

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// Outside judges tokens of other issuers. An OutsideFunc around *oauth.Verifier is
// one.
type Outside interface {
	// Verify checks issuer, signature, times and size. hint is the issuer of an
	// opaque token, "" where nobody knows. An error of kind relay.Unavailable says
	// that it cannot be told now; with any other the token is refused.
	Verify(ctx context.Context, raw secret.Redacted, hint string) (OutsideToken, error)
}

// OutsideFunc is a function as Outside.
type OutsideFunc func(ctx context.Context, raw secret.Redacted, hint string) (OutsideToken, error)

// Verify implements Outside.
func (f OutsideFunc) Verify(ctx context.Context, raw secret.Redacted, hint string) (OutsideToken, error) {
	return f(ctx, raw, hint)
}

// OutsideToken is what a verified token of another issuer says.
type OutsideToken struct {
	Issuer, Subject string
	Audience        []string
	Claims          map[string]any
	ExpiresAt       time.Time
}

func (x *exchange) bearer(ctx context.Context, b sasl.Bearer) error {
	at := x.at
	at.Mechanism, at.User, at.Secret = b.Mechanism, b.User, b.Token
	t := x.a.begin(at)
	t.bearer(ctx)
	return x.end(t)
}

// bearer judges a token: one of postern's own, or of an issuer that the operator
// trusts.
func (t *trial) bearer(ctx context.Context) {
	switch {
	case strings.HasPrefix(t.at.Secret.Reveal(), tokenPrefix):
		t.ownToken(ctx)
	case t.a.cfg.Outside != nil && !strings.HasPrefix(t.at.Secret.Reveal(), t.a.cfg.Prefix+"."):
		t.outsideToken(ctx)
	case t.open(nil):
		t.note("not an access token")
		t.refuse(relay.LoginToken, ReplyRefused)
	}
}

// ownToken judges a token of POST /oauth/token. It lives as long as the secret
// that it was given for, and no longer than the key.
func (t *trial) ownToken(ctx context.Context) {
	token, err := t.a.parseToken(t.at.Secret, t.now)
	if err != nil {
		if t.open(nil) {
			t.note("access token: " + errText(err))
			t.refuse(relay.LoginToken, ReplyRefused)
		}
		return
	}
	t.tried = token.Key.String()
	if !t.fresh(ctx) {
		return
	}
	k := t.lookup(token.Key)
	if !t.openProven(k) {
		return
	}
	t.key, t.token = k, &token
	switch {
	case !t.forKey(token.Key):
		t.note("the user is not the token's key") // AU-29
		t.refuse(relay.LoginToken, ReplyRefused)
	case t.a.cfg.Directory.TokenRevoked(token.ID):
		t.note("access token: revoked")
		t.refuse(relay.LoginToken, ReplyRefused)
	case k == nil:
		t.refuse(relay.LoginUnknown, ReplyRefused)
	default:
		f := tokenFit(k, token, t.now)
		t.judge(ctx, k, f)
		if f == fitNone && t.result == relay.LoginWrong {
			t.note("access token: the key's secret was changed since")
			t.refuse(relay.LoginToken, ReplyRefused)
		}
	}
}

// forKey reports whether the user name that came with a token allows a key:
// nothing, the word that goes with any key, or the key's own id.
func (t *trial) forKey(id relay.KeyID) bool {
	return t.at.User == "" || t.at.User == userWord || t.at.User == id.String()
}

// tokenFit says which secret of a key a token was given for.
func tokenFit(k *relay.Key, token relay.Token, now time.Time) fit {
	switch {
	case !hasSecret(k):
		return fitNone
	case token.Secret == secretStart(&k.Verifier):
		return fitPresent
	case overlaps(k, now) && token.Secret == secretStart(k.Previous):
		return fitPrevious
	}
	return fitNone
}

func secretStart(v *relay.Verifier) [8]byte { return [8]byte(v.SHA256[:8]) }

// outsideToken judges a token of another issuer: first the token, then whose key
// it is for.
func (t *trial) outsideToken(ctx context.Context) {
	if !t.fresh(ctx) {
		return
	}
	named := t.lookupText(t.at.User) // nil: the user is no key's id
	if !t.openProven(named) {
		return
	}
	hint := ""
	if named != nil && named.Match != nil {
		hint = named.Match.Issuer
	}
	token, err := t.a.cfg.Outside.Verify(ctx, t.at.Secret, hint)
	switch {
	case relay.KindOf(err) == relay.Unavailable:
		t.note(errText(err))
		t.tell(relay.LoginUnavailable, ReplyUnavailable)
		return
	case err != nil:
		t.note(errText(err))
		t.refuse(relay.LoginToken, ReplyRefused)
		return
	}
	t.note("token of " + printable(token.Issuer, 60) + " for " + strconv.Quote(printable(token.Subject, 80)))
	// AU-29: the user is the token's own subject, or names the key; nobody asks for
	// somebody else.
	wanted := t.at.User
	if wanted == token.Subject || wanted == userWord {
		wanted = ""
	}
	t.choose(ctx, t.a.claiming(&token, named), wanted, func(k *relay.Key) {
		t.token = &relay.Token{Key: k.ID, Scopes: k.Scopes, IssuedAt: t.now, ExpiresAt: token.ExpiresAt}
	})
}

// claiming are the keys that a verified token is for: of all, or of the one that
// the client named.
func (a *Authenticator) claiming(token *OutsideToken, named *relay.Key) (matching []*relay.Key) {
	candidates := []*relay.Key{named}
	if named == nil {
		candidates = a.cfg.Directory.KeysByClaims(token.Issuer, func(name string) []string { return claimTexts(claimOf(token, name)) })
	}
	for _, k := range candidates {
		if k.Kind == relay.KeyFederated && tokenMatches(k.Match, token) {
			matching = append(matching, k)
		}
	}
	return matching
}

// choose picks the one key that a good token or certificate is for. wanted is
// the id that the client named, "" for none. chosen is called before the key is
// judged.
func (t *trial) choose(ctx context.Context, matching []*relay.Key, wanted string, chosen func(*relay.Key)) {
	var usable, dead []*relay.Key
	for _, k := range matching {
		switch {
		case wanted != "" && k.ID.String() != wanted:
		case k.Canary:
			t.a.sing(k, t)
			dead = append(dead, k)
		case t.a.cfg.Directory.Alive(k, t.now) == relay.LoginOK:
			usable = append(usable, k)
		default:
			dead = append(dead, k)
		}
	}
	switch {
	case len(usable) > 1:
		t.note("several keys claim it: name one by its id")
		t.refuse(relay.LoginAmbiguous, ReplyRefused)
		return
	case len(usable) == 0 && len(dead) == 0:
		t.note("no key claims it")
		t.refuse(relay.LoginToken, ReplyRefused)
		return
	case len(usable) == 0:
		usable = dead // for the true reason
	}
	chosen(usable[0])
	t.judge(ctx, usable[0], fitPresent)
}

// tokenMatches reports whether a verified token is a key's: its issuer, one of
// its audiences, and every claim that the key names.
func tokenMatches(m *relay.KeyMatch, token *OutsideToken) bool {
	if m == nil || m.Issuer == "" || m.Issuer != token.Issuer || m.Audience == "" || len(m.Claims) == 0 {
		return false
	}
	audience := false
	for _, a := range token.Audience {
		audience = audience || a == m.Audience
	}
	if !audience {
		return false
	}
	for name, want := range m.Claims {
		if !claimFits(claimOf(token, name), want) {
			return false
		}
	}
	return true
}

// claimOf finds a claim. "a/b" is b inside a, where there is no claim of that
// whole name.
func claimOf(token *OutsideToken, name string) any {
	var at any = token.Claims
	for rest := name; ; {
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		if v, ok := object[rest]; ok {
			return v
		}
		found := false
		for i := 1; i < len(rest)-1 && !found; i++ {
			if v, ok := object[rest[:i]]; ok && rest[i] == '/' {
				at, rest, found = v, rest[i+1:], true
			}
		}
		if !found {
			return nil
		}
	}
}

// claimTexts are the texts that a claim can be compared by: text as it is; true,
// false and numbers as JSON has them; of a list all members. An object has none.
func claimTexts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case bool:
		return []string{strconv.FormatBool(v)}
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}
	case json.Number:
		return []string{v.String()}
	case []any:
		var all []string
		for _, member := range v {
			if _, nested := member.([]any); !nested {
				all = append(all, claimTexts(member)...)
			}
		}
		return all
	}
	return nil
}

// claimFits compares a claim with what a key asks for: exactly, or up to a "*" at
// the end. Of a list one member is enough.
func claimFits(v any, want string) bool {
	start, open := strings.CutSuffix(want, "*")
	for _, have := range claimTexts(v) {
		if have == want || open && strings.HasPrefix(have, start) {
			return true
		}
	}
	return false
}

// errText is an error as a record shows it. Errors about tokens hold no token.
func errText(err error) string { return printable(err.Error(), 120) }

package oauth

import (
	"encoding/json"
	"strings"
	"time"
)

const (
	// skew is how far the issuer's clock and ours may differ.
	skew = 60 * time.Second
	// maxLife is the longest life of a token, whatever it says itself: it cannot be
	// taken back.
	maxLife = 24 * time.Hour
	// maxAudiences bounds what is compared.
	maxAudiences = 64
)

// judge checks the claims of a token at now: all that can be said without its
// signature. (RFC 8725 §3.8 to 3.12, RFC 9068 §4)
func judge(claims map[string]any, now time.Time) (Token, error) {
	t := Token{Claims: claims}
	var err error
	if t.ExpiresAt, err = lifetime(claims, now); err != nil {
		return Token{}, err
	}
	if t.Audience, err = audience(claims); err != nil {
		return Token{}, err
	}
	if err := accessToken(claims); err != nil {
		return Token{}, err
	}
	t.Issuer, _ = claims["iss"].(string)
	if t.Subject, _ = claims["sub"].(string); t.Subject == "" {
		return Token{}, refuse("it has no subject (sub)")
	}
	return t, nil
}

// lifetime returns from when on the token no longer counts.
func lifetime(claims map[string]any, now time.Time) (time.Time, error) {
	exp, ok, err := moment(claims, "exp")
	switch {
	case err != nil:
		return time.Time{}, err
	case !ok:
		return time.Time{}, refuse("it has no end (exp)")
	}
	nbf, ok, err := moment(claims, "nbf")
	switch {
	case err != nil:
		return time.Time{}, err
	case ok && nbf.After(now.Add(skew)):
		return time.Time{}, refuse("it is not valid yet (nbf)")
	}
	iat, ok, err := moment(claims, "iat")
	switch {
	case err != nil:
		return time.Time{}, err
	case ok && iat.After(now.Add(skew)):
		return time.Time{}, refuse("it was issued in the future (iat)")
	case ok && exp.Before(iat):
		return time.Time{}, refuse("it ended before it was issued")
	case ok && exp.After(iat.Add(maxLife)):
		exp = iat.Add(maxLife)
	case !ok && exp.After(now.Add(maxLife+skew)):
		return time.Time{}, refuse("it lives longer than %v and does not say since when (iat)", maxLife)
	}
	if exp = exp.Add(skew); !now.Before(exp) {
		return time.Time{}, refuse("it is over (exp, at most %v after iat)", maxLife)
	}
	return exp, nil
}

// moment reads a NumericDate (RFC 7519 §2). Its bounds keep arithmetic on it exact.
func moment(claims map[string]any, name string) (at time.Time, there bool, err error) {
	v, ok := claims[name]
	if !ok {
		return time.Time{}, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false, refuse("its %s is not a number", name)
	}
	f, err := n.Float64()
	if err != nil || f < 1 || f > 1e11 {
		return time.Time{}, false, refuse("its %s is absurd", name)
	}
	return time.Unix(int64(f), 0).UTC(), true, nil
}

func audience(claims map[string]any) ([]string, error) {
	var out []string
	switch v := claims["aud"].(type) {
	case string:
		out = []string{v}
	case []any:
		for _, a := range v {
			s, _ := a.(string)
			out = append(out, s) // what is no text is empty, and refused below
		}
	}
	if len(out) == 0 || len(out) > maxAudiences {
		return nil, refuse("it has no audience (aud), or too many")
	}
	for _, a := range out {
		if a == "" {
			return nil, refuse("its audience (aud) is not a text")
		}
	}
	return out, authorized(claims, len(out) > 1)
}

// authorized checks the party that a token was issued to. One for several
// audiences must name it (OpenID Connect Core §3.1.3.7), or any of the audiences
// could use it with the others.
func authorized(claims map[string]any, several bool) error {
	var party string
	for _, name := range []string{"azp", "client_id"} {
		v, ok := claims[name]
		if !ok {
			continue
		}
		s, ok := v.(string)
		if !ok || s == "" || party != "" && party != s {
			return refuse("its party (azp, client_id) is not one text")
		}
		party = s
	}
	if several && party == "" {
		return refuse("it is for several audiences and does not say whom it was issued to (azp)")
	}
	return nil
}

// notAccess are the kinds of token that some issuers name in a claim.
var notAccess = map[string]bool{"id": true, "refresh": true, "offline": true, "logout": true, "id_token": true, "refresh_token": true}

// accessToken refuses what shows itself to be something else: an ID token tells a
// client who logged in to it, and opens nothing; a token that is bound to a key
// is worth nothing without the proof, which no mechanism here carries.
func accessToken(claims map[string]any) error {
	for _, name := range []string{"at_hash", "c_hash", "s_hash"} {
		if _, ok := claims[name]; ok {
			return refuse("it is an ID token (%s)", name)
		}
	}
	for _, name := range []string{"typ", "token_use"} {
		if s, _ := claims[name].(string); notAccess[strings.ToLower(s)] {
			return refuse("it is not an access token (%s)", name)
		}
	}
	if _, ok := claims["cnf"]; ok {
		return refuse("it is bound to a key (cnf) and is no bearer token")
	}
	return nil
}

package oidc

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"time"
)

func (is *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	is.mu.Lock()
	is.counts[r.URL.Path]++
	fault := is.faults[r.URL.Path]
	is.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	switch r.URL.Path {
	case Discovery:
		reply(w, http.StatusOK, map[string]any{
			"issuer": is.URL, "jwks_uri": is.URL + JWKS, "token_endpoint": is.URL + TokenPath, "introspection_endpoint": is.URL + Introspect,
			"authorization_endpoint": is.URL + AuthorizePath, "userinfo_endpoint": is.URL + UserInfo, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	case JWKS:
		reply(w, http.StatusOK, map[string]any{"keys": is.jwks()})
	case Introspect:
		is.introspect(w, r)
	case TokenPath:
		is.token(w, r)
	case AuthorizePath:
		is.authorize(w, r)
	case UserInfo:
		is.userInfo(w, r)
	default:
		http.NotFound(w, r)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the test's client is gone: nobody to tell
}

func (is *Issuer) jwks() []map[string]string {
	is.mu.Lock()
	defer is.mu.Unlock()
	// Sets in the field hold keys that a reader does not understand; it must not mind.
	out := []map[string]string{{"kty": "quantum", "kid": "later", "use": "sig"}}
	for _, k := range is.keys {
		m := map[string]string{"kid": k.id, "use": "sig", "alg": k.alg}
		switch pub := k.private.Public().(type) {
		case *rsa.PublicKey:
			m["kty"], m["n"], m["e"] = "RSA", b64(pub.N.Bytes()), b64(big.NewInt(int64(pub.E)).Bytes())
		case *ecdsa.PublicKey:
			point, err := pub.Bytes() // 4, x, y
			if err != nil {
				is.tb.Error(err)
				continue
			}
			m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", b64(point[1:33]), b64(point[33:])
		case ed25519.PublicKey:
			m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(pub)
		}
		out = append(out, m)
	}
	return out
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// client reports whether a request is the client's, by HTTP Basic (RFC 6749 §2.3.1).
func client(r *http.Request) bool {
	id, pass, ok := r.BasicAuth()
	if !ok {
		return false
	}
	id, err1 := url.QueryUnescape(id)
	pass, err2 := url.QueryUnescape(pass)
	return err1 == nil && err2 == nil && id == ClientID && pass == ClientSecret
}

func (is *Issuer) introspect(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case !client(r):
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	is.mu.Lock()
	claims := is.opaque[r.PostFormValue("token")]
	is.mu.Unlock()
	if claims == nil {
		reply(w, http.StatusOK, map[string]bool{"active": false})
		return
	}
	reply(w, http.StatusOK, claims)
}

// token gives a signed token for the audience that is asked for.
func (is *Issuer) token(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !client(r):
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
	case r.PostFormValue("grant_type") == "authorization_code":
		is.redeem(w, r)
	case r.PostFormValue("grant_type") != "client_credentials":
		reply(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
	default:
		audience := r.PostFormValue("audience")
		if audience == "" {
			audience = "postern"
		}
		t := is.Token(Claims{"sub": ClientID, "client_id": ClientID, "aud": audience, "scope": r.PostFormValue("scope")})
		reply(w, http.StatusOK, map[string]any{"access_token": t, "token_type": "Bearer", "expires_in": 600})
	}
}

// Opaque makes the issuer know an opaque token. Claims that are not given are as
// in Token, and it is active.
func (is *Issuer) Opaque(token string, c Claims) {
	all := is.complete(c)
	if _, ok := all["active"]; !ok {
		all["active"] = true
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	is.opaque[token] = all
}

// Deactivate takes an opaque token back.
func (is *Issuer) Deactivate(token string) {
	is.mu.Lock()
	defer is.mu.Unlock()
	delete(is.opaque, token)
}

// complete adds iss, sub, aud, iat and exp (ten minutes) where they are not given.
// A nil value takes a claim away.
func (is *Issuer) complete(c Claims) Claims {
	now := is.Now()
	all := Claims{"iss": is.URL, "sub": "subject", "aud": "postern", "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	maps.Copy(all, c)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

package oidc

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// AuthorizePath is where browsers are sent to log in (RFC 6749 §4.1).
const AuthorizePath = "/authorize"

// grant is what a code stands for, once.
type grant struct {
	challenge, redirect string
	claims, info        Claims
}

// UserInfo says what ID tokens leave out (OpenID Connect Core §5.3).
const UserInfo = "/userinfo"

// Person makes somebody known who can log in with a browser, by the press of a button
// with their name. Claims go into their ID token; sub is the name if it is not given.
// Their groups are told as by the strictest of issuers: not in the token, and only to
// who asked for the scope "groups".
func (is *Issuer) Person(name string, c Claims) {
	all := Claims{"sub": name}
	maps.Copy(all, c)
	is.mu.Lock()
	defer is.mu.Unlock()
	is.people[name] = all
}

var consentPage = template.Must(template.New("consent").Parse(`<!doctype html><html lang="en"><title>Issuer</title>
<h1>Who are you?</h1><form method="post" action="?{{.Query}}">
{{range .Names}}<button name="person" value="{{.}}">Go on as {{.}}</button>{{end}}
<button name="person" value="">I do not agree</button></form></html>`))

// authorize asks who somebody is, and sends them back with a code.
func (is *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "invalid_request", http.StatusBadRequest)
		return
	}
	is.mu.Lock()
	names := slices.Sorted(maps.Keys(is.people))
	who := is.people[r.PostFormValue("person")]
	is.mu.Unlock()
	if r.Method != http.MethodPost {
		_ = consentPage.Execute(w, map[string]any{"Names": names, "Query": template.URL(r.URL.RawQuery)}) //nolint:gosec // a query of the test's own client
		return
	}
	answer := url.Values{"state": {q.Get("state")}}
	if who == nil {
		answer.Set("error", "access_denied")
	} else {
		claims := Claims{"aud": ClientID, "nonce": q.Get("nonce"), "auth_time": is.Now().Unix()}
		maps.Copy(claims, who)
		info := Claims{"sub": claims["sub"]}
		if slices.Contains(strings.Fields(q.Get("scope")), "groups") {
			info["groups"] = claims["groups"]
		}
		delete(claims, "groups")
		code := rand.Text()
		is.mu.Lock()
		is.codes[code] = grant{q.Get("code_challenge"), q.Get("redirect_uri"), claims, info}
		is.mu.Unlock()
		answer.Set("code", code)
	}
	back.RawQuery = answer.Encode()
	http.Redirect(w, r, back.String(), http.StatusSeeOther)
}

// redeem gives an ID token for a code, once, with the verifier of its challenge
// (RFC 7636 §4.6).
func (is *Issuer) redeem(w http.ResponseWriter, r *http.Request) {
	is.mu.Lock()
	g, ok := is.codes[r.PostFormValue("code")]
	delete(is.codes, r.PostFormValue("code"))
	is.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	proof := base64.RawURLEncoding.EncodeToString(sum[:])
	if !ok || r.PostFormValue("redirect_uri") != g.redirect || subtle.ConstantTimeCompare([]byte(proof), []byte(g.challenge)) != 1 {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	access := rand.Text()
	is.mu.Lock()
	is.infos[access] = g.info
	is.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(time.Minute / time.Second), "id_token": is.Token(g.claims),
	})
}

// userInfo answers whoever has an access token of somebody.
func (is *Issuer) userInfo(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	is.mu.Lock()
	info := is.infos[token]
	is.mu.Unlock()
	if info == nil {
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	reply(w, http.StatusOK, info)
}

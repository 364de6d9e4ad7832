package people

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// idp is an OpenID Connect issuer in this process.
type idp struct {
	*httptest.Server
	t    testing.TB
	key  *ecdsa.PrivateKey
	now  func() time.Time
	more map[string]any // of its discovery document

	mu     sync.Mutex
	codes  map[string]*grant
	signer *ecdsa.PrivateKey                  // what it signs with; key if nil
	old    []jose.JSONWebKey                  // published besides key
	forge  func(claims map[string]any) string // makes the ID token instead
	down   bool
	leads  string         // the discovery document is at this URL, it says
	info   map[string]any // what its UserInfo endpoint says, if it has one; without sub it is down
	asked  int            // how often that was asked
}

// grant is what a code stands for.
type grant struct {
	challenge, redirect string
	claims              map[string]any
}

func newIDP(t testing.TB, now func() time.Time) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{t: t, key: key, now: now, codes: map[string]*grant{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.write(w, jose.JSONWebKeySet{Keys: append(p.old, jose.JSONWebKey{Key: p.key.Public(), KeyID: p.kid(), Algorithm: "ES256", Use: "sig"})})
	})
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", p.userInfo)
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	return p
}

// kid names the key that it signs with now.
func (p *idp) kid() string { return strconv.Itoa(1 + len(p.old)) }

// rotate has it sign with a new key; the old one stays published.
func (p *idp) rotate() {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.old, p.key = append(p.old, jose.JSONWebKey{Key: p.key.Public(), KeyID: p.kid(), Algorithm: "ES256", Use: "sig"}), key
}

func (p *idp) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

func (p *idp) discovery(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	if p.leads != "" {
		w.Header().Set("Location", p.leads)
		w.WriteHeader(http.StatusFound)
		return
	}
	doc := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
	}
	if p.info != nil {
		doc["userinfo_endpoint"] = p.URL + "/userinfo"
	}
	maps.Copy(doc, p.more)
	p.write(w, doc)
}

func (p *idp) userInfo(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if r.Header.Get("Authorization") != "Bearer x" || p.info["sub"] == nil {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	p.write(w, p.info)
}

// token is the endpoint that takes a code once, from its client, with the
// verifier of its challenge.
func (p *idp) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, pass, ok := r.BasicAuth()
	if !ok {
		user, pass = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	g := p.codes[r.PostFormValue("code")]
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if g == nil || user != "postern" || pass != "s3cret" || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge || r.PostFormValue("redirect_uri") != g.redirect {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	delete(p.codes, r.PostFormValue("code"))
	id := p.forge
	if id == nil {
		id = p.sign
	}
	p.write(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": id(g.claims)})
}

func (p *idp) sign(claims map[string]any) string {
	key := p.signer
	if key == nil {
		key = p.key
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: p.kid()}}, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	jws, err := s.Sign(text)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return out
}

// authorize is what the issuer does when a person has agreed: it returns what the
// browser comes back with. claims replace or (nil) remove those of a good token.
func (p *idp) authorize(to string, claims map[string]any) url.Values {
	p.t.Helper()
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, p.URL+"/authorize?") {
		p.t.Fatalf("sent to %q", to)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "postern", "redirect_uri": "https://relay.example.test/login/sso/callback", "code_challenge_method": "S256",
	} {
		if q.Get(name) != want {
			p.t.Errorf("%s is %q", name, q.Get(name))
		}
	}
	if len(q.Get("state")) < 32 || len(q.Get("nonce")) < 32 || len(q.Get("code_challenge")) != 43 || !strings.Contains(q.Get("scope"), "openid") {
		p.t.Errorf("sent with %v", q)
	}
	good := map[string]any{
		"iss": p.URL, "aud": "postern", "sub": "sub-1", "nonce": q.Get("nonce"), "iat": p.now().Unix(), "exp": p.now().Add(5 * time.Minute).Unix(),
		"auth_time": p.now().Unix(), "email": "ann@corp.test", "email_verified": true, "preferred_username": "ann", "given_name": "Ann", "groups": []string{"mail-admins", "all"},
	}
	for k, v := range claims {
		if good[k] = v; v == nil {
			delete(good, k)
		}
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	code := base64.RawURLEncoding.EncodeToString(raw[:])
	p.mu.Lock()
	p.codes[code] = &grant{q.Get("code_challenge"), q.Get("redirect_uri"), good}
	p.mu.Unlock()
	return url.Values{"state": {q.Get("state")}, "code": {code}}
}

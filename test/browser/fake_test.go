package browser

import (
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/console"
	"postern/internal/httpx"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
)

// What the fakes take for right.
const (
	rightPassword = "right horse battery"
	rightCode     = "123456"
)

// fakes are a console whose API answers what a test says, and whose people are one
// person. They are for what only a browser shows: scripts, looks, and the keyboard.
type fakes struct {
	console.People
	mu      sync.Mutex
	url     string
	answers map[string]any // by "METHOD path"
	visits  map[string]*console.Visit
	user    relay.User
	issued  int
	checks  int // of the domain
}

// newConsole serves a console on loopback. The person has a password, an
// authenticator app, and is not logged in.
func newConsole(t testing.TB) *fakes {
	t.Helper()
	account := relay.AccountID{ID: relay.NewID(time.Now())}
	f := &fakes{answers: map[string]any{}, visits: map[string]*console.Visit{}, user: relay.User{
		ID: relay.UserID{ID: relay.NewID(time.Now())}, Account: account, Username: "anna", Email: "anna@example.com", FirstName: "Anna", LastName: "Smith",
		Role: relay.RoleOwner, Password: "hash", TOTP: []byte{1}, TOTPAt: time.Now(), PasswordAt: time.Now(), RecoveryCodes: 10,
	}}
	c, err := console.New(console.Config{
		People: f, API: f, Tenants: f, URL: func() string { return f.url }, Hostname: "mail.example.com", Version: "1.0.0",
		Ports: []console.Port{{Number: 587}, {Number: 465, Implicit: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(httpx.New(httpx.Options{Local: true, Unmatched: c.RenderError}, c.Routes()))
	t.Cleanup(srv.Close)
	// By name: passkeys are for names, and addresses are none.
	f.url = strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	return f
}

func (f *fakes) on(what string, answer any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[what] = answer
}

func (f *fakes) Call(_ context.Context, r console.Request, out any) error {
	path, _, _ := strings.Cut(r.Path, "?")
	f.mu.Lock()
	answer, ok := f.answers[r.Method+" "+path]
	f.mu.Unlock()
	switch a := answer.(type) {
	case error:
		return a
	case func(console.Request) any:
		answer = a(r)
	}
	if !ok {
		return relay.E(relay.NotFound, "not found")
	}
	if out == nil {
		return nil
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func (f *fakes) Stream(context.Context, console.Request, io.Writer) error {
	return relay.E(relay.NotFound, "not found")
}
func (f *fakes) May(*relay.Principal, string, string) bool                       { return true }
func (f *fakes) AccountName(relay.AccountID) string                              { return "Example Ltd" }
func (f *fakes) SubuserNames(*relay.User, int) []string                          { return nil }
func (f *fakes) SubuserNamed(*relay.User, string) (relay.Tenant, bool)           { return relay.Tenant{}, false }
func (f *fakes) Issuers() []string                                               { return []string{"Example ID"} }
func (f *fakes) OwnNames(*relay.User) []string                                   { return []string{"anna"} }
func (f *fakes) Passkeys(context.Context, relay.UserID) ([]relay.Passkey, error) { return nil, nil }

// renew makes a session of a level.
func (f *fakes) renew(level relay.SessionLevel) (secret.Redacted, relay.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.issued++
	token := "token-" + string(rune('a'+f.issued))
	s := relay.Session{
		ID: relay.SessionID{ID: relay.NewID(time.Now())}, User: f.user.ID, Level: level, Method: "password+totp", CreatedAt: time.Now(), SeenAt: time.Now(),
		FreshUntil: time.Now().Add(time.Hour), Agent: "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0",
	}
	f.visits = map[string]*console.Visit{token: {Session: s, User: f.user}}
	return secret.Redacted(token), s, nil
}

func (f *fakes) Open(_ context.Context, _ console.Visitor, token secret.Redacted) (*console.Visit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.visits[token.Reveal()]
	if v == nil {
		return nil, people.ErrSession
	}
	c := *v
	c.User = f.user
	return &c, nil
}

func (f *fakes) Principal(_ context.Context, v *console.Visit) (*relay.Principal, error) {
	return &relay.Principal{Tenant: relay.Tenant{Account: v.User.Account}, User: &v.User, Session: v.Session.ID}, nil
}

func (f *fakes) LoginPassword(_ context.Context, _ console.Visitor, name string, pw secret.Redacted) (secret.Redacted, relay.Session, error) {
	if name != f.user.Username || pw.Reveal() != rightPassword {
		return "", relay.Session{}, people.ErrLogin
	}
	if !f.user.SecondFactor() {
		return f.renew(relay.SessionEnrol)
	}
	return f.renew(relay.SessionPassword)
}

func (f *fakes) LoginTOTP(_ context.Context, _ console.Visitor, _ secret.Redacted, code string) (secret.Redacted, relay.Session, error) {
	if code != rightCode {
		return "", relay.Session{}, people.ErrCode
	}
	return f.renew(relay.SessionFull)
}

func (f *fakes) Logout(context.Context, secret.Redacted) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.visits)
	return nil
}

func (f *fakes) Sessions(context.Context, relay.UserID) ([]relay.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []relay.Session
	for _, v := range f.visits {
		all = append(all, v.Session)
	}
	return all, nil
}

func (f *fakes) LookLink(_ context.Context, token secret.Redacted) (relay.Link, error) {
	switch token.Reveal() {
	case "setup":
		return relay.Link{Kind: relay.LinkSetup, Account: f.user.Account, Email: f.user.Email, Role: relay.RoleOwner}, nil
	case "reset":
		return relay.Link{Kind: relay.LinkReset}, nil
	}
	return relay.Link{}, people.ErrLink
}

func (f *fakes) Accept(_ context.Context, _ console.Visitor, _ secret.Redacted, n console.Newcomer) (secret.Redacted, relay.Session, error) {
	f.mu.Lock()
	f.user.Username, f.user.FirstName, f.user.LastName = n.Username, n.FirstName, n.LastName
	f.user.TOTP, f.user.Passkeys, f.user.RecoveryCodes = nil, 0, 0
	f.mu.Unlock()
	return f.renew(relay.SessionEnrol)
}

func (f *fakes) CheckPassword(pw secret.Redacted, _ []string) ([]string, error) {
	if len(pw.Reveal()) < 15 {
		return []string{"It is too short: at least 15 characters."}, nil
	}
	return nil, nil
}

func (f *fakes) BeginTOTP(context.Context, *console.Visit) (console.Enrolment, error) {
	return console.Enrolment{Secret: "JBSW Y3DP EHPK 3PXP", URI: "otpauth://totp/postern:anna?secret=JBSWY3DPEHPK3PXP&issuer=postern"}, nil
}

func (f *fakes) EnableTOTP(_ context.Context, _ console.Visitor, _ secret.Redacted, code string) (secret.Redacted, []string, error) {
	if code != rightCode {
		return "", nil, people.ErrCode
	}
	return f.enrolled(func() { f.user.TOTP = []byte{1} })
}

func (f *fakes) enrolled(change func()) (secret.Redacted, []string, error) {
	f.mu.Lock()
	change()
	f.user.RecoveryCodes = 10
	f.mu.Unlock()
	token, _, err := f.renew(relay.SessionFull)
	return token, []string{"7KQF-2MZX-9P4R-TW6H", "B3NV-8LYC-5XDJ-QG2S", "M6TR-4WKP-7HZB-9FVN", "X2CD-9GJL-3QSM-K8YT"}, err
}

// BeginPasskey and the like answer with options that a browser takes; what it
// makes of them is taken for right if it is one credential.
func (f *fakes) BeginPasskey(context.Context, *console.Visit) ([]byte, string, error) {
	return []byte(`{"publicKey":{"rp":{"id":"localhost","name":"postern"},"user":{"id":"dXNlcg","name":"anna","displayName":"Anna"},"challenge":"Y2hhbGxlbmdlY2hhbGxlbmdl",
		"pubKeyCredParams":[{"type":"public-key","alg":-7}],"authenticatorSelection":{"residentKey":"required","userVerification":"required"}}}`), "handle", nil
}

func (f *fakes) AddPasskey(_ context.Context, _ console.Visitor, _ secret.Redacted, handle, _ string, response []byte) (secret.Redacted, []string, error) {
	if !credential(handle, response) {
		return "", nil, people.ErrPasskey
	}
	return f.enrolled(func() { f.user.Passkeys = 1 })
}

func (f *fakes) BeginPasskeyLogin(context.Context, console.Visitor, secret.Redacted) ([]byte, string, error) {
	return []byte(`{"publicKey":{"challenge":"Y2hhbGxlbmdlY2hhbGxlbmdl","rpId":"localhost","userVerification":"required"}}`), "handle", nil
}

func (f *fakes) LoginPasskey(_ context.Context, _ console.Visitor, _ secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error) {
	if !credential(handle, response) {
		return "", relay.Session{}, people.ErrPasskey
	}
	return f.renew(relay.SessionFull)
}

func credential(handle string, response []byte) bool {
	var c struct {
		ID, Type string
		Response struct{ ClientDataJSON string }
	}
	return json.Unmarshal(response, &c) == nil && handle == "handle" && c.ID != "" && c.Type == "public-key" && c.Response.ClientDataJSON != ""
}

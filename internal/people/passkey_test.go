package people

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/descope/virtualwebauthn"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
)

// device is a browser with an authenticator that has one passkey.
type device struct {
	rp   virtualwebauthn.RelyingParty
	auth virtualwebauthn.Authenticator
	cred virtualwebauthn.Credential
}

func newDevice(u *relay.User) *device {
	return &device{
		rp:   virtualwebauthn.RelyingParty{Name: "relay.example.test", ID: "relay.example.test", Origin: "https://relay.example.test"},
		auth: virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: u.ID.ID[:]}),
		cred: newCredential(),
	}
}

// newCredential makes a key whose coordinates fill their 32 octets, as COSE says:
// the library leaves their leading zeros out, of one key in 128, as no
// authenticator does, and such a key is rightly refused.
func newCredential() virtualwebauthn.Credential {
	const whole = 77 // octets of a COSE key on P-256
	for {
		if c := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2); len(c.Key.AttestationData()) == whole {
			return c
		}
	}
}

// create answers navigator.credentials.create.
func (d *device) create(t testing.TB, options []byte) []byte {
	t.Helper()
	o, err := virtualwebauthn.ParseAttestationOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(virtualwebauthn.CreateAttestationResponse(d.rp, d.auth, d.cred, *o))
}

// get answers navigator.credentials.get; each time the counter grows.
func (d *device) get(t testing.TB, options []byte) []byte {
	t.Helper()
	o, err := virtualwebauthn.ParseAssertionOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	d.cred.Counter++
	return []byte(virtualwebauthn.CreateAssertionResponse(d.rp, d.auth, d.cred, *o))
}

// withPasskey adds a device to somebody who is fresh or enrolling.
func (w *world) withPasskey(token secret.Redacted, name string) (*device, secret.Redacted, []string) {
	w.t.Helper()
	visit := w.open(token)
	d := newDevice(&visit.User)
	options, handle, err := w.BeginPasskey(w.t.Context(), visit)
	if err != nil {
		w.t.Fatal(err)
	}
	next, codes, err := w.AddPasskey(w.t.Context(), home, token, handle, name, d.create(w.t, options))
	if err != nil {
		w.t.Fatal(err)
	}
	return d, next, codes
}

func TestPasskeys(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.person("ann")
		enrol, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		d, full, codes := w.withPasskey(enrol, "laptop")
		if len(codes) != 10 || !w.open(full).Full() || w.told(u.Email, "passkey was added") != 1 {
			t.Errorf("%d codes", len(codes))
		}
		w.dead("the session before", enrol)
		all, err := w.Passkeys(ctx, u.ID)
		if err != nil || len(all) != 1 || all[0].Name != "laptop" || strings.Contains(string(all[0].Credential), "attestationObject") {
			t.Fatalf("%+v %v", all, err)
		}

		// As the second factor.
		half, session, err := w.LoginPassword(ctx, home, "ann", goodPassword)
		if err != nil || session.Level != relay.SessionPassword {
			t.Fatalf("%+v %v", session, err)
		}
		if _, _, err := w.LoginTOTP(ctx, home, half, w.code()); !errors.Is(err, ErrCode) {
			t.Errorf("a code without an app: %v", err)
		}
		options, handle, err := w.BeginPasskeyLogin(ctx, home, half)
		if err != nil {
			t.Fatal(err)
		}
		answer := d.get(t, options)
		token, session, err := w.LoginPasskey(ctx, home, half, handle, answer)
		if err != nil || session.Level != relay.SessionFull || session.Method != "password+passkey" {
			t.Fatalf("%+v %v", session, err)
		}
		w.recorded("second", auth.PersonPasskey, relay.LoginOK)
		w.dead("the half session", half)

		// Alone: nothing is asked but the passkey, and who it is of is in it.
		options, handle, err = w.BeginPasskeyLogin(ctx, home, "")
		if err != nil || !strings.Contains(string(options), `"userVerification":"required"`) || strings.Contains(string(options), "allowCredentials") {
			t.Fatalf("%s %v", options, err)
		}
		answer = d.get(t, options)
		alone, session, err := w.LoginPasskey(ctx, home, "", handle, answer)
		if err != nil || session.Level != relay.SessionFull || session.Method != "passkey" || w.open(alone).User.ID != u.ID {
			t.Fatalf("%+v %v", session, err)
		}
		w.recorded("alone", auth.PersonPasskey, relay.LoginOK)
		if _, _, err := w.LoginPasskey(ctx, home, "", handle, answer); !errors.Is(err, ErrPasskey) {
			t.Errorf("the same answer again: %v", err)
		}

		// For step-up.
		w.pass(w.Service.cfg.Fresh)
		if _, _, err := w.Reauth(ctx, home, token, goodPassword, ""); relay.KindOf(err) != relay.Conflict {
			t.Errorf("with a password alone: %v", err)
		}
		visit := w.open(token)
		options, handle, err = w.BeginReauthPasskey(ctx, visit)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err = w.ReauthPasskey(ctx, home, token, handle, d.get(t, options))
		if err != nil || w.fresh(w.open(token)) != nil {
			t.Fatalf("step-up: %v", err)
		}

		visit = w.open(token)
		if err := w.RenamePasskey(ctx, visit, all[0].ID, "old laptop"); err != nil {
			t.Error(err)
		}
		if err := w.RenamePasskey(ctx, visit, all[0].ID, " \x00"); relay.KindOf(err) != relay.Invalid {
			t.Errorf("no name: %v", err)
		}
		if err := w.RemovePasskey(ctx, visit, all[0].ID); relay.KindOf(err) != relay.Conflict {
			t.Errorf("the last factor: %v", err)
		}
		if err := w.RemovePasskey(ctx, visit, []byte("another")); relay.KindOf(err) != relay.NotFound {
			t.Errorf("one that is not there: %v", err)
		}
		_, token, codes = w.withPasskey(token, "")
		if len(codes) != 0 {
			t.Error("codes again")
		}
		if err := w.RemovePasskey(ctx, w.open(token), all[0].ID); err != nil {
			t.Error(err)
		}
		options, handle, err = w.BeginPasskeyLogin(ctx, home, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.LoginPasskey(ctx, home, "", handle, d.get(t, options)); !errors.Is(err, ErrPasskey) {
			t.Errorf("a passkey that was removed: %v", err)
		}
	})
}

// Each of these answers is wrong in one thing.
func TestPasskeyRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	u := w.withApp("ann")
	bob := w.withApp("bob")
	token, _ := w.in("ann")
	d, _, _ := w.withPasskey(token, "laptop")
	bobs, _ := w.in("bob")
	b, _, _ := w.withPasskey(bobs, "phone")
	begin := func() ([]byte, string) {
		options, handle, err := w.BeginPasskeyLogin(ctx, home, "")
		if err != nil {
			t.Fatal(err)
		}
		return options, handle
	}
	half := func() secret.Redacted {
		half, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		return half
	}
	clone := *d
	for name, answer := range map[string]func() (secret.Redacted, string, []byte){
		"another challenge": func() (secret.Redacted, string, []byte) {
			options, _ := begin()
			_, handle := begin()
			return "", handle, d.get(t, options)
		},
		"no handle": func() (secret.Redacted, string, []byte) {
			options, _ := begin()
			return "", "", d.get(t, options)
		},
		"a forged handle": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			return "", handle[:len(handle)-8] + "AAAAAAAA", d.get(t, options)
		},
		"another origin": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			e := *d
			e.rp.Origin = "https://relay.example.test.evil.test"
			return "", handle, e.get(t, options)
		},
		"another relying party": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			e := *d
			e.rp.ID = "evil.test"
			return "", handle, e.get(t, options)
		},
		"its user not verified": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			e := *d
			e.auth.Options.UserNotVerified = true
			return "", handle, e.get(t, options)
		},
		"its user not present": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			e := *d
			e.auth.Options.UserNotPresent = true
			return "", handle, e.get(t, options)
		},
		"another person's handle": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			e := *d
			e.auth.Options.UserHandle = bob.ID.ID[:]
			return "", handle, e.get(t, options)
		},
		"another key": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			e := *d
			e.cred.Key = b.cred.Key
			return "", handle, e.get(t, options)
		},
		"unknown": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			return "", handle, newDevice(&u).get(t, options)
		},
		"no JSON": func() (secret.Redacted, string, []byte) { _, handle := begin(); return "", handle, []byte("{") },
		"too long": func() (secret.Redacted, string, []byte) {
			_, handle := begin()
			return "", handle, make([]byte, maxResponse+1)
		},
		"another's as the second factor": func() (secret.Redacted, string, []byte) {
			h := half()
			options, handle, err := w.BeginPasskeyLogin(ctx, home, h)
			if err != nil {
				t.Fatal(err)
			}
			return h, handle, b.get(t, options)
		},
		"a challenge of another session": func() (secret.Redacted, string, []byte) {
			options, handle, err := w.BeginPasskeyLogin(ctx, home, half())
			if err != nil {
				t.Fatal(err)
			}
			return half(), handle, d.get(t, options)
		},
		"a challenge for a login alone, as the second factor": func() (secret.Redacted, string, []byte) {
			options, handle := begin()
			return half(), handle, d.get(t, options)
		},
		// What proves less must not do for more.
		"a challenge for a second factor, alone": func() (secret.Redacted, string, []byte) {
			options, handle, err := w.BeginPasskeyLogin(ctx, home, half())
			if err != nil {
				t.Fatal(err)
			}
			return "", handle, d.get(t, options)
		},
	} {
		token, handle, response := answer()
		got, _, err := w.LoginPasskey(ctx, home, token, handle, response)
		if !errors.Is(err, ErrPasskey) || got != "" {
			t.Errorf("%s: %v", name, err)
		}
		if l := w.rec.last(); l.Result == relay.LoginOK {
			t.Errorf("%s: recorded %+v", name, l)
		}
		w.pass(20 * w.Service.cfg.Fresh / 10)
	}
	options, handle := begin()
	answer := d.get(t, options)
	w.pass(challengeLife)
	if _, _, err := w.LoginPasskey(ctx, home, "", handle, answer); !errors.Is(err, ErrPasskey) {
		t.Errorf("after five minutes: %v", err)
	}
	w.pass(20 * w.Service.cfg.Fresh)
	options, handle = begin()
	if _, _, err := w.LoginPasskey(ctx, home, "", handle, d.get(t, options)); err != nil {
		t.Errorf("all right: %v", err)
	}
	// A copy, whose counter is behind.
	options, handle = begin()
	if _, _, err := w.LoginPasskey(ctx, home, "", handle, clone.get(t, options)); !errors.Is(err, ErrPasskey) {
		t.Errorf("a copy: %v", err)
	}
	if len(w.alerts) != 1 || w.alerts[0].Kind != relay.AlertPerson || w.told(u.Email, "copied") != 1 {
		t.Errorf("alerts %v", w.alerts)
	}
}

// People who may not log in may not with a passkey either.
func TestPasskeyOfShutPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	token, _ := w.in("ann")
	d, _, _ := w.withPasskey(token, "laptop")
	for result, shut := range map[relay.LoginResult]func(){
		relay.LoginDisabled: func() { w.dir.account.DisabledAt = w.now() },
		relay.LoginAccess: func() {
			w.dir.access[0] = &relay.AccessList{Rules: []relay.AccessRule{{Network: mustPrefix("203.0.113.0/24")}}}
		},
	} {
		shut()
		options, handle, err := w.BeginPasskeyLogin(ctx, home, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.LoginPasskey(ctx, home, "", handle, d.get(t, options)); !errors.Is(err, ErrPasskey) {
			t.Errorf("%s: %v", result, err)
		}
		w.recorded(string(result), auth.PersonPasskey, result)
		w.dir.account.DisabledAt, w.dir.access[0] = w.dir.account.CreatedAt, nil
	}
}

// The host names that passkeys are for.
func TestRelyingParties(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, url string
		more      []string
		host      string
		id        string // "": none
		origin    string
	}{
		{"as configured", "https://relay.example.test", nil, "relay.example.test", "relay.example.test", "https://relay.example.test"},
		{"with a port", "https://relay.example.test:8443/", nil, "relay.example.test:8443", "relay.example.test", "https://relay.example.test:8443"},
		{"a host that nobody configured", "https://relay.example.test", nil, "evil.test", "relay.example.test", "https://relay.example.test"},
		{"a second name", "https://relay.example.test", []string{"https://mail.example.test"}, "mail.example.test", "mail.example.test", "https://mail.example.test"},
		{"on this machine", "http://127.0.0.1:8025", nil, "localhost:8025", "localhost", "http://localhost:8025"},
		{"on this machine, IPv6", "http://[::1]:8025", nil, "localhost:8025", "localhost", "http://localhost:8025"},
		{"an address", "https://192.0.2.1", nil, "192.0.2.1", "", ""},
		{"no TLS", "http://relay.example.test", nil, "relay.example.test", "", ""},
		{"nothing", "", nil, "relay.example.test", "", ""},
	} {
		w := newWorld(t, func(cfg *Config) {
			cfg.URL = func() string { return c.url }
			cfg.Origins = func() []string { return c.more }
		})
		p, err := w.party(Visitor{Host: c.host})
		if c.id == "" {
			if relay.KindOf(err) != relay.Unavailable {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || p.Config.RPID != c.id || p.Config.RPOrigins[0] != c.origin || len(p.Config.RPOrigins) != 1 {
			t.Errorf("%s: %+v %v", c.name, p, err)
		}
	}
}

// Passkeys are made so that they can be found without a name, and so that the
// device does not tell which it is.
func TestCreationOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.withApp("ann")
	token, _ := w.in("ann")
	d, token, _ := w.withPasskey(token, "laptop")
	options, _, err := w.BeginPasskey(t.Context(), w.open(token))
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		PublicKey struct {
			Attestation            string
			User                   struct{ ID, Name string }
			ExcludeCredentials     []struct{ ID string }
			AuthenticatorSelection struct{ ResidentKey, UserVerification string }
		}
	}
	if err := json.Unmarshal(options, &o); err != nil {
		t.Fatal(err)
	}
	p := o.PublicKey
	if p.Attestation != "none" && p.Attestation != "" || p.AuthenticatorSelection.ResidentKey != "preferred" || len(p.ExcludeCredentials) != 1 || p.User.ID != u.ID.String() {
		t.Errorf("%s", options)
	}
	if _, _, err := w.AddPasskey(t.Context(), home, token, "", "x", d.create(t, options)); !errors.Is(err, ErrPasskey) {
		t.Errorf("without a handle: %v", err)
	}
}

func FuzzPasskeyAnswer(f *testing.F) {
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","userHandle":"AA"}}`))
	w := newWorld(f)
	_, handle, err := w.BeginPasskeyLogin(f.Context(), home, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if token, _, err := w.LoginPasskey(t.Context(), Visitor{Host: home.Host}, "", handle, answer); err == nil || token != "" {
			t.Errorf("%q logs in", answer)
		}
	})
}

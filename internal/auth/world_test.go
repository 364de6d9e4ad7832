package auth

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// world is an Authenticator with everything switched on, over a directory of the
// test's own.
type world struct {
	*Authenticator
	dir    *fakeDirectory
	rec    *fakeRecorder
	sealer *secret.Sealer
	now    time.Time
	alerts []relay.Alert
	who    *relay.Principal // of the last exchange that let somebody in
}

// home is where the world's clients come from.
const home = "192.0.2.7"

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: &fakeDirectory{keys: map[relay.KeyID]*relay.Key{}}, rec: &fakeRecorder{}, sealer: sealer, now: t0}
	cfg := Config{
		Directory: w.dir, Recorder: w.rec, Activity: w.rec, Now: func() time.Time { return w.now },
		Sealer: sealer, AppPasswords: true,
		Alert: func(_ relay.Tenant, _ relay.KeyID, a relay.Alert) { w.alerts = append(w.alerts, a) },
	}
	if change != nil {
		change(&cfg)
	}
	w.Authenticator = New(cfg)
	return w
}

// guard gives the world a Guard by its clock.
func (w *world) guard(cfg GuardConfig) *Guard {
	cfg.Now = func() time.Time { return w.now }
	cfg.Alert = func(_ relay.Tenant, _ relay.KeyID, a relay.Alert) { w.alerts = append(w.alerts, a) }
	w.cfg.Guard = NewGuard(cfg)
	return w.cfg.Guard
}

var acme = relay.AccountID{ID: relay.ID{'a'}}

// apiKey adds a key with everything that a key can have.
func (w *world) apiKey(t testing.TB, change func(*relay.Key)) (secret.Key, *relay.Key) {
	t.Helper()
	k, err := secret.GenerateKey("SG")
	if err != nil {
		t.Fatal(err)
	}
	v, err := secret.NewVerifier(k)
	if err != nil {
		t.Fatal(err)
	}
	if v.SealedCRAM, err = secret.SealCRAM(w.sealer, k); err != nil {
		t.Fatal(err)
	}
	row := &relay.Key{
		ID: relay.KeyID{ID: k.ID}, Account: acme, Kind: relay.KeyAPI, Scopes: []string{relay.ScopeMailSend, "stats.read"}, Verifier: relay.Verifier(v),
	}
	if change != nil {
		change(row)
	}
	w.dir.keys[row.ID] = row
	return k, row
}

// rotate gives a key a new secret; the old one is good for an hour.
func (w *world) rotate(t testing.TB, row *relay.Key) secret.Key {
	t.Helper()
	k, err := secret.NewSecret("SG", row.ID.ID)
	if err != nil {
		t.Fatal(err)
	}
	v, err := secret.NewVerifierLike(k, secret.Verifier(row.Verifier))
	if err != nil {
		t.Fatal(err)
	}
	if v.SealedCRAM, err = secret.SealCRAM(w.sealer, k); err != nil {
		t.Fatal(err)
	}
	next, old := *row, row.Verifier
	next.Previous, next.PreviousUntil, next.Verifier = &old, w.now.Add(time.Hour), relay.Verifier(v)
	w.dir.keys[row.ID] = &next
	return k
}

func (w *world) attempt(mechanism string) Attempt {
	return Attempt{Protocol: "smtp", Listener: "submission", Mechanism: mechanism, Addr: netip.MustParseAddr(home), Helo: "client.example", TLS: "TLSv1.3 X"}
}

// converse runs an exchange of SASL, as the attempt at describes its session.
func (w *world) converse(m sasl.Mechanism, client sasl.Client, at Attempt) error {
	ctx := context.Background()
	w.who = nil
	at.Mechanism = m.Name
	server := m.New(w.Exchange(at, func(p *relay.Principal) { w.who = p }))
	_, response, err := client.Start()
	for err == nil {
		challenge, done, failed := server.Next(ctx, response)
		if failed != nil || done {
			return failed
		}
		response, err = client.Next(challenge)
	}
	return err
}

func (w *world) login(m sasl.Mechanism, client sasl.Client) error {
	return w.converse(m, client, w.attempt(m.Name))
}

func (w *world) plain(user string, pass secret.Redacted) error {
	return w.login(sasl.Plain, sasl.NewPlainClient(user, pass))
}

// expect checks what was recorded last, and what was answered.
func (w *world) expect(t *testing.T, what string, err error, want relay.LoginResult, reply smtp.Reply) {
	t.Helper()
	if got := w.rec.last().Result; got != want {
		t.Errorf("%s: recorded %q (%s), want %q", what, got, w.rec.last().Detail, want)
	}
	if want == relay.LoginOK {
		if err != nil || w.who == nil {
			t.Errorf("%s: %v, principal %v", what, err, w.who)
		}
		return
	}
	if r, ok := errors.AsType[smtp.Reply](err); !ok || r != reply || w.who != nil {
		t.Errorf("%s: answered %v, want %v; principal %v", what, err, reply, w.who)
	}
}

// mechanisms are those that a key's secret goes with, and their clients.
var mechanisms = []struct {
	sasl.Mechanism
	client func(user string, pass secret.Redacted) sasl.Client
}{
	{sasl.Plain, sasl.NewPlainClient}, {sasl.Login, sasl.NewLoginClient}, {sasl.CRAMMD5, sasl.NewCRAMMD5Client},
	{sasl.SCRAMSHA256, func(user string, pass secret.Redacted) sasl.Client {
		return sasl.NewSCRAMClient(user, pass, sasl.SCRAMBinding{})
	}},
}

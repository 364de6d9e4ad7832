package auth

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// Every way in which a key does not let in is one answer, by every mechanism, and
// the record has the truth. AU-03, AU-19, AU-23, AU-31, AU-32.
func TestRefusalsByEveryMechanism(t *testing.T) {
	past := t0.Add(-time.Hour)
	other := newWorld(t, nil)
	stranger, _ := other.apiKey(t, nil)
	for _, tt := range []struct {
		name   string
		change func(*relay.Key)
		world  func(*world)
		wrong  bool // another secret
		nobody bool // another id
		want   relay.LoginResult
	}{
		{name: "good", want: relay.LoginOK},
		{name: "unknown", nobody: true, want: relay.LoginUnknown},
		{name: "wrong", wrong: true, want: relay.LoginWrong},
		{name: "expired", change: func(k *relay.Key) { k.ExpiresAt = past }, want: relay.LoginExpired},
		{name: "revoked", change: func(k *relay.Key) { k.RevokedAt = past }, want: relay.LoginRevoked},
		{name: "disabled", change: func(k *relay.Key) { k.DisabledAt = past }, want: relay.LoginDisabled},
		{name: "tenant disabled", world: func(w *world) { w.dir.off = true }, want: relay.LoginDisabled},
		{name: "canary", change: func(k *relay.Key) { k.Canary = true }, want: relay.LoginCanary},
		{name: "network", change: func(k *relay.Key) { k.Networks = prefixes("10.0.0.0/8") }, want: relay.LoginNetwork},
		{name: "access list", world: func(w *world) { w.dir.access[0] = rules("10.0.0.0/8") }, want: relay.LoginAccess},
		{name: "access list of the subuser", world: func(w *world) { w.dir.access[1] = rules("10.0.0.0/8") }, want: relay.LoginAccess},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			key, row := w.apiKey(t, tt.change)
			if tt.world != nil {
				tt.world(w)
			}
			user, pass := key.IDText(), key.Text()
			if tt.wrong {
				pass = w.rotate(t, row).Text() // well-formed, of the same id, and not stored
				w.dir.keys[row.ID] = row
			}
			if tt.nobody {
				user, pass = stranger.IDText(), stranger.Text()
			}
			for _, m := range mechanisms {
				w.dir.asked = 0
				err := w.login(m.Mechanism, m.client(user, pass))
				w.expect(t, m.Name, err, tt.want, ReplyRefused)
				// AU-24: the same look-ups whoever it is; SCRAM asks once more at its start.
				if want := map[bool]int{true: 2, false: 1}[m.Name == "SCRAM-SHA-256"]; w.dir.asked != want {
					t.Errorf("%s: %d look-ups, want %d", m.Name, w.dir.asked, want)
				}
				l := w.rec.last()
				if l.Network != "192.0.2.0/24" || l.Mechanism != m.Name || l.Tried != user || l.Helo != "client.example" {
					t.Errorf("%s: record %+v", m.Name, l)
				}
				if (l.Key == row.ID) == tt.nobody {
					t.Errorf("%s: recorded as of key %v", m.Name, l.Key)
				}
				if weak := strings.Contains(l.Detail, "weak: CRAM-MD5"); weak != (m.Name == "CRAM-MD5") {
					t.Errorf("%s: detail %q", m.Name, l.Detail)
				}
				if tt.want == relay.LoginOK && w.who.Mechanism != m.Name {
					t.Errorf("principal by %q, want %q", w.who.Mechanism, m.Name)
				}
			}
		})
	}
}

func prefixes(all ...string) (out []netip.Prefix) {
	for _, p := range all {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func rules(nets ...string) *relay.AccessList {
	l := &relay.AccessList{}
	for i, p := range prefixes(nets...) {
		l.Rules = append(l.Rules, relay.AccessRule{ID: int64(i + 1), Network: p})
	}
	return l
}

// A rotated key's two secrets work by every mechanism within the overlap, and who
// still uses the old one is on record.
func TestRotationByEveryMechanism(t *testing.T) {
	w := newWorld(t, nil)
	old, row := w.apiKey(t, nil)
	next := w.rotate(t, row)
	for _, m := range mechanisms {
		for pass, previous := range map[secret.Redacted]bool{old.Text(): true, next.Text(): false} {
			before := w.rec.previous
			err := w.login(m.Mechanism, m.client(old.IDText(), pass))
			w.expect(t, m.Name, err, relay.LoginOK, smtp.Reply{})
			if w.who == nil || w.who.Previous != previous || (w.rec.previous > before) != previous {
				t.Errorf("%s: previous %v, recorded %d", m.Name, w.who, w.rec.previous-before)
			}
		}
	}
	w.now = w.now.Add(time.Hour)
	for _, m := range mechanisms {
		err := w.login(m.Mechanism, m.client(old.IDText(), old.Text()))
		w.expect(t, m.Name+" after the overlap", err, relay.LoginWrong, ReplyRefused)
		err = w.login(m.Mechanism, m.client(old.IDText(), next.Text()))
		w.expect(t, m.Name+" with the new one", err, relay.LoginOK, smtp.Reply{})
	}
}

// A key that is rotated while SCRAM is under way is judged as it is at the end.
func TestSCRAMAcrossARotation(t *testing.T) {
	w := newWorld(t, nil)
	old, row := w.apiKey(t, nil)
	x := w.Exchange(w.attempt("SCRAM-SHA-256"), func(p *relay.Principal) { w.who = p })
	user := x.SCRAM(context.Background(), old.IDText())
	w.rotate(t, row)
	w.dir.keys[row.ID].PreviousUntil = w.now // no overlap
	if len(user.Keys) != 1 {
		t.Fatal("no keys")
	}
	err := x.Proved(context.Background(), sasl.Proof{Mechanism: "SCRAM-SHA-256", User: old.IDText(), Key: 0})
	w.expect(t, "the old secret", err, relay.LoginWrong, ReplyRefused)
	err = x.Proved(context.Background(), sasl.Proof{Mechanism: "SCRAM-SHA-256", User: old.IDText(), Key: 0})
	w.expect(t, "a second proof", err, relay.LoginWrong, ReplyRefused)
}

// AU-16, AU-19: what SCRAM says of nobody has the shape of what it says of a key,
// and stays the same; nothing fits it.
func TestSCRAMOfNobody(t *testing.T) {
	w := newWorld(t, nil)
	key, row := w.apiKey(t, nil)
	real := w.Exchange(w.attempt(""), nil).SCRAM(context.Background(), key.IDText())
	if string(real.Salt) != string(row.Verifier.SCRAMSalt) || len(real.Keys) != 1 || real.Iterations < 10_000 || len(real.Salt) < 16 {
		t.Fatalf("of a key: %+v", real)
	}
	canary, _ := w.apiKey(t, func(k *relay.Key) { k.Canary = true })
	device, _ := w.apiKey(t, func(k *relay.Key) { k.Kind, k.Verifier.SCRAMSalt = relay.KeyAppPassword, nil })
	again := newWorld(t, func(c *Config) { c.Sealer = w.sealer }) // after a restart
	salts := map[string]bool{string(real.Salt): true}
	for _, user := range []string{"nobody", "anna@acme.test", "apikey", strings.Repeat("A", 22), canary.IDText(), device.IDText()} {
		a := w.Exchange(w.attempt(""), nil).SCRAM(context.Background(), user)
		b := again.Exchange(again.attempt(""), nil).SCRAM(context.Background(), user)
		if string(a.Salt) != string(b.Salt) || len(a.Salt) != len(real.Salt) || a.Iterations != real.Iterations || salts[string(a.Salt)] {
			t.Errorf("%s: %+v, then %+v", user, a, b)
		}
		salts[string(a.Salt)] = true
		// Even a mechanism that claims the proof lets nobody in.
		for _, n := range []int{-1, 0, 1, 99} {
			x := w.Exchange(w.attempt("SCRAM-SHA-256"), func(*relay.Principal) { t.Errorf("%s: let in", user) })
			x.SCRAM(context.Background(), user)
			if err := x.Proved(context.Background(), sasl.Proof{Mechanism: "SCRAM-SHA-256", User: user, Key: n}); err == nil {
				t.Errorf("%s: proof %d was taken", user, n)
			}
		}
	}
	// The proof of one user does not let another in.
	x := w.Exchange(w.attempt("SCRAM-SHA-256"), func(*relay.Principal) { t.Error("let in as somebody else") })
	x.SCRAM(context.Background(), key.IDText())
	victim, _ := w.apiKey(t, nil)
	if err := x.Proved(context.Background(), sasl.Proof{User: victim.IDText(), Key: 0}); err == nil {
		t.Error("a proof for one user was taken for another")
	}
	// A rotation of the sealing key keeps the made-up salts, as it keeps the real ones.
	old, fresh := secret.NewSealingKey(), secret.NewSealingKey()
	s1, _ := secret.NewSealer(old)
	s2, _ := secret.NewSealer(fresh, old)
	a, b := New(Config{Sealer: s1}).madeUp("x"), New(Config{Sealer: s2}).madeUp("x")
	if string(a.Salt) != string(b.Salt) {
		t.Error("a new sealing key changes the made-up salts")
	}
}

// A drop-in client that picks SCRAM by itself is told, and falls back to PLAIN.
func TestDropInClients(t *testing.T) {
	w := newWorld(t, nil)
	key, _ := w.apiKey(t, nil)
	at := w.attempt("")
	for _, m := range mechanisms[2:] {
		if !w.Offers(at, m.Name) {
			t.Errorf("%s is not offered at first", m.Name)
		}
	}
	for i, family := range map[int]string{2: "CRAM-MD5", 3: "SCRAM"} {
		m := mechanisms[i]
		err := w.login(m.Mechanism, m.client("apikey", key.Text()))
		w.expect(t, m.Name, err, relay.LoginMalformed, smtp.R(454, 4, 7, 0, family+" needs the key's id as user name; PLAIN and LOGIN take apikey"))
	}
	for _, name := range []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5"} {
		if w.Offers(at, name) {
			t.Errorf("%s is still offered", name)
		}
	}
	if !w.Offers(at, "PLAIN") || !w.Offers(at, "XOAUTH2") || w.Offers(at, "EXTERNAL") {
		t.Error("the rest of the offer changed")
	}
	elsewhere := at
	elsewhere.Addr = netip.MustParseAddr("192.0.2.8")
	if !w.Offers(elsewhere, "SCRAM-SHA-256") {
		t.Error("another address is not offered SCRAM")
	}
	// Others behind the same address (NAT, loopback) keep what they had.
	neighbour := at
	neighbour.Helo = "shop.example"
	if !w.Offers(neighbour, "SCRAM-SHA-256") || !w.Offers(neighbour, "SCRAM-SHA-256-PLUS") || !w.Offers(neighbour, "CRAM-MD5") {
		t.Error("a client of another name behind the same address is not offered SCRAM")
	}
	same := at
	same.Helo = strings.ToUpper(at.Helo)
	if w.Offers(same, "SCRAM-SHA-256") {
		t.Error("the same name in other letters is another client")
	}
	w.expect(t, "fallback", w.plain("apikey", key.Text()), relay.LoginOK, smtp.Reply{})
	w.now = w.now.Add(24 * time.Hour)
	if !w.Offers(at, "SCRAM-SHA-256") {
		t.Error("not offered again after a day")
	}
	if without := New(Config{}); without.Offers(at, "CRAM-MD5") || without.Offers(at, "XOAUTH2") {
		t.Error("what needs a sealing key is offered without one")
	}
}

// AU-15: CRAM-MD5 is for keys that were made for it.
func TestCRAMNeedsItsOwnSecret(t *testing.T) {
	w := newWorld(t, nil)
	g := w.guard(GuardConfig{})
	key, row := w.apiKey(t, func(k *relay.Key) { k.Verifier.SealedCRAM = nil })
	for range 60 {
		err := w.login(sasl.CRAMMD5, sasl.NewCRAMMD5Client(key.IDText(), key.Text()))
		if r, ok := errors.AsType[smtp.Reply](err); !ok || r != ReplyRefused && r != ReplyThrottled {
			t.Fatalf("%v", err)
		}
		w.now = w.now.Add(5 * time.Minute)
	}
	if l := w.rec.logins[0]; l.Result != relay.LoginWrong || !strings.Contains(l.Detail, "cannot use CRAM-MD5") {
		t.Errorf("recorded %+v", l)
	}
	if g.keys.size() != 0 {
		t.Error("a secret that was not judged counts as wrong")
	}
	other, otherRow := w.apiKey(t, nil)
	row.Verifier.SealedCRAM = otherRow.Verifier.SealedCRAM // moved in the store
	if err := w.login(sasl.CRAMMD5, sasl.NewCRAMMD5Client(key.IDText(), other.Text())); err == nil {
		t.Error("another key's sealed secret was taken")
	}
}

// No passwords of people, in the same bytes whether they are right or not.
func TestPeoplesPasswords(t *testing.T) {
	w := newWorld(t, nil)
	for user, want := range map[string]relay.LoginResult{
		"anna": relay.LoginPassword, "anna@acme.test": relay.LoginPassword, "Anna.Smith+x@mail.acme.test": relay.LoginPassword, "o-brien_2": relay.LoginPassword,
		"apikey": relay.LoginMalformed, "12345": relay.LoginMalformed, "a@b@c": relay.LoginMalformed, "anna smith": relay.LoginMalformed,
		strings.Repeat("A", 22): relay.LoginMalformed, "x'; --": relay.LoginMalformed,
	} {
		w.expect(t, user, w.plain(user, "correct horse battery staple"), want, ReplyMalformed)
		if says := strings.Contains(w.rec.last().Detail, "API key"); says != (want == relay.LoginPassword) {
			t.Errorf("%s: detail %q", user, w.rec.last().Detail)
		}
	}
	if w.dir.asked != 0 {
		t.Error("a person's name was looked up")
	}
	err := w.login(sasl.SCRAMSHA256, sasl.NewSCRAMClient("anna@acme.test", "secret", sasl.SCRAMBinding{}))
	w.expect(t, "SCRAM", err, relay.LoginPassword, ReplyRefused)
	tok := secret.Redacted("pst_AAAA.AAAA")
	w.expect(t, "a token as password", w.plain("apikey", tok), relay.LoginMalformed, ReplyMalformed)
}

func (w *world) appPassword(t *testing.T, change func(*relay.Key)) (string, secret.Redacted, *relay.Key) {
	t.Helper()
	login, pass := secret.GenerateAppPassword()
	p, err := secret.ParseAppPassword(pass.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	row := &relay.Key{
		ID: relay.KeyID{ID: relay.NewID(t0)}, Account: acme, Kind: relay.KeyAppPassword, Login: login,
		Scopes: []string{relay.ScopeMailSend}, Verifier: relay.Verifier(p.Verifier()),
	}
	if change != nil {
		change(row)
	}
	w.dir.keys[row.ID] = row
	return login, pass, row
}

// App passwords: PLAIN and LOGIN only, narrow like keys, reported as weak, and
// not there at all unless the operator allows them.
func TestAppPasswords(t *testing.T) {
	w := newWorld(t, nil)
	login, pass, row := w.appPassword(t, nil)
	for _, m := range mechanisms[:2] {
		for _, typed := range []secret.Redacted{pass, secret.Redacted(strings.ToUpper(pass.Reveal())), secret.Redacted(strings.ReplaceAll(pass.Reveal(), "-", ""))} {
			w.expect(t, m.Name, w.login(m.Mechanism, m.client(login, typed)), relay.LoginOK, smtp.Reply{})
			if !strings.Contains(w.rec.last().Detail, "weak: app password") {
				t.Errorf("detail %q", w.rec.last().Detail)
			}
		}
	}
	for _, m := range mechanisms[2:] {
		if err := w.login(m.Mechanism, m.client(login, pass)); err == nil {
			t.Errorf("%s lets an app password in", m.Name)
		}
		if err := w.login(m.Mechanism, m.client(row.ID.String(), pass)); err == nil {
			t.Errorf("%s lets an app password in by its id", m.Name)
		}
	}
	wrong := secret.Redacted("aaaaa-aaaaa-aaaaa-aaaaa")
	w.expect(t, "wrong", w.plain(login, wrong), relay.LoginWrong, ReplyRefused)
	w.expect(t, "unknown", w.plain("dev-aaaaaaaa", wrong), relay.LoginUnknown, ReplyRefused)
	w.expect(t, "malformed", w.plain(login, "aaaaa"), relay.LoginMalformed, ReplyMalformed)
	w.expect(t, "another's name", w.plain("apikey", pass), relay.LoginMalformed, ReplyMalformed)
	login, pass, _ = w.appPassword(t, func(k *relay.Key) { k.Networks = prefixes("10.0.0.0/8") })
	w.expect(t, "network", w.plain(login, pass), relay.LoginNetwork, ReplyRefused)
	login, pass, _ = w.appPassword(t, func(k *relay.Key) { k.Canary = true })
	w.expect(t, "canary", w.plain(login, pass), relay.LoginCanary, ReplyRefused)
	if len(w.alerts) != 1 {
		t.Errorf("%d alerts", len(w.alerts))
	}
	login, pass, row = w.appPassword(t, nil)
	old := row.Verifier
	row.Previous, row.PreviousUntil, row.Verifier = &old, w.now.Add(time.Hour), relay.Verifier{SHA256: [32]byte{1}}
	w.expect(t, "old password in the overlap", w.plain(login, pass), relay.LoginOK, smtp.Reply{})
	if !w.who.Previous {
		t.Error("the old password is not marked")
	}
	off := newWorld(t, func(c *Config) { c.AppPasswords = false })
	login, pass, _ = off.appPassword(t, nil)
	off.expect(t, "switched off", off.plain(login, pass), relay.LoginMalformed, ReplyMalformed)
	if off.dir.asked != 0 {
		t.Error("looked up although switched off")
	}
	off.SetAppPasswords(true)
	off.expect(t, "switched on", off.plain(login, pass), relay.LoginOK, smtp.Reply{})
}

// Policy speaks only after the right secret from an allowed network, and says
// what to do. AU-31.
func TestPolicyIsToldToTheHolderOnly(t *testing.T) {
	for _, tt := range []struct {
		name  string
		world func(*world)
		key   func(*relay.Key)
		want  relay.LoginResult
		reply smtp.Reply
	}{
		{"mechanism", func(w *world) { w.dir.account.Policy.Mechanisms = []string{"SCRAM-SHA-256", "XOAUTH2", "LOGIN"} }, nil,
			relay.LoginMechanism, smtp.R(534, 5, 7, 9, "Authentication failed: This account does not allow PLAIN; use SCRAM-SHA-256, XOAUTH2 or LOGIN")},
		{"one mechanism", func(w *world) { w.dir.account.Policy.Mechanisms = []string{"EXTERNAL"} }, nil,
			relay.LoginMechanism, smtp.R(534, 5, 7, 9, "Authentication failed: This account does not allow PLAIN; use EXTERNAL")},
		{"scope", nil, func(k *relay.Key) { k.Scopes = []string{"stats.read"} }, relay.LoginScope, ReplyNoScope},
		{"credits", func(w *world) {
			w.cfg.Exhausted = func(context.Context, *relay.Principal) error { return errors.New("none left") }
		}, nil, relay.LoginScope, ReplyExhausted},
		{"cannot tell", func(w *world) {
			w.cfg.Exhausted = func(context.Context, *relay.Principal) error { return relay.E(relay.Unavailable, "") }
		}, nil, relay.LoginUnavailable, ReplyUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			g := w.guard(GuardConfig{})
			if tt.world != nil {
				tt.world(w)
			}
			key, row := w.apiKey(t, tt.key)
			w.expect(t, "right", w.plain("apikey", key.Text()), tt.want, tt.reply)
			if g.addresses.size() != 0 {
				t.Error("a policy counts as a failure")
			}
			wrong := w.rotate(t, row)
			w.dir.keys[row.ID] = row
			w.expect(t, "wrong", w.plain("apikey", wrong.Text()), relay.LoginWrong, ReplyRefused)
			row.Networks = prefixes("10.0.0.0/8")
			w.expect(t, "outside", w.plain("apikey", key.Text()), relay.LoginNetwork, ReplyRefused)
			row.Networks = nil
			row.RevokedAt = t0
			w.expect(t, "revoked", w.plain("apikey", key.Text()), relay.LoginRevoked, ReplyRefused)
		})
	}
	w := newWorld(t, nil)
	w.dir.account.Policy.Mechanisms = []string{"SCRAM-SHA-256"}
	if !mechanismAllowed(w.dir.account.Policy.Mechanisms, "SCRAM-SHA-256-PLUS") || mechanismAllowed([]string{"SCRAM-SHA-256-PLUS"}, "SCRAM-SHA-256") {
		t.Error("channel binding is taken for weaker")
	}
}

// A canary sings at once, whatever is tried with it, and not for every attempt of
// a machine.
func TestCanaryAlerts(t *testing.T) {
	w := newWorld(t, nil)
	key, row := w.apiKey(t, func(k *relay.Key) { k.Canary, k.Name = true, "left in the wiki" })
	for range 50 {
		for _, m := range mechanisms {
			w.expect(t, m.Name, w.login(m.Mechanism, m.client(key.IDText(), key.Text())), relay.LoginCanary, ReplyRefused)
		}
	}
	if len(w.alerts) != 1 || w.alerts[0].Kind != relay.AlertCanary || w.alerts[0].Addr != home || !strings.Contains(w.alerts[0].Text, "left in the wiki") {
		t.Errorf("alerts %+v", w.alerts)
	}
	if strings.Contains(w.alerts[0].Text, key.Text().Reveal()[26:]) {
		t.Error("the alert holds the secret")
	}
	w.now = w.now.Add(time.Minute)
	w.plain("apikey", key.Text())
	at := w.attempt("BEARER")
	at.Protocol, at.Secret, at.Addr = "http", key.Text(), netip.MustParseAddr("203.0.113.1")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Bearer(cancelled, at); relay.KindOf(err) != relay.Unauthenticated {
		t.Errorf("HTTP: %v", err)
	}
	if len(w.alerts) != 3 {
		t.Errorf("%d alerts, want one more a minute later and one more from elsewhere", len(w.alerts))
	}
	if _, err := w.Check(context.Background(), &relay.Principal{Key: row}, netip.MustParseAddr(home)); err == nil {
		t.Error("an open session of what became a canary goes on")
	}
}

package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// Exchange is what every mechanism asks of its server during one exchange by
// SMTP. in is called once, when the client is let in. The server adds what only
// it knows: Binding, Plus, Host and Port.
func (a *Authenticator) Exchange(at Attempt, in func(*relay.Principal)) sasl.Exchange {
	x := &exchange{a: a, at: at, in: in}
	out := sasl.Exchange{
		Authenticate: x.authenticate, SCRAM: x.scram, Proved: x.proved, External: x.external,
	}
	if a.cfg.Sealer != nil {
		out.CRAM = x.cram
	}
	if a.cfg.Sealer != nil || a.cfg.Outside != nil {
		out.Bearer = x.bearer
	}
	return out
}

// exchange is one exchange. Its methods are called one at a time.
type exchange struct {
	a  *Authenticator
	at Attempt
	in func(*relay.Principal)

	user  string           // who SCRAM was asked for
	keys  []sasl.SCRAMKeys // what it was told; nil: made up
	ended bool
}

// end closes the exchange.
func (x *exchange) end(t *trial) error {
	p, err := t.end()
	if err != nil {
		return err
	}
	if x.ended { // a mechanism asks once; nobody is let in by asking again
		return ReplyRefused
	}
	x.ended = true
	x.in(p)
	return nil
}

func (x *exchange) authenticate(ctx context.Context, c sasl.Credentials) error {
	at := x.at
	at.Mechanism, at.Authzid, at.User, at.Secret = c.Mechanism, c.Authzid, c.User, c.Secret
	t := x.a.begin(at)
	t.password(ctx)
	return x.end(t)
}

// scram tells what is stored of a key. AU-19: of an id that is not a key's, or of
// a key that has no use for SCRAM, made-up values that stay the same.
func (x *exchange) scram(_ context.Context, user string) sasl.SCRAMUser {
	x.user, x.keys = user, nil
	nobody := x.a.madeUp(user) // of everybody: the challenge leaves at once, and its time would tell
	id, err := relay.ParseID(user)
	if err != nil {
		return nobody
	}
	k, ok := x.a.cfg.Directory.Key(relay.KeyID{ID: id})
	if !ok || k.Canary || !hasSCRAM(k) {
		return nobody
	}
	v := &k.Verifier
	x.keys = append(x.keys, sasl.SCRAMKeys{StoredKey: v.SCRAMStoredKey, ServerKey: v.SCRAMServerKey})
	if overlaps(k, x.a.cfg.Now()) && string(k.Previous.SCRAMSalt) == string(v.SCRAMSalt) && k.Previous.SCRAMIterations == v.SCRAMIterations {
		x.keys = append(x.keys, sasl.SCRAMKeys{StoredKey: k.Previous.SCRAMStoredKey, ServerKey: k.Previous.SCRAMServerKey})
	}
	return sasl.SCRAMUser{Salt: v.SCRAMSalt, Iterations: v.SCRAMIterations, Keys: x.keys}
}

func hasSCRAM(k *relay.Key) bool {
	return hasSecret(k) && len(k.Verifier.SCRAMSalt) > 0 && k.Verifier.SCRAMIterations > 0 && len(k.Verifier.SCRAMStoredKey) > 0
}

// madeUp is what SCRAM says of somebody who does not exist: a salt that is the
// same each time, and keys that no proof fits.
func (a *Authenticator) madeUp(user string) sasl.SCRAMUser {
	h := func(what string) []byte {
		m := hmac.New(sha256.New, a.saltKey)
		m.Write([]byte(what))
		m.Write([]byte(user))
		return m.Sum(nil)
	}
	return sasl.SCRAMUser{
		Salt: h("salt ")[:madeUpSalt], Iterations: secret.SCRAMIterations,
		Keys: []sasl.SCRAMKeys{{StoredKey: h("stored "), ServerKey: h("server ")}},
	}
}

// madeUpSalt is as long as the salts of keys.
const madeUpSalt = 16

// proved ends SCRAM. What the mechanism was told is compared with the key as it
// is now: it may have been rotated meanwhile.
func (x *exchange) proved(ctx context.Context, p sasl.Proof) error {
	at := x.at
	at.Mechanism, at.User, at.Authzid = p.Mechanism, p.User, p.Authzid
	t := x.a.begin(at)
	var stored []byte
	if p.User == x.user && p.Key >= 0 && p.Key < len(x.keys) {
		stored = x.keys[p.Key].StoredKey
	}
	t.scram(ctx, stored)
	x.user, x.keys = "", nil // one proof an exchange
	return x.end(t)
}

// scram judges a proof that the mechanism checked: stored is the StoredKey that
// it fits, nil if none.
func (t *trial) scram(ctx context.Context, stored []byte) {
	switch {
	case t.at.Authzid != "" && t.at.Authzid != t.at.User:
		t.malformed()
		return
	case t.at.User == userWord:
		t.needsID("SCRAM")
		return
	case !t.fresh(ctx):
		return
	}
	k := t.lookupText(t.at.User)
	if !t.open(k) {
		return
	}
	f := fitNone
	if k != nil && hasSCRAM(k) && len(stored) > 0 {
		if subtle.ConstantTimeCompare(stored, k.Verifier.SCRAMStoredKey) == 1 {
			f = fitPresent
		} else if overlaps(k, t.now) && subtle.ConstantTimeCompare(stored, k.Previous.SCRAMStoredKey) == 1 {
			f = fitPrevious
		}
	}
	t.judge(ctx, k, f)
	t.unable(k, hasSCRAM)
	t.perhapsPerson(k)
}

// unable notes that a key has no use for a mechanism: its secret was not wrong,
// it was not judged.
func (t *trial) unable(k *relay.Key, able func(*relay.Key) bool) {
	if t.result == relay.LoginWrong && !able(k) {
		t.note("this key cannot use " + t.at.Mechanism)
		t.uncounted.key = true
	}
}

// perhapsPerson records a user who is nobody's key as what they seem to be. The
// reply stays.
func (t *trial) perhapsPerson(k *relay.Key) {
	if k == nil && t.result == relay.LoginUnknown && isPerson(t.at.User) {
		t.note("a person's password: programs use an API key")
		t.result = relay.LoginPassword
	}
}

// cram judges CRAM-MD5, for which the secret itself is kept, sealed, by keys that
// were made for it.
func (x *exchange) cram(ctx context.Context, user string, fits func(secret.Redacted) bool) error {
	at := x.at
	at.Mechanism, at.User = sasl.CRAMMD5.Name, user
	t := x.a.begin(at)
	t.cram(ctx, fits)
	return x.end(t)
}

func (t *trial) cram(ctx context.Context, fits func(secret.Redacted) bool) {
	t.note("weak: CRAM-MD5")
	if t.at.User == userWord {
		t.needsID(t.at.Mechanism)
		return
	}
	if !t.fresh(ctx) {
		return
	}
	k := t.lookupText(t.at.User)
	if !t.open(k) {
		return
	}
	var present, previous *relay.Verifier
	if k != nil && hasSecret(k) {
		present = &k.Verifier
		if overlaps(k, t.now) {
			previous = k.Previous
		}
	}
	f := fitNone
	if t.a.cramFits(k, present, fits) {
		f = fitPresent
	}
	if t.a.cramFits(k, previous, fits) {
		f = fitPrevious
	}
	t.judge(ctx, k, f)
	t.unable(k, func(k *relay.Key) bool { return hasSecret(k) && k.Verifier.SealedCRAM != nil })
	t.perhapsPerson(k)
}

// cramFits opens one sealed secret and tries it. Where there is none, a secret of
// nobody is opened and tried, which is the same work.
func (a *Authenticator) cramFits(k *relay.Key, v *relay.Verifier, fits func(secret.Redacted) bool) bool {
	real := k != nil && v != nil && len(v.SealedCRAM) > 0
	id, sealed := a.dummyCRAM.id, a.dummyCRAM.verifier
	if real {
		id, sealed = k.ID.ID, secret.Verifier(*v)
	}
	text, err := secret.OpenCRAM(a.cfg.Sealer, id, sealed)
	if err != nil {
		text, real = "", false
	}
	return fits(text) && real
}

// dummyCRAM is the sealed secret of nobody.
type dummyCRAM struct {
	id       relay.ID
	verifier secret.Verifier
}

func newDummyCRAM(s *secret.Sealer, prefix string) *dummyCRAM {
	k, err := secret.GenerateKey(prefix)
	if err != nil {
		return &dummyCRAM{} // a prefix that no key has: nothing opens, nothing fits
	}
	d := &dummyCRAM{id: k.ID, verifier: secret.Verifier{SHA256: k.SHA256()}}
	d.verifier.SealedCRAM, _ = secret.SealCRAM(s, k) // if it fails, nothing opens: the same answer
	return d
}

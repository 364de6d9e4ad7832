package auth

import (
	"context"
	"strings"

	"postern/internal/relay"
	"postern/internal/secret"
)

// password judges a user name and a secret: an API key, an app password, or
// what people have instead of them.
func (t *trial) password(ctx context.Context) {
	k, err := secret.ParseKey(t.at.Secret.Reveal(), t.a.cfg.Prefix)
	switch {
	case err == nil:
		t.apiKey(ctx, k)
	case t.a.appPasswords.Load() && secret.IsAppLogin(t.at.User):
		t.appPassword(ctx)
	default:
		t.notAKey()
	}
}

// apiKey judges a well-formed key. The user is the word apikey, or the key's own
// id; an authorization identity must be absent or the same (RFC 4616 §2: nobody
// acts for another here).
func (t *trial) apiKey(ctx context.Context, given secret.Key) {
	t.tried = given.IDText()
	if (t.at.User != userWord && t.at.User != t.tried) || (t.at.Authzid != "" && t.at.Authzid != t.at.User) {
		t.malformed()
		return
	}
	t.compareKey(ctx, given)
}

// compareKey looks a well-formed key up and compares its secret.
func (t *trial) compareKey(ctx context.Context, given secret.Key) {
	if !t.fresh(ctx) {
		return
	}
	k := t.lookup(relay.KeyID{ID: given.ID})
	if !t.open(k) {
		return
	}
	// Two compares whoever it is, so that all refusals are the same work.
	stored := k
	if k == nil || !hasSecret(k) {
		stored = &nobody
	}
	f := fitNone
	if secret.VerifySHA256(given, stored.Verifier.SHA256) {
		f = fitPresent
	}
	previous := &nobody.Verifier
	if overlaps(stored, t.now) {
		previous = stored.Previous
	}
	if secret.VerifySHA256(given, previous.SHA256) {
		f = fitPrevious
	}
	t.judge(ctx, k, f)
}

// nobody is whose secret is compared where there is no key. No secret has the
// hash of all zeros.
var nobody relay.Key

// hasSecret reports whether a key is one of those with a secret SG.….
func hasSecret(k *relay.Key) bool { return k.Kind == relay.KeyAPI || k.Kind == "" }

// appPassword judges the generated password of a device.
func (t *trial) appPassword(ctx context.Context) {
	t.note("weak: app password")
	given, err := secret.ParseAppPassword(t.at.Secret.Reveal())
	if err != nil || (t.at.Authzid != "" && t.at.Authzid != t.at.User) {
		t.malformed()
		return
	}
	if !t.fresh(ctx) {
		return
	}
	k, known := t.a.cfg.Directory.KeyByLogin(t.at.User)
	if known && k.Kind != relay.KeyAppPassword {
		known = false
	}
	if !known {
		k = nil
	} else if k.Canary {
		t.a.sing(k, t)
	}
	if !t.open(k) {
		return
	}
	stored := k
	if k == nil {
		stored = &nobody
	}
	f := fitNone
	if given.Fits(stored.Verifier.SHA256) {
		f = fitPresent
	}
	previous := &nobody.Verifier
	if overlaps(stored, t.now) {
		previous = stored.Previous
	}
	if given.Fits(previous.SHA256) {
		f = fitPrevious
	}
	t.judge(ctx, k, f)
}

// malformed refuses what is not a credential of ours. Nothing was looked up.
func (t *trial) malformed() {
	if t.open(nil) {
		t.refuse(relay.LoginMalformed, ReplyMalformed)
	}
}

// notAKey refuses a secret that no key, token or app password has: most likely a
// person's. It is not looked at, so the answer cannot say whether it was right.
func (t *trial) notAKey() {
	switch {
	case !t.open(nil):
	case strings.HasPrefix(t.at.Secret.Reveal(), tokenPrefix):
		t.note("an access token goes with XOAUTH2 or OAUTHBEARER")
		t.refuse(relay.LoginMalformed, ReplyMalformed)
	case isPerson(t.at.User):
		t.note("a person's password: programs use an API key")
		t.refuse(relay.LoginPassword, ReplyMalformed)
	default:
		t.refuse(relay.LoginMalformed, ReplyMalformed)
	}
}

// isPerson reports whether a user name looks like one of a person: a name or an
// e-mail address, and none of ours.
func isPerson(user string) bool {
	if len(user) >= len(userWord) && strings.EqualFold(user[:len(userWord)], userWord) || secret.IsAppLogin(user) || tried(user) != user {
		return false // ours, or perhaps a secret
	}
	if _, err := relay.ParseID(user); err == nil {
		return false
	}
	letters, ats := 0, 0
	for i := range len(user) {
		switch c := user[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			letters++
		case c == '@':
			ats++
		case c >= '0' && c <= '9', strings.IndexByte("._+-", c) >= 0:
		default:
			return false
		}
	}
	return letters > 0 && ats <= 1
}

package identity

import "postern/internal/relay"

// Key returns a key by its public id, a revoked one too.
func (d *Directory) Key(id relay.KeyID) (*relay.Key, bool) { return d.state.Load().keys.get(id) }

// KeyByLogin returns the app password with a user name. Where a revoked one had
// the same name, the one that is not revoked.
func (d *Directory) KeyByLogin(login string) (*relay.Key, bool) {
	l := d.state.Load().logins.at(login)
	if l.empty() {
		return nil, false
	}
	return l.pieces[0][0], true
}

// KeysByFingerprint returns the keys of a certificate: lower-case hex of the
// SHA-256 of its DER. Revoked keys are among them only if all are, so that a
// refusal can tell why and a new key is never in doubt because of an old one.
func (d *Directory) KeysByFingerprint(fp string) []*relay.Key {
	return unrevoked(d.state.Load().fingerprints.at(fp))
}

// KeysByName returns the keys of a subject alternative name of certificates,
// compared exactly; revoked ones as in KeysByFingerprint.
func (d *Directory) KeysByName(name string) []*relay.Key {
	return unrevoked(d.state.Load().names.at(name))
}

// KeysByIssuer returns the keys that tokens of an issuer can be for: first those
// that are not revoked, then the others, so that a refusal can tell why.
func (d *Directory) KeysByIssuer(issuer string) []*relay.Key {
	return d.state.Load().issuers.at(issuer).slice()
}

// KeysOf lists the keys of exactly this tenant, without revoked ones, oldest first.
func (d *Directory) KeysOf(t relay.Tenant) []*relay.Key { return d.state.Load().keysOf.at(t).slice() }

// unrevoked cuts a list in the order byUse before its revoked members, unless it
// has no others.
func unrevoked(l list[*relay.Key]) []*relay.Key {
	all := l.slice()
	for i, k := range all {
		if i > 0 && !k.RevokedAt.IsZero() && all[0].RevokedAt.IsZero() {
			return all[:i:i]
		}
	}
	return all
}

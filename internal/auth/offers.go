package auth

import (
	"hash/maphash"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/smtp"
)

// plainOnlyFor is how long a client that used SCRAM with the word apikey is
// offered only what takes that word.
const plainOnlyFor = 24 * time.Hour

// dropIn is a client as far as it can be told before it logs in: its address and
// what it calls itself. Others behind the same address (NAT, loopback) keep their
// mechanisms.
type dropIn struct {
	from place
	helo uint64 // a hash: names are long, and strangers choose them
}

var heloSeed = maphash.MakeSeed()

func dropInOf(at Attempt) dropIn {
	return dropIn{placeOf(at.Addr), maphash.String(heloSeed, strings.ToLower(at.Helo))}
}

// Offers reports whether a mechanism of the listener is of use to a client now.
// Which ones a listener has, CRAM-MD5 among them, is its own configuration.
func (a *Authenticator) Offers(at Attempt, mechanism string) bool {
	switch mechanism {
	case sasl.External.Name:
		return len(at.Certificates) > 0
	case sasl.SCRAMSHA256.Name, sasl.SCRAMSHA256Plus.Name:
		return !a.takesOnlyPlain(at)
	case sasl.CRAMMD5.Name:
		return a.cfg.Sealer != nil && !a.takesOnlyPlain(at)
	case sasl.XOAuth2.Name, sasl.OAuthBearer.Name:
		return a.cfg.Sealer != nil || a.cfg.Outside != nil
	}
	return true
}

// needsID refuses a drop-in client: it is configured with the word apikey, as
// SendGrid has it, and chose a mechanism by itself in which the user must be the
// key's id (Postfix takes the strongest that is announced). It is told, and for a
// day it is not offered the mechanism from that address, so that it falls back to
// PLAIN by itself. Nothing was looked up, and it is no guess.
func (t *trial) needsID(family string) {
	if !t.open(nil) {
		return
	}
	until := t.now.Add(plainOnlyFor).UnixNano()
	t.a.plainOnly.touch(dropInOf(t.at), func(at *int64) { *at = until })
	t.note(family + " with the user name apikey: it needs the key's id; not offered to this client for a day")
	t.tell(relay.LoginMalformed, smtp.R(454, 4, 7, 0, family+" needs the key's id as user name; PLAIN and LOGIN take apikey"))
}

func (a *Authenticator) takesOnlyPlain(at Attempt) (yes bool) {
	now := a.cfg.Now().UnixNano()
	a.plainOnly.see(dropInOf(at), func(until *int64) { yes = *until > now })
	return yes
}

package auth

import (
	"fmt"
	"time"

	"postern/internal/relay"
)

// canarySeen is one place that tried one canary.
type canarySeen struct {
	key  relay.KeyID
	from place
}

// sing raises the alert of a canary key, at most once a minute for each key and
// address. Whoever has the key read something that only a thief reads.
func (a *Authenticator) sing(k *relay.Key, t *trial) {
	loud := false
	now := t.now.UnixNano()
	a.canaries.touch(canarySeen{k.ID, placeOf(t.at.Addr)}, func(last *int64) {
		if *last == 0 || now-*last >= int64(time.Minute) {
			*last, loud = now, true
		}
	})
	if !loud {
		return
	}
	a.cfg.Alert(relay.Tenant{Account: k.Account, Subuser: k.Subuser}, k.ID, relay.Alert{
		Kind: relay.AlertCanary, Addr: t.at.Addr.String(),
		Text: fmt.Sprintf("The canary key %s (%s) was tried from %s by %s %s. Nobody has a use for it: find out who could read the place where it was left.",
			k.ID, printable(k.Name, 100), t.at.Addr, t.at.Protocol, printable(t.at.Mechanism, 30)),
	})
}

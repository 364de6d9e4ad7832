package v3

import (
	"slices"
	"strconv"

	"postern/internal/relay"
)

// keyPatch is what can be changed of a key; members that are not there stay as
// they are. Everything but the name narrows what the key may do.
type keyPatch struct {
	Name             *string         `json:"name"`
	Scopes           *[]string       `json:"scopes"`
	Match            *relay.KeyMatch `json:"match" doc:"which certificates or tokens are the key's: for the kinds certificate and federated"`
	Mode             *string         `json:"mode" doc:"live, test (accepted, never delivered) or hold (accepted, waits for release)"`
	Networks         *[]string       `json:"networks" doc:"networks and addresses that it works from"`
	Hosts            *[]string       `json:"hosts" doc:"names of hosts that it works from"`
	Senders          *[]string       `json:"senders" doc:"addresses and domains that it may send as; none: all of the tenant's"`
	RecipientDomains *[]string       `json:"recipient_domains" doc:"none: all"`
	PerMinute        *int64          `json:"per_minute" doc:"recipients in any 60 seconds; 0: no limit of its own"`
	PerHour          *int64          `json:"per_hour"`
	PerDay           *int64          `json:"per_day"`
	PerMonth         *int64          `json:"per_month"`
	Hours            *string         `json:"hours" doc:"hours of the week, such as mon-fri 08-18; empty: always"`
	ExpiresAt        *string         `json:"expires_at" doc:"RFC 3339; empty: never, or as late as the account's policy allows"`
	Canary           *bool           `json:"canary" doc:"never valid; a try with it raises an alert"`
}

// keyPut is keyPatch with a name that must be there, as SendGrid has it.
type keyPut struct {
	Name string `json:"name" v3:"required"`
	keyPatch
}

// newKey is a request for a key.
type newKey struct {
	Name string  `json:"name" v3:"required"`
	Kind *string `json:"kind" doc:"api_key (also if not given), app_password, certificate or federated"`
	CRAM *bool   `json:"cram_md5" doc:"let it log in with CRAM-MD5 too, which is weak: the secret is kept, sealed"`
	keyPatch
}

// apply writes what was given into a key.
func (in *keyPatch) apply(c *Call, k *relay.Key) error {
	if in.Name != nil {
		if err := checkName("name", *in.Name); err != nil {
			return err
		}
		k.Name = *in.Name
	}
	if in.Scopes != nil {
		if err := checkScopes(*in.Scopes); err != nil {
			return err
		}
		k.Scopes = slices.Compact(slices.Sorted(slices.Values(*in.Scopes)))
	}
	if in.Mode != nil {
		switch mode := relay.KeyMode(*in.Mode); mode {
		case relay.KeyLive, relay.KeyTest, relay.KeyHold:
			k.Mode = mode
		default:
			return invalid("mode", "The mode must be live, test or hold.")
		}
	}
	if in.Canary != nil {
		k.Canary = *in.Canary
	}
	if in.ExpiresAt != nil {
		at, err := checkTime("expires_at", *in.ExpiresAt, c.Now)
		if err != nil {
			return err
		}
		k.ExpiresAt = at
	}
	if err := in.applyLists(k); err != nil {
		return err
	}
	return in.applyLimits(k)
}

func (in *keyPatch) applyLists(k *relay.Key) (err error) {
	if in.Networks != nil {
		if k.Networks, err = each("networks", *in.Networks, checkNetwork); err != nil {
			return err
		}
	}
	if in.Hosts != nil && len(*in.Hosts) > maxHosts {
		return invalid("hosts", "More than %d entries.", maxHosts)
	}
	for _, l := range []struct {
		name  string
		given *[]string
		to    *[]string
		check func(field, s string) (string, error)
	}{
		{"hosts", in.Hosts, &k.Hosts, checkDomain},
		{"senders", in.Senders, &k.Senders, checkSender},
		{"recipient_domains", in.RecipientDomains, &k.RecipientDomains, checkDomain},
	} {
		if l.given == nil {
			continue
		}
		if *l.to, err = each(l.name, *l.given, l.check); err != nil {
			return err
		}
	}
	return nil
}

func (in *keyPatch) applyLimits(k *relay.Key) error {
	for _, l := range []struct {
		name  string
		given *int64
		to    *int64
	}{
		{"per_minute", in.PerMinute, &k.PerMinute}, {"per_hour", in.PerHour, &k.PerHour},
		{"per_day", in.PerDay, &k.PerDay}, {"per_month", in.PerMonth, &k.PerMonth},
	} {
		if l.given == nil {
			continue
		}
		if err := checkCount(l.name, *l.given); err != nil {
			return err
		}
		*l.to = *l.given
	}
	if in.Hours != nil {
		if _, err := relay.ParseHours(*in.Hours); err != nil {
			return err
		}
		k.Hours = *in.Hours
	}
	return nil
}

// checkScopes: each is one that a key can have, and billing stands alone.
func checkScopes(scopes []string) error {
	if len(scopes) > maxEntries {
		return invalid("scopes", "More than %d entries.", maxEntries)
	}
	billing := 0
	for i, s := range scopes {
		field := "scopes." + strconv.Itoa(i)
		switch {
		case slices.Contains(relay.AutoScopes, s):
			return invalid(field, "The scope %q cannot be given; it is never asked for here.", s)
		case !relay.KnownScope(s):
			return invalid(field, "There is no scope %q.", printable(s, 64))
		case relay.BillingScope(s):
			billing++
		}
	}
	if billing > 0 && billing < len(scopes) {
		return invalid("scopes", "Billing scopes cannot be on one key with others.")
	}
	return nil
}

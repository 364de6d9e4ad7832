package v3

import (
	"time"

	"postern/internal/identity"
	"postern/internal/relay"
)

// keyView is what is said of a key: SendGrid's three members and postern's. It is
// a type of its own, so that what is added to relay.Key does not come out here by
// itself.
type keyView struct {
	ID       relay.KeyID `json:"api_key_id"`
	Name     string      `json:"name"`
	Scopes   []string    `json:"scopes"`
	Username string      `json:"username,omitempty" doc:"the subuser that it belongs to"`

	Kind             relay.KeyKind   `json:"kind"`
	Login            string          `json:"login,omitempty" doc:"user name of an app password"`
	Match            *relay.KeyMatch `json:"match,omitempty"`
	Mode             relay.KeyMode   `json:"mode"`
	Networks         []string        `json:"networks,omitempty"`
	Hosts            []string        `json:"hosts,omitempty"`
	Senders          []string        `json:"senders,omitempty"`
	RecipientDomains []string        `json:"recipient_domains,omitempty"`
	PerMinute        int64           `json:"per_minute,omitempty"`
	PerHour          int64           `json:"per_hour,omitempty"`
	PerDay           int64           `json:"per_day,omitempty"`
	PerMonth         int64           `json:"per_month,omitempty"`
	Hours            string          `json:"hours,omitempty"`
	Canary           bool            `json:"canary,omitempty"`
	CRAM             bool            `json:"cram_md5,omitempty"`

	ExpiresAt  time.Time  `json:"expires_at,omitzero"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by,omitempty"`
	RotatedAt  time.Time  `json:"rotated_at,omitzero"`
	DisabledAt time.Time  `json:"disabled_at,omitzero"`
	DisabledBy relay.Rank `json:"disabled_by,omitzero" doc:"account or operator: somebody above switched it off, and nobody else switches it on again; empty: its own people"`
	RevokedAt  time.Time  `json:"revoked_at,omitzero"`

	LastUsedAt        time.Time `json:"last_used_at,omitzero"`
	LastUsedFrom      string    `json:"last_used_from,omitempty"`
	LastUsedMechanism string    `json:"last_used_mechanism,omitempty"`
	LastUsedHelo      string    `json:"last_used_helo,omitempty"`
	UseCount          int64     `json:"use_count"`

	PreviousUntil    time.Time `json:"previous_valid_until,omitzero" doc:"until then the secret of before the rotation works, too"`
	PreviousUsedAt   time.Time `json:"previous_last_used_at,omitzero"`
	PreviousUsedFrom string    `json:"previous_last_used_from,omitempty"`
	PreviousUsedHelo string    `json:"previous_last_used_helo,omitempty"`
	PreviousUseCount int64     `json:"previous_use_count,omitempty"`
}

// keyMade is the answer that has the secret.
type keyMade struct {
	APIKey   string `json:"api_key,omitempty" doc:"the whole key: in this answer and nowhere else"`
	Password string `json:"password,omitempty" doc:"of an app password: in this answer and nowhere else"`
	keyView
}

type keyRotated struct {
	APIKey        string      `json:"api_key,omitempty" doc:"the whole new key: in this answer and nowhere else"`
	Password      string      `json:"password,omitempty" doc:"of an app password: in this answer and nowhere else"`
	ID            relay.KeyID `json:"api_key_id"`
	Name          string      `json:"name"`
	PreviousUntil time.Time   `json:"previous_valid_until,omitzero"`
}

type keyList struct {
	Result []keyView `json:"result"`
}

// viewKey shows a key as it is at a moment.
func (a *API) viewKey(k *relay.Key, now time.Time) keyView {
	v := keyView{
		ID: k.ID, Name: k.Name, Scopes: k.Scopes, Kind: k.Kind, Login: k.Login, Match: k.Match, Mode: k.Mode,
		Hosts: k.Hosts, Senders: k.Senders, RecipientDomains: k.RecipientDomains,
		PerMinute: k.PerMinute, PerHour: k.PerHour, PerDay: k.PerDay, PerMonth: k.PerMonth, Hours: k.Hours,
		Canary: k.Canary, CRAM: len(k.Verifier.SealedCRAM) > 0,
		ExpiresAt: k.ExpiresAt, CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy, RotatedAt: k.RotatedAt, DisabledAt: k.DisabledAt, DisabledBy: k.DisabledRank, RevokedAt: k.RevokedAt,
		LastUsedAt: k.LastUsedAt, LastUsedFrom: k.LastUsedFrom, LastUsedMechanism: k.LastUsedMechanism, LastUsedHelo: k.LastUsedHelo, UseCount: k.UseCount,
	}
	if v.Scopes == nil {
		v.Scopes = []string{}
	}
	for _, n := range k.Networks {
		v.Networks = append(v.Networks, n.String())
	}
	if identity.PreviousValid(k, now) {
		v.PreviousUntil, v.PreviousUsedAt, v.PreviousUsedFrom = k.PreviousUntil, k.PreviousUsedAt, k.PreviousUsedFrom
		v.PreviousUsedHelo, v.PreviousUseCount = k.PreviousUsedHelo, k.PreviousUseCount
	}
	if s, ok := a.Directory.Subuser(k.Subuser); ok {
		v.Username = s.Name
	}
	return v
}

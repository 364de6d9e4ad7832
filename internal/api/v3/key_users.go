package v3

import (
	"net/netip"
	"time"

	"postern/internal/relay"
)

// keyUsers is who used a key, and how much: what its end would cut off.
type keyUsers struct {
	Users      []keyUser `json:"users"`
	Messages   int64     `json:"messages" doc:"recipients of the mail that it sent in these days"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// keyUser is one program, as far as its logins tell programs apart.
type keyUser struct {
	Addr      string    `json:"addr"`
	Helo      string    `json:"helo" doc:"name in EHLO, or the User-Agent"`
	Mechanism string    `json:"mechanism"`
	TLS       string    `json:"tls"`
	First     time.Time `json:"first_at"`
	Last      time.Time `json:"last_at"`
	Logins    int64     `json:"logins"`
	Place     string    `json:"place,omitempty" doc:"the country of the address, where the operator has given a file of places"`
}

// keepDays is how long logins are kept.
const keepDays = 400

func (a *API) showKeyUsers(c *Call) error {
	days, err := c.Int("days", 30, 1, keepDays)
	if err != nil {
		return err
	}
	k, err := a.readKey(c)
	if err != nil {
		return err
	}
	if !k.RevokedAt.IsZero() && !c.Operator && !c.Flag("revoked") {
		return notFound()
	}
	since := c.Now.AddDate(0, 0, -int(days))
	users, err := a.Uses.KeyUsers(c.R.Context(), k.ID, since)
	if err != nil {
		return err
	}
	account, _ := a.Directory.Account(c.Tenant.Account)
	used, err := a.Uses.Used(c.R.Context(), k.ID.ID, c.Now.Unix()/60, dayNumber(since, zoneOf(&account)))
	if err != nil {
		return err
	}
	out := keyUsers{Users: []keyUser{}, LastUsedAt: k.LastUsedAt}
	for _, u := range users {
		addr, _ := netip.ParseAddr(u.Addr) // of none there is no place
		out.Users = append(out.Users, keyUser{Addr: u.Addr, Helo: u.Helo, Mechanism: u.Mechanism, TLS: u.TLS, First: u.First, Last: u.Last, Logins: u.Logins, Place: a.placeOf(addr)})
	}
	for _, n := range used.Days {
		out.Messages += n
	}
	return c.JSON(200, out)
}

// dayNumber is the date at a moment and place, in days since 1970-01-01, as usage
// is counted.
func dayNumber(t time.Time, zone *time.Location) int64 {
	y, m, d := t.In(zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400
}

// zoneOf is the account's time zone.
func zoneOf(a *relay.Account) *time.Location {
	zone, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		return time.UTC
	}
	return zone
}

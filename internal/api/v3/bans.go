package v3

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
)

// BanList has the refusals that stand because of failed logins; *auth.Guard is
// one.
type BanList interface {
	Bans(now time.Time) []relay.Ban
	// Lift reports whether there was such a ban in force.
	Lift(scope relay.BanScope, subject string) bool
	// Set shuts an address or network out. What cannot be set is auth.ErrBan, whose
	// text may be shown.
	Set(b relay.Ban) error
}

const banPath = "/v3/access_settings/bans"

var banRoutes = []Route{
	{
		Method: "GET", Pattern: banPath, Scope: scopeRecords, AnyAccount: true,
		Summary: "List who is refused for a while because of failed logins: the tenant's own keys and account; the operator sees addresses and networks too",
		Answers: map[int]any{200: banAnswer{}}, Handler: (*API).listBans,
	},
	{
		Method: "POST", Pattern: banPath, OperatorOnly: true, AnyAccount: true,
		Summary: "Refuse an address or network for a while. It is refused to every account, so only the operator can; of a key or account say disable",
		Body:    banRequest{}, Answers: map[int]any{201: relay.Ban{}}, Handler: (*API).setBan,
	},
	{
		Method: "DELETE", Pattern: banPath + "/{scope}/{subject}", Scope: "access_settings.whitelist.update", StepUp: true, AnyAccount: true,
		Summary: "Lift a ban on the tenant's own key or account; the operator lifts any", Answers: map[int]any{204: nil}, Handler: (*API).liftBan,
	},
	{
		// A network has a slash in it, which is never written %2F in a path.
		Method: "DELETE", Pattern: banPath + "/{scope}/{subject}/{bits}", OperatorOnly: true, AnyAccount: true,
		Summary: "Lift a ban on a network, such as network/192.0.2.0/24", Answers: map[int]any{204: nil}, Handler: (*API).liftBan,
	},
}

type banAnswer struct {
	Result []relay.Ban `json:"result"`
}

type banRequest struct {
	Scope   relay.BanScope `json:"scope" v3:"required" doc:"address or network"`
	Subject string         `json:"subject" v3:"required" doc:"an IPv6 address stands for its /64"`
	Seconds int64          `json:"seconds" v3:"required"`
}

// The bounds of a ban that a person sets.
const (
	leastBan   = time.Second
	longestBan = 366 * 24 * time.Hour
)

func (a *API) listBans(c *Call) error {
	out := banAnswer{Result: []relay.Ban{}}
	mine := a.ownBans(c)
	for _, b := range a.Bans.Bans(c.Now) {
		if c.Operator || mine[banSubject{b.Scope, b.Subject}] {
			out.Result = append(out.Result, b)
		}
	}
	return c.JSON(http.StatusOK, out)
}

type banSubject struct {
	scope   relay.BanScope
	subject string
}

// ownBans are the subjects of bans that are the tenant's own. Addresses and
// networks are nobody's: who else comes from there is not for a tenant to know.
func (a *API) ownBans(c *Call) map[banSubject]bool {
	own := map[banSubject]bool{}
	if c.Operator {
		return own
	}
	if c.Tenant.Subuser.IsZero() {
		own[banSubject{relay.BanAccount, c.Tenant.Account.String()}] = true
	}
	for _, k := range a.Directory.KeysOf(c.Tenant) {
		own[banSubject{relay.BanKey, k.ID.String()}] = true
	}
	return own
}

func (a *API) liftBan(c *Call) error {
	b := banSubject{relay.BanScope(c.R.PathValue("scope")), c.R.PathValue("subject")}
	if bits := c.R.PathValue("bits"); bits != "" {
		b.subject += "/" + bits
	}
	was := a.findBan(c, b)
	if !c.Operator && !a.ownBans(c)[b] || !a.Bans.Lift(b.scope, b.subject) {
		return notFound()
	}
	if err := a.recordBan(c, "ban.lift", b, was, nil); err != nil {
		return err
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) setBan(c *Call) error {
	var in banRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	span := time.Duration(in.Seconds) * time.Second
	if in.Seconds < int64(leastBan/time.Second) || in.Seconds > int64(longestBan/time.Second) {
		return invalid("seconds", "A ban lasts from %d to %d seconds.", leastBan/time.Second, longestBan/time.Second)
	}
	ban := relay.Ban{Scope: in.Scope, Subject: in.Subject, Since: c.Now, Until: c.Now.Add(span), Manual: true, By: c.By.Who}
	if err := a.Bans.Set(ban); err != nil {
		if errors.Is(err, auth.ErrBan) {
			return invalid("subject", "%s.", err)
		}
		return err
	}
	if stands := a.findBan(c, banSubject{ban.Scope, ban.Subject}); stands != nil {
		ban = *stands // in the guard's own spelling
	}
	if err := a.recordBan(c, "ban.set", banSubject{ban.Scope, ban.Subject}, nil, &ban); err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, ban)
}

// findBan finds the ban on a subject, one that a person set before others.
func (a *API) findBan(c *Call, of banSubject) (found *relay.Ban) {
	for _, b := range a.Bans.Bans(c.Now) {
		if b.Scope == of.scope && sameBanned(of.scope, b.Subject, of.subject) && (found == nil || b.Manual) {
			found = &b
		}
	}
	return found
}

// sameBanned reports whether two spellings of a subject mean the same.
func sameBanned(scope relay.BanScope, a, b string) bool {
	if a == b || scope == relay.BanAccount || scope == relay.BanKey {
		return a == b
	}
	pa, okA := banPrefix(scope, a)
	pb, okB := banPrefix(scope, b)
	return okA && okB && pa == pb
}

// banPrefix is what a ban on an address or network is on: of IPv6 addresses the
// /64 around them.
func banPrefix(scope relay.BanScope, s string) (netip.Prefix, bool) {
	addr, err := netip.ParseAddr(s)
	bits := 0
	if err != nil {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return p, false
		}
		addr, bits = p.Addr(), p.Bits()
	}
	if addr.Is4In6() {
		addr, bits = addr.Unmap(), bits-96
	}
	if scope == relay.BanAddress {
		bits = 32
		if addr.Is6() {
			bits = 64
		}
	}
	p, err := addr.WithZone("").Prefix(bits)
	return p, err == nil
}

// recordBan puts a change of a ban into the record: the account's, where the ban
// is on what is its own, else the installation's.
func (a *API) recordBan(c *Call, action string, on banSubject, before, after *relay.Ban) error {
	if a.RecordChange == nil {
		return nil
	}
	change := relay.Change{At: c.Now, Account: c.Tenant.Account, By: c.By.Who, From: c.By.From, Action: action, Subject: string(on.scope) + " " + on.subject}
	if on.scope == relay.BanAddress || on.scope == relay.BanNetwork {
		change.Account = relay.AccountID{}
	}
	var err error
	for image, b := range map[*json.RawMessage]*relay.Ban{&change.Before: before, &change.After: after} {
		if b == nil {
			continue
		}
		if *image, err = json.Marshal(b); err != nil {
			return err
		}
	}
	return a.RecordChange(c.R.Context(), c.By, change)
}

package audit

import (
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// The operator has reset somebody's second factors, or they never had any, and
// the policy demands one: setting the policy mends nothing then, their own login does.
func TestFixOfNoSecondFactor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		role     relay.Role
		optional bool
		fix      string // after "postern "
	}{
		{relay.RoleOwner, true, "policy --second-factor-optional=false"},
		{relay.RoleOwner, false, "user reset-password ben"},
		{relay.RoleDeveloper, true, "policy --second-factor-optional=false"},
		{relay.RoleDeveloper, false, "user reset-password ben"},
	} {
		f := sound()
		f.Account.Policy.SecondFactorOptional = c.optional
		u := &f.Users[1]
		u.Role, u.TOTP = c.role, nil
		found := 0
		for _, v := range Judge(f).Findings {
			if v.Subject.ID != u.ID.String() {
				continue
			}
			found++
			if want := "postern " + c.fix + " --account " + f.Account.ID.String(); v.Fix != want {
				t.Errorf("%s, optional %v: fix %q, want %q", c.role, c.optional, v.Fix, want)
			}
			if demanded := strings.Contains(v.Text, "policy demands a second factor"); demanded == c.optional {
				t.Errorf("%s, optional %v: %s", c.role, c.optional, v.Text)
			}
		}
		if found != 1 {
			t.Errorf("%s, optional %v: %d findings", c.role, c.optional, found)
		}
	}
}

func TestSpelled(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		day: "1d", 90 * day: "90d", 3650 * day: "3650d", 36 * time.Hour: "36h0m0s", 90 * time.Minute: "1h30m0s", 0: "0s",
	} {
		if got := spelled(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

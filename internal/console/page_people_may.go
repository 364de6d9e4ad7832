package console

import (
	"slices"

	"postern/internal/relay"
)

// Nobody changes somebody who may do more than they may, nor their own rights, nor what
// somebody above has decided. The API says so; these pages offer nothing else.

// Routes of one person.
const (
	needEdit    = "PATCH " + apiPerson
	needDelete  = "DELETE " + apiPerson
	needDisable = "POST " + apiPerson + "/disable"
	needEnable  = "POST " + apiPerson + "/enable"
	needFactors = "POST " + apiPerson + "/reset_factors"
	needReset   = "POST " + apiPerson + "/reset_password"
	needUnlink  = "DELETE " + apiPerson + "/single_sign_on/{id}"
)

// barPerson bars what cannot be done to somebody.
func (v *desk) barPerson(x *personView) {
	if x.Username == v.Open.User.Username { // nobody shuts themselves out, or says what they may do
		v.bar(notice{}, needEdit, needDelete, needDisable, needEnable, needFactors, needUnlink)
		return
	}
	if why := v.cannotTouch(x); why.Text != "" {
		v.bar(why, needEdit, needDelete, needDisable, needEnable, needFactors, needReset, needUnlink,
			"POST "+apiPerson+"/end_sessions", "DELETE "+apiPerson+"/sessions/{id}")
		return
	}
	if x.above(v.rank()) {
		v.bar(x.keptOff("them", "switch them on again, or delete them"), needEnable, needDelete)
	}
	if why := x.noLink(); why.Text != "" && !x.Disabled {
		v.bar(why, needReset)
	}
	// Whoever lets somebody in again, or in with less, may be the one who comes in.
	if !v.mayGive(x.Role, x.Scopes, x.Restricted) {
		text := "Taking their second factor away takes all rights that they have. Ask an owner."
		needs := []string{needFactors}
		if x.Disabled && !x.above(v.rank()) {
			text, needs = "Switching them on again, or taking their second factor away, takes all rights that they have. Ask an owner.", append(needs, needEnable)
		} else if !x.SecondFactor {
			text = "" // it is not offered anyway
		}
		v.bar(notice{Tone: toneInfo, Title: "They may do more than you.", Text: text}, needs...)
	}
}

// cannotTouch says why nothing of somebody's is the visitor's to change; without text
// it is.
func (v *desk) cannotTouch(x *personView) notice {
	switch {
	case x.Role == string(relay.RoleOwner) && !v.isOwner():
		return notice{Tone: toneInfo, Title: "They are an owner.", Text: "Only another owner changes anything of theirs."}
	case x.Role == string(relay.RoleAdmin) && !v.holds(relay.RoleAdmin.Scopes()):
		return notice{Tone: toneInfo, Title: "They are an admin.", Text: "Only an owner, or another admin, changes anything of theirs."}
	}
	return notice{}
}

// mayGive reports whether the visitor may give somebody a role with its scopes.
func (v *desk) mayGive(role string, scopes []string, restricted bool) bool {
	return (role != string(relay.RoleOwner) || v.isOwner()) && (!restricted || v.holds([]string{"subusers.read"})) && v.holds(scopes)
}

// rolesFor are the roles that the visitor may give somebody, and the one that they have.
func (v *desk) rolesFor(x *personView) []option {
	out := slices.Clone(roleOptions)
	out = slices.DeleteFunc(out, func(o option) bool {
		return o.Value != x.Role && o.Value != string(relay.RoleCustom) && !v.mayGive(o.Value, relay.Role(o.Value).Scopes(), false)
	})
	chosen := orNone(x.Role, string(relay.RoleDeveloper))
	if !slices.ContainsFunc(out, func(o option) bool { return o.Value == chosen }) {
		chosen = out[0].Value
	}
	return pick(chosen, out...)
}

package console

import (
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// signOnView is an identity that is linked to a person.
type signOnView struct {
	ID       string    `json:"id"`
	Issuer   string    `json:"issuer"`
	Live     bool      `json:"live"`
	Governs  bool      `json:"governs"`
	LinkedAt time.Time `json:"linked_at"`
	UsedAt   time.Time `json:"last_used_at"`
}

// signOnOnly reports whether somebody has no password and comes by single sign-on: they
// are mailed no link to one.
func (p *personView) signOnOnly() bool { return !p.Password && len(p.SingleSignOn) > 0 }

// stays says why an identity cannot be unlinked; "": it can.
func (p *personView) stays(s *signOnView) string {
	other := func(o signOnView) bool { return o.Live && o.ID != s.ID }
	switch {
	case s.Governs && s.Issuer != p.issuer():
		return "They come from " + p.issuer() + ", which is not configured at the moment: nothing of theirs is unlinked until the operator brings it back."
	case s.Governs:
		return "It brought them here, and says what they may do: it stays."
	case s.Live && !p.Password && p.Passkeys == 0 && !slices.ContainsFunc(p.SingleSignOn, other):
		return "Without it they could not log in: it stays until they have a password or a passkey."
	}
	return ""
}

// signOnTable lists what is linked to a person.
func (v *desk) signOnTable(x *personView) table {
	t := table{ID: "single-sign-on", Caption: "Single sign-on that is linked to them", Head: []string{"By", "State", "Linked", "Last used", ""}}
	for i := range x.SingleSignOn {
		s := &x.SingleSignOn[i]
		state := tagged("lets them in", toneOK)
		if !s.Live {
			state = tagged("lets nobody in any more", toneWarn)
		}
		used := v.at(s.UsedAt)
		if s.UsedAt.IsZero() {
			used = words("never")
		}
		var end cell
		if state.Note = x.stays(s); state.Note == "" && v.May("DELETE", apiPerson+"/single_sign_on/{id}") {
			end = to("Unlink "+s.Issuer, v.path("/people", v.id("person"), "sso", s.ID)+"/remove")
		}
		t.Rows = append(t.Rows, row{Cells: []cell{words(s.Issuer), state, v.at(s.LinkedAt), used, end}})
	}
	return t
}

// signOnsStay is what to add where factors are taken away from somebody to whom single
// sign-on is linked; "": none is.
func (p *personView) signOnsStay() string {
	var names []string
	for _, s := range p.SingleSignOn {
		if s.Live {
			names = append(names, s.Issuer)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " Single sign-on by " + strings.Join(names, ", ") + " stays linked and lets them in: if it may not be theirs, unlink it on their page."
}

func showPersonUnlink(v *desk) error {
	x, err := v.person()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(x.SingleSignOn, func(s signOnView) bool { return s.ID == v.id("sso") })
	if at < 0 {
		return notHere()
	}
	s := &x.SingleSignOn[at]
	if why := x.stays(s); why != "" {
		return relay.E(relay.Forbidden, why)
	}
	here := v.path("/people", v.id("person"))
	return v.sure(surePage{
		Notice: notice{Tone: toneWarn, Text: "They cannot log in by " + s.Issuer + " any more, until they link it again in their profile. All their sessions end, and a letter tells them."},
		Button: button{Text: "Unlink " + s.Issuer, Action: here + pathOf("sso", s.ID, "remove"), Tone: toneDanger}, Back: here,
	}, "Unlink "+s.Issuer+": "+x.name())
}

func unlinkPerson(v *desk) error {
	person := v.id("person")
	return v.change("DELETE", under(apiPeople, person, "single_sign_on", v.id("sso")), nil, v.path("/people", person), "Single sign-on was unlinked, and their sessions have ended.")
}

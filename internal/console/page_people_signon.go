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
	Stays    string    `json:"stays"`
	LinkedAt time.Time `json:"linked_at"`
	UsedAt   time.Time `json:"last_used_at"`
}

// noLink says why somebody is mailed no link to a password; without text they may be.
func (p *personView) noLink() notice {
	lets := slices.ContainsFunc(p.SingleSignOn, func(s signOnView) bool { return s.Live })
	n := notice{Tone: toneInfo, Title: "They log in by single sign-on only."}
	switch {
	case p.issuer() != "":
		n.Text = "No link for a new password is mailed to them: a password would not let them in."
	case p.Password || len(p.SingleSignOn) == 0:
		return notice{}
	case lets:
		n.Text = "No link for a new password is mailed to them: a password would be a way around it. Once logged in, they can set one in their profile."
	default:
		n.Title = "They have single sign-on that lets nobody in any more."
		n.Text = "While it is linked, no link for a new password is mailed to them. Unlink it first."
	}
	return n
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
		if state.Note = s.Stays; state.Note == "" && v.May("DELETE", apiPerson+"/single_sign_on/{id}") {
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
	if s.Stays != "" {
		return relay.E(relay.Forbidden, s.Stays)
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

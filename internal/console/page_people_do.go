package console

import "slices"

// personAction is what can be done about a person, after a question.
type personAction struct {
	name, title, text, done string
	method, pattern, tail   string
	mails                   bool // a link
	keys                    bool // those that they made go on: shown before it is done
	fits                    func(*personView) bool
}

var personActions = []personAction{
	{name: "disable", title: "Switch them off", text: "All their sessions end, and they cannot log in until they are switched on again. The keys that they made go on working.",
		done: "They are switched off.", method: "POST", pattern: apiPerson + "/disable", tail: "disable", keys: true, fits: func(x *personView) bool { return !x.Disabled }},
	{name: "enable", title: "Switch them on", text: "They can log in again, as before.", done: "They are switched on.",
		method: "POST", pattern: apiPerson + "/enable", tail: "enable", fits: func(x *personView) bool { return x.Disabled }},
	{name: "reset-factors", title: "Take their second factor away", text: "For somebody who has lost it. Their authenticator app, passkeys and recovery codes stop working, and their sessions end; at the next login they set up new ones. Make sure that it is really them who asks.",
		done: "Their second factor was taken away.", method: "POST", pattern: apiPerson + "/reset_factors", tail: "reset_factors", fits: func(x *personView) bool { return x.SecondFactor }},
	{name: "reset-password", title: "Mail them a link for a new password", text: "The link works once, and asks for their second factor as usual.",
		done: "The link was mailed.", method: "POST", pattern: apiPerson + "/reset_password", tail: "reset_password", mails: true, fits: func(x *personView) bool { return !x.Disabled }},
	{name: "end-sessions", title: "End their sessions", text: "They are logged out everywhere.",
		done: "Their sessions were ended.", method: "POST", pattern: apiPerson + "/end_sessions", tail: "end_sessions", fits: func(*personView) bool { return true }},
	{name: "delete", title: "Delete them", text: "Their sessions and factors end for good. What they did stays in the record of changes. The keys that they made go on working.",
		done: "They were deleted.", method: "DELETE", pattern: apiPerson, keys: true, fits: func(*personView) bool { return true }},
}

func (v *desk) personAction() (*personAction, error) {
	i := slices.IndexFunc(personActions, func(a personAction) bool { return a.name == v.id("action") && v.visit.May(a.method, a.pattern) })
	if i < 0 {
		return nil, notHere()
	}
	return &personActions[i], nil
}

func showPersonAction(v *desk) error {
	a, err := v.personAction()
	if err != nil {
		return err
	}
	x, err := v.person()
	if err == nil {
		err = v.unbarred(a.method + " " + a.pattern)
	}
	if err != nil {
		return err
	}
	here := v.path("/people", v.id("person"))
	tone := "primary"
	if a.name == "delete" || a.name == "disable" || a.name == "reset-factors" {
		tone = toneDanger
	}
	p := surePage{Notice: notice{Tone: toneWarn, Text: a.text}, Button: button{Text: a.title, Action: here + "/do/" + a.name, Tone: tone}, Back: here}
	if a.name == "reset-factors" {
		p.Notice.Text += x.signOnsStay()
	}
	if a.keys {
		if p.Table, err = v.keysMadeBy(&x); err != nil {
			return err
		}
	}
	return v.sure(p, a.title+": "+x.name())
}

func doPersonAction(v *desk) error {
	a, err := v.personAction()
	if err != nil {
		return err
	}
	person := v.id("person")
	path, back := under(apiPeople, person), v.path("/people", person)
	if a.tail != "" {
		path = under(apiPeople, person, a.tail)
	} else {
		back = v.path("/people")
	}
	err = v.Call(a.method, path, nil, nil)
	if said, ok := refusedText(err); ok {
		return v.Refuse(v.path("/people", person), said)
	}
	if err != nil {
		return err
	}
	if a.mails {
		return v.linkMailed(back, a.done)
	}
	return v.Redirect(back, a.done)
}

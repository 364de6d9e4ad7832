package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	apiSenders = "/v3/verified_senders"
	apiSender  = "/v3/verified_senders/{id}"
)

// senderPages are the pages of single senders.
var senderPages = []page{
	{Method: "GET", Pattern: "/single-senders", Title: "Single senders", Needs: []string{"GET " + apiSenders}, Handler: onDesk(showSenders)},
	{Method: "GET", Pattern: "/single-senders/new", Title: "Add a sender", Needs: []string{"POST " + apiSenders}, StepUp: true, Handler: onDesk(showNewSender)},
	{Method: "POST", Pattern: "/single-senders/new", Title: "Add a sender", Needs: []string{"POST " + apiSenders}, Handler: onDesk(makeSender)},
	{Method: "GET", Pattern: "/single-senders/{sender}", Title: "Sender", Needs: []string{"GET " + apiSenders}, Handler: onDesk(showSender)},
	{Method: "POST", Pattern: "/single-senders/{sender}", Title: "Sender", Needs: []string{"PATCH " + apiSender}, Handler: onDesk(editSender)},
	{Method: "POST", Pattern: "/single-senders/{sender}/resend", Title: "Mail a new link", Needs: []string{"POST " + apiSenders + "/resend/{id}"}, Handler: onDesk(resendSender)},
	{Method: "GET", Pattern: "/single-senders/{sender}/delete", Title: "Delete a sender", Needs: []string{"DELETE " + apiSender}, Handler: onDesk(showSenderDelete)},
	{Method: "POST", Pattern: "/single-senders/{sender}/delete", Title: "Delete a sender", Needs: []string{"DELETE " + apiSender}, Handler: onDesk(deleteSender)},
}

type senderView struct {
	ID          int64    `json:"id"`
	Nickname    string   `json:"nickname"`
	FromEmail   string   `json:"from_email"`
	FromName    string   `json:"from_name"`
	ReplyTo     string   `json:"reply_to"`
	ReplyToName string   `json:"reply_to_name"`
	Verified    bool     `json:"verified"`
	Warnings    []string `json:"warnings"`
}

type senderList struct {
	Results []senderView `json:"results"`
}

func (s *senderView) state() badge {
	if s.Verified {
		return badge{"verified", toneOK}
	}
	return badge{"waits for its link", toneInfo}
}

// sendersPage lists single senders.
type sendersPage struct {
	Notices []notice
	Next    []link
	Senders table
}

func showSenders(v *desk) error {
	list, err := ask[senderList](v, query(apiSenders+"?limit=200", "lastSeenID", v.sent("after")))
	if err != nil {
		return err
	}
	risks := askIf[struct {
		Results struct {
			Soft []string `json:"soft_failures"`
			Hard []string `json:"hard_failures"`
		} `json:"results"`
	}](v, apiSenders+"/domains", apiSenders+"/domains")
	p := sendersPage{
		Next: append(v.linkIf("Add a sender", "/single-senders/new", "POST", apiSenders), v.linkIf("Domains", "/domains", "GET", apiDomains)...),
		Senders: table{ID: "senders", Caption: "Single senders", Head: []string{"Name", "Address", "Answers go to", "State", ""},
			Empty: "There is no single sender. A domain of your own is better; where you have an address but not its domain, prove the address here.",
			Next:  v.linkIf("Add a sender", "/single-senders/new", "POST", apiSenders)},
	}
	for _, domain := range risks.Results.Hard {
		p.Notices = append(p.Notices, notice{Tone: toneBad, Text: "Receivers refuse mail as " + domain + " from here: its owner says so by DMARC. Authenticate the domain, or write as another."})
	}
	for _, domain := range risks.Results.Soft {
		p.Notices = append(p.Notices, notice{Tone: toneWarn, Text: "Mail as " + domain + " from here may land in spam, by its owner's DMARC policy."})
	}
	for _, s := range list.Results {
		do := []button{}
		if !s.Verified {
			do = v.do(button{Text: "Mail a new link", Label: s.FromEmail, Action: v.senderPath(s.ID) + "/resend"}, "POST", apiSenders+"/resend/{id}")
		}
		p.Senders.Rows = append(p.Senders.Rows, row{Cells: []cell{to(s.Nickname, v.senderPath(s.ID)), words(s.FromEmail), words(s.ReplyTo), {Badges: []badge{s.state()}}, {Do: do}}})
	}
	if n := len(list.Results); n == 200 {
		p.Senders.Older = query(v.path("/single-senders"), "after", strconv.FormatInt(list.Results[n-1].ID, 10))
	}
	return v.Render(http.StatusOK, "page_senders", "Single senders", p)
}

func (v *desk) senderPath(id int64) string {
	return v.path("/single-senders", strconv.FormatInt(id, 10))
}

func senderForm(v *desk, s *senderView) form {
	f := form{Name: "sender", Action: v.path("/single-senders/new"), Do: "Add it", Cancel: v.path("/single-senders"),
		Lead: "A link is mailed to the address. Who presses the button on its page has proven it.",
		Fields: []field{
			{Name: "nickname", Label: "Name in this console", Required: true, Value: s.Nickname},
			{Name: "from_email", Label: "Address", Kind: "email", Required: true, Value: s.FromEmail},
			{Name: "from_name", Label: "Name that receivers see", Value: s.FromName},
			{Name: "reply_to", Label: "Answers go to", Kind: "email", Required: true, Value: s.ReplyTo},
			{Name: "reply_to_name", Label: "Name there", Value: s.ReplyToName},
		}}
	if s.ID == 0 {
		return v.offer(f, "POST", apiSenders)
	}
	f.Action, f.Do, f.Lead = v.senderPath(s.ID), "Save", "Another address must be proven again."
	return v.offer(f, "PATCH", apiSender)
}

func (v *desk) sentSender() map[string]string {
	body := map[string]string{}
	for _, name := range []string{"nickname", "from_email", "from_name", "reply_to", "reply_to_name"} {
		body[name] = v.sent(name)
	}
	return body
}

func showNewSender(v *desk) error {
	return v.Render(http.StatusOK, "page_form", "Add a sender", formPage{senderForm(v, &senderView{})})
}

func makeSender(v *desk) error {
	var made senderView
	err := v.Call("POST", apiSenders, v.sentSender(), &made)
	if err != nil {
		return v.again(err, senderForm(v, &senderView{}), "Add a sender")
	}
	said := "The sender was added. A link was mailed to its address."
	if made.Verified {
		said = "The sender was added. Its domain is authenticated, so it needs no link."
	}
	if len(made.Warnings) > 0 {
		return v.Warn(v.path("/single-senders"), said+" "+strings.Join(made.Warnings, " "))
	}
	return v.Redirect(v.path("/single-senders"), said)
}

// senderPage shows and changes one sender.
type senderPage struct {
	Is      facts
	Next    []link
	Buttons []button
	Form    form
}

func (v *desk) sender() (senderView, error) {
	id := v.id("sender")
	list, err := ask[senderList](v, query(apiSenders, "id", id))
	if err != nil {
		return senderView{}, err
	}
	i := slices.IndexFunc(list.Results, func(s senderView) bool { return strconv.FormatInt(s.ID, 10) == id })
	if i < 0 {
		return senderView{}, notHere()
	}
	return list.Results[i], nil
}

func showSender(v *desk) error {
	s, err := v.sender()
	if err != nil {
		return err
	}
	return v.showSender(http.StatusOK, &s, senderForm(v, &s))
}

func (v *desk) showSender(status int, s *senderView, f form) error {
	p := senderPage{Form: f, Next: v.linkAt("Delete it", v.senderPath(s.ID)+"/delete", "DELETE", apiSender)}
	p.Is.add("State", cell{Badges: []badge{s.state()}})
	p.Is.add("Address", code(s.FromEmail))
	if !s.Verified {
		p.Buttons = v.do(button{Text: "Mail a new link", Action: v.senderPath(s.ID) + "/resend"}, "POST", apiSenders+"/resend/{id}")
	}
	return v.Render(status, "page_sender", orNone(s.Nickname, s.FromEmail), p)
}

func editSender(v *desk) error {
	s, err := v.sender()
	if err != nil {
		return err
	}
	err = v.Call("PATCH", under(apiSenders, v.id("sender")), v.sentSender(), nil)
	if err == nil {
		return v.Redirect(v.senderPath(s.ID), "The sender was changed.")
	}
	f, ok := v.refused(senderForm(v, &s), err)
	if !ok {
		return err
	}
	return v.showSender(formStatus(true), &s, f)
}

func resendSender(v *desk) error {
	return v.change("POST", under(apiSenders+"/resend", v.id("sender")), nil, v.path("/single-senders"), "A new link was mailed; the old one ended.")
}

func showSenderDelete(v *desk) error {
	s, err := v.sender()
	if err != nil {
		return err
	}
	return v.sure(surePage{
		Notice: notice{Tone: toneBad, Title: "Mail as " + s.FromEmail + " is refused afterwards.", Text: "Unless its domain is authenticated here."},
		Button: button{Text: "Delete it", Action: v.senderPath(s.ID) + "/delete", Tone: toneDanger}, Back: v.senderPath(s.ID),
	}, "Delete "+orNone(s.Nickname, s.FromEmail))
}

func deleteSender(v *desk) error {
	return v.change("DELETE", under(apiSenders, v.id("sender")), nil, v.path("/single-senders"), "The sender was deleted.")
}

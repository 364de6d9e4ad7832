package console

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// plainWords are sentences, however the API puts them: one, several, or several in
// the member "text".
type plainWords []string

// UnmarshalJSON never fails: what has no words has none.
func (w *plainWords) UnmarshalJSON(b []byte) error {
	var one string
	var many []string
	var in struct {
		Text       json.RawMessage `json:"text"`
		Recipients []struct {
			Text string `json:"text"`
		} `json:"recipients"`
	}
	switch {
	case json.Unmarshal(b, &one) == nil:
		if one != "" {
			*w = plainWords{one}
		}
	case json.Unmarshal(b, &many) == nil:
		*w = many
	case json.Unmarshal(b, &in) == nil:
		var text plainWords
		if len(in.Text) > 0 {
			_ = text.UnmarshalJSON(in.Text)
		}
		for _, r := range in.Recipients {
			if r.Text != "" {
				text = append(text, r.Text)
			}
		}
		*w = text
	}
	return nil
}

// mailAction is what a person can do to a message that is queued.
type mailAction struct {
	name, title, text, done string
	danger                  bool
	why                     string // what becomes of a reason; "": none is asked for
	fits                    func(*messageView) bool
}

var mailActions = []mailAction{
	{name: "retry", title: "Try now", text: "Its recipients that wait are tried at once.", done: "It is tried now.",
		fits: func(m *messageView) bool { return m.Queued && !m.stopped() }},
	{name: "hold", title: "Hold it", text: "It waits until somebody releases it. Its time runs on.", done: "It is held.", why: "It stands in the message's history.",
		fits: func(m *messageView) bool { return m.Queued && (!m.stopped() || m.Anew) }},
	{name: "release", title: "Release it", text: "It goes on its way.", done: "It is on its way.",
		fits: func(m *messageView) bool { return m.Queued && m.stopped() }},
	{name: "cancel", title: "Cancel it", text: "What has not been delivered yet never is; it goes back to its sender as a bounce. This cannot be undone.", done: "It was cancelled.", danger: true, why: "The sender reads it in the bounce. It stands in the message's history, too.",
		fits: func(m *messageView) bool { return m.Queued }},
}

func (m *messageView) stopped() bool { return m.State == "held" || m.State == "quarantined" }

// barMessage bars what cannot be done to a message: what the operator has stopped goes
// on by their word only, and what an account has stopped not by its subuser's. The API
// says which it is: it knows how whoever did it stood to the message's tenant then.
func (v *desk) barMessage(m *messageView) {
	var why notice
	switch m.Kept {
	case "quarantined":
		why = notice{Tone: toneWarn, Title: "The relay put this message aside.", Text: "Only the operator of this relay releases it. Ask the operator."}
	case "operator_holds":
		why = notice{Tone: toneWarn, Title: "The operator of this relay holds this message.", Text: "Nobody else can release it. Ask the operator."}
	case "account_holds":
		why = notice{Tone: toneWarn, Title: "Your account holds this message.", Text: "Its people release it: ask them."}
	default:
		return
	}
	v.bar(why, "POST "+apiMessage+"/release")
}

func (v *desk) mailAction() (*mailAction, error) {
	for i := range mailActions {
		if a := &mailActions[i]; a.name == v.id("action") && v.May("POST", apiMessage+"/"+a.name) {
			return a, nil
		}
	}
	return nil, notHere()
}

func (v *desk) mailActionForm(a *mailAction) form {
	id := v.id("message")
	f := form{Name: "do", Action: v.path("/mail", id) + "/do/" + a.name, Do: a.title, Cancel: v.path("/mail", id), Lead: a.text}
	if a.why != "" {
		f.Fields = []field{{Name: "reason", Label: "Why", Help: a.why}}
	}
	if a.danger {
		f.Tone = toneDanger
	}
	return f
}

func showMailAction(v *desk) error {
	a, err := v.mailAction()
	if err != nil {
		return err
	}
	m, err := v.message()
	if err == nil {
		err = v.unbarred("POST " + apiMessage + "/" + a.name)
	}
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_form", a.title+": "+orNone(m.Subject, "(no subject)"), formPage{v.mailActionForm(a)})
}

func doMailAction(v *desk) error {
	a, err := v.mailAction()
	if err != nil {
		return err
	}
	id := v.id("message")
	body := map[string]string{}
	if a.why != "" {
		body["reason"] = v.sent("reason")
	}
	err = v.Call("POST", under(apiMessages, id, a.name), body, nil)
	if err == nil {
		return v.Redirect(v.path("/mail", id), a.done)
	}
	return v.again(err, v.mailActionForm(a), a.title)
}

// bodyView is what a message says, decoded by the API and bounded there.
type bodyView struct {
	HTML        string     `json:"html"`
	Text        string     `json:"text"`
	Headers     [][]string `json:"headers"`
	Attachments []struct {
		Name string `json:"name"`
		Type string `json:"type"`
		Size int64  `json:"size"`
	} `json:"attachments"`
}

// bodyPage shows a message's words as text, or a frame with its HTML. Each look at
// a body is recorded, so one page asks for it once.
type bodyPage struct {
	Frame       string // where the HTML is; "": the page shows the text
	Other       []link
	Text        string
	Headers     table
	Attachments table
	Back        link
}

func showBody(v *desk) error {
	here := v.path("/mail", v.id("message"))
	p := bodyPage{Back: link{"Back to the message", here}}
	if v.sent("html") != "" {
		v.frames = true
		p.Frame = here + "/body.html"
		p.Other = []link{{"Show the text and the headers", here + "/body"}}
		return v.Render(http.StatusOK, "page_body", "What it says", p)
	}
	b, err := v.body()
	if err != nil {
		return err
	}
	p.Text = b.Text
	if b.HTML != "" {
		p.Other = []link{{"Show the HTML, without pictures, styles and scripts", here + "/body?html=1"}}
	}
	p.Headers = table{ID: "headers", Caption: "Headers", Head: []string{"Name", "Value"}}
	for _, h := range b.Headers {
		if len(h) == 2 {
			p.Headers.Rows = append(p.Headers.Rows, row{Cells: []cell{code(h[0]), code(h[1])}})
		}
	}
	p.Attachments = table{ID: "attachments", Caption: "Attachments", Head: []string{"Name", "Type", "Size"}}
	for _, a := range b.Attachments {
		p.Attachments.Rows = append(p.Attachments.Rows, row{Cells: []cell{words(orNone(a.Name, "(no name)")), words(a.Type), words(size(a.Size))}})
	}
	return v.Render(http.StatusOK, "page_body", "What it says", p)
}

func (v *desk) body() (bodyView, error) {
	return ask[bodyView](v, under(apiMessages, v.id("message"), "body"))
}

// bodyPolicy is for a stranger's HTML: a document of an origin of its own that may
// load and do nothing, and nothing inline has effect. Pictures are those that it
// carries in itself.
const bodyPolicy = "sandbox; default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

// serveBody serves the HTML of a message for the frame (WB-02). Opened without the
// frame it has the same policy.
func serveBody(v *desk) error {
	b, err := v.body()
	if err != nil {
		return err
	}
	h := v.W.Header()
	h.Set("Content-Security-Policy", bodyPolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	_, err = io.WriteString(v.W, strings.ToValidUTF8(b.HTML, "\uFFFD"))
	return err
}

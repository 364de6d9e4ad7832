package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"postern/internal/relay"
	"postern/internal/watch"
)

type watchRuleView struct {
	Rule    relay.WatchRule `json:"rule"`
	What    string          `json:"what"`
	Off     bool            `json:"off"`
	Answer  string          `json:"answer"`
	Default string          `json:"default_answer"`
	Answers []string        `json:"answers"` // that the rule may have
	Margin  float64         `json:"margin"`
	Floor   int64           `json:"floor"`
}

// words are what the rule looks for.
func (r *watchRuleView) words() string {
	return orNone(ruleWords[r.Rule], orNone(r.What, string(r.Rule)))
}

type watchSettingsView struct {
	Rules          []watchRuleView `json:"rules"`
	MailTo         []string        `json:"mail_to"`
	NoMail         bool            `json:"no_mail"`
	Webhook        string          `json:"webhook"`
	WebhookSecrets int             `json:"webhook_secrets"`
	WebhookSecret  string          `json:"webhook_secret"` // a new one: shown once
}

// watchSettingsPage is how the account wants to be watched: a table of the rules,
// whose inputs belong to the form below it.
type watchSettingsPage struct {
	Answers facts // what each answer does
	Rules   []watchRuleRow
	Form    form // who is told; none for those who may not change it
}

// watchRuleRow is one rule. Its inputs have no ID where the person may not change
// them, or where the rule has no such measure.
type watchRuleRow struct {
	What                  string
	Now                   cell
	Answer, Margin, Floor input
}

// marginOptions are how far beyond the usual something must be.
var marginOptions = []option{{Value: "0.5", Text: "half"}, {Value: "1", Text: "once (the default)"}, {Value: "2", Text: "twice"}, {Value: "4", Text: "four times"}}

// answerWords say what each answer does.
var answerWords = []string{
	"It stands in the list of findings, and nobody is told.", "Mail and webhook, as below.", "Mail and webhook; the key may send a quarter of its largest hour.",
	"Mail and webhook; the key's mail waits until a person releases it.", "Mail and webhook; the key is switched off.",
}

func showWatchSettings(v *desk) error {
	s, err := ask[watchSettingsView](v, apiWatch)
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_watch_settings", "Settings of the watch", watchSettings(v, &s, watchForm(v, &s)))
}

// watchSettings makes the page of a form that has all inputs.
func watchSettings(v *desk, s *watchSettingsView, all form) watchSettingsPage {
	p := watchSettingsPage{Form: all, Answers: facts{Title: "What can be done"}}
	for i, o := range answerOptions {
		p.Answers.add(o.Text, words(answerWords[i]))
	}
	inputs := map[string]input{}
	p.Form.Fields = nil
	for i, in := range all.Inputs() {
		if strings.HasPrefix(in.Name, "rules.") {
			inputs[in.Name] = in
		} else {
			p.Form.Fields = append(p.Form.Fields, all.Fields[i])
		}
	}
	for _, r := range s.Rules {
		row := watchRuleRow{What: r.words(), Now: words(answerWord(r.Answer))}
		if r.Off {
			row.Now = tagged("off", toneMute)
		} else if r.Answer == r.Default {
			row.Now.Note = "the default"
		}
		name := "rules." + string(r.Rule)
		row.Answer, row.Margin, row.Floor = inputs[name], inputs[name+".margin"], inputs[name+".floor"]
		p.Rules = append(p.Rules, row)
	}
	return p
}

func watchForm(v *desk, s *watchSettingsView) form {
	fields := []field{
		{Name: "mail_to", Label: "Mail goes to", Kind: "textarea", Lines: 2, Value: lines(s.MailTo), Help: "Addresses, one a line. None: the account's owner."},
		{Name: "no_mail", Label: "Nobody is told by mail", Kind: "check", On: s.NoMail},
		{Name: "webhook", Label: "Webhook", Value: s.Webhook, Help: "An https address that findings are posted to, signed. Its secret is shown once, when it is made."},
	}
	if s.WebhookSecrets > 0 {
		fields = append(fields, field{Name: "rotate_secret", Label: "Make a new secret for the webhook", Kind: "check", Help: "The one of now signs too, for a while."})
	}
	for i := range s.Rules {
		fields = append(fields, s.Rules[i].fields()...)
	}
	return v.offer(form{Name: "watch", Title: "Who is told", Action: v.path("/watch/settings"), Fields: fields, Do: "Save all settings", Cancel: v.path("/watch")}, "PATCH", apiWatch)
}

// fields are the inputs of a rule: what is done, and where the rule measures
// something how far beyond the usual it must be, and how much at least.
func (r *watchRuleView) fields() []field {
	answer := r.Answer
	if r.Off {
		answer = "off"
	}
	var options []option
	for _, o := range answerOptions {
		if len(r.Answers) == 0 || slices.Contains(r.Answers, o.Value) {
			options = append(options, o)
		}
	}
	options = append(options, option{Value: "off", Text: "do not look for it"})
	name, m := "rules."+string(r.Rule), watch.MeasureOf(r.Rule)
	out := []field{{Name: name, Label: "What is done: " + r.words(), Kind: "select", Options: pick(answer, options...)}}
	if m.Margin != "" {
		out = append(out, field{Name: name + ".margin", Label: "How far beyond the usual: " + r.words(), Kind: "select", Options: marginOf(r.Margin), Help: "what the rule asks: " + m.Margin})
	}
	if m.Unit != "" {
		value := ""
		if r.Floor > 0 {
			value = strconv.FormatInt(r.Floor, 10)
		}
		out = append(out, field{Name: name + ".floor", Label: "At least: " + r.words(), Kind: "number", Value: value, Help: m.Unit + "; by default " + count(m.Floor)})
	}
	return out
}

// marginOf are the options of a margin; one that was set elsewhere stays.
func marginOf(m float64) []option {
	if m == 0 {
		m = 1
	}
	value := strconv.FormatFloat(m, 'g', -1, 64)
	out := pick(value, marginOptions...)
	if !slices.ContainsFunc(out, func(o option) bool { return o.On }) {
		out = append(out, option{Value: value, Text: value + " times", On: true})
	}
	return out
}

func setWatchSettings(v *desk) error {
	old, err := ask[watchSettingsView](v, apiWatch)
	if err != nil {
		return err
	}
	type change struct {
		Off    bool    `json:"off"`
		Answer string  `json:"answer,omitempty"`
		Margin float64 `json:"margin,omitempty"`
		Floor  *int64  `json:"floor,omitempty"`
	}
	rules := map[relay.WatchRule]change{}
	for _, r := range old.Rules {
		x := change{r.Off, r.Answer, r.Margin, nil}
		name := "rules." + string(r.Rule)
		if answer := v.sent(name); answer == "off" {
			x.Off = true
		} else if answer != "" {
			x.Off, x.Answer = false, answer
		}
		if m, err := strconv.ParseFloat(v.sent(name+".margin"), 64); err == nil {
			x.Margin = m
		}
		if _, given := v.values[name+".floor"]; given {
			n, err := v.sentNumber(name + ".floor")
			if err != nil {
				return refuseWatch(v, &old, err)
			}
			x.Floor = &n
		}
		rules[r.Rule] = x
	}
	body := map[string]any{"rules": rules, "mail_to": v.list("mail_to"), "no_mail": v.on("no_mail"), "webhook": v.sent("webhook")}
	if v.on("rotate_secret") {
		body["rotate_secret"] = true
	}
	var now watchSettingsView
	err = v.Call("PATCH", apiWatch, body, &now)
	switch {
	case err == nil && now.WebhookSecret != "":
		return v.Render(http.StatusOK, "page_key_secret", "The webhook has a new secret",
			secretPage{Name: "the webhook", Secret: now.WebhookSecret, Next: []link{{"Settings of the watch", v.path("/watch/settings")}}})
	case err == nil:
		return v.Redirect(v.path("/watch/settings"), "It was saved.")
	}
	return refuseWatch(v, &old, err)
}

// refuseWatch shows the form again with what is wrong with it.
func refuseWatch(v *desk, old *watchSettingsView, err error) error {
	f, ok := v.refused(watchForm(v, old), err)
	if !ok {
		return err
	}
	return v.Render(formStatus(true), "page_watch_settings", "Settings of the watch", watchSettings(v, old, f))
}

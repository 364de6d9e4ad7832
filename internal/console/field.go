package console

import (
	"slices"
	"strings"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// Form is what a page with a form remembers of a refused attempt. Embed it in the
// page's struct; fail fills it, and the templates of fields read it.
type Form struct {
	Problems []Problem
}

// Problem is one thing that is wrong with a form.
type Problem struct{ Field, Text string }

func (f *Form) form() *Form { return f }

// Problem adds one; field is the input's name, "" if it is about none.
func (f *Form) Problem(field, text string) { f.Problems = append(f.Problems, Problem{field, text}) }

// refuse takes the public part of an error. It reports whether a form can show it.
func (f *Form) refuse(err error) bool {
	switch relay.KindOf(err) {
	case relay.Internal, relay.Unavailable:
		if refused, ok := asRefusal(err); !ok || refused.Status >= 500 {
			return false
		}
	}
	_, body := httpx.Answer(err, "")
	for _, item := range body.Errors {
		field := ""
		if item.Field != nil {
			field = *item.Field
		}
		f.Problem(field, item.Message)
	}
	return len(body.Errors) > 0
}

// errorOf is what is wrong with one input. The API names members inside of an
// input, too ("scopes.2").
func (f *Form) errorOf(name string) string {
	var texts []string
	for _, p := range f.Problems {
		if p.Field == name || strings.HasPrefix(p.Field, name+".") {
			texts = append(texts, p.Text)
		}
	}
	return strings.Join(texts, " ")
}

// Option is one choice.
type Option struct{ Value, Label, Hint string }

// Input is what the templates "field", "area", "select", "check" and "choice" take.
type Input struct {
	Name, Label, Value, Hint, Error  string
	Type, Autocomplete, Placeholder  string
	Pattern, Inputmode, Max, Min     string
	Rows                             string
	Required, Autofocus, Mono, Multi bool
	On                               bool // of a checkbox
	Options                          []Option
	Chosen                           []string
}

// ID is the element's id.
func (i Input) ID() string { return "f-" + i.Name }

// Described lists the ids of what describes the input.
func (i Input) Described() string {
	var ids []string
	if i.Hint != "" {
		ids = append(ids, i.ID()+"-hint")
	}
	if i.Error != "" {
		ids = append(ids, i.ID()+"-error")
	}
	return strings.Join(ids, " ")
}

// Has reports whether an option is chosen.
func (i Input) Has(value string) bool { return slices.Contains(i.Chosen, value) }

// Field is a text input, for templates:
//
//	{{template "field" (.Field "name" "Name of the key" .Name "required" "hint=Shown in lists.")}}
//
// Extras are hint, type, autocomplete, placeholder, pattern, inputmode, min, max
// and rows with a value, and required, autofocus and mono.
func (f *Form) Field(name, label, value string, extras ...string) Input {
	i := Input{Name: name, Label: label, Value: value, Type: "text", Error: f.errorOf(name)}
	i.with(extras)
	return i
}

// Select is a list of which one is chosen; Choice the same as radio buttons, or
// with "multiple" as checkboxes.
func (f *Form) Select(name, label, value string, options []Option, extras ...string) Input {
	i := f.Field(name, label, value, extras...)
	i.Options, i.Chosen = options, []string{value}
	return i
}

// Choice offers all options at once; chosen are those that are on.
func (f *Form) Choice(name, label string, chosen []string, options []Option, extras ...string) Input {
	i := f.Field(name, label, "", extras...)
	i.Options, i.Chosen = options, chosen
	return i
}

// Check is one checkbox.
func (f *Form) Check(name, label string, on bool, extras ...string) Input {
	i := f.Field(name, label, "", extras...)
	i.On = on
	return i
}

func (i *Input) with(extras []string) {
	for _, e := range extras {
		key, value, _ := strings.Cut(e, "=")
		switch key {
		case "hint":
			i.Hint = value
		case "type":
			i.Type = value
		case "autocomplete":
			i.Autocomplete = value
		case "placeholder":
			i.Placeholder = value
		case "pattern":
			i.Pattern = value
		case "inputmode":
			i.Inputmode = value
		case "min":
			i.Min = value
		case "max":
			i.Max = value
		case "rows":
			i.Rows = value
		case "required":
			i.Required = true
		case "autofocus":
			i.Autofocus = true
		case "mono":
			i.Mono = true
		case "multiple":
			i.Multi = true
		default:
			panic("console: field " + i.Name + " has an unknown extra " + key)
		}
	}
}

package console

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The parts that pages are made of. A page fills them in; the templates of
// page_parts.html show them, and are the only place where a stranger's text
// becomes HTML.

// Tones of badges, notices and buttons.
const (
	toneOK   = "ok"
	toneWarn = "warn"
	toneBad  = "bad"
	toneMute = ""
	toneInfo = "info"

	toneDanger = "danger" // of buttons
)

// link leads to a page.
type link struct{ Text, Href string }

// badge is a short word with a tone.
type badge struct{ Text, Tone string }

// cell is one value as it is shown: text, perhaps with a link, a time, badges and
// a small second line.
type cell struct {
	Text   string
	Href   string
	Code   bool   // set in the font of code
	ID     string // makes the code a target of a copy button
	Time   moment
	Badges []badge
	Lines  []string // a list, one below the other
	Note   string
	Bar    int // a part of 100, drawn; 0: none
	Do     []button
}

// longWord is how many letters a word of a table has at least that is broken where the
// table would be wider than its page. Shorter ones stay whole: a column of broken ones
// is hard to read.
const longWord = 20

// Long reports whether a word of the text may be broken.
func (c *cell) Long() bool {
	for word := range strings.FieldsSeq(c.Text) {
		if utf8.RuneCountInString(word) >= longWord {
			return true
		}
	}
	return false
}

// moment is a time in UTC, with words for how long ago or ahead it is.
type moment struct {
	At    time.Time
	Words string
}

func (m moment) IsZero() bool    { return m.At.IsZero() }
func (m moment) Machine() string { return m.At.UTC().Format(time.RFC3339) }
func (m moment) Human() string   { return stamp(m.At) }

// row is a row of a table; Mark makes it stand out.
type row struct {
	Cells []cell
	Mark  bool
}

// table is a list of things. An empty one shows Empty and the links of Next: what
// to do now.
type table struct {
	ID      string
	Caption string
	Head    []string
	Rows    []row
	Empty   string
	Next    []link
	// Older goes on behind the last row; "": there is nothing.
	Older string
}

// slim takes columns away that are empty in all rows.
func (t *table) slim() {
	for col := len(t.Head) - 1; col >= 0; col-- {
		if slices.ContainsFunc(t.Rows, func(r row) bool { return !r.Cells[col].empty() }) {
			continue
		}
		t.Head = slices.Delete(slices.Clone(t.Head), col, col+1)
		for i := range t.Rows {
			t.Rows[i].Cells = slices.Delete(t.Rows[i].Cells, col, col+1)
		}
	}
}

// empty reports whether there is nothing to be seen in a cell.
func (c *cell) empty() bool {
	return c.Text == "" && c.Time.IsZero() && len(c.Badges) == 0 && len(c.Lines) == 0 && len(c.Do) == 0
}

// fact is a name and a value.
type fact struct {
	Name string
	cell
}

// facts is a list of them.
type facts struct {
	Title string
	List  []fact
}

// add appends a fact whose value is not empty.
func (f *facts) add(name string, c cell) {
	if !c.empty() {
		f.List = append(f.List, fact{name, c})
	}
}

// notice is a sentence that should be read.
type notice struct {
	Tone  string
	Title string
	Text  string
	Next  []link
}

// option is a choice of a field.
type option struct {
	Value, Text string
	Note        string
	On          bool
}

// field is one input of a form.
type field struct {
	Name, Label string
	// Kind: text (also ""), textarea, select, check, radio, checks, number, date, email,
	// hidden.
	Kind     string
	Value    string
	Help     string
	Error    string
	Options  []option
	On       bool // of check
	Required bool
	Lines    int    // of textarea
	Auto     string // autocomplete; "": off
	Also     string // another member of the API that is typed here
}

// form is one form. Its name is unique on its page: ids are made of it.
type form struct {
	Name   string
	Title  string
	Lead   string
	Action string
	Get    bool
	Do     string // text of the button
	Tone   string // of the button
	Fields []field
	Errors []string
	Cancel string // where the way back leads
	Folded bool   // behind a summary until it is opened
}

// with returns the form with values that were sent, to be shown again.
func (f form) with(value func(name string) []string) form {
	fields := make([]field, len(f.Fields))
	for i, x := range f.Fields {
		given := value(x.Name)
		switch x.Kind {
		case "check":
			x.On = len(given) > 0
		case "select", "radio", "checks":
			options := make([]option, len(x.Options))
			for j, o := range x.Options {
				o.On = false
				for _, g := range given {
					o.On = o.On || g == o.Value
				}
				options[j] = o
			}
			x.Options = options
		default:
			if len(given) > 0 {
				x.Value = given[0]
			}
		}
		fields[i] = x
	}
	f.Fields = fields
	return f
}

// Inputs are the fields as the template shows them.
func (f form) Inputs() []input {
	out := make([]input, len(f.Fields))
	first := true
	for i, x := range f.Fields {
		in := input{field: x, ID: f.Name + "-" + x.Name, Type: x.Kind, AutoComplete: x.Auto}
		if x.Error != "" && x.Kind != "hidden" {
			in.Focus, first = first, false // whoever sent the form goes on where it was refused
		}
		var ids []string
		if x.Help != "" {
			ids = append(ids, in.ID+"-hint")
		}
		if x.Error != "" {
			ids = append(ids, in.ID+"-error")
		}
		in.Described = strings.Join(ids, " ")
		if in.Type == "" {
			in.Type = "text"
		}
		if in.AutoComplete == "" {
			in.AutoComplete = "off"
		}
		out[i] = in
	}
	return out
}

// input is a field with what its element needs.
type input struct {
	field
	ID, Described, Type, AutoComplete string
	Focus                             bool
}

// button changes something at once: a form of one button.
type button struct {
	Text, Action string
	Tone         string
	Hidden       []option // Value is the name, Text the value
	Label        string   // what it acts on, for those who do not see the row
}

// words is a cell of plain text.
func words(s string) cell { return cell{Text: s} }

// code is a cell that is copied rather than read.
func code(s string) cell { return cell{Text: s, Code: true} }

// to is a cell that leads somewhere.
func to(s, href string) cell {
	if s == "" {
		s = "(no name)"
	}
	return cell{Text: s, Href: href}
}

// tagged is a cell of one badge.
func tagged(text, tone string) cell { return cell{Badges: []badge{{text, tone}}} }

// number is a count.
func number(n int64) cell { return words(count(n)) }

// yesNo says a switch in a word.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// things counts things of a regular plural.
func things(n int64, name string) string { return plural(n, name, name+"s") }

// momentOf says when a time is, seen from now.
func momentOf(now, t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{t, ago(t, now)}
}

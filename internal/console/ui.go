package console

import (
	"fmt"
	"html/template"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Parts of pages that templates are given as values; templates/parts.html has how
// each looks.

// Badge is a state in a word or two. Its colour only repeats what the word says.
type Badge struct {
	Tone string // ok, warn, bad, info or "" (neutral)
	Text string
}

// Empty is what stands where a list has nothing yet: what it is for, and the next
// step.
type Empty struct{ Title, Text, Href, Action string }

// Pager leads through a list; "" where there is nothing.
type Pager struct{ First, Next string }

// Pair is one line of a list of what is known about something. Href makes the
// value a link; Copy gives it a button; Mono sets it as a technical text.
type Pair struct {
	Key, Value string
	Href       string
	Copy, Mono bool
}

// Copyable is a text with a button that copies it. ID is the element's.
type Copyable struct {
	ID, Text string
	Block    bool // on lines of its own
}

// Series is one line of a chart. Tone: ok, warn, bad, info or accent.
type Series struct {
	Name   string
	Tone   string
	Values []float64
}

// Chart is a figure over time. It is a table that a script draws; without scripts
// the table is shown.
type Chart struct {
	ID, Title string
	Unit      string // "messages"
	Kind      string // "line", "bar" or "stack"
	Note      string // a sentence about the numbers; "": none
	At        []time.Time
	Series    []Series
}

// Rows are the chart's as its table has them.
func (c Chart) Rows() []ChartRow {
	rows := make([]ChartRow, len(c.At))
	for i, at := range c.At {
		rows[i].At = at
		for _, s := range c.Series {
			value := 0.0
			if i < len(s.Values) {
				value = s.Values[i]
			}
			rows[i].Values = append(rows[i].Values, strconv.FormatFloat(value, 'f', -1, 64))
		}
	}
	return rows
}

// ChartRow is one time and its values.
type ChartRow struct {
	At     time.Time
	Values []string
}

// Empty reports whether nothing but zeros is in it.
func (c Chart) Empty() bool {
	for _, s := range c.Series {
		for _, n := range s.Values {
			if n != 0 {
				return false
			}
		}
	}
	return true
}

// Ask is a page that asks once more before a change: the dialog that works without
// scripts. Its button posts to Action, "" for the page itself.
type Ask struct {
	frame
	Form
	Text    []string // what will happen, one paragraph each
	Facts   []Pair
	Action  string
	Button  string
	Danger  bool
	Back    string // href of the way back
	Confirm string // this text must be typed into the input "confirm"; "": none
}

// funcs are what templates may call.
var funcs = template.FuncMap{
	"badge":     func(tone, text string) Badge { return Badge{tone, text} },
	"empty":     func(title, text, href, action string) Empty { return Empty{title, text, href, action} },
	"copyable":  func(id, text string) Copyable { return Copyable{ID: id, Text: text} },
	"codeblock": func(id, text string) Copyable { return Copyable{ID: id, Text: text, Block: true} },
	"pair":      func(key, value string) Pair { return Pair{Key: key, Value: value} },
	"stamp":     stamp,
	"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"day":       func(t time.Time) string { return t.UTC().Format("2 January 2006") },
	"ago":       ago,
	"lasting":   lasting,
	"count":     count,
	"size":      size,
	"plural":    plural[int],
	"join":      strings.Join,
	"lines":     func(s string) []string { return strings.Split(s, "\n") },
	"inc":       func(n int) int { return n + 1 },
}

// stamp is a time for people, in UTC; "never" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// ago is how long before now a time was, or how long after; "never" for none.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d, before := now.Sub(t), true
	if d < 0 {
		d, before = -d, false
	}
	var text string
	switch {
	case d < time.Minute:
		if before {
			return "just now"
		}
		return "in a moment"
	case d < time.Hour:
		text = plural(int64(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		text = plural(int64(d/time.Hour), "hour", "hours")
	default:
		text = plural(int64(d/(24*time.Hour)), "day", "days")
	}
	if before {
		return text + " ago"
	}
	return "in " + text
}

// lasting is a length of time in words.
func lasting(d time.Duration) string {
	if d < time.Minute || d%time.Minute != 0 {
		return plural(int64(d/time.Second), "second", "seconds")
	}
	return plural(int64(d/time.Minute), "minute", "minutes")
}

func plural[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(int64(n)) + " " + many
}

// count is a number with its thousands apart.
func count(n any) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, fraction, ok := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "\u202f" + whole[i:]
	}
	if ok {
		whole += "." + fraction
	}
	return sign + whole
}

// size is a number of octets for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
}

func queryEscape(s string) string { return url.QueryEscape(s) }

func attr(key, value string) slog.Attr { return slog.String(key, value) }

func clip(s string, limit int) string {
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printJSON prints a JSON text, indented, on its own lines.
func (c *cli) printJSON(text json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(text), "", "  "); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err := c.out.Write(b.Bytes())
	return err
}

// printValue prints a value of our own as JSON.
func (c *cli) printValue(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return c.printJSON(b)
}

// table prints rows under a heading, or says that there are none.
type table struct {
	w    *tabwriter.Writer
	rows int
}

func newTable(out io.Writer, heads ...string) *table {
	t := &table{w: tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)}
	fmt.Fprintln(t.w, strings.Join(heads, "\t"))
	return t
}

func (t *table) row(cells ...any) {
	t.rows++
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = show(c)
	}
	fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

func (t *table) end() error { return t.w.Flush() }

// pairs prints names with values, one a line, leaving out what is empty.
func pairs(out io.Writer, kv ...any) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for i := 0; i+1 < len(kv); i += 2 {
		if text := show(kv[i+1]); text != "-" {
			fmt.Fprintf(w, "%s\t%s\n", kv[i], text)
		}
	}
	return w.Flush()
}

// show makes a cell: "-" for nothing, times in UTC to the second.
func show(v any) string {
	if z, ok := v.(interface{ IsZero() bool }); ok && z.IsZero() {
		return "-"
	}
	switch x := v.(type) {
	case time.Time:
		return x.UTC().Format("2006-01-02 15:04:05Z")
	case bool:
		if !x {
			return "-"
		}
		return "yes"
	case []string:
		v = strings.Join(x, ", ")
	case fmt.Stringer:
		v = x.String()
	}
	s := clean(fmt.Sprint(v))
	if s == "" || s == "0" {
		return "-"
	}
	return s
}

// count is a number that is shown even when it is 0.
func count(n int64) string {
	if n == 0 {
		return "none"
	}
	return strconv.FormatInt(n, 10)
}

// clean keeps what others wrote (remote replies, names) from moving the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// state says what a thing is, from the times that it was switched off.
func state(disabled time.Time) string {
	if disabled.IsZero() {
		return "enabled"
	}
	return "disabled"
}

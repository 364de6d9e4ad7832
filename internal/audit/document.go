package audit

import (
	"fmt"
	"io"
	"strings"
)

// WriteTable writes the table of checks as Markdown, for docs/audit.md.
func WriteTable(w io.Writer) {
	for _, s := range Sections {
		fmt.Fprintf(w, "\n### %s\n\n| check | weight | severity | what it looks for | practice | standards |\n|---|---:|---|---|---|---|\n", s.Title)
		for _, c := range Checks() {
			if c.Section == s.Section {
				fmt.Fprintf(w, "| `%s` | %d | %s | %s | %s | %s |\n", c.Code, c.Weight, c.Severity, c.Doc, c.Practice, strings.Join(c.Standards, ", "))
			}
		}
	}
	fmt.Fprintln(w)
}

package audit

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed report.html
var page string

//go:embed report.css
var style string

// StyleSource is the source that a Content-Security-Policy names to allow the
// style sheet of HTML, and nothing else: 'sha256-…'. The page itself says so, too.
var StyleSource = func() string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"date": date,
	"more": func(n int) int { return max(0, n-MaxText) },
}).Parse(page))

// HTML writes a report as one page that needs nothing else: no script, no image,
// no request to anywhere; for print and mail. What strangers wrote is text in it.
func HTML(w io.Writer, r *Report) error {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, map[string]any{
		"R": r, "Groups": r.groups(), "Severities": Severities,
		"Style": template.CSS(style), "StyleSource": StyleSource, //nolint:gosec // our own file
		"Findings": len(r.Findings) + r.Omitted, "Most": MaxText,
	})
	if err != nil {
		return fmt.Errorf("write audit report: %w", err)
	}
	_, err = b.WriteTo(w)
	return err
}

// date is a day for a table; "-" for none.
func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

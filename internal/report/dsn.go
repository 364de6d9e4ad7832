package report

import (
	"strconv"
	"strings"

	"postern/internal/smtp"
)

// parseStatus reads a message/delivery-status part. It reports whether there
// was at least one recipient in it.
func parseStatus(b []byte, out *Report) bool {
	for _, g := range groups(b, maxRecipients+1) {
		if v := g.get("Reporting-MTA"); v != "" && out.ReportingMTA == "" {
			out.ReportingMTA = untyped(v)
		}
		if v := g.get("Original-Envelope-Id"); v != "" && out.EnvID == "" {
			out.EnvID = Clean(v, 255)
		}
		for _, r := range split(g) {
			if rcpt, ok := parseRecipient(r); ok && len(out.Recipients) < maxRecipients {
				out.Recipients = append(out.Recipients, rcpt)
			}
		}
	}
	return len(out.Recipients) > 0
}

// split cuts a group in which a sender forgot the blank line between
// recipients: each Final-Recipient but the first starts a new one, together
// with an Original-Recipient right before it.
func split(g group) []group {
	var out []group
	start, seen := 0, false
	for i, f := range g {
		if !strings.EqualFold(f.name, "Final-Recipient") {
			continue
		}
		if seen {
			at := i
			if strings.EqualFold(g[i-1].name, "Original-Recipient") {
				at--
			}
			out = append(out, g[start:at])
			start = at
		}
		seen = true
	}
	return append(out, g[start:])
}

func parseRecipient(g group) (Recipient, bool) {
	r := Recipient{
		Final:      address(g.get("Final-Recipient")),
		Original:   address(g.get("Original-Recipient")),
		Action:     Action(strings.ToLower(Clean(firstWord(g.get("Action")), 20))),
		Diagnostic: untyped(g.get("Diagnostic-Code")),
		RemoteMTA:  untyped(g.get("Remote-MTA")),
	}
	if r.Final == "" {
		r.Final = r.Original
	}
	if r.Final == "" {
		return Recipient{}, false
	}
	r.Status, _ = parseCode(firstWord(g.get("Status")))
	// A code of x.0.0 says less than the one in the remote's words.
	if c, ok := findCode(r.Diagnostic); ok && r.Status[1] == 0 && r.Status[2] == 0 && (r.Status.IsZero() || c[0] == r.Status[0]) {
		r.Status = c
	}
	if !r.Action.valid() {
		r.Action = actionOf(r.Status)
	}
	if r.Status.IsZero() {
		r.Status = smtp.EnhancedCode{classOf(r.Action), 0, 0}
	}
	return r, true
}

// actionOf guesses the action where the report has none.
func actionOf(c smtp.EnhancedCode) Action {
	switch c[0] {
	case 2:
		return Delivered
	case 4:
		return Delayed
	}
	return Failed
}

func classOf(a Action) int {
	switch a {
	case Delayed:
		return 4
	case Failed:
		return 5
	}
	return 2
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

// untyped cuts "type;" off a value.
func untyped(s string) string {
	if kind, v, ok := strings.Cut(s, ";"); ok && !strings.ContainsAny(kind, " .@<") {
		s = v
	}
	return Clean(s, MaxText)
}

// address reads a typed address field to an address that this system could
// send to; "" if it holds none.
func address(s string) string {
	s = strings.Trim(untyped(s), "<> ")
	if strings.Contains(s, `\x{`) {
		if _, a, err := smtp.ParseORcpt("utf-8;" + s); err == nil {
			s = a
		}
	}
	a, err := smtp.ParseLiteral(s, true)
	if err != nil {
		return ""
	}
	return a.String()
}

// parseCode reads "5.1.1", also with a "#" or brackets around it.
func parseCode(s string) (smtp.EnhancedCode, bool) {
	parts := strings.Split(strings.Trim(s, "#<>()[],;:. "), ".")
	if len(parts) != 3 {
		return smtp.EnhancedCode{}, false
	}
	var c smtp.EnhancedCode
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || len(p) > 3 || n < 0 || p[0] == '+' {
			return smtp.EnhancedCode{}, false
		}
		c[i] = n
	}
	return c, c[0] == 2 || c[0] == 4 || c[0] == 5
}

// findCode looks for an enhanced code in words, and failing that for a reply
// code, which gives x.0.0.
func findCode(s string) (smtp.EnhancedCode, bool) {
	words := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t-()[]<>,;:#\"'", r) })
	for _, w := range words {
		// Version numbers of mail servers look much the same.
		if c, ok := parseCode(w); ok && c[0] != 2 && c[1] <= 7 {
			return c, true
		}
	}
	for _, w := range words {
		if len(w) == 3 && (w[0] == '4' || w[0] == '5') && w[1] >= '0' && w[1] <= '5' && w[2] >= '0' && w[2] <= '9' {
			return smtp.EnhancedCode{int(w[0] - '0'), 0, 0}, true
		}
	}
	return smtp.EnhancedCode{}, false
}

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"postern/internal/finding"
	"postern/internal/mailauth"
	"postern/internal/spf"
)

// reportWidth is where lines are broken, on terminals that are not narrower.
const reportWidth = 100

// reportPrinter shows a report to people. What strangers published is cleaned
// before it is printed.
type reportPrinter struct {
	out    io.Writer
	colour bool
	width  int
	err    error
}

// checkReport prints a report: the verdict, then each area with what was found.
func (c *cli) checkReport(r *mailauth.Report) error {
	p := &reportPrinter{out: c.out, width: reportWidth}
	if f, ok := c.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.colour = os.Getenv("NO_COLOR") == ""
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 40 {
			p.width = min(w, reportWidth)
		}
	}
	p.report(r)
	return p.err
}

func (p *reportPrinter) report(r *mailauth.Report) {
	title := r.Domain
	if r.Unicode != "" {
		title = fmt.Sprintf("%s (%s)", r.Unicode, r.Domain)
	}
	p.line(p.paint("1", clean(title)))
	for _, s := range r.Verdict {
		p.wrapped("", "  ", s)
	}
	for _, a := range r.Areas() {
		if len(a.Findings) == 0 {
			continue
		}
		p.line("")
		p.line(p.paint("1", a.Name) + "  " + p.severity(finding.Worst(a.Findings)))
		p.facts(a.Name, r)
		for _, f := range a.Findings {
			p.finding(f)
		}
	}
}

func (p *reportPrinter) line(s string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.out, s)
	}
}

func (p *reportPrinter) paint(code, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

var severityColours = map[finding.Severity]string{finding.OK: "32", finding.Info: "36", finding.Warning: "33", finding.Error: "31", finding.Unknown: "35"}

func (p *reportPrinter) severity(s finding.Severity) string {
	return p.paint(severityColours[s], string(s))
}

// wrapped prints a text in lines that fit, the first behind first and the
// others behind as much space.
func (p *reportPrinter) wrapped(first, indent, text string) {
	line := indent + first
	rest := indent + strings.Repeat(" ", utf8.RuneCountInString(first))
	empty := true
	for word := range strings.FieldsSeq(clean(text)) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > p.width {
			p.line(line)
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	p.line(line)
}

func (p *reportPrinter) finding(f finding.Finding) {
	// The colour goes on after the lines were broken: it has no width.
	mark := fmt.Sprintf("%-9s", f.Severity)
	var b strings.Builder
	inner := &reportPrinter{out: &b, width: p.width}
	inner.wrapped(mark, "  ", f.Text)
	text := b.String()
	if p.colour {
		text = strings.Replace(text, string(f.Severity), p.severity(f.Severity), 1)
	}
	p.line(strings.TrimSuffix(text, "\n"))
	if f.Fix != "" {
		p.wrapped("to do: ", strings.Repeat(" ", 11), f.Fix)
	}
}

// facts are what an area consists of, before what there is to say about it.
func (p *reportPrinter) facts(area string, r *mailauth.Report) {
	fact := func(s string) {
		if s != "" {
			p.wrapped("", "  ", s)
		}
	}
	switch area {
	case "SPF":
		fact(r.SPF.Record)
		if r.SPF.Record != "" {
			fact(fmt.Sprintf("look-ups: %d of %d", r.SPF.Lookups, spf.MaxLookups))
			p.tree(r.SPF.Tree, 2)
		}
		for _, s := range r.SPF.Senders {
			fact(fmt.Sprintf("%s: %s (%s)", s.Addr, s.Result, s.Why))
		}
	case "DKIM":
		p.keys(r.DKIM.Keys)
	case "DMARC":
		if r.DMARC.Record != "" {
			fact(r.DMARC.At + ": " + r.DMARC.Record)
		}
	case "MX":
		p.hosts(r.MX.Hosts)
	case "MTA-STS":
		fact(r.MTASTS.Record)
	case "TLS-RPT":
		fact(r.TLSRPT.Record)
	case "BIMI":
		fact(r.BIMI.Record)
	case "DANE":
		for _, h := range r.DANE.Hosts {
			for _, s := range h.Records {
				fact(h.Host + ": " + s)
			}
		}
	case "Name servers":
		fact(strings.Join(r.NameServers.Servers, ", "))
	}
}

// tree shows which terms ask the DNS, and at what cost.
func (p *reportPrinter) tree(n *spf.Node, depth int) {
	for _, t := range n.Terms {
		if t.Lookups == 0 && t.Problem == "" {
			continue
		}
		text := t.Text
		if t.Problem != "" {
			text += " (" + t.Problem + ")"
		}
		p.wrapped(fmt.Sprintf("%2d  ", t.Lookups), strings.Repeat(" ", 2*depth), text)
		if t.Node != nil {
			if t.Node.Problem != "" {
				p.wrapped("", strings.Repeat(" ", 2*depth+4), "("+t.Node.Problem+")")
			}
			p.tree(t.Node, depth+1)
		}
	}
}

func (p *reportPrinter) keys(keys []mailauth.Key) {
	if len(keys) == 0 {
		return
	}
	var b strings.Builder
	t := newTable(&b, "SELECTOR", "KEY", "BITS", "STATE", "ALIAS OF")
	for _, k := range keys {
		state := "cannot be used"
		switch {
		case k.Revoked:
			state = "revoked"
		case k.Usable && k.Testing:
			state = "testing"
		case k.Usable:
			state = "good"
		}
		t.row(k.Selector, k.Type, k.Bits, state, k.Alias)
	}
	p.table(t, &b)
}

func (p *reportPrinter) hosts(hosts []mailauth.Host) {
	if len(hosts) == 0 {
		return
	}
	var b strings.Builder
	t := newTable(&b, "PREFERENCE", "HOST", "ADDRESSES", "PROBLEM")
	for _, h := range hosts {
		var addrs []string
		for _, a := range h.Addresses {
			addrs = append(addrs, a.String())
		}
		t.row(fmt.Sprintf("%3d", h.Preference), h.Name, addrs, h.Problem)
	}
	p.table(t, &b)
}

// table prints a finished table, indented.
func (p *reportPrinter) table(t *table, text *strings.Builder) {
	if err := t.end(); p.err == nil {
		p.err = err
	}
	for line := range strings.Lines(text.String()) {
		p.line("  " + strings.TrimRight(line, " \n"))
	}
}

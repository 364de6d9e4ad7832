package report

import (
	"html"
	"regexp"
	"slices"
	"strings"

	"postern/internal/smtp"
)

// intros are the sentences by which mail systems open a bounce that is words
// only, in lower case with single spaces.
var intros = []struct {
	phrase  string
	delayed bool
}{
	{"this is the qmail-send program", false},
	{"a message that you sent could not be delivered to", false}, // Exim
	{"a message that you sent has not yet been delivered", true},
	{"a message sent by", false},          // Exim, to others than the author
	{"this is the mail system at", false}, // Postfix
	{"this is the postfix program at", false},
	{"delivery to the following recipient failed", false}, // Gmail
	{"delivery to the following recipients failed", false},
	{"delivery to the following recipient has been delayed", true},
	{"your message wasn't delivered to", false},
	{"there was a temporary problem delivering your message", true},
	{"there was a problem delivering your message", false},
	{"delivery has failed to these recipients", false}, // Exchange
	{"your message did not reach some or all of the intended recipients", false},
	{"your message couldn't be delivered", false}, // Microsoft 365
	{"your message to the following recipients", false},
	{"the following recipient(s) cannot be reached", false},
	{"we were unable to deliver your message to the following", false}, // Yahoo
	{"this message was undeliverable", false},
	{"the following addresses had permanent", false}, // Sendmail
	{"the following addresses had delivery problems", false},
	{"the following addresses had transient", true},
	{"the following message to <", false}, // IronPort
	{"unable to deliver message to the following", false},
	{"your message could not be delivered", false},
	{"your mail could not be delivered", false},
	{"could not deliver your message", false},
	{"was not delivered to the following", false},
	{"could not be delivered to the following", false},
}

// delays are sentences that make a bounce a warning.
var delays = []string{
	"this is a warning only", "you do not need to resend", "will be retried", "no action is required on your part", "delivery attempts will continue", "will keep trying",
}

// stops start the copy of the original message.
var stops = []string{
	"this is a copy of", "below this line is a copy", "original message", "return-path:", "received:", "the original message", "your original message",
	"here is a copy of", "message headers", "headers of the original", "included below", "unsent message below", "message/rfc822",
	"x-mailer:", "mime-version:", "dkim-signature:",
}

const addrPattern = `[^\s<>()\[\]:;,"]+@[A-Za-z0-9.\-\x80-\x{10FFFF}]+`

var (
	// <a@b>: words, with the note that Postfix makes of aliases.
	reAngle = regexp.MustCompile(`^\s*(?:To:\s*|RCPT TO:\s*)?<(` + addrPattern + `)>(?:\s*\((?:expanded from|orig)[^)]*\))?:?\s*(.*)$`)
	// The address alone on its line, or with a link, a note or a date behind it.
	reAlone = regexp.MustCompile(`^\s*(?:\*\s*)?"?(?:mailto:)?(` + addrPattern + `)"?(?:<mailto:[^>]*>|\s*\(.{0,200}\)|\s+on\s+\d.{0,40})?\s*:?\s*$`)
	// An address in the sentence that says so.
	reSentence = regexp.MustCompile(`(?i)(?:delivered to|message to|delivering your message to|deliver to|recipient:)\s+<?(` + addrPattern + `)>?`)
)

// The bounds of what is read as words.
const (
	maxLines     = 2000
	maxNormal    = 16 << 10
	maxDiagLines = 12
)

// bounceText reads a bounce that has no status part. It reports whether the
// message is one: a mail system must have written it, and it must say so.
//
// Where no address can be found it gives one recipient without an address:
// something failed, and only the return path says for which message.
func (p *parser) bounceText(out *Report) bool {
	text := string(p.text)
	if strings.TrimSpace(text) == "" {
		text = stripHTML(string(p.html))
	}
	lines := strings.Split(text, "\n")
	if len(lines) > maxLines {
		lines = lines[:maxLines]
	}
	failed := p.failedHeader()
	words := normal(lines)
	intro, delayed := findIntro(words)
	if len(failed) == 0 && (!intro || !p.fromSystem()) {
		return false
	}
	found := scan(lines)
	if len(found) == 0 {
		for _, m := range reSentence.FindAllStringSubmatch(words, 10) {
			found = add(found, m[1], "")
		}
	}
	if len(failed) > 0 { // Exim and Gmail name them; the text only adds reasons
		found = restrict(found, failed)
	}
	if len(found) == 0 {
		found = []Recipient{{}}
	}
	settle(found, words, delayed)
	out.Recipients = found
	return true
}

// normal is the text in lower case with single spaces, without quoted lines,
// so that line breaks do not hide a sentence.
func normal(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), ">") {
			continue
		}
		for _, w := range strings.Fields(l) {
			if b.Len()+len(w) > maxNormal {
				return b.String()
			}
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(strings.ReplaceAll(strings.ToLower(w), "’", "'"))
		}
	}
	return b.String()
}

func findIntro(words string) (found, delayed bool) {
	for _, in := range intros {
		if strings.Contains(words, in.phrase) {
			found, delayed = true, in.delayed
			break
		}
	}
	for _, d := range delays {
		delayed = delayed || strings.Contains(words, d)
	}
	return found, delayed
}

// failedHeader reads X-Failed-Recipients.
func (p *parser) failedHeader() []string {
	var out []string
	for _, part := range strings.Split(p.top.Get("X-Failed-Recipients"), ",") {
		if a := address(part); a != "" && len(out) < maxRecipients {
			out = append(out, a)
		}
	}
	return out
}

// systems are local parts that mail systems write from.
var systems = []string{"mailer-daemon", "postmaster", "mail-daemon", "maildaemon", "mdaemon", "microsoftexchange", "mailerdaemon", "mail.delivery", "bounce", "bounces"}

// subjects are how the subject of a bounce starts or what it holds.
var subjects = []string{
	"undeliver", "delivery failure", "delivery failed", "mail delivery fail", "failure notice", "delivery status notification", "returned mail", "returned to sender",
	"delivery incomplete", "delivery delayed", "delivery problem", "non delivery", "non-delivery", "not delivered", "message delayed", "nondeliverable",
}

// fromSystem reports that a mail system, not a person, wrote the message.
func (p *parser) fromSystem() bool {
	from := strings.ToLower(p.top.Get("From"))
	if i := strings.LastIndexByte(from, '<'); i >= 0 {
		from = from[i+1:]
	}
	local, _, _ := strings.Cut(strings.TrimSpace(from), "@")
	for _, s := range systems {
		if strings.HasPrefix(local, s) {
			return true
		}
	}
	subject := strings.ToLower(p.subject())
	for _, s := range subjects {
		if strings.Contains(subject, s) {
			return true
		}
	}
	return strings.TrimSpace(p.top.Get("Return-Path")) == "<>"
}

func (p *parser) subject() string {
	s, err := p.top.Text("Subject")
	if err != nil {
		s = p.top.Get("Subject")
	}
	return Clean(s, MaxText)
}

// scan finds recipients and the words after each.
func scan(lines []string) []Recipient {
	var out []Recipient
	taken := 0
	for _, l := range lines {
		if len(l) > 4*MaxText {
			l = l[:4*MaxText]
		}
		l = strings.TrimRight(l, "\r\n \t")
		trimmed := strings.ToLower(strings.Trim(l, " \t-*_=.")) // markers come between dashes
		if strings.HasPrefix(trimmed, ">") || isStop(trimmed) {
			if len(out) > 0 {
				break
			}
			continue
		}
		addr, rest := recipientOn(l)
		switch {
		case addr != "":
			n := len(out)
			if out = add(out, addr, rest); len(out) > n {
				taken = 0
			}
		case len(out) > 0 && trimmed != "" && taken < maxDiagLines:
			taken++
			last := &out[len(out)-1]
			last.Diagnostic = Clean(last.Diagnostic+" "+l, MaxText)
		}
	}
	return out
}

func isStop(trimmed string) bool {
	for _, s := range stops {
		if strings.HasPrefix(trimmed, s) {
			return true
		}
	}
	return false
}

// recipientOn reads a line that names a recipient.
func recipientOn(l string) (addr, rest string) {
	if m := reAngle.FindStringSubmatch(l); m != nil {
		return m[1], m[2]
	}
	if m := reAlone.FindStringSubmatch(l); m != nil {
		return m[1], ""
	}
	return "", ""
}

// add appends a recipient once.
func add(out []Recipient, addr, diag string) []Recipient {
	a := address(strings.TrimRight(addr, "."))
	if a == "" || len(out) >= maxRecipients {
		return out
	}
	for i := range out {
		if strings.EqualFold(out[i].Final, a) {
			return out
		}
	}
	return append(out, Recipient{Final: a, Diagnostic: Clean(diag, MaxText)})
}

// restrict keeps the recipients that the header names, with what the text says
// of them.
func restrict(found []Recipient, named []string) []Recipient {
	var out []Recipient
	for _, n := range named {
		r := Recipient{Final: n}
		if i := slices.IndexFunc(found, func(f Recipient) bool { return strings.EqualFold(f.Final, n) }); i >= 0 {
			r = found[i]
		}
		out = append(out, r)
	}
	return out
}

// settle gives every recipient its action and status. Recipients that are
// listed one below the other share the words that come after the last.
func settle(rs []Recipient, words string, delayed bool) {
	for i := len(rs) - 1; i >= 0; i-- {
		if rs[i].Diagnostic == "" && i+1 < len(rs) {
			rs[i].Diagnostic = rs[i+1].Diagnostic
		}
	}
	for i := range rs {
		r := &rs[i]
		if c, ok := findCode(r.Diagnostic); ok {
			r.Status = c
		} else if c, ok := findCode(words); ok && len(rs) == 1 {
			r.Status = c
		}
		r.Action = Failed
		if delayed {
			r.Action = Delayed
		}
		if r.Status.IsZero() || delayed && r.Status[0] == 5 {
			r.Status = smtp.EnhancedCode{classOf(r.Action), r.Status[1], r.Status[2]}
		}
		if c, ok := guess(r.Diagnostic); ok && r.Status[1] == 0 && r.Status[2] == 0 {
			r.Status = smtp.EnhancedCode{r.Status[0], c[1], c[2]}
		}
	}
}

// guess reads a code out of common words, where there is none in digits.
func guess(diag string) (smtp.EnhancedCode, bool) {
	d := strings.ToLower(diag)
	for _, g := range []struct {
		words string
		code  smtp.EnhancedCode
	}{
		{"user unknown", smtp.EnhancedCode{5, 1, 1}}, {"unknown user", smtp.EnhancedCode{5, 1, 1}}, {"no such user", smtp.EnhancedCode{5, 1, 1}},
		{"no mailbox here", smtp.EnhancedCode{5, 1, 1}}, {"does not exist", smtp.EnhancedCode{5, 1, 1}}, {"doesn't have a", smtp.EnhancedCode{5, 1, 1}},
		{"address couldn't be found", smtp.EnhancedCode{5, 1, 1}}, {"recipient not found", smtp.EnhancedCode{5, 1, 1}}, {"mailbox unavailable", smtp.EnhancedCode{5, 1, 1}},
		{"unrouteable address", smtp.EnhancedCode{5, 1, 2}}, {"couldn't find any host", smtp.EnhancedCode{5, 1, 2}}, {"host not found", smtp.EnhancedCode{5, 1, 2}},
		{"mailbox full", smtp.EnhancedCode{5, 2, 2}}, {"mailbox is full", smtp.EnhancedCode{5, 2, 2}}, {"over quota", smtp.EnhancedCode{5, 2, 2}}, {"quota exceeded", smtp.EnhancedCode{5, 2, 2}},
		{"disabled", smtp.EnhancedCode{5, 2, 1}}, {"inactive", smtp.EnhancedCode{5, 2, 1}},
		{"spam", smtp.EnhancedCode{5, 7, 1}}, {"blocked", smtp.EnhancedCode{5, 7, 1}}, {"blacklist", smtp.EnhancedCode{5, 7, 1}},
	} {
		if strings.Contains(d, g.words) {
			return g.code, true
		}
	}
	return smtp.EnhancedCode{}, false
}

// stripHTML leaves the words of a page, a line per block.
func stripHTML(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		j := strings.IndexByte(s[i:], '>')
		if j < 0 {
			break
		}
		tag := strings.ToLower(strings.TrimLeft(s[i+1:i+j], "/ "))
		if strings.HasPrefix(tag, "br") || strings.HasPrefix(tag, "p") || strings.HasPrefix(tag, "div") || strings.HasPrefix(tag, "t") || strings.HasPrefix(tag, "h") {
			b.WriteByte('\n')
		}
		s = s[i+j+1:]
	}
	return html.UnescapeString(b.String())
}

// isAutoReply reports an answer by a machine on behalf of a person.
func (p *parser) isAutoReply() bool {
	if v := strings.ToLower(p.top.Get("Auto-Submitted")); v != "" && !strings.HasPrefix(v, "no") {
		return true
	}
	for _, name := range []string{"X-Autoreply", "X-Autorespond", "X-Auto-Reply"} {
		if p.top.Has(name) {
			return true
		}
	}
	switch strings.ToLower(strings.TrimSpace(p.top.Get("Precedence"))) {
	case "auto_reply", "auto-reply":
		return true
	}
	subject := strings.ToLower(p.subject())
	for _, s := range []string{"out of office", "out of the office", "automatic reply", "auto:", "autoreply", "auto-reply", "auto reply", "abwesenheit", "automatische antwort", "réponse automatique", "respuesta automática"} {
		if strings.Contains(subject, s) {
			return true
		}
	}
	return false
}

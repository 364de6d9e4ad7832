package store

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"postern/internal/smtp"
)

// foldText is a text as search compares it: without case, composed alike.
func foldText(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFC.String(cases.Fold().String(norm.NFC.String(text(s))))
		}
	}
	return strings.ToLower(text(s))
}

// foldAddress is an address, and its domain, as search compares them: without case,
// the domain in ASCII. What is no address has no domain.
func foldAddress(s string) (address, domain string) {
	s = clip(s)
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return foldText(s), ""
	}
	domain = foldDomain(s[at+1:])
	return foldText(s[:at]) + "@" + domain, domain
}

// foldDomain is a domain's ASCII form in lower case, or what was given where it has
// none.
func foldDomain(s string) string {
	if isASCII(s) {
		return strings.ToLower(text(s))
	}
	if a, err := smtp.DomainToASCII(s); err == nil {
		return strings.ToLower(a)
	}
	return foldText(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// shownAs keeps the addresses as they were written where folding has changed them.
// They have no line feeds: what has is shown folded.
func shownAs(r *MailRow, rcpt, sender, envelope string) string {
	empty := r.EnvelopeFrom == "" && sender != "" // a null sender, which is not the author's address
	if r.Recipient == rcpt && r.From == sender && r.EnvelopeFrom == envelope && !empty {
		return ""
	}
	parts := [3]string{clip(r.Recipient), clip(r.From), clip(r.EnvelopeFrom)}
	for i, p := range parts {
		if strings.ContainsAny(p, "\n") {
			parts[i] = ""
		}
	}
	return strings.Join(parts[:], "\n")
}

// showAs undoes shownAs.
func showAs(r *MailRow, shown string) {
	if r.EnvelopeFrom == "" {
		r.EnvelopeFrom = r.From
	}
	parts := strings.Split(shown, "\n")
	if len(parts) != 3 {
		return
	}
	for i, to := range []*string{&r.Recipient, &r.From, &r.EnvelopeFrom} {
		if parts[i] != "" || i == 2 {
			*to = parts[i]
		}
	}
}

// searchWords are the folded words of a subject search, each once.
func searchWords(s string) []string { return strings.Fields(foldText(clip(s))) }

// hasWords reports whether all of them occur in a subject.
func hasWords(subject string, words []string) bool {
	folded := foldText(subject)
	for _, w := range words {
		if !strings.Contains(folded, w) {
			return false
		}
	}
	return true
}

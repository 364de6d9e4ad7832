package v3

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/sender"
)

// dnsLetter asks for a letter with a domain's records.
type dnsLetter struct {
	LinkID   int64  `json:"link_id,omitempty" doc:"branded links are not there yet: 0"`
	DomainID int64  `json:"domain_id" v3:"required"`
	Email    string `json:"email" v3:"required"`
	Message  string `json:"message,omitempty" doc:"plain text of 500 characters at most, without links"`
}

// What a letter to a stranger may say for its sender, and how many there are.
const (
	maxLetterText     = 500 // characters
	maxLetters        = 20  // of a tenant in a day of UTC
	maxAccountLetters = 100 // of an account with its subusers
	maxAddressLetters = 5   // to one address, of all
)

func (a *API) mailRecords(c *Call) error {
	var in dnsLetter
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	d, err := a.numberedDomain(c, in.DomainID)
	if err != nil {
		return err
	}
	if !c.mayChange(&d) {
		return refused("", "This domain is shared with you; its owner changes it.")
	}
	if hasLink(in.Message, d.Name) {
		return invalid("message", "The message must be without links, and without names like example.org, which mail programs make links of.")
	}
	if a.Letter == nil {
		return relay.E(relay.Unavailable, "This installation mails no records.")
	}
	_, records, err := a.Domains.Records(c.R.Context(), d.ID)
	if err != nil {
		return hidden(err)
	}
	if text := a.letters.take(c.Tenant, canonical(in.Email), c.Now); text != "" {
		c.W.Header().Set("Retry-After", "86400")
		return httpx.Refuse(http.StatusTooManyRequests, text)
	}
	_, who := a.ownerOf(&relay.Domain{Account: c.Tenant.Account, Subuser: c.Tenant.Subuser})
	if hasLink(who, "") { // a subuser has the name that its parent chose
		_, who = a.ownerOf(&relay.Domain{Account: c.Tenant.Account})
	}
	subject, text := letterOf(who, &d, records, in.Message)
	if err := a.Letter(c.R.Context(), in.Email, subject, text); err != nil {
		return err
	}
	return c.Empty(http.StatusNoContent)
}

func (in *dnsLetter) check() error {
	switch {
	case in.LinkID != 0:
		return invalid("link_id", "Branded links are not there yet; name a domain.")
	case in.DomainID == 0:
		return invalid("domain_id", "A domain is required.")
	case utf8.RuneCountInString(in.Message) > maxLetterText:
		return invalid("message", "The message is longer than %d characters.", maxLetterText)
	case strings.ContainsFunc(in.Message, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) && r != '\r' }):
		return invalid("message", "The message must be plain text.")
	}
	return checkEmail("email", in.Email)
}

// letterOf is the letter: who asks for it, what they say, marked as theirs, and
// the records.
func letterOf(who string, d *relay.Domain, records []relay.DNSRecord, message string) (subject, text string) {
	var b strings.Builder
	b.WriteString(who + " sends mail as " + d.Name + " through this relay, and asks you to publish these DNS records for it.\n" +
		"If you do not look after the DNS of " + d.Name + ", ignore this letter.\n")
	if message = strings.TrimSpace(strings.ReplaceAll(message, "\r", "")); message != "" {
		b.WriteString("\n" + who + " writes:\n")
		for line := range strings.SplitSeq(message, "\n") {
			b.WriteString("> " + line + "\n")
		}
	}
	for _, r := range records {
		b.WriteString("\n" + r.For)
		if !r.Required {
			b.WriteString(" (not required)")
		}
		b.WriteString("\n  name   " + r.Host + "\n  type   " + r.Type + "\n  value  " + r.Data + "\n")
	}
	b.WriteString("\nThe same as lines of a zone file:\n\n" + sender.ZoneSnippet(records))
	return "DNS records for " + d.Name, b.String()
}

// linkLike is what mail programs make links of: with a scheme, or the name of a
// host by itself, with any of the dots that IDNA knows.
var linkLike = regexp.MustCompile(`(?i)://|www\.|mailto:|[\pL\pN-][.\x{3002}\x{FF0E}\x{FF61}][\pL\pN-]*\pL{2}`)

// hasLink reports whether a text could lead its reader somewhere else than to the
// domain that it is about. The letter goes to whom its sender likes, in our name:
// it is no place for invitations to go somewhere.
func hasLink(text, domain string) bool {
	for _, word := range strings.Fields(text) {
		if linkLike.MatchString(word) && (domain == "" || !strings.EqualFold(strings.Trim(word, `.,;:!?()"'`), domain)) {
			return true
		}
	}
	return false
}

// canonical is an address as letters to it are counted.
func canonical(address string) string { return strings.ToLower(address) }

// letters counts letters of the day, in this process.
type letters struct {
	mu   sync.Mutex
	day  int64
	sent map[string]int // by tenant, account and address; guarded by mu
}

// maxLetterEntries bounds the table; when it is full nobody new writes, and nobody
// new is written to, until tomorrow.
const maxLetterEntries = 100_000

// take counts a letter, or says why it may not go.
func (l *letters) take(t relay.Tenant, address string, now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if today := now.Unix() / 86400; today != l.day || l.sent == nil {
		l.day, l.sent = today, map[string]int{}
	}
	by := []struct {
		key  string
		most int
		text string
	}{
		{"t" + t.Account.String() + t.Subuser.String(), maxLetters, "20 letters were sent today. Copy the records, or go on tomorrow."},
		{"o" + t.Account.String(), maxAccountLetters, "100 letters of this account and its subusers were sent today. Copy the records, or go on tomorrow."},
		{"a" + address, maxAddressLetters, "This address got 5 letters today. Copy the records, or go on tomorrow."},
	}
	if len(l.sent) > maxLetterEntries-len(by) {
		return "Too many letters were sent today. Copy the records, or go on tomorrow."
	}
	for _, b := range by {
		if l.sent[b.key] >= b.most {
			return b.text
		}
	}
	for _, b := range by {
		l.sent[b.key]++
	}
	return ""
}

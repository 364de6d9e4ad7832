package v3

import (
	"net/http"
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
	maxLetterText = 500 // characters
	maxLetters    = 20  // of a tenant in a day of UTC
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
	if a.Letter == nil {
		return relay.E(relay.Unavailable, "This installation mails no records.")
	}
	_, records, err := a.Domains.Records(c.R.Context(), d.ID)
	if err != nil {
		return hidden(err)
	}
	if !a.letters.take(c.Tenant, c.Now) {
		c.W.Header().Set("Retry-After", "86400")
		return httpx.Refuse(http.StatusTooManyRequests, "20 letters were sent today. Copy the records, or go on tomorrow.")
	}
	_, who := a.ownerOf(&relay.Domain{Account: c.Tenant.Account, Subuser: c.Tenant.Subuser})
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
	// The letter goes to whom its sender likes, in our name: it is no place for
	// invitations to go somewhere.
	lower := strings.ToLower(in.Message)
	for _, link := range []string{"://", "www.", "mailto:"} {
		if strings.Contains(lower, link) {
			return invalid("message", "The message must be without links.")
		}
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

// letters counts letters by tenant and day, in this process.
type letters struct {
	mu   sync.Mutex
	day  int64
	sent map[relay.Tenant]int // guarded by mu
}

// maxLetterTenants bounds the table; when it is full nobody new writes until
// tomorrow.
const maxLetterTenants = 100_000

func (l *letters) take(t relay.Tenant, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if today := now.Unix() / 86400; today != l.day || l.sent == nil {
		l.day, l.sent = today, map[relay.Tenant]int{}
	}
	if n, ok := l.sent[t]; n >= maxLetters || !ok && len(l.sent) >= maxLetterTenants {
		return false
	}
	l.sent[t]++
	return true
}

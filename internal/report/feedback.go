package report

import (
	"strings"
)

// Feedback is an abuse report (RFC 5965). All text is clean.
type Feedback struct {
	Type             string // "abuse", "fraud", "virus", "opt-out", "other", …; lower case
	UserAgent        string
	OriginalMailFrom string   // address; "" if redacted
	OriginalRcptTo   []string // addresses
	SourceIP         string
	ReportedDomains  []string
	ArrivalDate      string // as written
	Incidents        string // as written; "" means 1
	// From the returned message, where its header is there.
	From, To, Subject string
}

// parseFeedback reads a message/feedback-report part.
func parseFeedback(b []byte) *Feedback {
	f := &Feedback{Type: "other"}
	for _, g := range groups(b, 1) {
		if t := strings.ToLower(Clean(g.get("Feedback-Type"), 40)); t != "" {
			f.Type = t
		}
		f.UserAgent = Clean(g.get("User-Agent"), MaxText)
		f.OriginalMailFrom = address(g.get("Original-Mail-From"))
		for _, v := range g.all("Original-Rcpt-To") {
			if a := address(v); a != "" && len(f.OriginalRcptTo) < maxRecipients {
				f.OriginalRcptTo = append(f.OriginalRcptTo, a)
			}
		}
		f.SourceIP = Clean(g.get("Source-IP"), 64)
		for _, v := range g.all("Reported-Domain") {
			f.ReportedDomains = append(f.ReportedDomains, Clean(v, 255))
		}
		if f.ArrivalDate = Clean(g.get("Arrival-Date"), 100); f.ArrivalDate == "" {
			f.ArrivalDate = Clean(g.get("Received-Date"), 100)
		}
		f.Incidents = Clean(g.get("Incidents"), 20)
	}
	return f
}

// feedbackOriginal adds what the returned message says.
func (p *parser) feedbackOriginal(f *Feedback) {
	for _, g := range groups(p.original, 1) {
		f.From = Clean(g.get("From"), MaxText)
		f.To = Clean(g.get("To"), MaxText)
		f.Subject = Clean(g.get("Subject"), MaxText)
	}
}

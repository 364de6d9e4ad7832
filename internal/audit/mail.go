package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/relay"
	"postern/internal/store"
)

// Letter is a report for one person.
type Letter struct {
	Account relay.AccountID
	To      string
	Subject string
	Text    string
	// HTML is the whole report as a page that needs nothing else: no script, no image,
	// no request to anywhere. Readers show it instead of the text.
	HTML []byte
}

// mail hands a report in for each recipient.
func (s *Service) mail(ctx context.Context, to []string, r *Report, before []store.AuditReport) error {
	if s.cfg.Mail == nil || len(to) == 0 {
		return nil
	}
	l, err := s.letter(ctx, r, before)
	if err != nil {
		return err
	}
	var again error
	for _, l.To = range to {
		switch err := s.cfg.Mail(ctx, l); {
		case err == nil:
		case relay.KindOf(err) == relay.Invalid:
			s.cfg.Log.Warn("audit report cannot be mailed", "account", r.Account.String(), "to", l.To, "err", err)
		default:
			again = errors.Join(again, err)
		}
	}
	return again
}

func (s *Service) letter(ctx context.Context, r *Report, before []store.AuditReport) (Letter, error) {
	var text, html bytes.Buffer
	if i := slices.IndexFunc(before, func(b store.AuditReport) bool { return b.ID.String() != r.ID }); i >= 0 {
		id := before[i].ID.String()
		if old, err := s.Find(ctx, r.Account, id); err == nil {
			c := Compare(old, r)
			fmt.Fprintf(&text, "%s\n\n", c.Sentence())
		} else { // pruned meanwhile, or damaged: the report itself matters more
			s.cfg.Log.Warn("the audit report before cannot be read", "account", r.Account.String(), "report", id, "err", err)
		}
	}
	if err := errors.Join(Text(&text, r), HTML(&html, r)); err != nil {
		return Letter{}, err
	}
	return Letter{
		Account: r.Account, Subject: fmt.Sprintf("Audit report of %s: score %d of %d", shown(r.Name), r.Score, r.FullScore),
		Text: text.String(), HTML: html.Bytes(),
	}, nil
}

// Sentence says in words what became of the findings.
func (c *Comparison) Sentence() string {
	parts := []string{fmt.Sprintf("%d mended", len(c.Mended)), fmt.Sprintf("%d new", len(c.New)), fmt.Sprintf("%d as before", len(c.Unchanged))}
	s := fmt.Sprintf("Since the report of %s: %s; the score went from %d to %d (%+d).", on(c.A.At), strings.Join(parts, ", "), c.A.Score, c.B.Score, c.Difference)
	if c.Partial {
		s += " Some findings cannot be compared."
	}
	return s
}

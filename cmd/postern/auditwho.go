package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/audit"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// whoView is who could write as an address.
type whoView struct {
	Address string            `json:"address"`
	Exact   bool              `json:"domain_is_its_own"` // not one above it
	Domain  *audit.DomainRow  `json:"domain"`            // none: no domain of the account is it, or above it
	Keys    []audit.SenderRow `json:"keys"`
	Cut     int               `json:"rows_left_out"`
}

// auditWho answers the auditor's first question from the report's tables.
func (c *cli) auditWho(w *whose) *cobra.Command {
	cmd := c.tenantCommand(w, "who ADDRESS", "Which keys can send as an address", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		a, err := smtp.ParseAddress(args[0], true)
		if err != nil {
			return usageError("audit who: " + err.Error())
		}
		r, _, err := get[audit.Report](ctx, cl, "/v3/audit/report", nil)
		if err != nil {
			return err
		}
		v := whoCanSend(&r, a)
		if c.json {
			return c.printValue(v)
		}
		return c.showWho(v)
	})
	cmd.Long = "who lists the keys that can log in now, may send mail, and are not narrowed to other senders, with the\n" +
		"domain that the address is at. A subuser's key also needs the domain to be its own, or shared with it\n" +
		"(postern domain show). A single sender (postern sender list) may be used without any domain."
	return cmd
}

func whoCanSend(r *audit.Report, a smtp.Address) whoView {
	v := whoView{Address: a.String(), Keys: []audit.SenderRow{}, Cut: r.Cut}
	name := a.ASCIIDomain()
	for i := range r.Domains {
		d := &r.Domains[i]
		covers := strings.EqualFold(d.Name, name) || strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(d.Name))
		if covers && (v.Domain == nil || len(d.Name) > len(v.Domain.Name)) {
			v.Domain, v.Exact = d, strings.EqualFold(d.Name, name)
		}
	}
	for _, k := range r.Senders {
		if k.Active && k.CanSend && mayWriteAs(k.Senders, a) {
			v.Keys = append(v.Keys, k)
		}
	}
	return v
}

// mayWriteAs is the server's rule: an entry with "@" is exactly that address, one
// without exactly that domain, and no entries are no restriction.
func mayWriteAs(senders []string, a smtp.Address) bool {
	for _, s := range senders {
		i := strings.LastIndexByte(s, '@')
		if strings.EqualFold(s[i+1:], a.ASCIIDomain()) && (i < 0 || s[:i] == a.Local()) {
			return true
		}
	}
	return len(senders) == 0
}

func (c *cli) showWho(v whoView) error {
	switch d := v.Domain; {
	case d == nil:
		fmt.Fprintf(c.out, "%s is at no domain of the account: only who has it as a single sender may use it (postern sender list).\n\n", clean(v.Address))
	case v.Exact:
		usable := ""
		if d.State != relay.DomainVerified && d.State != relay.DomainAsserted {
			usable = ": mail as it is refused for now"
		}
		fmt.Fprintf(c.out, "%s is %s%s.\n\n", clean(d.Name), d.State, usable)
	default:
		fmt.Fprintf(c.out, "%s is %s; names below it count only if it was added with --subdomains (postern domain show %s).\n\n", clean(d.Name), d.State, clean(d.Name))
	}
	t := newTable(c.out, "KEY", "NAME", "SUBUSER", "NARROWED TO", "FROM", "EXPIRES", "LAST USED", "LAST FROM")
	for _, k := range v.Keys {
		from := k.From
		if len(from) == 0 {
			from = []string{"anywhere"}
		}
		t.row(k.Key, k.Name, k.Subuser, k.Senders, from, k.ExpiresAt, k.LastUsedAt, k.LastUsedFrom)
	}
	if err := t.end(); err != nil {
		return err
	}
	if v.Cut > 0 {
		fmt.Fprintf(c.err, "The report leaves out %d rows; keys may be among them.\n", v.Cut)
	}
	return nil
}

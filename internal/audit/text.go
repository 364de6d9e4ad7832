package audit

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// mostLines is how many findings of one kind the text form spells out.
const mostLines = 20

// Text writes a report for a terminal or a letter in plain text. Every octet of a
// stranger's has been made printable by then.
func Text(w io.Writer, r *Report) error {
	p := &printer{w: w}
	p.f("Audit report of %s, %s\n", shown(r.Name), r.At.UTC().Format("2 January 2006 15:04 UTC"))
	p.f("Score %d of %d: %d findings weigh %d. Mending one adds its weight.\n\n", r.Score, r.FullScore, len(r.Findings)+r.Omitted, r.Lost())
	p.table("SEVERITY\tFINDINGS", func(row func(format string, args ...any)) {
		for _, s := range Severities {
			row("%s\t%d", s, r.Counts[s])
		}
	})
	p.table("PRACTICE\tFINDINGS\tWEIGHT", func(row func(format string, args ...any)) {
		for _, s := range r.Practices {
			row("%s\t%d\t%d", s.Practice, s.Findings, s.Weight)
		}
	})
	for _, g := range r.groups() {
		p.group(&g)
	}
	if r.Omitted > 0 {
		p.f("%d more findings are in the score and not listed.\n\n", r.Omitted)
	}
	p.senders(r)
	p.people(r)
	p.programs(r)
	p.domains(r)
	p.lists(r)
	if r.Cut > 0 {
		p.f("The report leaves out %d rows of these tables.\n\n", r.Cut)
	}
	if len(r.Components) > 0 {
		p.table("PART\tVERSION\tFROM\tSUPPORTED UNTIL", func(row func(format string, args ...any)) {
			for _, c := range r.Components {
				row("%s\t%s\t%s\t%s", c.Name, c.Version, date(c.Released), date(c.SupportedUntil))
			}
		})
	}
	proof := fmt.Sprintf("The record of changes is whole: %d records.", r.Trail.Records)
	if !r.Trail.Valid {
		proof = "The record of changes does NOT fit."
	}
	p.f("%s Logins were looked at from %s on.\n", proof, date(r.LoginsSince))
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// table prints lines of tabbed cells under a heading.
func (p *printer) table(head string, fill func(row func(format string, args ...any))) {
	if p.err != nil {
		return
	}
	t := tabwriter.NewWriter(p.w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, head)
	fill(func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) })
	p.err = t.Flush()
	p.f("\n")
}

func (p *printer) group(g *group) {
	p.f("[%s] %s: %d, weight %d each\n", g.Severity, g.Title, len(g.Findings), g.Weight)
	p.f("  %s; %s\n", g.Practice, strings.Join(g.Standards, ", "))
	for i, v := range g.Findings {
		if i == mostLines {
			p.f("  … and %d more\n", len(g.Findings)-mostLines)
			break
		}
		p.f("  - %s\n", v.Text)
		for _, e := range v.Evidence {
			p.f("      %s\n", e)
		}
		if v.Fix != "" {
			p.f("      $ %s\n", v.Fix)
		}
	}
	p.f("\n")
}

func (p *printer) senders(r *Report) {
	rows(p, "KEY\tNAME\tKIND\tMAY SEND AS\tFROM\tENDS\tLAST USED\tFINDINGS", r.Senders, func(s *SenderRow) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d", s.Key, of(s.Name, s.Subuser), s.Kind, s.As(), s.Where(), date(s.ExpiresAt), date(s.LastUsedAt), s.Findings)
	})
}

func (p *printer) people(r *Report) {
	rows(p, "PERSON\tEMAIL\tROLE\tSECOND FACTOR\tLAST SEEN\tFINDINGS", r.People, func(u *PersonRow) string {
		name := of(u.Username, u.Subuser)
		if u.Disabled {
			name += ", disabled"
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d", name, u.Email, u.Role, u.Factor(), date(u.SeenAt), u.Findings)
	})
}

func (p *printer) programs(r *Report) {
	rows(p, "KEY\tPROGRAM\tFROM\tMECHANISM\tTLS\tLAST\tWEAK OR OLD", r.Clients, func(c *ClientRow) string {
		weak := "-"
		if len(c.Weak) > 0 {
			weak = "yes"
		}
		return fmt.Sprintf("%s\t%s (%s)\t%s\t%s\t%s\t%s\t%s", c.KeyName, c.Helo, c.Protocol, c.Addr, c.Mechanism, cmp.Or(c.TLS, "-"), date(c.Last), weak)
	})
}

func (p *printer) domains(r *Report) {
	rows(p, "DOMAIN\tSTATE\tDMARC\tSPF ALIGNED\tDKIM ALIGNED\tCHECKED\tFINDINGS", r.Domains, func(d *DomainRow) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%d", of(d.Name, d.Subuser), d.State, cmp.Or(d.Policy, "-"), cmp.Or(d.SPFAligned, "-"),
			cmp.Or(d.DKIMAligned, "-"), date(d.CheckedAt), d.Findings)
	})
}

func (p *printer) lists(r *Report) {
	rows(p, "IP ACCESS OF\tLETS IN\tMODE", r.Lists, func(l *ListRow) string {
		who, mode := "everybody", "enforce"
		if len(l.Entries) > 0 {
			who = few(l.Entries)
		}
		if l.Monitor {
			mode = "monitor"
		}
		return fmt.Sprintf("%s\t%s\t%s", cmp.Or(l.Subuser, "the account"), who, mode)
	})
}

// rows prints a table of at most MaxText of all.
func rows[T any](p *printer, head string, all []T, cells func(*T) string) {
	p.table(head, func(row func(format string, args ...any)) {
		for i := range min(len(all), MaxText) {
			row("%s", cells(&all[i]))
		}
		if over := len(all) - MaxText; over > 0 {
			row("… and %d more%s", over, strings.Repeat("\t", strings.Count(head, "\t")))
		}
	})
}

// of is a name with the subuser that it belongs to.
func of(name, subuser string) string {
	if subuser == "" {
		return name
	}
	return name + " (" + subuser + ")"
}

// MaxText is how many rows of a table the text form has.
const MaxText = 200

// As is as whom a key may send, in a few words.
func (s *SenderRow) As() string {
	switch {
	case !s.Active:
		return "nobody (off)"
	case !s.CanSend:
		return "nobody"
	case len(s.Senders) == 0:
		return "anybody of the account"
	}
	return few(s.Senders)
}

// Factor says whether a person has a second factor, in a word or two. Who has no
// password either comes by single sign-on, whose issuer asks for more.
func (u *PersonRow) Factor() string {
	switch {
	case u.SecondFactor:
		return "yes"
	case u.Password:
		return "no"
	}
	return "by sign-on"
}

// Where is where a key works from, in a few words.
func (s *SenderRow) Where() string {
	if len(s.From) == 0 {
		return "anywhere"
	}
	return few(s.From)
}

func few(all []string) string {
	if len(all) > 3 {
		return strings.Join(all[:3], ", ") + fmt.Sprintf(" and %d more", len(all)-3)
	}
	return strings.Join(all, ", ")
}

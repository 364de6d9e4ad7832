package audit

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"postern/internal/relay"
)

// describe fills in the tables: who can send, who may log in, what is in use.
func (f *Facts) describe(r *Report) {
	found := map[string]int{} // findings by subject
	for i := range r.Findings {
		found[r.Findings[i].Subject.Kind+" "+r.Findings[i].Subject.ID]++
	}
	names := map[relay.KeyID]string{}
	for i := range f.Keys {
		k := &f.Keys[i]
		names[k.ID] = shown(k.Name)
		if k.RevokedAt.IsZero() && !k.Canary {
			r.Senders = append(r.Senders, f.senderRow(k, found["api_key "+k.ID.String()]))
		}
	}
	for i := range f.Users {
		u := &f.Users[i]
		if u.DeletedAt.IsZero() {
			r.People = append(r.People, PersonRow{
				Username: shown(u.Username), Name: shown(strings.TrimSpace(u.FirstName + " " + u.LastName)), Email: shown(u.Email), Role: u.Role,
				Subuser: f.shownSubuser(u.Subuser), SecondFactor: u.SecondFactor(), Password: u.Password != "", Disabled: !u.DisabledAt.IsZero(),
				SeenAt: u.SeenAt, SeenFrom: u.SeenFrom, Findings: found["user "+u.ID.String()],
			})
		}
	}
	r.Clients = f.clientRows(names)
	for i := range f.Domains {
		d := &f.Domains[i]
		if d.DeletedAt.IsZero() && !d.System {
			r.Domains = append(r.Domains, f.domainRow(d, found))
		}
	}
	for _, l := range f.lists() {
		r.Lists = append(r.Lists, f.listRow(l))
	}
	if f.Installation != nil {
		for _, c := range f.Installation.Components {
			c.Version = shown(c.Version)
			r.Components = append(r.Components, ComponentRow{Component: c, Old: f.old(&c) != ""})
		}
	}
	r.bound()
}

// bound cuts the tables, and makes empty ones of those that are not there.
func (r *Report) bound() {
	r.Cut = cut(&r.Senders) + cut(&r.People) + cut(&r.Clients) + cut(&r.Domains) + cut(&r.Lists) + cut(&r.Components)
}

func cut[T any](rows *[]T) int {
	if *rows == nil {
		*rows = []T{}
	}
	over := max(0, len(*rows)-MaxRows)
	*rows = (*rows)[: len(*rows)-over : len(*rows)-over]
	return over
}

func (f *Facts) shownSubuser(id relay.SubuserID) string {
	if id.IsZero() {
		return ""
	}
	return shown(f.subuserName(id))
}

func (f *Facts) senderRow(k *relay.Key, findings int) SenderRow {
	row := SenderRow{
		Key: k.ID, Name: shown(k.Name), Kind: k.Kind, Subuser: f.shownSubuser(k.Subuser), Active: f.live(k), CanSend: k.Allows(relay.ScopeMailSend),
		Senders: []string{}, From: []string{}, FullAccess: relay.Full(k.Scopes), Scopes: len(k.Scopes), CRAM: k.Verifier.SealedCRAM != nil,
		CreatedAt: k.CreatedAt, RotatedAt: k.RotatedAt, ExpiresAt: k.ExpiresAt, LastUsedAt: k.LastUsedAt, LastUsedFrom: shown(k.LastUsedFrom),
		LastUsedHelo: shown(k.LastUsedHelo), LastMechanism: shown(k.LastUsedMechanism), Findings: findings,
	}
	for _, s := range k.Senders {
		row.Senders = append(row.Senders, shown(s))
	}
	for _, n := range k.Networks {
		row.From = append(row.From, n.String())
	}
	for _, h := range k.Hosts {
		row.From = append(row.From, shown(h))
	}
	return row
}

// clientRows are the programs, weak ones first, then the latest.
func (f *Facts) clientRows(names map[relay.KeyID]string) []ClientRow {
	var out []ClientRow
	for _, c := range f.Clients {
		c.Protocol, c.Addr, c.Helo, c.Mechanism, c.TLS = shown(c.Protocol), shown(c.Addr), shown(c.Helo), shown(c.Mechanism), shown(c.TLS)
		out = append(out, ClientRow{Client: c, KeyName: names[c.Key], Weak: weaknesses(&c)})
	}
	slices.SortFunc(out, func(a, b ClientRow) int {
		return cmp.Or(len(b.Weak)-len(a.Weak), b.Last.Compare(a.Last), cmp.Compare(a.Key.String(), b.Key.String()), cmp.Compare(a.Addr, b.Addr),
			cmp.Compare(a.Helo, b.Helo), cmp.Compare(a.Mechanism+a.TLS+a.Protocol, b.Mechanism+b.TLS+b.Protocol))
	})
	return out
}

func (f *Facts) domainRow(d *DomainFacts, found map[string]int) DomainRow {
	row := DomainRow{Number: d.Number, Name: shown(d.Name), Subuser: f.shownSubuser(d.Subuser), State: d.State, Findings: found["domain "+d.ID.String()]}
	for _, k := range d.Keys {
		row.Findings += found["dkim_key "+d.ID.String()+"/"+k.Selector]
	}
	if c := d.Check; c != nil {
		row.Policy, row.SPFAligned, row.DKIMAligned, row.CheckedAt = shown(c.Policy), shown(c.SPFAligned), shown(c.DKIMAligned), c.At
	}
	return row
}

func (f *Facts) listRow(l *relay.AccessList) ListRow {
	row := ListRow{Subuser: f.shownSubuser(l.Subuser), Entries: []string{}, Monitor: l.Monitor}
	for _, r := range l.Rules {
		if r.Network.IsValid() {
			row.Entries = append(row.Entries, r.Network.String())
		} else {
			row.Entries = append(row.Entries, shown(r.Host))
		}
	}
	return row
}

// pathSegment is a name as one segment of a path.
func pathSegment(s string) string { return url.PathEscape(s) }

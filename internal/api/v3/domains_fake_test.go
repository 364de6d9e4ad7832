package v3

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/finding"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/store"
)

// fakeDomains keeps a world's domains as the service and the store do.
type fakeDomains struct {
	w      *world
	zone   sender.Zone
	rows   []relay.Domain // deleted ones too
	keys   map[relay.DomainID][]relay.DKIMKey
	checks map[relay.DomainID]relay.DomainCheck
	// published: the DNS has what each domain needs. silent: it does not answer.
	published, silent bool
	asked             int // of the DNS
	letters           []string
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeDomains{w: w, zone: sender.Zone{Name: "mail.relay.test", Hostname: "relay.test"}, keys: map[relay.DomainID][]relay.DKIMKey{}, checks: map[relay.DomainID]relay.DomainCheck{}}
		w.extra["domains"] = f
		s.Domains, s.DomainStore = f, f
		s.DomainServices.Letter = func(_ context.Context, to, subject, text string) error {
			f.letters = append(f.letters, to+"\n"+subject+"\n"+text)
			return w.fail
		}
	})
}

func domainsOf(w *world) *fakeDomains { return w.extra["domains"].(*fakeDomains) }

func noDomain() error { return relay.E(relay.NotFound, "There is no such domain.") }

func (f *fakeDomains) Add(_ context.Context, by store.By, n sender.NewDomain) (relay.Domain, []relay.DKIMKey, error) {
	if !strings.Contains(n.Name, ".") {
		return relay.Domain{}, nil, &relay.Error{Kind: relay.Invalid, Field: "domain", Public: "A domain name has at least two labels, like example.com."}
	}
	for _, d := range f.rows {
		switch {
		case d.Account != n.Account || d.Name != n.Name || !d.DeletedAt.IsZero():
		case d.DisabledRank > by.Rank:
			return d, nil, relay.E(relay.Forbidden, "The "+d.DisabledRank.String()+" switched this off. Nobody else can add it again.")
		case d.DisabledAt.IsZero():
			return d, nil, &relay.Error{Kind: relay.Conflict, Field: "domain", Public: "The account has this domain already."}
		}
	}
	number := int64(1000 + len(f.rows))
	d := relay.Domain{
		ID: relay.DomainID{ID: relay.NewID(t0)}, Number: number, Account: n.Account, Subuser: n.Subuser, Name: n.Name, State: relay.DomainPending,
		Token: fmt.Sprintf("token%d", number), Automatic: n.Automatic == nil || *n.Automatic, Label: n.Label, Selector: n.Selector, KeyBits: n.KeyBits,
		CustomSPF: n.CustomSPF, Default: n.Default, IPs: n.IPs, Subdomains: n.Subdomains, AllSubusers: n.AllSubusers, Quiet: n.Quiet, CreatedAt: f.w.clock(),
	}
	if n.Assert {
		d.State, d.AssertedBy = relay.DomainAsserted, by.Who
	}
	if d.Label == "" {
		d.Label = fmt.Sprintf("em%d", number)
	}
	d.ReturnPath = d.Label + "." + d.Name
	f.rows = append(f.rows, d)
	sel := sender.SelectorsOf(d)
	f.keys[d.ID] = []relay.DKIMKey{
		{Domain: d.ID, Selector: sel.RSA[0], Algorithm: relay.DKIMRSA, Bits: 2048, Generation: 1, Record: "v=DKIM1; k=rsa; p=RSA", Active: true, Sealed: []byte("SEALED"), CreatedAt: t0, ActivatedAt: t0},
		{Domain: d.ID, Selector: sel.Ed25519[0], Algorithm: relay.DKIMEd25519, Generation: 1, Record: "v=DKIM1; k=ed25519; p=ED", Active: n.Ed25519, Sealed: []byte("SEALED"), CreatedAt: t0},
	}
	return d, f.keys[d.ID], f.w.noted(by, "create domain "+n.Name)
}

// edit changes a domain that is not deleted.
func (f *fakeDomains) edit(by store.By, id relay.DomainID, what string, edit func(*relay.Domain)) error {
	i := slices.IndexFunc(f.rows, func(d relay.Domain) bool { return d.ID == id && d.DeletedAt.IsZero() })
	if i < 0 {
		return noDomain()
	}
	if err := f.w.noted(by, what+" domain "+f.rows[i].Name); err != nil {
		return err
	}
	edit(&f.rows[i])
	return nil
}

func (f *fakeDomains) byID(id relay.DomainID) (relay.Domain, error) {
	for _, d := range f.rows {
		if d.ID == id && d.DeletedAt.IsZero() {
			return d, f.w.fail
		}
	}
	return relay.Domain{}, noDomain()
}

func (f *fakeDomains) Update(_ context.Context, by store.By, id relay.DomainID, u sender.DomainUpdate) (relay.Domain, error) {
	err := f.edit(by, id, "update", func(d *relay.Domain) {
		for _, m := range []struct{ to, from *bool }{{&d.Default, u.Default}, {&d.CustomSPF, u.CustomSPF}, {&d.Subdomains, u.Subdomains}, {&d.Reveal, u.Reveal}, {&d.Quiet, u.Quiet}} {
			if m.from != nil {
				*m.to = *m.from
			}
		}
		if u.Rotate != nil {
			d.Rotate = *u.Rotate
		}
		if u.KeyBits != nil {
			d.KeyBits = *u.KeyBits
		}
	})
	if err != nil {
		return relay.Domain{}, err
	}
	return f.byID(id)
}

func (f *fakeDomains) Remove(_ context.Context, by store.By, id relay.DomainID) error {
	var refused error
	err := f.edit(by, id, "delete", func(d *relay.Domain) {
		if refused = keeps(by, d.DisabledAt, d.DisabledRank); refused == nil {
			d.DeletedAt = f.w.clock()
		}
	})
	return errors.Join(err, refused)
}

func (f *fakeDomains) EditIPs(_ context.Context, by store.By, id relay.DomainID, edit func([]netip.Addr) ([]netip.Addr, error)) (relay.Domain, error) {
	d, err := f.byID(id)
	if err != nil {
		return d, err
	}
	ips, err := edit(slices.Clone(d.IPs))
	if err != nil || slices.Equal(ips, d.IPs) {
		return d, err
	}
	if err := f.edit(by, id, "update", func(d *relay.Domain) { d.IPs = ips }); err != nil {
		return d, err
	}
	return f.byID(id)
}

func (f *fakeDomains) EditSharing(_ context.Context, by store.By, id relay.DomainID, edit func(*sender.Sharing)) error {
	return f.edit(by, id, "share", func(d *relay.Domain) {
		to := sender.Sharing{Subusers: slices.Clone(d.Subusers), All: d.AllSubusers}
		edit(&to)
		d.Subusers, d.AllSubusers = to.Subusers, to.All
	})
}

func (f *fakeDomains) SetDomainDisabled(_ context.Context, by store.By, id relay.DomainID, disabled bool) error {
	var refused error
	at := time.Time{}
	if disabled {
		at = f.w.clock()
	}
	err := f.edit(by, id, "switch", func(d *relay.Domain) { refused = switched(by, at, &d.DisabledAt, &d.DisabledRank) })
	return errors.Join(err, refused)
}

func (f *fakeDomains) Check(_ context.Context, by store.By, id relay.DomainID) (relay.DomainCheck, error) {
	f.asked++
	c := relay.DomainCheck{Domain: id, At: f.w.clock(), NextAt: f.w.clock().Add(24 * time.Hour), Valid: f.published, Unknown: f.silent, Servers: []string{"ns1.example.test"}}
	d, err := f.byID(id)
	if err != nil {
		return c, err
	}
	for _, r := range sender.Records(f.zone, d, f.keys[id]) {
		x := relay.RecordCheck{DNSRecord: r, Valid: f.published}
		if !f.published {
			x.Reason = "Expected " + r.Type + " " + r.Host + ", found nothing."
		}
		c.Records = append(c.Records, x)
	}
	if !f.published {
		c.Findings = []finding.Finding{{Severity: finding.Error, Code: "record_missing", Record: "mail_cname", Text: "The record is not there."}}
	}
	f.checks[id] = c
	return c, f.edit(by, id, "check", func(d *relay.Domain) {
		if f.published {
			d.State, d.VerifiedAt, d.Reason = relay.DomainVerified, f.w.clock(), ""
		}
	})
}

func (f *fakeDomains) Records(_ context.Context, id relay.DomainID) (relay.Domain, []relay.DNSRecord, error) {
	d, err := f.byID(id)
	return d, sender.Records(f.zone, d, f.keys[id]), err
}

func (f *fakeDomains) Rotate(_ context.Context, by store.By, id relay.DomainID, o sender.RotateOptions) (sender.Rotation, error) {
	k := relay.DKIMKey{Domain: id, Selector: "s2", Algorithm: relay.DKIMRSA, Record: "v=DKIM1; p=NEXT", Sealed: []byte("SEALED"), CreatedAt: t0, SeenAt: t0}
	return sender.Rotation{Keys: []relay.DKIMKey{k}, Text: "It is waited for."}, f.edit(by, id, fmt.Sprintf("rotate now=%v", o.Now), func(*relay.Domain) {})
}

func (f *fakeDomains) Cancel(_ context.Context, by store.By, id relay.DomainID) error {
	return f.edit(by, id, "cancel rotation", func(*relay.Domain) {})
}

func (f *fakeDomains) ImportKey(_ context.Context, by store.By, id relay.DomainID, selector string, pem []byte) error {
	if !strings.Contains(string(pem), "PRIVATE KEY") {
		return &relay.Error{Kind: relay.Invalid, Field: "private_key", Public: "This is no private key in PEM."}
	}
	k := relay.DKIMKey{Domain: id, Selector: selector, Algorithm: relay.DKIMRSA, Bits: 2048, Imported: true, Record: "v=DKIM1; p=NEW", Sealed: []byte("SEALED"), CreatedAt: t0}
	return f.edit(by, id, "import "+selector, func(*relay.Domain) { f.keys[id] = append(f.keys[id], k) })
}

func (f *fakeDomains) ExportKey(_ context.Context, by store.By, id relay.DomainID, selector string) ([]byte, error) {
	if !slices.ContainsFunc(f.keys[id], func(k relay.DKIMKey) bool { return k.Selector == selector }) {
		return nil, relay.E(relay.NotFound, "There is no such selector.")
	}
	return []byte("-----BEGIN PRIVATE KEY-----"), f.edit(by, id, "export "+selector, func(*relay.Domain) {})
}

func (f *fakeDomains) SetDKIMKeyActive(_ context.Context, by store.By, id relay.DomainID, selector string, active bool) error {
	return f.edit(by, id, fmt.Sprintf("selector %s %v", selector, active), func(*relay.Domain) {
		for i := range f.keys[id] {
			if f.keys[id][i].Selector == selector {
				f.keys[id][i].Active = active
			}
		}
	})
}

func (f *fakeDomains) Domains(_ context.Context, account relay.AccountID) (out []relay.Domain, err error) {
	for _, d := range slices.Backward(f.rows) { // in no order that an answer could rely on
		if d.Account == account && d.DeletedAt.IsZero() {
			out = append(out, d)
		}
	}
	return out, f.w.fail
}

func (f *fakeDomains) DomainNumbered(_ context.Context, number int64) (relay.Domain, error) {
	for _, d := range f.rows {
		if d.Number == number && d.DeletedAt.IsZero() {
			return d, f.w.fail
		}
	}
	return relay.Domain{}, noDomain()
}

func (f *fakeDomains) DomainCheck(_ context.Context, id relay.DomainID) (relay.DomainCheck, error) {
	if c, ok := f.checks[id]; ok {
		return c, f.w.fail
	}
	return relay.DomainCheck{}, relay.E(relay.NotFound, "It was never checked.")
}

func (f *fakeDomains) DKIMKeys(_ context.Context, id relay.DomainID) ([]relay.DKIMKey, error) {
	return f.keys[id], f.w.fail
}

// have makes a domain of a tenant, without anybody asking for it, in the place of
// one of that name that the account had.
func (f *fakeDomains) have(of relay.Tenant, name string, change ...func(*relay.Domain)) relay.Domain {
	f.w.t.Helper()
	for i := range f.rows {
		if f.rows[i].Account == of.Account && f.rows[i].Name == name {
			f.rows[i].DeletedAt = t0
		}
	}
	_, _, err := f.Add(context.Background(), store.By{Who: "test"}, sender.NewDomain{Account: of.Account, Subuser: of.Subuser, Name: name})
	if err != nil {
		f.w.t.Fatal(err)
	}
	f.w.changes = f.w.changes[:len(f.w.changes)-1]
	for _, ch := range change {
		ch(&f.rows[len(f.rows)-1])
	}
	return f.rows[len(f.rows)-1]
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

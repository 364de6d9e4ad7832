package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Source is where facts come from; *store.Store is one.
type Source interface {
	Account(ctx context.Context, id relay.AccountID) (relay.Account, error)
	Accounts(ctx context.Context) ([]relay.Account, error)
	Subusers(ctx context.Context, account relay.AccountID) ([]relay.Subuser, error)
	Keys(ctx context.Context, account relay.AccountID) ([]relay.Key, error)
	Users(ctx context.Context, account relay.AccountID) ([]relay.User, error)
	Links(ctx context.Context, account relay.AccountID, kinds ...relay.LinkKind) ([]relay.Link, error)
	Domains(ctx context.Context, account relay.AccountID) ([]relay.Domain, error)
	AccountChecks(ctx context.Context, account relay.AccountID, fn func(relay.DomainCheck)) error
	AccountDKIMKeys(ctx context.Context, account relay.AccountID) ([]relay.DKIMKey, error)
	AccessList(ctx context.Context, t relay.Tenant) (relay.AccessList, error)
	KeyClients(ctx context.Context, account relay.AccountID, since time.Time) ([]store.KeyClientUse, time.Time, error)
	VerifyChanges(ctx context.Context, account relay.AccountID) (store.Proof, error)
	AuditSchedule(ctx context.Context, account relay.AccountID) (store.AuditSchedule, error)
	WatchSettings(ctx context.Context, account relay.AccountID) (relay.WatchSettings, error)
	WatchFindings(ctx context.Context, f store.WatchFilter) ([]relay.WatchFinding, error)
	EngineVersion(ctx context.Context) (name, version, source string, err error)
}

// Sources is all that Collect reads.
type Sources struct {
	Store Source
	// Settings are those of the installation that are weaker than recommended.
	Settings func() []Setting
	// Components are parts of the program that age, without the database.
	Components func() []Component
	// Exported reports whether an account's records go to another system; nil: nobody
	// knows.
	Exported func(ctx context.Context, account relay.AccountID) (bool, error)
}

// Collect reads the facts about an account as of now. The parts are read one after
// the other: what changes meanwhile may be in some and not in others.
func Collect(ctx context.Context, s Sources, account relay.AccountID, now time.Time) (*Facts, error) {
	f := &Facts{At: now.UTC().Truncate(time.Second)}
	c := &collector{ctx: ctx, s: s, f: f}
	var err error
	if f.Account, err = s.Store.Account(ctx, account); err != nil {
		return nil, fmt.Errorf("audit account %s: %w", account, err)
	}
	for _, part := range []func() error{c.schedule, c.credentials, c.people, c.clients, c.domains, c.lists, c.trail, c.watch, c.installation} {
		if err := part(); err != nil {
			return nil, fmt.Errorf("audit account %s: %w", account, err)
		}
	}
	return f, nil
}

type collector struct {
	ctx context.Context //nolint:containedctx // of one call of Collect
	s   Sources
	f   *Facts
}

func (c *collector) schedule() error {
	row, err := c.s.Store.AuditSchedule(c.ctx, c.f.Account.ID)
	if err != nil {
		return err
	}
	if c.f.Schedule, err = scheduleOf(row); err != nil {
		return err
	}
	c.f.Options = c.f.Schedule.Options.Filled()
	return nil
}

// scheduleOf reads what the store keeps of a schedule.
func scheduleOf(row store.AuditSchedule) (Schedule, error) {
	s := Schedule{Every: Every(row.Every), To: row.To, NextAt: row.NextAt, LastAt: row.LastAt}
	if s.Every == "" {
		s.Every = Never
	}
	if len(row.Options) > 0 {
		if err := json.Unmarshal(row.Options, &s.Options); err != nil {
			return s, fmt.Errorf("options of the audit: %w", err)
		}
	}
	s.Options = s.Options.Filled()
	return s, nil
}

func (c *collector) credentials() (err error) {
	if c.f.Subusers, err = c.s.Store.Subusers(c.ctx, c.f.Account.ID); err != nil {
		return err
	}
	c.f.Keys, err = c.s.Store.Keys(c.ctx, c.f.Account.ID)
	return err
}

func (c *collector) people() (err error) {
	if c.f.Users, err = c.s.Store.Users(c.ctx, c.f.Account.ID); err != nil {
		return err
	}
	c.f.Links, err = c.s.Store.Links(c.ctx, c.f.Account.ID, relay.LinkSetup, relay.LinkInvite)
	return err
}

func (c *collector) clients() error {
	uses, since, err := c.s.Store.KeyClients(c.ctx, c.f.Account.ID, c.f.At.Add(-days(c.f.Options.LoginDays)))
	if err != nil {
		return err
	}
	c.f.LoginsSince = since
	c.f.Clients = make([]Client, len(uses))
	for i, u := range uses {
		c.f.Clients[i] = Client{
			Key: u.Key, Protocol: u.Protocol, Addr: u.Addr, Helo: u.Helo, Mechanism: u.Mechanism, TLS: u.TLS, First: u.First, Last: u.Last, Logins: u.Logins,
		}
	}
	return nil
}

func (c *collector) domains() error {
	all, err := c.s.Store.Domains(c.ctx, c.f.Account.ID)
	if err != nil {
		return err
	}
	at := make(map[relay.DomainID]int, len(all))
	for _, d := range all {
		at[d.ID] = len(c.f.Domains)
		c.f.Domains = append(c.f.Domains, DomainFacts{Domain: d})
	}
	err = c.s.Store.AccountChecks(c.ctx, c.f.Account.ID, func(k relay.DomainCheck) {
		if i, ok := at[k.Domain]; ok {
			c.f.Domains[i].Check = &DomainCheck{At: k.At, Valid: k.Valid, Unknown: k.Unknown, Policy: k.Policy, SPFAligned: k.SPFAligned, DKIMAligned: k.DKIMAligned}
		}
	})
	if err != nil {
		return err
	}
	keys, err := c.s.Store.AccountDKIMKeys(c.ctx, c.f.Account.ID)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if i, ok := at[k.Domain]; ok {
			c.f.Domains[i].Keys = append(c.f.Domains[i].Keys, k)
		}
	}
	return nil
}

// lists reads the account's list and those of subusers that are there.
func (c *collector) lists() error {
	tenants := []relay.Tenant{{Account: c.f.Account.ID}}
	for i := range c.f.Subusers {
		if s := &c.f.Subusers[i]; s.DeletedAt.IsZero() {
			tenants = append(tenants, relay.Tenant{Account: s.Account, Subuser: s.ID})
		}
	}
	for _, t := range tenants {
		l, err := c.s.Store.AccessList(c.ctx, t)
		if err != nil {
			return err
		}
		c.f.Lists = append(c.f.Lists, l)
	}
	return nil
}

func (c *collector) trail() (err error) {
	if c.f.Trail, err = c.prove(c.f.Account.ID); err != nil {
		return err
	}
	if c.s.Exported != nil {
		yes, err := c.s.Exported(c.ctx, c.f.Account.ID)
		if err != nil {
			return err
		}
		c.f.Exported = &yes
	}
	return nil
}

// The bounds of open findings of the watch that are read: the newest ones.
const (
	watchPage  = 1000
	watchPages = 20
)

// watch reads how the account is watched, and which findings wait for somebody.
func (c *collector) watch() (err error) {
	w := &c.f.Watch
	if w.Settings, err = c.s.Store.WatchSettings(c.ctx, c.f.Account.ID); err != nil {
		return err
	}
	w.Settings.Secrets = nil // nothing of the report's
	of := store.WatchFilter{Account: c.f.Account.ID, States: []relay.WatchState{relay.WatchOpen}, Limit: watchPage}
	for range watchPages {
		all, err := c.s.Store.WatchFindings(c.ctx, of)
		if err != nil {
			return err
		}
		for _, v := range all {
			if v.Severity == relay.WatchCritical || v.AnswerError != "" {
				v.Evidence = relay.WatchEvidence{}
				w.Open = append(w.Open, v)
			}
		}
		if len(all) < watchPage {
			return nil
		}
		of.Before = all[len(all)-1].ID
	}
	return nil
}

// prove checks a chain of changes. What exactly does not fit may be a number of
// the whole installation, so the report does not say it.
func (c *collector) prove(id relay.AccountID) (Trail, error) {
	p, err := c.s.Store.VerifyChanges(c.ctx, id)
	switch {
	case errors.Is(err, store.ErrDamaged):
		return Trail{Records: p.Records, Problem: "a record was altered, removed or put in; the operator's check says which"}, nil
	case err != nil:
		return Trail{}, err
	}
	return Trail{Valid: true, Records: p.Records}, nil
}

// installation is part of the report of the first account alone: it is the
// operator's own, and what others should not know of the host is not theirs to
// mend, either. Making another account changes nobody's score.
func (c *collector) installation() error {
	accounts, err := c.s.Store.Accounts(c.ctx)
	if err != nil {
		return err
	}
	first := relay.Account{}
	for _, a := range accounts {
		if !a.System && (first.ID.IsZero() || a.Number < first.Number) {
			first = a
		}
	}
	if first.ID != c.f.Account.ID {
		return nil
	}
	in := &Installation{}
	if c.s.Settings != nil {
		in.Settings = c.s.Settings()
	}
	if c.s.Components != nil {
		in.Components = c.s.Components()
	}
	name, version, source, err := c.s.Store.EngineVersion(c.ctx)
	if err != nil {
		return err
	}
	if name == ComponentSQLite {
		in.Components = append(in.Components, SQLiteComponent(version, source))
	} else {
		in.Components = append(in.Components, PostgresComponent(version))
	}
	if in.Trail, err = c.prove(relay.AccountID{}); err != nil {
		return err
	}
	c.f.Installation = in
	return nil
}

package app

import (
	"context"
	"time"

	"postern/internal/api"
	"postern/internal/api/v3"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
	"postern/internal/submit"
)

// services are what the administration acts on.
func (a *App) services() api.Services {
	return api.Services{
		Accounts: records{a.store}, Subusers: records{a.store}, Keys: records{a.store}, Pools: records{a.store}, Queue: queueService{a},
		History: a.store, System: a, Hostname: a.opt.Config.Hostname, Now: time.Now,
	}
}

// apiServices are what the HTTP API acts on, for one listener.
func (a *App) apiServices(listener string) v3.Services {
	c := a.opt.Config
	var issuers []string
	for _, i := range c.Issuers {
		issuers = append(issuers, i.URL)
	}
	return v3.Services{
		Auth: a.auth, Directory: a.directory, Accounts: a.store, Answers: a.store, State: a.apiState, Listener: listener,
		KeyRate: c.Auth.RequestsPerMinute, AccountRate: 2 * c.Auth.RequestsPerMinute,
		CoreServices: v3.CoreServices{
			Keys: a.store, Settings: a.store, Ledger: a.ledger, Uses: a.store,
			SealCRAM:  func(k secret.Key) ([]byte, error) { return secret.SealCRAM(a.sealer, k) },
			KeyPrefix: a.keyPrefix(),
			MaxKeys:   c.Auth.MaxKeys, AppPasswords: c.Auth.AppPasswords, Issuers: issuers,
		},
		TenantServices: v3.TenantServices{
			Subusers: subusers{a.store, a}, Warmups: a.store, AccessLists: a.store, ShutsOut: a.shutsOut, Bans: a.guard, RecordChange: a.store.RecordChange, Records: a.store,
			CursorKey: a.sealer.Derive("record cursor"), Tokens: a.auth, Revoked: a.store,
		},
		PeopleServices:  a.peopleServices(),
		AuditServices:   v3.AuditServices{Audit: a.audits},
		ConsoleServices: a.consoleServices(),
		WatchServices:   a.watchServices(),
		DomainServices:  v3.DomainServices{Domains: a.senders.domains, DomainStore: a.store, Letter: a.letter},
		ReportServices:  v3.ReportServices{Reports: a.senders.reports},
		SenderServices:  v3.SenderServices{Singles: a.senders.singles, SenderRows: a.store, ProvenDomains: a.directory.HasDomain},
		MailServices: v3.MailServices{
			Submit: currentSubmit{a}, Senders: a.directory, Recheck: a.auth, Batches: a.batches, Hostname: c.Hostname, Budget: a.mailRoom,
		},
	}
}

// subusers is the store, and ends the queued mail of those that are deleted.
type subusers struct {
	*store.Store
	a *App
}

// DeleteSubuser deletes, and drops what is queued in the background: it is the
// scheduler's to drop it in any case, except what is held.
func (s subusers) DeleteSubuser(ctx context.Context, by store.By, id relay.SubuserID, at time.Time) error {
	sub, err := s.Subuser(ctx, id)
	if err != nil {
		return err
	}
	if err := s.Store.DeleteSubuser(ctx, by, id, at); err != nil {
		return err
	}
	s.a.dropping.Go(func() {
		if s.a.directory.Fresh(s.a.running, time.Now()) {
			s.a.dropMail(s.a.running, relay.Tenant{Account: sub.Account, Subuser: id})
		}
	})
	return nil
}

// currentSubmit is the way in with the settings of the last reload.
type currentSubmit struct{ a *App }

func (c currentSubmit) CheckRecipient(p *relay.Principal, addr smtp.Address) error {
	return c.a.way.Load().submit.CheckRecipient(p, addr)
}

func (c currentSubmit) May(p *relay.Principal, m sender.Mail, src relay.Source) (sender.Decision, error) {
	return c.a.way.Load().submit.May(p, m, src)
}

func (c currentSubmit) Begin(ctx context.Context, p *relay.Principal, env submit.Envelope) (*submit.Incoming, error) {
	if err := c.a.gate.open(); err != nil {
		return nil, err
	}
	return c.a.way.Load().submit.Begin(ctx, p, env)
}

func (c currentSubmit) CommitAll(ctx context.Context, p *relay.Principal, ins []*submit.Incoming, idem *store.Idempotency) error {
	return c.a.way.Load().submit.CommitAll(ctx, p, ins, idem)
}

// records is the store as the administration asks it: on or off, and of all
// accounts.
type records struct{ *store.Store }

// since is the moment of a switch: now for off, never for on.
func since(disabled bool) time.Time {
	if !disabled {
		return time.Time{}
	}
	return time.Now().UTC()
}

func (r records) SetAccountDisabled(ctx context.Context, by store.By, id relay.AccountID, disabled bool) error {
	return r.Store.SetAccountDisabled(ctx, by, id, since(disabled))
}

func (r records) SetPoolDisabled(ctx context.Context, by store.By, id relay.PoolID, disabled bool) error {
	return r.Store.SetPoolDisabled(ctx, by, id, since(disabled))
}

func (r records) Subusers(ctx context.Context) ([]relay.Subuser, error) {
	return r.Store.Subusers(ctx, relay.AccountID{})
}

func (r records) Keys(ctx context.Context) ([]relay.Key, error) {
	return r.Store.Keys(ctx, relay.AccountID{})
}

// queueService joins the queue's memory and the store's rows for a person: what
// is held or bounced is first called back from memory.
type queueService struct{ a *App }

func (s queueService) Messages(ctx context.Context, f store.MessageFilter) ([]store.Queued, error) {
	return s.a.store.Messages(ctx, f)
}

func (s queueService) Message(ctx context.Context, id relay.MessageID) (store.Queued, error) {
	return s.a.store.Message(ctx, id)
}

func (s queueService) Why(ctx context.Context, id relay.MessageID) (any, error) {
	return s.a.queue.Why(ctx, id)
}

func (s queueService) recall(ctx context.Context, ids []relay.MessageID) error {
	for _, id := range ids {
		if _, err := s.a.queue.Recall(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s queueService) Hold(ctx context.Context, by store.By, ids []relay.MessageID, reason string) (int64, error) {
	// The hold comes first: what is called back is then not claimed again.
	done, err := s.a.store.Hold(ctx, by, store.MessageFilter{IDs: ids}, reason)
	if err != nil {
		return done.Messages, err
	}
	return done.Messages, s.recall(ctx, ids)
}

func (s queueService) Release(ctx context.Context, by store.By, ids []relay.MessageID) (int64, error) {
	done, err := s.a.store.Release(ctx, by, store.MessageFilter{IDs: ids})
	s.a.queue.Due(done.Lanes)
	return done.Messages, err
}

func (s queueService) Retry(ctx context.Context, by store.By, ids []relay.MessageID) (int64, error) {
	done, err := s.a.store.Retry(ctx, by, store.MessageFilter{IDs: ids})
	s.a.queue.Due(done.Lanes)
	return done.Messages, err
}

func (s queueService) Bounce(ctx context.Context, by store.By, ids []relay.MessageID, reason string) (n int64, err error) {
	for _, id := range ids {
		k, err := s.a.queue.Bounce(ctx, id, by.Who, reason)
		if err != nil && relay.KindOf(err) != relay.NotFound {
			return n, err
		}
		if k > 0 {
			n++
		}
	}
	return n, nil
}

// Drain closes or opens submission; what is queued goes on leaving.
func (s queueService) Drain(ctx context.Context, by store.By, on bool) error {
	if s.a.gate.closed.Swap(on) == on {
		return nil
	}
	s.a.log.Info("app: drain", "on", on, "by", by.Who)
	return s.a.recordDone(ctx, by, "queue.drain", "queue", map[string]any{"draining": on})
}

// Status implements api.System.
func (a *App) Status(ctx context.Context) (api.Status, error) {
	st := api.Status{
		Version: a.opt.Version, Hostname: a.opt.Config.Hostname, Epoch: a.store.Epoch(), StartedAt: a.started.UTC(),
		Draining: a.gate.closed.Load(),
	}
	if err := a.Ready(ctx); err != nil {
		st.Reason = err.Error()
	} else {
		st.Ready = true
	}
	depth, err := a.store.Stats(ctx)
	if err != nil {
		return st, err
	}
	st.Queued, st.Held, st.Quarantined, st.Recipients = depth.Messages, depth.Held, depth.Quarantined, depth.Waiting+depth.Leased
	for _, l := range a.listeners {
		l.mu.Lock()
		st.Sessions += int64(l.server.Sessions())
		l.mu.Unlock()
	}
	_, st.Attempts, _ = a.queue.Depth()
	if c := a.certs.Certificate(); c != nil && c.Leaf != nil {
		st.CertificateExpiresAt = c.Leaf.NotAfter
	}
	st.Domains, st.Zone = a.countDomains(), a.zoneStatus()
	if st.Consumers, err = a.consumers(ctx, time.Now()); err != nil {
		// The rest is worth knowing all the more.
		a.log.Warn("app: how far the readers of the logs are is not known", "error", err)
	}
	return st, nil
}

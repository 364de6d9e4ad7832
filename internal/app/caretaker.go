package app

import (
	"context"
	"time"

	"postern/internal/identity"
	"postern/internal/relay"
	"postern/internal/store"
)

const (
	// trialsEvery is how often trials of access lists are looked at. An ended one
	// counts no more from its very end; this only writes it down.
	trialsEvery = 10 * time.Second
	// remindersEvery is how often keys are looked at that end soon, and what reads the
	// logs.
	remindersEvery = time.Hour
)

// takeCare does what is due with time: it ends trials of access lists, reminds of
// keys that end soon, and tells of what reads the logs and stands.
func (a *App) takeCare(ctx context.Context) error {
	tick := time.NewTicker(trialsEvery)
	defer tick.Stop()
	var reminded time.Time
	for _, t := range a.directory.DeletedTenants() {
		a.dropMail(ctx, t) // what a stop kept from being dropped
	}
	for {
		now := time.Now()
		a.endTrials(ctx, now)
		a.measureWatch(ctx, now)
		if now.Sub(reminded).Abs() >= remindersEvery {
			reminded = now
			if n, err := a.store.PruneSessions(ctx, now); err != nil && ctx.Err() == nil {
				a.log.Warn("app: ended sessions and links were not removed; it is tried again in an hour", "error", err)
			} else if n > 0 {
				a.log.Info("app: removed ended sessions and links", "rows", n)
			}
			if err := a.remind(ctx, now); err != nil && ctx.Err() == nil {
				a.log.Warn("app: reminders of ending keys were not sent; they are tried again in an hour", "error", err)
			}
			if err := a.tellStanding(ctx, now); err != nil && ctx.Err() == nil {
				a.log.Warn("app: whether what reads the logs stands could not be looked at; it is tried again in an hour", "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// dropMail ends what a deleted subuser has in the queue, held mail too.
func (a *App) dropMail(ctx context.Context, t relay.Tenant) {
	waiting, err := a.store.References(ctx, store.MessageFilter{Account: t.Account, Subuser: t.Subuser})
	if err == nil && waiting == 0 {
		return
	}
	n := 0
	if err == nil {
		n, err = a.queue.Drop(ctx, t)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		a.log.Warn("app: mail of a deleted subuser was not dropped; it is tried again at the next start", "subuser", t.Subuser.String(), "error", err)
		return
	}
	a.log.Info("app: dropped the mail of a deleted subuser", "subuser", t.Subuser.String(), "recipients", n)
}

// endTrials puts back the lists of before, where nobody confirmed the new ones.
func (a *App) endTrials(ctx context.Context, now time.Time) {
	for _, l := range a.directory.EndedTrials(now) {
		// Read anew: somebody may have confirmed it, or another node been faster.
		current, err := a.store.AccessList(ctx, l.Tenant)
		if err != nil || current.Before == nil || current.At(now) == &current {
			continue
		}
		before := *current.Before
		before.Tenant = l.Tenant
		_, err = a.store.SwapAccessList(ctx, store.By{Who: "postern", From: "trial ended"}, current, before)
		if relay.KindOf(err) == relay.Conflict {
			continue // confirmed at this very moment
		}
		if err != nil {
			a.log.Warn("app: an ended trial was not written down", "account", l.Account.String(), "error", err)
			continue
		}
		a.alert(l.Tenant, relay.KeyID{}, relay.Alert{
			Kind: relay.AlertAccess,
			Text: "The trial of IP access rules ended without being confirmed; the rules of before count again. Set them anew, and confirm them in time.",
		})
	}
}

// remind tells the owners of keys that end soon, by an alert and by mail.
func (a *App) remind(ctx context.Context, now time.Time) error {
	all, err := a.store.Keys(ctx, relay.AccountID{})
	if err != nil {
		return err
	}
	keys := make([]*relay.Key, len(all))
	for i := range all {
		keys[i] = &all[i]
	}
	for _, r := range identity.Expiring(keys, now) {
		tenant := relay.Tenant{Account: r.Key.Account, Subuser: r.Key.Subuser}
		if ok, _ := a.directory.Sending(tenant); !ok {
			continue // nobody sends with it anyway
		}
		// Noted first: a second letter is worse than none when this fails.
		if err := a.store.SetKeyReminded(ctx, r.Key.ID, now); err != nil {
			return err
		}
		alert := r.Alert()
		a.alert(tenant, r.Key.ID, alert)
		if err := a.writeToOwner(ctx, tenant, "An API key ends soon: "+r.Key.Name, alert.Text); err != nil {
			a.log.Warn("app: a reminder could not be mailed; the alert stands", "key", r.Key.ID.String(), "error", err)
		}
	}
	return nil
}

// writeToOwner mails the person who answers for a tenant.
func (a *App) writeToOwner(ctx context.Context, t relay.Tenant, subject, text string) error {
	account, ok := a.directory.Account(t.Account)
	if !ok {
		return nil
	}
	to := account.OwnerEmail
	if s, ok := a.directory.Subuser(t.Subuser); ok && s.Email != "" {
		to = s.Email
	}
	return a.letter(ctx, to, subject, text)
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"postern/internal/relay"
)

const (
	selectMessages   = `SELECT ` + messageColumns + ` FROM messages m`
	selectRecipients = `SELECT ` + recipientColumns + ` FROM recipients r WHERE r.message_id = $1 ORDER BY r.n`
)

// filterWhere turns a filter into conditions on messages m.
func filterWhere(f MessageFilter) *where {
	w := &where{}
	for _, c := range []struct {
		cond string
		id   relay.ID
	}{
		{"m.account_id = ?", f.Account.ID}, {"m.subuser_id = ?", f.Subuser.ID}, {"m.key_id = ?", f.Key.ID},
		{"m.pool_id = ?", f.Pool.ID}, {"m.domain_id = ?", f.Domain.ID}, {"m.id > ?", f.After.ID},
	} {
		if !c.id.IsZero() {
			w.and(c.cond, blob(c.id))
		}
	}
	if f.State != "" {
		w.and("m.state = ?", string(f.State))
	}
	if f.Sender != "" {
		w.and("(m.header_from = ? OR m.envelope_from = ?)", octets(f.Sender), octets(f.Sender))
	}
	if f.Site != "" {
		w.and("EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id AND r.site = ?)", f.Site)
	}
	if f.Recipient != "" {
		w.and("EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id AND r.address = ?)", octets(f.Recipient))
	}
	return w
}

// Messages lists queued messages with their recipients, in the order of their
// ids, which is that of acceptance. A damaged row is listed as far as it can be
// read, as quarantined. With IDs set, only those are looked at.
func (s *Store) Messages(ctx context.Context, f MessageFilter) ([]Queued, error) {
	if len(f.IDs) > 0 {
		return s.messagesByID(ctx, f)
	}
	w := filterWhere(f)
	return s.queued(ctx, w, page(f.Limit, maxMessages))
}

func (s *Store) messagesByID(ctx context.Context, f MessageFilter) ([]Queued, error) {
	var all []Queued
	for _, id := range f.IDs {
		w := filterWhere(f)
		w.and("m.id = ?", blob(id.ID))
		q, err := s.queued(ctx, w, 1)
		if err != nil {
			return nil, err
		}
		all = append(all, q...)
	}
	return all, nil
}

func (s *Store) queued(ctx context.Context, w *where, limit int) ([]Queued, error) {
	var all []Queued
	query := selectMessages + w.String() + " ORDER BY m.id LIMIT " + strconv.Itoa(limit)
	err := eachRow(ctx, s.db, query, w.args, func(rows *sql.Rows) error {
		var r messageRow
		if err := rows.Scan(r.into()...); err != nil {
			return err
		}
		m, bad := r.message()
		if bad != nil {
			m.State, m.Reason = relay.MessageQuarantined, "The stored message is damaged."
		}
		all = append(all, Queued{Message: m})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", s.readError(err))
	}
	for i := range all {
		if all[i].Recipients, err = s.recipientsOf(ctx, all[i].Message.ID); err != nil {
			return nil, fmt.Errorf("list recipients: %w", s.readError(err))
		}
	}
	return all, nil
}

func (s *Store) recipientsOf(ctx context.Context, id relay.MessageID) ([]relay.Recipient, error) {
	var all []relay.Recipient
	err := eachRow(ctx, s.db, selectRecipients, []any{blob(id.ID)}, func(rows *sql.Rows) error {
		var r recipientRow
		if err := rows.Scan(r.into()...); err != nil {
			return err
		}
		v, _ := r.recipient() // a damaged one is listed; claims refuse it
		all = append(all, v)
		return nil
	})
	return all, err
}

// Message returns one queued message, or relay.NotFound: its end, if it had
// one, is in MessageHistory.
func (s *Store) Message(ctx context.Context, id relay.MessageID) (Queued, error) {
	w := &where{}
	w.and("m.id = ?", blob(id.ID))
	all, err := s.queued(ctx, w, 1)
	if err != nil {
		return Queued{}, err
	}
	if len(all) == 0 {
		return Queued{}, notFound("message")
	}
	return all[0], nil
}

func (s *Store) shares(ctx context.Context, query string, args ...any) ([]Share, error) {
	var all []Share
	err := eachRow(ctx, s.db, query, args, func(rows *sql.Rows) error {
		var pool, acct, sub []byte
		var sh Share
		var due int64
		if err := rows.Scan(&pool, &sh.Lane.Site, &acct, &sub, &sh.Count, &due); err != nil {
			return err
		}
		sh.Lane.Pool.ID, sh.Tenant.Account.ID, sh.Tenant.Subuser.ID = idOf(pool), idOf(acct), idOf(sub)
		sh.MinDue = timeOf(due)
		all = append(all, sh)
		return nil
	})
	return all, err
}

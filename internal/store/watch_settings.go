package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"postern/internal/relay"
)

const (
	selectWatchSettings = `SELECT account_id, data, secrets FROM watch_settings`
	insertWatchSettings = `INSERT INTO watch_settings (account_id, data, secrets) VALUES ($1, '{}', $2) ON CONFLICT (account_id) DO NOTHING`
	upsertWatchSettings = `INSERT INTO watch_settings (account_id, data, secrets) VALUES ($1, $2, $3)
		ON CONFLICT (account_id) DO UPDATE SET data = excluded.data, secrets = excluded.secrets`
)

// accountWatch is a row of watch_settings.
type accountWatch struct {
	account relay.AccountID
	relay.WatchSettings
}

func (s *Store) scanWatchSettings(r scanner) (accountWatch, error) {
	var v accountWatch
	var acct, sealed []byte
	var data string
	if err := r.Scan(&acct, &data, &sealed); err != nil {
		return v, err
	}
	v.account.ID = idOf(acct)
	if err := unpackJSON(data, &v.WatchSettings, "watch_settings.data"); err != nil {
		return v, err
	}
	if len(sealed) == 0 {
		return v, nil
	}
	plain, err := s.seal.Open(sealed, watchAAD(v.account))
	if err != nil {
		return v, fmt.Errorf("%w: watch_settings.secrets: %w", ErrDamaged, err)
	}
	return v, json.Unmarshal(plain, &v.Secrets)
}

// watchAAD binds sealed secrets to their account.
func watchAAD(account relay.AccountID) []byte { return []byte("watch webhook " + account.String()) }

// WatchSettings returns how an account wants to be watched; of the zero account:
// the operator. The zero settings where nobody said.
func (s *Store) WatchSettings(ctx context.Context, account relay.AccountID) (relay.WatchSettings, error) {
	v, err := s.scanWatchSettings(s.db.QueryRowContext(ctx, selectWatchSettings+` WHERE account_id = $1`, blob(account.ID)))
	if errors.Is(err, sql.ErrNoRows) {
		return relay.WatchSettings{}, nil
	}
	return read(s, "settings of the watch", v.WatchSettings, err)
}

// AllWatchSettings returns the settings of all accounts that have any.
func (s *Store) AllWatchSettings(ctx context.Context) (map[relay.AccountID]relay.WatchSettings, error) {
	rows, err := list(ctx, s.db, s.scanWatchSettings, selectWatchSettings)
	if err != nil {
		return nil, fmt.Errorf("read settings of the watch: %w", s.readError(err))
	}
	out := make(map[relay.AccountID]relay.WatchSettings, len(rows))
	for _, r := range rows {
		out[r.account] = r.WatchSettings
	}
	return out, nil
}

// SwapWatchSettings sets how an account wants to be watched, and records who said
// so, without the secrets. It raises no revision. relay.Conflict with ErrMeanwhile:
// the settings are not was any more.
func (s *Store) SwapWatchSettings(ctx context.Context, by By, account relay.AccountID, was, v relay.WatchSettings) error {
	data, err := json.Marshal(v) // without the secrets
	if err != nil {
		return fmt.Errorf("set settings of the watch: %w", err)
	}
	sealed := noBlob
	if len(v.Secrets) > 0 {
		plain, err := json.Marshal(v.Secrets)
		if err != nil {
			return fmt.Errorf("set settings of the watch: %w", err)
		}
		if sealed, err = s.seal.Seal(plain, watchAAD(account)); err != nil {
			return fmt.Errorf("seal secrets of a webhook: %w", err)
		}
	}
	err = s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		before, err := s.heldWatchSettings(ctx, tx, account, &was)
		if err != nil {
			return err
		}
		if err := s.record(ctx, tx, by, note{account: account, action: "watch.settings", subject: "settings of the watch", before: before, after: v}); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, upsertWatchSettings, blob(account.ID), text(string(data)), sealed)
		return err
	})
	return changeError(err)
}

// heldWatchSettings locks an account's settings and returns them for the record, if
// they are was. Where nobody has said anything yet, a row is made to be locked: of
// two who say something first, one would not see the other.
func (s *Store) heldWatchSettings(ctx context.Context, tx *sql.Tx, account relay.AccountID, was *relay.WatchSettings) (before any, err error) {
	res, err := tx.ExecContext(ctx, insertWatchSettings, blob(account.ID), noBlob)
	if err != nil {
		return nil, err
	}
	made, err := res.RowsAffected()
	if err != nil {
		return nil, err
	}
	old, err := s.scanWatchSettings(tx.QueryRowContext(ctx, selectWatchSettings+` WHERE account_id = $1`+s.forUpdate(), blob(account.ID)))
	if err != nil {
		return nil, err
	}
	if made == 0 {
		before = old.WatchSettings
	}
	then, thenErr := json.Marshal(was)
	now, nowErr := json.Marshal(&old.WatchSettings)
	if err := errors.Join(thenErr, nowErr); err != nil {
		return nil, err
	}
	if !bytes.Equal(then, now) || !slices.EqualFunc(was.Secrets, old.Secrets, bytes.Equal) {
		return nil, meanwhile("How the account is watched")
	}
	return before, nil
}

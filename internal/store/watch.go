package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// The watch's consumers of the logs.
const (
	WatchEvents = "watch"
	WatchLogins = "watch.logins"
	// These read ahead of the two before, for what cannot wait.
	WatchEventsAhead = "watch.ahead"
	WatchLoginsAhead = "watch.logins.ahead"
)

// keepFindings is how long findings, and baselines of keys that nobody uses, are
// kept.
const keepFindings = 400 * 24 * time.Hour

var (
	stmtWatchBaseline = newStmt(`INSERT INTO watch_baselines (key_id, data, updated_at) VALUES ($1, $2, $3)
		ON CONFLICT (key_id) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at`)
	// What people decided stays decided: the watch hears of it, and does not open it
	// again. What was answered stays so until it is raised.
	stmtWatchFinding = newStmt(`INSERT INTO watch_findings (id, account_id, subuser_id, key_id, rule, severity, state, first_at, last_at, data, answer,
		decided_at, decided_by, taken) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (id) DO UPDATE SET severity = excluded.severity, state = excluded.state, last_at = excluded.last_at, data = excluded.data, answer = excluded.answer,
		answered_at = CASE WHEN ` + raisedFinding + ` THEN 0 ELSE watch_findings.answered_at END,
		answer_error = CASE WHEN ` + raisedFinding + ` THEN '' ELSE watch_findings.answer_error END,
		decided_at = excluded.decided_at, decided_by = excluded.decided_by, taken = excluded.taken WHERE watch_findings.state = 'open'`)
	// The domain may have been deleted between the alert and the reading of it: what is
	// found about it then ends at once, as if it had been found before.
	stmtWatchDomain = newStmt(`UPDATE watch_findings SET state = 'ended', decided_at = $1, decided_by = 'watch', taken = 0 WHERE id = $2 AND state = 'open'
		AND NOT EXISTS (SELECT 1 FROM domains WHERE account_id = $3 AND subuser_id = $4 AND name = $5 AND deleted_at = 0)`)
	stmtWatchTaken = newStmt(`UPDATE watch_findings SET taken = 1 WHERE id = $1`)
)

const (
	// raisedFinding: it is worse, or is to be answered more strictly. It is answered anew.
	raisedFinding   = `watch_findings.severity <> excluded.severity OR watch_findings.answer <> excluded.answer`
	selectBaseline  = `SELECT key_id, data FROM watch_baselines WHERE key_id = $1`
	dropFindings    = `DELETE FROM watch_findings WHERE last_at < $1`
	dropBaselines   = `DELETE FROM watch_baselines WHERE updated_at < $1 AND length(key_id) > 0`
	findingColumns  = `data, state, answer, answered_at, answer_error, undo, bent, decided_at, decided_by, teach`
	selectFindings  = `SELECT ` + findingColumns + ` FROM watch_findings`
	openFindings    = selectFindings + ` WHERE state = 'open' ORDER BY id`
	openDomains     = selectFindings + ` WHERE state = 'open' AND rule = 'domain' AND account_id = $1 AND subuser_id = $2 ORDER BY id`
	untakenFindings = selectFindings + ` WHERE state <> 'open' AND taken = 0 ORDER BY id LIMIT 1000`
	// One is answered anew when it was not, and an answer that failed is tried again.
	dueFindings   = selectFindings + ` WHERE state = 'open' AND answered_at = 0 AND answer <> 'record' ORDER BY id DESC LIMIT 1000`
	bentFindings  = selectFindings + ` WHERE key_id = $1 AND undo <> '' ORDER BY id`
	undoneFinding = selectFindings + ` WHERE state IN ('dismissed', 'ended') AND undo <> '' ORDER BY id LIMIT 200`
	setAnswered   = `UPDATE watch_findings SET answered_at = $1, answer_error = $2 WHERE id = $3 AND severity = $4 AND answer = $5`
	setUndo       = `UPDATE watch_findings SET undo = $1 WHERE id = $2`
	bendFinding   = `UPDATE watch_findings SET undo = $1, bent = $2 WHERE id = $3 AND state = 'open'`
	decideFinding = `UPDATE watch_findings SET state = $1, decided_at = $2, decided_by = $3, teach = $4, taken = 0 WHERE id = $5 AND state = 'open'`
)

// WatchCommit is what the watch made of a piece of the logs. All of it commits
// together, with the places that it has come to.
type WatchCommit struct {
	Keys     map[relay.KeyID][]byte // baselines; under the zero id, of failed logins
	Findings []relay.WatchFinding
	Taken    []relay.WatchID // decisions that it knows of now
	// Read is how far it read, by consumer; one that is absent is where it was.
	Read map[string]Cursor
}

// PutWatch keeps what the watch learned and found, with its places in the logs.
// A finding about a domain that the tenant has no more is kept as ended, and the watch
// hears of that as of a decision. It waits behind mail, and for its commit. ErrLeaseLost: another node was there
// first, and nothing of it is kept.
func (s *Store) PutWatch(ctx context.Context, c WatchCommit) error {
	o := newOp("put watch")
	o.grows = true
	now := s.now()
	for id, data := range c.Keys {
		o.bytes += len(data)
		o.add(stmtWatchBaseline, blob(id.ID), filled(data), now)
	}
	for i := range c.Findings {
		f := c.Findings[i]
		row, err := json.Marshal(watchData(f))
		if err != nil {
			return fmt.Errorf("put watch: %w", err)
		}
		o.bytes += len(row)
		o.add(stmtWatchFinding, blob(f.ID.ID), blob(f.Account.ID), blob(f.Subuser.ID), blob(f.Key.ID), text(string(f.Rule)), string(f.Severity), string(f.State),
			micros(f.FirstAt), micros(f.LastAt), text(string(row)), string(f.Answer), micros(f.DecidedAt), text(f.DecidedBy), flag(f.State != relay.WatchOpen))
		if f.Rule == relay.WatchDomain && f.State == relay.WatchOpen {
			o.add(stmtWatchDomain, now, blob(f.ID.ID), blob(f.Account.ID), blob(f.Subuser.ID), text(f.Subject))
		}
	}
	for _, id := range c.Taken {
		o.add(stmtWatchTaken, blob(id.ID))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Read)) {
		s.moveConsumer(o, name, c.Read[name])
	}
	return s.w.doLow(ctx, o)
}

// watchData is a finding without what is in columns.
func watchData(f relay.WatchFinding) relay.WatchFinding {
	f.State, f.Answer, f.AnsweredAt, f.AnswerError, f.Undo = "", "", time.Time{}, "", nil
	f.DecidedAt, f.DecidedBy, f.Teach = time.Time{}, "", false
	return f
}

// WatchBaselines returns what was kept of keys; one of which nothing is kept is
// absent. Under the zero id is what is known of failed logins.
func (s *Store) WatchBaselines(ctx context.Context, keys []relay.KeyID) (map[relay.KeyID][]byte, error) {
	out := make(map[relay.KeyID][]byte, len(keys))
	for _, id := range keys {
		err := eachRow(ctx, s.db, selectBaseline, []any{blob(id.ID)}, func(r *sql.Rows) error {
			var key, data []byte
			if err := r.Scan(&key, &data); err != nil {
				return err
			}
			out[relay.KeyID{ID: idOf(key)}] = data
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read baselines: %w", s.readError(err))
		}
	}
	return out, nil
}

func scanFinding(r scanner) (relay.WatchFinding, error) {
	var f relay.WatchFinding
	var data, state, answer, answerError, undo, by string
	var answered, decided, teach int64
	var bent int64
	if err := r.Scan(&data, &state, &answer, &answered, &answerError, &undo, &bent, &decided, &by, &teach); err != nil {
		return f, err
	}
	if err := unpackJSON(data, &f, "watch_findings.data"); err != nil {
		return f, err
	}
	f.Bent = bent
	f.State, f.Answer, f.AnsweredAt, f.AnswerError = relay.WatchState(state), relay.WatchAnswer(answer), timeOf(answered), answerError
	f.DecidedAt, f.DecidedBy, f.Teach = timeOf(decided), by, teach != 0
	return f, unpackJSON(undo, &f.Undo, "watch_findings.undo")
}

// WatchFilter selects findings, the newest first. Zero members do not restrict.
type WatchFilter struct {
	// Account: of this account; with Operator, those of none (sweeps) instead.
	Account  relay.AccountID
	Operator bool
	// Subuser: of this subuser; with Own, of the account itself alone.
	Subuser  relay.SubuserID
	Own      bool
	Key      relay.KeyID
	Rule     relay.WatchRule
	Severity relay.WatchSeverity
	States   []relay.WatchState
	Since    time.Time     // seen at or after it
	Before   relay.WatchID // page: findings that are older than this one
	Limit    int           // at most 1,000; 0: 100
}

// WatchFindings lists findings.
func (s *Store) WatchFindings(ctx context.Context, f WatchFilter) ([]relay.WatchFinding, error) {
	w := &where{}
	switch {
	case f.Operator:
		w.and("account_id = ?", noBlob)
	case !f.Account.IsZero():
		w.and("account_id = ?", blob(f.Account.ID))
	}
	if f.Own || !f.Subuser.IsZero() {
		w.and("subuser_id = ?", blob(f.Subuser.ID))
	}
	if !f.Key.IsZero() {
		w.and("key_id = ?", blob(f.Key.ID))
	}
	for _, c := range []struct{ cond, value string }{{"rule = ?", string(f.Rule)}, {"severity = ?", string(f.Severity)}} {
		if c.value != "" {
			w.and(c.cond, c.value)
		}
	}
	if len(f.States) > 0 {
		marks, args := make([]string, len(f.States)), make([]any, len(f.States))
		for i, v := range f.States {
			marks[i], args[i] = "?", string(v)
		}
		w.and("state IN ("+strings.Join(marks, ", ")+")", args...)
	}
	if !f.Since.IsZero() {
		w.and("last_at >= ?", micros(f.Since))
	}
	if !f.Before.IsZero() {
		w.and("id < ?", blob(f.Before.ID))
	}
	v, err := list(ctx, s.db, scanFinding, fmt.Sprintf("%s%s ORDER BY id DESC LIMIT %d", selectFindings, w, page(f.Limit, maxMessages)), w.args...)
	return read(s, "findings", v, err)
}

// WatchFinding returns one finding, or relay.NotFound.
func (s *Store) WatchFinding(ctx context.Context, id relay.WatchID) (relay.WatchFinding, error) {
	f, err := one(ctx, s.db, "finding", scanFinding, selectFindings+` WHERE id = $1`, blob(id.ID))
	return read(s, "finding", f, err)
}

// OpenWatch lists all open findings, oldest first.
func (s *Store) OpenWatch(ctx context.Context) ([]relay.WatchFinding, error) {
	v, err := list(ctx, s.db, scanFinding, openFindings)
	return read(s, "open findings", v, err)
}

// UntakenWatch lists decisions that the watch has not heard of, at most 1,000.
func (s *Store) UntakenWatch(ctx context.Context) ([]relay.WatchFinding, error) {
	v, err := list(ctx, s.db, scanFinding, untakenFindings)
	return read(s, "decided findings", v, err)
}

// DueWatch lists open findings whose answer is not done, the newest 1,000.
func (s *Store) DueWatch(ctx context.Context) ([]relay.WatchFinding, error) {
	v, err := list(ctx, s.db, scanFinding, dueFindings)
	return read(s, "findings to answer", v, err)
}

// BentWatch lists the findings whose answer changed a key, and was not undone.
func (s *Store) BentWatch(ctx context.Context, key relay.KeyID) ([]relay.WatchFinding, error) {
	v, err := list(ctx, s.db, scanFinding, bentFindings, blob(key.ID))
	return read(s, "answered findings", v, err)
}

// UndoWatch lists findings that came to nothing and whose answer still stands, at
// most 200.
func (s *Store) UndoWatch(ctx context.Context) ([]relay.WatchFinding, error) {
	v, err := list(ctx, s.db, scanFinding, undoneFinding)
	return read(s, "findings to undo", v, err)
}

// SetWatchAnswered notes that a finding was answered as it was when f was read, or why
// not for good; with the zero time, why not yet. relay.Conflict: it was raised since, or
// is there no more.
func (s *Store) SetWatchAnswered(ctx context.Context, f relay.WatchFinding, at time.Time, problem string) error {
	err := s.setWatch(ctx, setAnswered, micros(at), text(problem), blob(f.ID.ID), string(f.Severity), string(f.Answer))
	if relay.KindOf(err) == relay.NotFound {
		return relay.E(relay.Conflict, "The finding was raised at the same moment.")
	}
	return err
}

// BendWatch keeps what the present answer of a finding is about to change of its key,
// and that it was this answer. relay.Conflict: the finding is not open any more, and
// nobody wants it answered.
func (s *Store) BendWatch(ctx context.Context, f relay.WatchFinding, undo *relay.WatchUndo) error {
	packed, err := packJSON(undo, undo == nil)
	if err != nil {
		return fmt.Errorf("bend key: %w", err)
	}
	err = s.setWatch(ctx, bendFinding, packed, f.Raised+1, blob(f.ID.ID))
	if relay.KindOf(err) == relay.NotFound {
		return relay.E(relay.Conflict, "The finding was decided at the same moment.")
	}
	return err
}

// SetWatchUndo keeps what is still to be undone of an answer; nil: nothing is.
func (s *Store) SetWatchUndo(ctx context.Context, id relay.WatchID, undo *relay.WatchUndo) error {
	packed, err := packJSON(undo, undo == nil)
	if err != nil {
		return fmt.Errorf("set undo: %w", err)
	}
	return s.setWatch(ctx, setUndo, packed, blob(id.ID))
}

// forgetWatch takes from what the watch would undo of a key what is not as the watch
// made it any more: whoever changed it has the last word, also when they make it the
// same again later.
func forgetWatch(ctx context.Context, tx *sql.Tx, was, k *relay.Key) error {
	if was.Mode == k.Mode && was.PerMinute == k.PerMinute && was.DisabledAt.Equal(k.DisabledAt) {
		return nil
	}
	bent, err := list(ctx, tx, scanFinding, bentFindings, blob(k.ID.ID))
	if err != nil {
		return err
	}
	for i := range bent {
		left := bent[i].Undo.Left(was, k)
		if left == bent[i].Undo {
			continue
		}
		packed, err := packJSON(left, left == nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, setUndo, packed, blob(bent[i].ID.ID)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) setWatch(ctx context.Context, query string, args ...any) error {
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, notFound("finding"))
		}
		return nil
	})
	if err != nil && relay.KindOf(err) == relay.Internal {
		return fmt.Errorf("set finding: %w", err)
	}
	return err
}

// DecideWatch notes what a person says of an open finding: dismissed, with teach
// as normal from now on, or confirmed. It is recorded, and raises no revision.
// relay.Conflict: it is not open any more.
func (s *Store) DecideWatch(ctx context.Context, by By, id relay.WatchID, state relay.WatchState, teach bool) (relay.WatchFinding, error) {
	var f relay.WatchFinding
	if state != relay.WatchDismissed && state != relay.WatchConfirmed {
		return f, relay.E(relay.Invalid, "A finding is dismissed or confirmed.")
	}
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if f, err = one(ctx, tx, "finding", scanFinding, selectFindings+` WHERE id = $1`+s.forUpdate(), blob(id.ID)); err != nil {
			return err
		}
		if f.State != relay.WatchOpen {
			return relay.E(relay.Conflict, "This finding is "+string(f.State)+" already.")
		}
		f.State, f.DecidedAt, f.DecidedBy, f.Teach = state, s.cfg.Now().UTC().Truncate(time.Microsecond), text(by.Who), teach
		if _, err := tx.ExecContext(ctx, decideFinding, string(state), micros(f.DecidedAt), f.DecidedBy, flag(teach), blob(id.ID)); err != nil {
			return err
		}
		return s.record(ctx, tx, by, note{account: f.Account, action: "watch." + map[relay.WatchState]string{relay.WatchDismissed: "dismiss", relay.WatchConfirmed: "confirm"}[state],
			subject: "finding " + f.ID.String() + " (" + f.Title + ")", after: map[string]any{"rule": f.Rule, "api_key_id": f.Key, "subject": f.Subject, "state": state, "teach": teach}})
	})
	return f, changeError(err)
}

// endDomainWatch ends the open findings about domains of a tenant that are deleted: no
// record is missed of what nobody sends as. The watch hears of it as of a decision.
func endDomainWatch(ctx context.Context, tx *sql.Tx, of relay.Tenant, at time.Time, names ...string) error {
	open, err := list(ctx, tx, scanFinding, openDomains, blob(of.Account.ID), blob(of.Subuser.ID))
	if err != nil {
		return fmt.Errorf("end findings of domains: %w", err)
	}
	for i := range open {
		if !slices.Contains(names, open[i].Subject) {
			continue
		}
		if _, err := tx.ExecContext(ctx, decideFinding, string(relay.WatchEnded), micros(at), "watch", flag(false), blob(open[i].ID.ID)); err != nil {
			return fmt.Errorf("end findings of domains: %w", err)
		}
	}
	return nil
}

// PruneWatch forgets findings that were last seen 400 days ago, and what was
// learned of keys that were not used since.
func (s *Store) PruneWatch(ctx context.Context, now time.Time) (int64, error) {
	var n int64
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n = 0
		for _, query := range []string{dropFindings, dropBaselines} {
			res, err := tx.ExecContext(ctx, query, micros(now.Add(-keepFindings)))
			if err != nil {
				return err
			}
			rows, err := res.RowsAffected()
			if err != nil {
				return err
			}
			n += rows
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("prune the watch: %w", err)
	}
	return n, nil
}

// AfterLogins is the cursor after some of the login records of the reading that
// gave c: the first ones of it, in their order.
func (c Cursor) AfterLogins(logins []StoredLogin) Cursor {
	n := c.Start().next()
	for i := range logins {
		epoch := logins[i].ID >> seqBits
		n.set(epoch, logins[i].ID&seqMask, c.stamps[epoch])
	}
	return n
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	// keepAnswers is how long an answer may be asked for again.
	keepAnswers = 24 * time.Hour
	// maxAnswer bounds the body of a stored answer, maxIdemText its key and route.
	maxAnswer   = 1 << 20
	maxIdemText = 512
)

// Idempotency is a request that a client may repeat, and its answer: a second
// request with the same tenant, key and route gets the answer of the first.
type Idempotency struct {
	Tenant    relay.Tenant
	Key       string   // as the client sent it
	Route     string   // what was asked for: method and pattern
	Request   [32]byte // SHA-256 of the request
	Status    int      // of the answer
	Header    map[string]string
	Body      []byte // sealed at rest
	CreatedAt time.Time
	// Pending: the request is being answered, or was when its process died, and
	// nothing is known of the answer.
	Pending bool
}

var (
	stmtIdemExpire = newStmt(`DELETE FROM idempotency WHERE account_id = $1 AND subuser_id = $2 AND idem_key = $3 AND route = $4 AND created_at < $5`)
	stmtIdemClaim  = newStmt(`INSERT INTO idempotency (account_id, subuser_id, idem_key, route, request, status, header, body, created_at, pending)
		VALUES ($1, $2, $3, $4, $5, 0, '', $6, $7, 1) ON CONFLICT (account_id, subuser_id, idem_key, route) DO NOTHING`)
	stmtIdemFinish = newStmt(`INSERT INTO idempotency (account_id, subuser_id, idem_key, route, request, status, header, body, created_at, pending)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0) ON CONFLICT (account_id, subuser_id, idem_key, route)
		DO UPDATE SET status = excluded.status, header = excluded.header, body = excluded.body, pending = 0
		WHERE idempotency.pending = 1 AND idempotency.request = excluded.request`)
	stmtIdemDrop = newStmt(`DELETE FROM idempotency WHERE account_id = $1 AND subuser_id = $2 AND idem_key = $3 AND route = $4 AND pending = 1`)
	stmtIdemOld  = newStmt(`DELETE FROM idempotency WHERE created_at < $1`)
)

const selectIdem = `SELECT request, status, header, body, created_at, pending FROM idempotency
	WHERE account_id = $1 AND subuser_id = $2 AND idem_key = $3 AND route = $4`

// errIdempotency: more than the store keeps of a request. It is a fault of the
// program, which must refuse such a request.
var errIdempotency = errors.New("idempotency key, route or answer is too long")

// errAnswered: the request has its answer already, or is another request.
var errAnswered = relay.E(relay.Conflict, "A request with this Idempotency-Key was answered already.")

func (i *Idempotency) id() []any {
	return []any{blob(i.Tenant.Account.ID), blob(i.Tenant.Subuser.ID), octets(i.Key), octets(i.Route)}
}

func (i *Idempotency) check() error {
	if len(i.Key) > maxIdemText || len(i.Route) > maxIdemText || len(i.Body) > maxAnswer || i.Key == "" {
		return errIdempotency
	}
	return nil
}

// aad binds a sealed body to its place.
func (i *Idempotency) aad() []byte {
	return fmt.Appendf(nil, "postern answer\x00%s\x00%s\x00%q\x00%q\x00%x", i.Tenant.Account, i.Tenant.Subuser, i.Key, i.Route, i.Request)
}

// ClaimIdempotency says that a request is about to be answered, durably. Where
// somebody was first, it returns what is known of that: Pending as long as there
// is no answer, also if the process that claimed it has died. The caller
// compares Request. An answer that is a day old counts no more.
func (s *Store) ClaimIdempotency(ctx context.Context, i Idempotency) (found *Idempotency, err error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	for {
		now := s.cfg.Now()
		o := newOp("claim idempotency key")
		o.grows = true
		o.add(stmtIdemExpire, append(i.id(), now.Add(-keepAnswers).UnixMicro())...)
		o.add(stmtIdemClaim, append(i.id(), i.Request[:], noBlob, now.UnixMicro())...)
		if err := s.w.do(ctx, o); err != nil {
			return nil, err
		}
		if o.calls[1].rows == 1 {
			return nil, nil //nolint:nilnil // nobody was first
		}
		found, err := s.readIdempotency(ctx, i)
		if !errors.Is(err, sql.ErrNoRows) {
			return found, err
		}
		// It was dropped between the two: try to be first.
	}
}

func (s *Store) readIdempotency(ctx context.Context, i Idempotency) (*Idempotency, error) {
	f := Idempotency{Tenant: i.Tenant, Key: i.Key, Route: i.Route}
	var request, sealed []byte
	var header string
	var status, created, pending int64
	err := s.db.QueryRowContext(ctx, selectIdem, i.id()...).Scan(&request, &status, &header, &sealed, &created, &pending)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("read idempotency key: %w", s.readError(err))
	}
	if len(request) != len(f.Request) {
		return nil, fmt.Errorf("%w: idempotency.request has %d octets", ErrDamaged, len(request))
	}
	f.Request, f.Status, f.CreatedAt, f.Pending = [32]byte(request), int(status), timeOf(created), pending != 0
	if f.Pending {
		return &f, nil
	}
	if err := unpackJSON(header, &f.Header, "idempotency.header"); err != nil {
		return nil, err
	}
	if f.Body, err = s.seal.Open(sealed, f.aad()); err != nil {
		return nil, fmt.Errorf("%w: idempotency.body: %w", ErrDamaged, err)
	}
	return &f, nil
}

// appendAnswer adds the answer of a request to an operation, which fails if the
// request was answered before.
func (s *Store) appendAnswer(o *op, i *Idempotency) error {
	if err := i.check(); err != nil {
		return err
	}
	header, err := packJSON(i.Header, len(i.Header) == 0)
	if err != nil {
		return err
	}
	sealed, err := s.seal.Seal(i.Body, i.aad())
	if err != nil {
		return fmt.Errorf("seal answer: %w", err)
	}
	o.grows = true
	o.bytes += len(sealed) + len(header)
	o.must(1, stmtIdemFinish, append(i.id(), i.Request[:], int64(i.Status), text(header), sealed, s.now())...)
	o.calls[len(o.calls)-1].miss = errAnswered
	return nil
}

// FinishIdempotency stores the answer of a request: Status, Header and Body.
// relay.Conflict: it was answered before, or the key was claimed for another
// request.
func (s *Store) FinishIdempotency(ctx context.Context, i Idempotency) error {
	o := newOp("finish idempotency key")
	if err := s.appendAnswer(o, &i); err != nil {
		return err
	}
	return s.w.do(ctx, o)
}

// DropIdempotency gives a claim back: the request was not carried out, and may be
// repeated. What was answered stays.
func (s *Store) DropIdempotency(ctx context.Context, t relay.Tenant, key, route string) error {
	i := Idempotency{Tenant: t, Key: key, Route: route}
	o := newOp("drop idempotency key")
	o.add(stmtIdemDrop, i.id()...)
	return s.w.do(ctx, o)
}

// AcceptAll stores several messages in one synced commit, and with them the
// answer that the client is about to get: all or nothing. idem may be nil; its
// key may have been claimed before. After a crash the client that repeats its
// request gets either this answer or none, and never a second copy of its mail.
//
// Errors as those of Accept; relay.Conflict also where the request was answered
// before: nothing is stored.
func (s *Store) AcceptAll(ctx context.Context, as []*Acceptance, idem *Idempotency) error {
	if err := s.refuse(); err != nil {
		return fmt.Errorf("accept %d messages: %w", len(as), err)
	}
	if len(as) == 0 && idem == nil {
		return nil
	}
	o := newOp("accept")
	o.grows = true
	if idem != nil { // first: nothing else is worth doing if this fails
		if err := s.appendAnswer(o, idem); err != nil {
			return fmt.Errorf("accept %d messages: %w", len(as), err)
		}
	}
	for _, a := range as {
		if err := s.appendAcceptance(o, a); err != nil {
			return fmt.Errorf("accept %s: %w", a.Message.ID, err)
		}
	}
	if err := s.w.do(ctx, o); err != nil {
		return acceptError(err)
	}
	for _, a := range as {
		s.adopted(a)
	}
	return nil
}

// sweepAnswers forgets answers that may not be asked for any more.
func (s *Store) sweepAnswers(ctx context.Context, now time.Time) error {
	before := now.Add(-keepAnswers).UnixMicro()
	var n int64
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM idempotency WHERE created_at < $1`, before).Scan(&n); err != nil {
		return fmt.Errorf("sweep answers: %w", s.readError(err))
	}
	if n == 0 {
		return nil
	}
	o := newOp("sweep answers")
	o.add(stmtIdemOld, before)
	return s.w.doLow(ctx, o)
}

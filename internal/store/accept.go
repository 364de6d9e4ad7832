package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"postern/internal/relay"
	"postern/internal/secret"
)

var (
	stmtMessageAdd = newStmt(`INSERT INTO messages (id, account_id, subuser_id, key_id, pool_id, domain_id,
		envelope_from, return_path, body_kind, smtputf8, require_tls, ret, envid, header_from, subject, header_id,
		size, categories, unique_args, accepted_at, expires_at,
		source_addr, source_helo, source_protocol, source_tls, source_mechanism,
		body_key, head_chunks, body_chunks, content_size, checksum, state, reason, signatures, signed_with)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
		$22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)`)
	stmtRecipientAdd = newStmt(`INSERT INTO recipients (message_id, n, lease, held, generation, due_at,
		pool_id, site, account_id, subuser_id, address, notify, orcpt, checksum)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`)
)

// errAcceptance: the caller's acceptance breaks a rule that keeps mail from
// being lost. It is a fault of the program, never of the client.
var errAcceptance = errors.New("acceptance is not well-formed")

// Accept stores a message, its recipients, its octets and its events in one
// synced commit, all or nothing. Only after nil may the client be told 250. With
// no recipients only the events and the usage are stored (a test key's mail).
//
// ErrFull: no space, nothing stored. relay.Conflict: the id is taken.
// relay.Unavailable: the database is away, nothing stored. ErrStopped: it may or
// may not be stored; never say 250. ctx counts until the writer has taken the
// acceptance; afterwards only the commit decides.
func (s *Store) Accept(ctx context.Context, a *Acceptance) error {
	if err := s.refuse(); err != nil {
		return fmt.Errorf("accept %s: %w", a.Message.ID, err)
	}
	o := newOp("accept")
	o.grows = true
	if err := s.appendAcceptance(o, a); err != nil {
		return fmt.Errorf("accept %s: %w", a.Message.ID, err)
	}
	if err := s.w.do(ctx, o); err != nil {
		return acceptError(err)
	}
	s.adopted(a)
	return nil
}

// acceptError classes what an acceptance may meet.
func acceptError(err error) error {
	if isUnique(err) {
		return &relay.Error{Kind: relay.Conflict, Public: "This message id exists already.", Err: err}
	}
	return err
}

// adopted tells the body that it belongs to a message now.
func (s *Store) adopted(a *Acceptance) {
	if a.Body != nil {
		a.Body.accepted = true
	}
}

// appendAcceptance adds all that an acceptance stores to an operation.
func (s *Store) appendAcceptance(o *op, a *Acceptance) error {
	if err := s.checkAcceptance(a); err != nil {
		return err
	}
	if err := s.appendEvents(o, a.Events); err != nil {
		return err
	}
	if err := appendUsage(o, a.Usage); err != nil {
		return err
	}
	id := blob(a.Message.ID.ID)
	if len(a.Recipients) == 0 {
		if a.Body != nil && a.Body.spilled > 0 {
			o.add(stmtChunksDiscard, id, id, s.epoch)
			o.must(1, stmtPendingEnd, id, s.epoch)
		}
		return nil
	}
	l, err := s.appendContent(o, a)
	if err != nil {
		return err
	}
	if err := s.appendMessage(o, &a.Message, l); err != nil {
		return err
	}
	held := flag(a.Message.State != relay.MessageQueued)
	for i := range a.Recipients {
		s.appendRecipient(o, &a.Message, &a.Recipients[i], held)
	}
	return nil
}

func (s *Store) checkAcceptance(a *Acceptance) error {
	m := &a.Message
	switch {
	case m.ID.IsZero():
		return fmt.Errorf("%w: no id", errAcceptance)
	case a.Body != nil && (a.Body.id != m.ID || a.Body.s != s):
		return fmt.Errorf("%w: the body is another message's", errAcceptance)
	case a.Body != nil && a.Body.err != nil:
		return fmt.Errorf("%w: the body is incomplete: %w", errAcceptance, a.Body.err)
	case a.Body != nil && a.Body.accepted:
		return fmt.Errorf("%w: the body was accepted already", errAcceptance)
	case m.State != relay.MessageQueued && m.State != relay.MessageHeld:
		return fmt.Errorf("%w: state %q", errAcceptance, m.State)
	}
	seen := make(map[int]bool, len(a.Recipients))
	for i := range a.Recipients {
		r := &a.Recipients[i]
		switch {
		case seen[r.N] || r.N < 0:
			return fmt.Errorf("%w: recipient number %d", errAcceptance, r.N)
		case r.Lease != 0 && r.Lease != s.epoch:
			return fmt.Errorf("%w: a lease of epoch %d", errAcceptance, r.Lease)
		case r.Lease != 0 && m.State != relay.MessageQueued:
			return fmt.Errorf("%w: a lease on held mail", errAcceptance)
		case r.Address == "":
			return fmt.Errorf("%w: recipient %d has no address", errAcceptance, r.N)
		}
		seen[r.N] = true
	}
	return nil
}

// appendContent seals the octets. Chunks that were spilled are adopted: their
// pending row goes, and must have been there.
func (s *Store) appendContent(o *op, a *Acceptance) (*layout, error) {
	b := a.Body
	if b == nil {
		b = &Body{s: s, id: a.Message.ID}
	}
	if b.key == nil {
		var err error
		if b.key, err = secret.NewBodyKey(); err != nil {
			return nil, err
		}
	}
	wrapped, err := s.seal.WrapBodyKey(b.key, a.Message.ID.ID[:])
	if err != nil {
		return nil, err
	}
	l := &layout{wrapped: wrapped, size: int64(len(a.Head)) + b.size}
	if b.spilled > 0 {
		// The key that sealed the spilled chunks seals the header section too, once:
		// another header under the same nonces would weaken it.
		if b.tried {
			return nil, fmt.Errorf("%w: a spilled body is accepted once", errAcceptance)
		}
		b.tried = true
		o.must(1, stmtPendingEnd, blob(a.Message.ID.ID), s.epoch)
		l.headChunks = int64(b.appendChunks(o, 0, a.Head))
		l.bodyChunks = int64(b.spilled + b.appendChunks(o, spillSeq+b.spilled, b.mem))
		return l, nil
	}
	joined, _ := joinBuffers.Get().(*[]byte)
	*joined = append(append((*joined)[:0], a.Head...), b.mem...)
	l.headChunks = int64(b.appendChunks(o, 0, *joined))
	joinBuffers.Put(joined)
	if l.headChunks >= spillSeq {
		return nil, fmt.Errorf("%w: header section of %d octets", errAcceptance, len(a.Head))
	}
	b.key = nil // a second try seals under a key of its own
	return l, nil
}

// joinBuffers are for header section and body side by side, while they are sealed.
var joinBuffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *Store) appendMessage(o *op, m *relay.Message, l *layout) error {
	categories, err := packJSON(m.Categories, len(m.Categories) == 0)
	if err != nil {
		return err
	}
	args, err := packJSON(m.UniqueArgs, len(m.UniqueArgs) == 0)
	if err != nil {
		return err
	}
	with, err := packJSON(m.SignedWith, len(m.SignedWith) == 0)
	if err != nil {
		return err
	}
	o.add(stmtMessageAdd, blob(m.ID.ID), blob(m.Account.ID), blob(m.Subuser.ID), blob(m.Key.ID), blob(m.Pool.ID), blob(m.Domain.ID),
		octets(m.EnvelopeFrom), octets(m.ReturnPath), string(m.Body), flag(m.SMTPUTF8), flag(m.RequireTLS), text(m.Ret), octets(m.EnvID),
		octets(m.HeaderFrom), octets(m.Subject), octets(m.HeaderID), m.Size, categories, args, micros(m.AcceptedAt), micros(m.ExpiresAt),
		addrText(m.Source.Addr), octets(m.Source.Helo), text(m.Source.Protocol), text(m.Source.TLS), text(m.Source.Mechanism),
		l.wrapped, l.headChunks, l.bodyChunks, l.size, sumMessage(m, categories, args, l),
		string(m.State), text(m.Reason), packSignatures(m.Signatures), with)
	o.bytes += len(m.Subject) + len(args) + len(categories)
	return nil
}

func (s *Store) appendRecipient(o *op, m *relay.Message, r *relay.Recipient, held int64) {
	r.Message = m.ID
	o.add(stmtRecipientAdd, blob(m.ID.ID), int64(r.N), r.Lease, held, r.Generation, micros(r.DueAt),
		blob(m.Pool.ID), r.Site, blob(m.Account.ID), blob(m.Subuser.ID),
		octets(r.Address), int64(r.Notify), octets(r.ORcpt), sumRecipient(r))
	o.bytes += len(r.Address) + 128
}

// addrText is an address as it is stored; "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

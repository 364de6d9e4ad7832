package store

import (
	"database/sql"
	"fmt"
	"net/netip"

	"postern/internal/relay"
)

// The columns of a message and of a recipient, in the order in which
// messageRow and recipientRow take them.
const (
	messageColumns = `m.id, m.account_id, m.subuser_id, m.key_id, m.pool_id, m.domain_id,
		m.envelope_from, m.return_path, m.body_kind, m.smtputf8, m.require_tls, m.ret, m.envid, m.header_from, m.subject,
		m.header_id, m.size, m.categories, m.unique_args, m.accepted_at, m.expires_at,
		m.source_addr, m.source_helo, m.source_protocol, m.source_tls, m.source_mechanism,
		m.body_key, m.head_chunks, m.body_chunks, m.content_size, m.checksum, m.state, m.reason, m.signatures,
		m.signed_with, m.crashes`
	recipientColumns = `r.message_id, r.n, r.lease, r.held, r.generation, r.due_at, r.site, r.address, r.notify,
		r.orcpt, r.checksum, r.attempts, r.possibly_delivered, r.delay_noticed, r.last_reply, r.last_host, r.last_at`
)

// messageRow receives a row of messages.
type messageRow struct {
	id, acct, sub, key, pool, dom                []byte
	from, rpath, envid, hfrom, subject, hid      []byte
	helo, wrapped, sum, sigs                     []byte
	body, ret, cats, args, addr, proto, tls      string
	mech, state, reason, with                    string
	utf8, reqTLS, size, accepted, expires        int64
	headChunks, bodyChunks, contentSize, crashes int64
}

func (r *messageRow) into() []any {
	return []any{&r.id, &r.acct, &r.sub, &r.key, &r.pool, &r.dom, &r.from, &r.rpath, &r.body, &r.utf8, &r.reqTLS, &r.ret,
		&r.envid, &r.hfrom, &r.subject, &r.hid, &r.size, &r.cats, &r.args, &r.accepted, &r.expires,
		&r.addr, &r.helo, &r.proto, &r.tls, &r.mech, &r.wrapped, &r.headChunks, &r.bodyChunks, &r.contentSize, &r.sum,
		&r.state, &r.reason, &r.sigs, &r.with, &r.crashes}
}

// message builds the message and checks the row. On ErrDamaged the message is
// returned as far as it can be read, for listing.
func (r *messageRow) message() (relay.Message, error) {
	m := relay.Message{
		ID:     relay.MessageID{ID: idOf(r.id)},
		Tenant: relay.Tenant{Account: relay.AccountID{ID: idOf(r.acct)}, Subuser: relay.SubuserID{ID: idOf(r.sub)}},
		Key:    relay.KeyID{ID: idOf(r.key)}, Pool: relay.PoolID{ID: idOf(r.pool)}, Domain: relay.DomainID{ID: idOf(r.dom)},
		State: relay.MessageState(r.state), Reason: r.reason,
		EnvelopeFrom: string(r.from), ReturnPath: string(r.rpath), Body: relay.BodyKind(r.body),
		SMTPUTF8: r.utf8 != 0, RequireTLS: r.reqTLS != 0, Ret: r.ret, EnvID: string(r.envid),
		HeaderFrom: string(r.hfrom), Subject: string(r.subject), HeaderID: string(r.hid), Size: r.size,
		AcceptedAt: timeOf(r.accepted), ExpiresAt: timeOf(r.expires),
		Signatures: unpackSignatures(r.sigs), Crashes: int(r.crashes),
		Source: relay.Source{Helo: string(r.helo), Protocol: r.proto, TLS: r.tls, Mechanism: r.mech},
	}
	var addrErr error
	if r.addr != "" {
		m.Source.Addr, addrErr = netip.ParseAddr(r.addr)
	}
	l := layout{wrapped: r.wrapped, headChunks: r.headChunks, bodyChunks: r.bodyChunks, size: r.contentSize}
	if addrErr != nil || !sameSum(r.sum, sumMessage(&m, r.cats, r.args, &l)) {
		return m, fmt.Errorf("message %s: %w: the row's checksum does not fit", m.ID, ErrDamaged)
	}
	if err := unpackJSON(r.cats, &m.Categories, "categories"); err != nil {
		return m, err
	}
	if err := unpackJSON(r.args, &m.UniqueArgs, "unique_args"); err != nil {
		return m, err
	}
	if m.Signatures != nil {
		if err := unpackJSON(r.with, &m.SignedWith, "signed_with"); err != nil {
			m.Signatures = nil // they are made anew
		}
	}
	return m, nil
}

// recipientRow receives a row of recipients.
type recipientRow struct {
	id, address, orcpt                           []byte
	site, reply, host                            string
	n, lease, held, generation, due, notify, sum int64
	attempts, possibly, noticed, last            int64
}

func (r *recipientRow) into() []any {
	return []any{&r.id, &r.n, &r.lease, &r.held, &r.generation, &r.due, &r.site, &r.address, &r.notify, &r.orcpt, &r.sum,
		&r.attempts, &r.possibly, &r.noticed, &r.reply, &r.host, &r.last}
}

// recipient builds the recipient and checks the row.
func (r *recipientRow) recipient() (relay.Recipient, error) {
	v := relay.Recipient{
		Message: relay.MessageID{ID: idOf(r.id)}, N: int(r.n), Address: string(r.address), Site: r.site,
		Notify: relay.Notify(r.notify), ORcpt: string(r.orcpt), DueAt: timeOf(r.due), Attempts: int(r.attempts),
		Lease: r.lease, Generation: r.generation, PossiblyDelivered: r.possibly != 0, DelayNoticed: r.noticed != 0,
		LastReply: r.reply, LastHost: r.host, LastAt: timeOf(r.last),
	}
	if sumRecipient(&v) != r.sum {
		return v, fmt.Errorf("message %s, recipient %d: %w: the row's checksum does not fit", v.Message, v.N, ErrDamaged)
	}
	return v, nil
}

// scanJob reads one row of messages joined with recipients.
func scanJob(rows *sql.Rows) (m relay.Message, r relay.Recipient, damaged, err error) {
	var mr messageRow
	var rr recipientRow
	if err := rows.Scan(append(mr.into(), rr.into()...)...); err != nil {
		return m, r, nil, err
	}
	m, damaged = mr.message()
	r, bad := rr.recipient()
	if damaged == nil {
		damaged = bad
	}
	return m, r, damaged, nil
}

package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	// indexPart is how many events one operation indexes: mail waits for no more, some
	// 5 ms. In larger parts a row costs no less.
	indexPart = 64
	// indexRowBytes is what a row counts for in a batch, roughly: not its own octets,
	// but the pages of the indexes that go to the log with it. The log is kept short
	// by this number.
	indexRowBytes = 6 << 10
	// indexSalts is how often another place is tried for rows of one microsecond.
	indexSalts = 8
)

// ApplyIndex brings events into the search index and the hourly counts, and moves
// IndexConsumer on to c, the cursor of the reading that gave them: in the same
// commits, so that each event counts exactly once, whatever dies when. It does so in
// parts, behind mail. ErrLeaseLost: somebody has indexed from there before; what is
// kept is to be read anew. ErrFull: there is no space, now.
func (s *Store) ApplyIndex(ctx context.Context, events []relay.Event, c Cursor) error {
	for _, p := range c.parts(events, indexPart) {
		if s.low.Load() {
			return fmt.Errorf("index mail: %w", ErrFull)
		}
		if err := s.applyIndexPart(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) applyIndexPart(ctx context.Context, p cursorPart) error {
	b := newIndexBatch(s)
	for i := range p.events {
		b.add(&p.events[i])
	}
	for salt := uint32(0); ; salt++ {
		o := newOp("index mail")
		o.grows = true
		s.moveConsumer(o, IndexConsumer, p.next)
		if err := b.write(o, salt); err != nil {
			return fmt.Errorf("index mail: %w", s.readError(err))
		}
		if err := b.counts.write(s, o); err != nil {
			return fmt.Errorf("index mail: %w", s.readError(err))
		}
		err := s.w.doLow(ctx, o)
		if err == nil || !isUnique(err) || salt >= indexSalts {
			return err
		}
	}
}

// cursorPart is a part of a reading with the cursor after it.
type cursorPart struct {
	events []relay.Event
	next   Cursor
}

// parts divides the events of the reading that gave c. There is one at least: the
// cursor moves on without events, too.
func (c Cursor) parts(events []relay.Event, size int) []cursorPart {
	var parts []cursorPart
	at := c.Start()
	for len(events) > size {
		n := at.next()
		n.stamps = c.stamps
		for i := range events[:size] {
			n.set(events[i].Epoch, events[i].Seq, c.stamps[events[i].Epoch])
		}
		parts = append(parts, cursorPart{events[:size], n})
		at, events = n, events[size:]
	}
	last := c
	at.from = nil
	last.from = &at
	return append(parts, cursorPart{events, last})
}

// recipientKey names a row of the index.
type recipientKey struct {
	id relay.ID
	n  int
}

// mailEntry is what a part says of one row.
type mailEntry struct {
	row    MailRow
	code   int64
	header bool // the acceptance is among it
}

// messageState is a state that a message's recipients get together.
type messageState struct {
	id     relay.ID
	code   int64
	at     int64
	reason string
}

// indexBatch gathers what a part of the events says, so that a message that was
// accepted and delivered within it is one row, written once.
type indexBatch struct {
	s       *Store
	oldest  int // first day that is not past retention
	entries map[recipientKey]*mailEntry
	order   []recipientKey
	of      map[relay.ID][]recipientKey
	states  []messageState
	counts  mailCounts
}

func newIndexBatch(s *Store) *indexBatch {
	return &indexBatch{s: s, oldest: dayOf(s.now() - s.cfg.KeepEvents.Microseconds()), entries: map[recipientKey]*mailEntry{},
		of: map[relay.ID][]recipientKey{}, counts: mailCounts{}}
}

// add takes one event. One whose data cannot be read counts all the same.
func (b *indexBatch) add(e *relay.Event) {
	var d relay.EventData
	if len(e.Data) > 0 {
		if err := json.Unmarshal(e.Data, &d); err != nil {
			b.s.log.Warn("an event's data cannot be read", "event", string(e.Kind), "epoch", e.Epoch, "seq", e.Seq, "err", err)
		}
	}
	switch e.Kind {
	case relay.EventReceived:
		b.received(e, &d)
	case relay.EventRefused:
		b.refused(e, &d)
	case relay.EventDeferred:
		b.result(e, &d, codeDeferred, countDeferred)
	case relay.EventDelivered, relay.EventRelayed:
		b.result(e, &d, codeDelivered, countDelivered)
	case relay.EventBounced:
		b.result(e, &d, codeBounced, countBounced)
	case relay.EventDropped:
		b.result(e, &d, codeDropped, countDropped)
	case relay.EventHeld, relay.EventQuarantined:
		b.result(e, &d, codeHeld, countHeld)
	case relay.EventReleased:
		b.result(e, &d, codeProcessed, countNothing)
	case relay.EventRetried, relay.EventRecovered, relay.EventNotified, relay.EventAlert:
		// They change no state.
	}
}

// entry returns the row of a recipient, nil for one that is past retention.
func (b *indexBatch) entry(e *relay.Event, id relay.ID, n int, rcpt string) *mailEntry {
	if eventDay(id) < b.oldest {
		return nil
	}
	k := recipientKey{id, n}
	v := b.entries[k]
	if v == nil {
		v = &mailEntry{row: MailRow{Message: relay.MessageID{ID: id}, N: n, Tenant: e.Tenant, Key: e.Key, Recipient: rcpt, AcceptedAt: id.Time()}}
		v.row.StateAt = id.Time() // whatever happened since outranks it
		b.entries[k] = v
		b.order, b.of[id] = append(b.order, k), append(b.of[id], k)
	}
	return v
}

func (b *indexBatch) received(e *relay.Event, d *relay.EventData) {
	b.counts.add(e, countReceived, int64(max(1, len(d.Recipients))))
	for n, rcpt := range d.Recipients {
		v := b.entry(e, e.Message.ID, n, rcpt)
		if v == nil {
			return
		}
		v.head(e, d)
	}
}

func (v *mailEntry) head(e *relay.Event, d *relay.EventData) {
	v.header = true
	r := &v.row
	r.From, r.EnvelopeFrom, r.Subject, r.Size, r.AcceptedAt = d.From, d.EnvelopeFrom, d.Subject, d.Size, e.At
	if v.code == codeReceived {
		r.StateAt = e.At
	}
}

// refused makes a row of its own: there is no message. Its id is made of the
// event's place, in a form that no message's has.
func (b *indexBatch) refused(e *relay.Event, d *relay.EventData) {
	count := max(1, d.Count)
	b.counts.add(e, countRefused, count)
	id := relay.NewID(e.At)
	id[6], id[7] = 0, 0
	binary.BigEndian.PutUint64(id[8:], uint64(position(e.Epoch, e.Seq)))
	rcpt := e.Recipient
	if rcpt == "" && len(d.Recipients) > 0 {
		rcpt = d.Recipients[0]
	}
	if v := b.entry(e, id, 0, rcpt); v != nil {
		v.head(e, d)
		v.code, v.row.StateAt, v.row.Code, v.row.Reply, v.row.Count = codeRefused, e.At, d.Code, d.Reply, count
	}
}

func (b *indexBatch) result(e *relay.Event, d *relay.EventData, code int64, kind countKind) {
	b.counts.add(e, kind, 1)
	words := d.Reply
	if words == "" {
		words = d.Reason
	}
	if e.N >= 0 {
		if v := b.entry(e, e.Message.ID, e.N, e.Recipient); v != nil {
			v.state(code, e.At, d, words)
		}
		return
	}
	if eventDay(e.Message.ID) < b.oldest {
		return
	}
	for _, k := range b.of[e.Message.ID] {
		if v := b.entries[k]; v.code < codeDelivered {
			v.state(code, e.At, &relay.EventData{}, words)
		}
	}
	b.states = append(b.states, messageState{id: e.Message.ID, code: code, at: micros(e.At), reason: words})
}

// state applies a state as the database would.
func (v *mailEntry) state(code int64, at time.Time, d *relay.EventData, words string) {
	r := &v.row
	if !outranks(code, micros(at), v.code, micros(r.StateAt)) {
		return
	}
	if v.code != codeHeld || code != codeDeferred {
		v.code = code
	}
	r.StateAt, r.Attempts, r.NextAt, r.Code, r.Reply, r.Host = at, max(r.Attempts, d.Attempt), d.NextAt, d.Code, words, d.Host
}

// write puts the rows into an operation.
func (b *indexBatch) write(o *op, salt uint32) error {
	pg := b.s.eng.dialect() == dPostgres
	for _, k := range b.order {
		v := b.entries[k]
		day := eventDay(k.id)
		st, err := b.s.mailDay(day)
		if err != nil {
			return err
		}
		args := v.args(day, salt)
		if pg {
			args = append(args, dayStart(day))
		}
		if v.header {
			o.add(st.complete, args...)
		} else {
			o.add(st.merge, args...)
		}
		o.bytes += indexRowBytes
	}
	for _, m := range b.states {
		day := eventDay(m.id)
		st, err := b.s.mailDay(day)
		if err != nil {
			return err
		}
		args := []any{m.code, m.at, clip(m.reason), blob(m.id), m.at}
		if pg {
			args = append(args, dayStart(day))
		}
		o.add(st.message, args...)
	}
	return nil
}

// args are the columns of a row, in the order of mailColumns.
func (v *mailEntry) args(day int, salt uint32) []any {
	r := &v.row
	owner := r.Account.ID
	if !r.Subuser.IsZero() {
		owner = r.Subuser.ID
	}
	rcpt, rdomain := foldAddress(r.Recipient)
	sender, sdomain := foldAddress(r.From)
	envelope, _ := foldAddress(r.EnvelopeFrom)
	shown := shownAs(r, rcpt, sender, envelope)
	if envelope == sender {
		envelope = "" // it is found by the author
	}
	return []any{refOf(day, micros(r.AcceptedAt), r.Message.ID, r.N, salt), blob(r.Message.ID), int64(r.N), blob(r.Account.ID), blob(owner), blob(r.Key.ID),
		rcpt, rdomain, sender, sdomain, envelope, clip(r.Subject), shown, r.Size, micros(r.AcceptedAt),
		v.code, micros(r.StateAt), int64(r.Attempts), micros(r.NextAt), int64(r.Code), clip(r.Reply), clip(r.Host), r.Count}
}

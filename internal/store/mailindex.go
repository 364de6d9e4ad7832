package store

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/internal/relay"
)

// The mail index is what search reads: a row for each recipient of a message, in
// the table of the UTC day of the message's id. It is made from the events, by one
// consumer, and could be made again from them.

// IndexConsumer is the name of the consumer that ApplyIndex moves on.
const IndexConsumer = "index"

// MailState says where a recipient's mail is.
type MailState string

// The states.
const (
	MailProcessed MailState = "processed" // accepted, and waiting for an attempt
	MailDeferred  MailState = "deferred"  // an attempt failed for now
	MailHeld      MailState = "held"      // waits for release; quarantined mail too
	MailDelivered MailState = "delivered" // the next hop took it
	MailDropped   MailState = "dropped"   // not sent for a recorded reason
	MailBounced   MailState = "bounced"   // refused for good, expired, or a DSN came back
	MailRefused   MailState = "refused"   // not accepted: the sender may not write as this
)

// Stored states. The tens are a rank that never falls: an end is never replaced by
// what is not one, and a DSN that comes back outranks the delivery that it is about.
const (
	codeReceived  = 0
	codeProcessed = 10 // released, or not known better
	codeDeferred  = 11
	codeHeld      = 12
	codeDelivered = 20
	codeDropped   = 21
	codeBounced   = 30
	codeRefused   = 31
)

var mailStates = map[int64]MailState{
	codeReceived: MailProcessed, codeProcessed: MailProcessed, codeDeferred: MailDeferred, codeHeld: MailHeld,
	codeDelivered: MailDelivered, codeDropped: MailDropped, codeBounced: MailBounced, codeRefused: MailRefused,
}

// outranks reports whether a state at a time takes the place of another.
func outranks(code, at, old, oldAt int64) bool {
	return code/10 > old/10 || code/10 == old/10 && at >= oldAt
}

const (
	mailColumns = `ref, message_id, n, account_id, owner_id, key_id, rcpt, rdomain, sender, sdomain, envelope, subject, shown, size, accepted_at,
		state, state_at, attempts, next_at, code, reply, host, count`
	mailValues = `$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23`
	// mailOutranks is outranks in SQL.
	mailOutranks = `(excluded.state / 10 > m.state / 10 OR excluded.state / 10 = m.state / 10 AND excluded.state_at >= m.state_at)`
	// A held message's attempt that was under way may still be deferred: it stays held.
	mailState = `CASE WHEN m.state = 12 AND excluded.state = 11 THEN 12 ELSE excluded.state END`
	// A state that comes to a known row touches no column of an index but the state.
	mailMerge = `UPDATE SET state = ` + mailState + `, state_at = excluded.state_at,
		attempts = CASE WHEN excluded.attempts > m.attempts THEN excluded.attempts ELSE m.attempts END,
		next_at = excluded.next_at, code = excluded.code, reply = excluded.reply, host = excluded.host WHERE ` + mailOutranks
	mailOfMessage = `state = $1, state_at = $2, code = 0, reply = $3, host = '', next_at = 0 WHERE message_id = $4 AND state < 20 AND state_at <= $5`
)

// mailComplete brings the header's columns to a row that was made by a later event,
// and the state by the same rule. It is rare: nodes' events that came out of order.
var mailComplete = func() string {
	var b strings.Builder
	b.WriteString("UPDATE SET ")
	for _, c := range []string{"sender", "sdomain", "envelope", "subject", "shown", "size", "accepted_at"} {
		b.WriteString(c + " = excluded." + c + ", ")
	}
	for _, c := range []string{"state_at", "attempts", "next_at", "code", "reply", "host"} {
		b.WriteString(c + " = CASE WHEN " + mailOutranks + " THEN excluded." + c + " ELSE m." + c + " END, ")
	}
	b.WriteString("state = CASE WHEN " + mailOutranks + " THEN " + mailState + " ELSE m.state END")
	return b.String()
}()

var mailFamily = family{
	name: "mail",
	sqlite: []string{
		`CREATE TABLE IF NOT EXISTS mail_%s (ref INTEGER PRIMARY KEY, message_id BLOB NOT NULL, n INTEGER NOT NULL, account_id BLOB NOT NULL,
			owner_id BLOB NOT NULL, key_id BLOB NOT NULL, rcpt TEXT NOT NULL, rdomain TEXT NOT NULL, sender TEXT NOT NULL, sdomain TEXT NOT NULL,
			envelope TEXT NOT NULL, subject TEXT NOT NULL, shown TEXT NOT NULL, size INTEGER NOT NULL, accepted_at INTEGER NOT NULL,
			state INTEGER NOT NULL, state_at INTEGER NOT NULL, attempts INTEGER NOT NULL, next_at INTEGER NOT NULL, code INTEGER NOT NULL,
			reply TEXT NOT NULL, host TEXT NOT NULL, count INTEGER NOT NULL) STRICT`,
		`CREATE UNIQUE INDEX IF NOT EXISTS mail_%s_message ON mail_%[1]s (message_id, n)`,
		`CREATE INDEX IF NOT EXISTS mail_%s_owner ON mail_%[1]s (owner_id)`,
		`CREATE INDEX IF NOT EXISTS mail_%s_account ON mail_%[1]s (account_id) WHERE owner_id <> account_id`,
		`CREATE INDEX IF NOT EXISTS mail_%s_key ON mail_%[1]s (key_id)`,
		`CREATE INDEX IF NOT EXISTS mail_%s_rcpt ON mail_%[1]s (rcpt)`,
		`CREATE INDEX IF NOT EXISTS mail_%s_rdomain ON mail_%[1]s (rdomain)`,
		`CREATE INDEX IF NOT EXISTS mail_%s_sender ON mail_%[1]s (sender)`,
		`CREATE INDEX IF NOT EXISTS mail_%s_sdomain ON mail_%[1]s (sdomain)`,
		`CREATE INDEX IF NOT EXISTS mail_%s_envelope ON mail_%[1]s (envelope) WHERE envelope <> ''`,
		`CREATE INDEX IF NOT EXISTS mail_%s_state ON mail_%[1]s (state) WHERE state <> 20`,
	},
	insert:   `INSERT INTO %s AS m (` + mailColumns + `) VALUES (` + mailValues + `) ON CONFLICT (message_id, n) DO ` + mailComplete,
	insertPg: `INSERT INTO %s AS m (` + mailColumns + `, at) VALUES (` + mailValues + `, $24) ON CONFLICT (message_id, n, at) DO ` + mailComplete,
	columns:  mailColumns,
}

// mailStmts are the statements that write a day's rows.
type mailStmts struct {
	complete *stmt // with the header: from the acceptance
	merge    *stmt // a state
	message  *stmt // a state of all recipients that have not ended
}

// mailIndex keeps statements by day.
type mailIndex struct {
	mu   sync.Mutex
	days map[int]*mailStmts
}

// forget returns the statements of a day whose table goes.
func (x *mailIndex) forget(name string, day int) []*stmt {
	if name != mailFamily.name {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.days[day]
	if st == nil {
		return nil
	}
	delete(x.days, day)
	return []*stmt{st.merge, st.message}
}

// pgMailStmts are PostgreSQL's for all days.
var pgMailStmts = mailStmts{
	complete: pgInserts[mailFamily.name],
	merge: newStmt(`INSERT INTO mail AS m (` + mailColumns + `, at) VALUES (` + mailValues + `, $24)
		ON CONFLICT (message_id, n, at) DO ` + mailMerge),
	message: newStmt(`UPDATE mail SET ` + mailOfMessage + ` AND at = $6`),
}

// mailDay returns the statements of a day, making its table if need be.
func (s *Store) mailDay(day int) (*mailStmts, error) {
	insert, err := s.days.make(s, &mailFamily, day)
	if err != nil {
		return nil, err
	}
	if s.eng.dialect() == dPostgres {
		return &pgMailStmts, nil
	}
	x := &s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if st := x.days[day]; st != nil && st.complete == insert { // another one: the table was dropped and made again
		return st, nil
	}
	table := mailFamily.name + "_" + strconv.Itoa(day)
	st := &mailStmts{
		complete: insert,
		merge:    newStmt(`INSERT INTO ` + table + ` AS m (` + mailColumns + `) VALUES (` + mailValues + `) ON CONFLICT (message_id, n) DO ` + mailMerge),
		message:  newStmt(`UPDATE ` + table + ` SET ` + mailOfMessage),
	}
	if x.days == nil {
		x.days = map[int]*mailStmts{}
	}
	x.days[day] = st
	return st, nil
}

const (
	refTimeBits = 37 // microseconds after the day's beginning: up to 38 hours
	refTieBits  = 25
)

// refOf is a row's place in its day: by the time it was accepted; those of one
// microsecond by their ids. salt chooses another where two are the same after all.
func refOf(day int, at int64, id relay.ID, n int, salt uint32) int64 {
	off := min(max(at-dayStart(day), 0), 1<<refTimeBits-1)
	h := uint32(2166136261) ^ salt
	for _, b := range id[6:] {
		h = (h ^ uint32(b)) * 16777619
	}
	return off<<refTieBits | int64((h+uint32(n))&(1<<refTieBits-1)) //nolint:gosec // any bits do
}

// refTime is the first place of a time in a day.
func refTime(day int, at int64) int64 { return refOf(day, at, relay.ID{}, 0, 0) &^ (1<<refTieBits - 1) }

// MailRow is what search finds: a recipient of a message, or refusals that are
// alike.
type MailRow struct {
	Message relay.MessageID // zero for refusals
	N       int             // the recipient's place in the message
	relay.Tenant
	Key          relay.KeyID
	Recipient    string
	From         string // the author's address
	EnvelopeFrom string
	Subject      string
	Size         int64
	AcceptedAt   time.Time
	State        MailState
	StateAt      time.Time
	Attempts     int
	NextAt       time.Time // of the next attempt; zero: none is planned
	Code         int       // of the last reply
	Reply        string    // the remote's words, or the reason
	Host         string
	Count        int64 // refusals: how many it stands for

	day int
	ref int64
}

// eventDay is the UTC day in whose table a message's rows are.
func eventDay(id relay.ID) int { return dayOf(id.Time().UnixMicro()) }

// mailTable is the table of a day, in either engine.
func mailTable(day int) string { return fmt.Sprintf("%s_%d", mailFamily.name, day) }

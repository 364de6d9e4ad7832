package v3

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"postern/internal/api/mailsend"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/store"
	"postern/internal/submit"
)

// defaultMaxComposed bounds what one request can have written: a request of 30 MB
// can ask for a thousand messages with all of it in each.
const defaultMaxComposed = 64 << 20

// inMemory is how much of a message waits in memory for its commit.
const inMemory = 256 << 10

// sendMail answers POST /v3/mail/send: one message per personalization, all of
// them or none, in one commit with the answer to the request's Idempotency-Key.
//
// 202 means that all are on stable storage. X-Message-Id is the id of the first.
func (a *API) sendMail(c *Call) error {
	r, err := a.readMail(c)
	if err != nil {
		return err
	}
	s := &sending{api: a, call: c, request: r, principal: c.sender()}
	defer s.release()
	if err := s.check(); err != nil {
		return err
	}
	if r.Sandbox {
		if err := s.rehearse(); err != nil {
			return err
		}
		return c.Empty(http.StatusOK)
	}
	if err := s.begin(); err != nil {
		s.abort()
		return err
	}
	return s.commit()
}

// readMail reads the request.
func (a *API) readMail(c *Call) (*mailsend.Request, error) {
	body, err := c.Body()
	if err != nil {
		return nil, err
	}
	r, err := mailsend.Parse(body, mailsend.Options{
		Now: c.Now,
		Pool: func(name string) bool {
			_, ok := a.Senders.PoolNamed(c.Tenant.Account, name)
			return ok
		},
		Batch: func(id string) bool { return a.Batches.Valid(c.Tenant, id, c.Now) },
	})
	if err != nil {
		return nil, mailRefusal(err)
	}
	return r, nil
}

// sender is the principal that the mail is from: the caller, for the tenant that
// the request is about. What the key is restricted to holds all the same. The
// operator has no key, and nothing restricts him but who owns which domain.
func (c *Call) sender() *relay.Principal {
	if c.Principal == nil {
		return &relay.Principal{Tenant: c.Tenant}
	}
	p := *c.Principal
	if p.Tenant != c.Tenant {
		p.Tenant, p.SubuserName = c.Tenant, c.R.Header.Get(headerBehalf)
	}
	return &p
}

// sending is one request that is being carried out.
type sending struct {
	api       *API
	call      *Call
	request   *mailsend.Request
	principal *relay.Principal

	// judged: whether the principal may send was found out by other means.
	judged bool

	ins  []*submit.Incoming
	room int64 // octets that may still be composed
	held int64 // of the budget
}

// hold takes from the budget.
func (s *sending) hold(n int64) error {
	b := s.api.Budget
	if b == nil {
		return nil
	}
	if !b.messages.take(s.call.Tenant.Account, n) {
		return noRoom(s.call)
	}
	s.held += n
	return nil
}

func (s *sending) release() {
	if s.held > 0 {
		s.api.Budget.messages.give(s.call.Tenant.Account, s.held)
	}
}

// check judges who the messages are from and to, before anything is written.
func (s *sending) check() error {
	p := s.principal
	var faults recipientFaults
	for i := range s.request.Len() {
		m := s.request.Message(i)
		mail := sender.Mail{Envelope: m.From.Address, Header: s.request.Identity(i)}
		if _, err := s.api.Submit.May(p, mail, s.source()); err != nil {
			return s.refusal(i, err)
		}
		for _, rcpt := range m.Recipients() {
			if err := s.api.Submit.CheckRecipient(p, rcpt.Address); err != nil {
				faults.add(rcpt.Field, err)
			}
		}
	}
	if err := faults.err(); err != nil {
		return err
	}
	if s.room = s.api.MaxComposed; s.room == 0 {
		s.room = defaultMaxComposed
	}
	return s.hold(s.request.Weight())
}

// compose writes message i.
func (s *sending) compose(i int, id string) (head []byte, body [][]byte, err error) {
	if err := s.call.R.Context().Err(); err != nil {
		return nil, nil, err
	}
	stamp := mailsend.Stamp{MessageID: "<" + id + "@" + s.api.Hostname + ">", Date: s.call.Now}
	head, body, err = s.request.Compose(i, stamp)
	if err != nil {
		return nil, nil, mailRefusal(err)
	}
	size := int64(len(head))
	for _, b := range body {
		size += int64(len(b))
	}
	if s.room -= size; s.room < 0 {
		return nil, nil, mailRefusal(mailsend.TooLarge())
	}
	// What is larger goes to the store in chunks, before the commit.
	return head, body, s.hold(min(size, inMemory))
}

// rehearse does all that sandbox mode does: everything but handing in.
func (s *sending) rehearse() error {
	for i := range s.request.Len() {
		if _, _, err := s.compose(i, relay.NewID(s.call.Now).String()); err != nil {
			return err
		}
	}
	return nil
}

// begin writes the messages.
func (s *sending) begin() error {
	ctx := s.call.R.Context()
	for i := range s.request.Len() {
		m := s.request.Message(i)
		in, err := s.api.Submit.Begin(ctx, s.principal, s.envelope(i, &m))
		if err != nil {
			return s.refusal(i, err)
		}
		s.ins = append(s.ins, in)
		head, body, err := s.compose(i, in.ID().String())
		if err != nil {
			return err
		}
		in.Write(ctx, head)
		for _, b := range body {
			in.Write(ctx, b)
		}
	}
	return nil
}

func (s *sending) abort() {
	for _, in := range s.ins {
		in.Abort(s.call.R.Context())
	}
}

// envelope of a message. Bounces that nobody can be told of by an event go to
// From, as those of a message by SMTP go to its envelope sender.
func (s *sending) envelope(i int, m *mailsend.Message) submit.Envelope {
	env := submit.Envelope{
		From: m.From.Address, SMTPUTF8: s.request.SMTPUTF8(i), Source: s.source(),
		Pool: s.request.Pool, Categories: s.request.Categories, UniqueArgs: m.CustomArgs, SendAt: m.SendAt,
	}
	for _, rcpt := range m.Recipients() {
		env.Recipients = append(env.Recipients, submit.Recipient{Address: rcpt.Address})
	}
	return env
}

// source is where the request came from.
func (s *sending) source() relay.Source {
	return relay.Source{Addr: s.call.Addr, Protocol: "HTTP", TLS: tlsName(s.call.R.TLS), Mechanism: s.principal.Mechanism}
}

// handInTime is how long the commit may take, whether or not the client still
// waits.
const handInTime = time.Minute

// commit hands everything in and answers.
func (s *sending) commit() error {
	c := s.call
	id := s.ins[0].ID().String()
	if err := s.handIn(func() *store.Idempotency {
		return c.Idempotency(http.StatusAccepted, map[string]string{headerMessageID: id}, nil)
	}); err != nil {
		return err
	}
	c.W.Header().Set(headerMessageID, id)
	return c.Empty(http.StatusAccepted)
}

// handIn looks at the key again and commits. The answer is stored in the same
// commit; nil: there is none to store.
func (s *sending) handIn(answer func() *store.Idempotency) error {
	p, err := s.recheck()
	if err != nil {
		s.abort()
		return err
	}
	var idem *store.Idempotency
	if answer != nil {
		idem = answer()
	}
	// From here on the client's going away changes nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.call.R.Context()), handInTime)
	defer cancel()
	if err := s.api.Submit.CommitAll(ctx, p, s.ins, idem); err != nil {
		return s.refusal(-1, err)
	}
	return nil
}

const headerMessageID = "X-Message-Id"

// recheck looks at the key again: it may have been revoked or narrowed while the
// request came in.
func (s *sending) recheck() (*relay.Principal, error) {
	if s.judged || s.call.Operator || s.call.Principal.User != nil { // a person's request was in memory whole
		return s.principal, nil
	}
	now, err := s.api.Recheck.Check(s.call.R.Context(), s.call.Principal, s.call.Addr)
	if err != nil {
		return nil, recheckRefusal(err)
	}
	p := *s.principal
	p.Key, p.Previous = now.Key, now.Previous
	return &p, nil
}

// personalization is the path of message i.
func personalization(i int) string { return fmt.Sprintf("personalizations.%d", i) }

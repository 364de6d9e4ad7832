package v3

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/store"
)

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeConsole{world: w, queued: map[relay.MessageID]store.Queued{}, events: map[relay.MessageID][]relay.Event{}, bodies: map[relay.MessageID]string{}}
		w.extra["console"] = f
		s.ConsoleServices = ConsoleServices{Index: f, Messages: f, Queue: f, Lookout: f.lookout}
	})
	mail := func(status int, suffix, body string) fixture {
		return fixture{Status: status, Make: func(w *world, of relay.Tenant) ask {
			f := consoleOf(w)
			m := f.addMail(of, "ann@dest.test")
			f.allowPreview(of)
			if suffix == "/release" {
				f.setState(m, relay.MessageHeld)
			}
			return ask{Path: "/v3/messages/" + m.String() + suffix, Body: body}
		}, Absent: ask{Path: "/v3/messages/" + absentID + suffix, Body: body}}
	}
	busy := func(path string, absent ask) fixture {
		return fixture{Status: 200, Make: func(w *world, of relay.Tenant) ask {
			for _, t := range []relay.Tenant{w.acme, w.staging, w.receipts, w.globex, w.branch} {
				consoleOf(w).addMail(t, "ann@dest.test")
			}
			return ask{Path: path}
		}, Absent: absent}
	}
	// What is a stranger's is answered as what is absent is (TestManyOfOthers).
	many := func(verb string, state relay.MessageState) fixture {
		return fixture{Status: 200, Make: func(w *world, of relay.Tenant) ask {
			m := consoleOf(w).addMail(of, "ann@dest.test")
			consoleOf(w).setState(m, state)
			return ask{Path: "/v3/messages/" + verb, Body: `{"ids":["` + m.String() + `"]}`}
		}}
	}
	unread := mail(200, "/body", "")
	unread.KeyStatus = 403 // a program reads no mail
	addFixtures(map[string]fixture{
		"GET /v3/messages":                   busy("/v3/messages", ask{}),
		"GET /v3/messages/{msg_id}":          mail(200, "", ""),
		"GET /v3/messages/{msg_id}/body":     unread,
		"POST /v3/messages/{msg_id}/hold":    mail(200, "/hold", `{"reason":"x"}`),
		"POST /v3/messages/{msg_id}/release": mail(200, "/release", ""),
		"POST /v3/messages/{msg_id}/retry":   mail(200, "/retry", `{}`),
		"POST /v3/messages/{msg_id}/cancel":  mail(200, "/cancel", `{"reason":"x"}`),
		"POST /v3/messages/hold":             many("hold", relay.MessageQueued),
		"POST /v3/messages/release":          many("release", relay.MessageHeld),
		"POST /v3/messages/retry":            many("retry", relay.MessageQueued),
		"POST /v3/messages/cancel":           many("cancel", relay.MessageHeld),
		"GET /v3/queue":                      busy("/v3/queue", ask{}),
		"GET /v3/queue/{site}": {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			consoleOf(w).addMail(of, "ann@dest.test")
			return ask{Path: "/v3/queue/dest.test"}
		}, Absent: ask{Path: "/v3/queue/absent.test"}},
		"GET /v3/overview":       busy("/v3/overview", ask{}),
		"GET /v3/logins/summary": busy("/v3/logins/summary", ask{}),
		"GET /v3/pools":          busy("/v3/pools", ask{}),
		// The keys of the matrix may do nothing, so that only the tenant decides; this
		// one is refused for it once its caller is let in.
		"POST /v3/api_keys/{api_key_id}/test": {Status: 409, Make: func(w *world, of relay.Tenant) ask {
			k, _ := w.addKey(of)
			return ask{Path: "/v3/api_keys/" + k.ID.String() + "/test", Body: `{"to":"a@dest.test","from":"b@acme.test"}`}
		}, Absent: ask{Path: "/v3/api_keys/" + absentID + "/test", Body: `{"to":"a@dest.test","from":"b@acme.test"}`}},
	})
}

// fakeConsole is the index, the messages and the queue, in memory. It keeps the
// promises of the interfaces.
type fakeConsole struct {
	*world
	queued   map[relay.MessageID]store.Queued
	events   map[relay.MessageID][]relay.Event
	bodies   map[relay.MessageID]string
	order    []relay.MessageID
	lanes    []queue.LaneStatus
	counts   []store.MailCount
	logins   []store.LoginCount
	findings []relay.WatchFinding
	queries  []store.MailFilter
	counted  int    // how often the queue was
	acted    []int  // on how many messages at once
	leaves   func() // called before each act
}

func consoleOf(w *world) *fakeConsole { return w.extra["console"].(*fakeConsole) }

var fakePool = relay.PoolID{ID: relay.ID{7}}

const fakeBody = "From: ops@acme.test\r\nTo: ann@dest.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: text/plain\r\n\r\nHello\r\n"

// addMail makes a queued message of a tenant.
func (f *fakeConsole) addMail(of relay.Tenant, to ...string) relay.MessageID {
	k, _ := f.addKey(of)
	f.mu.Lock()
	defer f.mu.Unlock()
	id := relay.MessageID{ID: relay.NewID(t0)}
	m := relay.Message{
		ID: id, Tenant: of, Key: k.ID, Pool: fakePool, State: relay.MessageQueued, EnvelopeFrom: "bounce@acme.test", HeaderFrom: "ops@acme.test",
		Subject: "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", HeaderID: "<1@acme.test>", Size: 300, AcceptedAt: t0, ExpiresAt: t0.Add(96 * time.Hour),
		Source: relay.Source{Addr: netip.MustParseAddr("192.0.2.7"), Helo: "client.test", Protocol: "ESMTPSA", TLS: "TLSv1.3", Mechanism: "PLAIN"},
	}
	qd := store.Queued{Message: m}
	for n, address := range to {
		qd.Recipients = append(qd.Recipients, relay.Recipient{Message: id, N: n, Address: address, Site: address[strings.LastIndexByte(address, '@')+1:], DueAt: t0.Add(time.Minute)})
	}
	f.queued[id], f.bodies[id], f.order = qd, fakeBody, append(f.order, id)
	f.events[id] = append(f.events[id], f.event(&m, relay.EventReceived, -1, "", relay.EventData{
		From: m.HeaderFrom, EnvelopeFrom: m.EnvelopeFrom, Subject: m.Subject, HeaderID: m.HeaderID, Size: m.Size, Source: &m.Source, Recipients: to, Pool: "main",
	}))
	return id
}

func (f *fakeConsole) event(m *relay.Message, kind relay.EventKind, n int, to string, d relay.EventData) relay.Event {
	text, err := json.Marshal(d)
	if err != nil {
		f.t.Fatal(err)
	}
	return relay.Event{At: f.now, Kind: kind, Tenant: m.Tenant, Key: m.Key, Message: m.ID, N: n, Recipient: to, Data: text}
}

// happen adds an event of a message; a final one takes the recipient out of the
// queue.
func (f *fakeConsole) happen(id relay.MessageID, kind relay.EventKind, n int, d relay.EventData) {
	f.mu.Lock()
	defer f.mu.Unlock()
	qd := f.queued[id]
	to := ""
	for i, r := range qd.Recipients {
		if r.N != n {
			continue
		}
		to = r.Address
		if kind == relay.EventDelivered || kind == relay.EventBounced {
			qd.Recipients = slices.Delete(slices.Clone(qd.Recipients), i, i+1)
			break
		}
		qd.Recipients[i].Attempts, qd.Recipients[i].LastReply, qd.Recipients[i].LastHost = d.Attempt, d.Reply, d.Host
	}
	f.events[id] = append(f.events[id], f.event(&qd.Message, kind, n, to, d))
	f.queued[id] = qd
	if len(qd.Recipients) == 0 {
		delete(f.queued, id)
		delete(f.bodies, id)
	}
}

func (f *fakeConsole) setState(id relay.MessageID, s relay.MessageState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	qd := f.queued[id]
	qd.Message.State = s
	f.queued[id] = qd
}

func (f *fakeConsole) allowPreview(of relay.Tenant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.accounts {
		if f.accounts[i].ID == of.Account {
			f.accounts[i].Policy.PreviewBodies = true
		}
	}
}

// sees is what the store's queries select.
func sees(t relay.Tenant, wide bool, of relay.Tenant) bool {
	return of == t || wide && of.Account == t.Account
}

func (f *fakeConsole) FindMail(_ context.Context, q store.MailFilter) ([]store.MailRow, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, q)
	var out []store.MailRow
	after, _ := strconv.Atoi(q.After)
	for i, id := range f.order {
		qd := f.queued[id]
		state := store.MailProcessed
		if qd.Message.State != relay.MessageQueued {
			state = store.MailHeld
		}
		if !sees(q.Tenant, q.Subusers, qd.Message.Tenant) || !q.Key.IsZero() && q.Key != qd.Message.Key || q.State != "" && q.State != state ||
			!q.Until.IsZero() && !qd.Message.AcceptedAt.Before(q.Until) {
			continue
		}
		for _, r := range qd.Recipients {
			place := i*1000 + r.N
			if place < after || q.Recipient != "" && q.Recipient != r.Address {
				continue
			}
			if q.Limit > 0 && len(out) == q.Limit {
				return out, strconv.Itoa(place), f.fail
			}
			out = append(out, store.MailRow{Message: id, N: r.N, Tenant: qd.Message.Tenant, Key: qd.Message.Key, From: qd.Message.HeaderFrom, Recipient: r.Address,
				Subject: qd.Message.Subject, State: state, AcceptedAt: qd.Message.AcceptedAt, StateAt: t0, NextAt: r.DueAt})
		}
	}
	return out, "", f.fail
}

func (f *fakeConsole) MailCounts(_ context.Context, q store.CountFilter) ([]store.MailCount, error) {
	return f.counts, f.fail
}

func (f *fakeConsole) LoginCounts(_ context.Context, q store.CountFilter) ([]store.LoginCount, error) {
	return f.logins, f.fail
}

func (f *fakeConsole) Message(_ context.Context, id relay.MessageID) (store.Queued, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if qd, ok := f.queued[id]; ok {
		return qd, f.fail
	}
	return store.Queued{}, relay.E(relay.NotFound, "There is no such message.")
}

func (f *fakeConsole) MessageHistory(_ context.Context, id relay.MessageID) ([]relay.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.events[id]; ok {
		return slices.Clone(e), f.fail
	}
	return nil, relay.E(relay.NotFound, "There is no such message.")
}

func (f *fakeConsole) LastHold(_ context.Context, id relay.MessageID) (last relay.Event, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events[id] {
		if (e.Kind == relay.EventHeld || e.Kind == relay.EventQuarantined) && !e.At.Before(last.At) {
			last = e
		}
	}
	if last.At.IsZero() {
		return last, relay.E(relay.NotFound, "There is no such hold.")
	}
	return last, f.fail
}

type fakeContent string

func (c fakeContent) Size() int64 { return int64(len(c)) }
func (c fakeContent) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader([]byte(c))), nil
}

func (f *fakeConsole) Content(_ context.Context, id relay.MessageID) (store.Content, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b, ok := f.bodies[id]; ok {
		return fakeContent(b), f.fail
	}
	return nil, relay.E(relay.NotFound, "There is no such message.")
}

func (f *fakeConsole) TenantQueue(_ context.Context, t relay.Tenant, wide bool) (store.TenantQueue, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted++
	q := store.TenantQueue{}
	for _, id := range f.order {
		qd := f.queued[id]
		if !sees(t, wide, qd.Message.Tenant) {
			continue
		}
		if qd.Message.State == relay.MessageHeld {
			q.Held++
		}
		for _, r := range qd.Recipients {
			i := slices.IndexFunc(q.Lanes, func(l store.TenantLane) bool { return l.Site == r.Site })
			if i < 0 {
				i = len(q.Lanes)
				q.Lanes = append(q.Lanes, store.TenantLane{Lane: relay.Lane{Pool: qd.Message.Pool, Site: r.Site}, OldestAt: t0, NextAt: r.DueAt})
			}
			q.Lanes[i].Waiting++
			q.Waiting++
			q.OldestAt = t0
		}
	}
	return q, f.fail
}

func (f *fakeConsole) Why(_ context.Context, id relay.MessageID) (queue.Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	qd, ok := f.queued[id]
	if !ok {
		return queue.Explanation{}, relay.E(relay.NotFound, "There is no such message.")
	}
	e := queue.Explanation{Message: id, State: qd.Message.State, Text: []string{"Accepted 1m ago.", "It is held: x It goes on after: postern queue release " + id.String()}}
	for _, r := range qd.Recipients {
		w := queue.WhyRecipient{Recipient: r, Text: r.Address + ": not tried yet."}
		for _, l := range f.lanes {
			if l.Lane.Site == r.Site {
				w.Lane = l
				w.Text += " Its destination is given a rest for 1m: " + l.Reason + "."
			}
		}
		e.Recipients = append(e.Recipients, w)
	}
	return e, f.fail
}

func (f *fakeConsole) Lanes() []queue.LaneStatus { return slices.Clone(f.lanes) }

// act is done to all messages or, where one is not there, to none.
func (f *fakeConsole) act(by store.By, ids []relay.MessageID, what string, from []relay.MessageState, to relay.MessageState) (n int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acted = append(f.acted, len(ids))
	if f.leaves != nil {
		f.leaves()
	}
	for _, id := range ids {
		if _, ok := f.queued[id]; !ok {
			return 0, relay.E(relay.NotFound, "There is no such message.")
		}
	}
	if err := f.noted(by, what); err != nil {
		return 0, err
	}
	for _, id := range ids {
		qd := f.queued[id]
		if !slices.Contains(from, qd.Message.State) && (what != "queue.held" || !f.holdsOver(by, &qd.Message)) {
			continue
		}
		n++
		qd.Message.State = to
		f.queued[id] = qd
		f.events[id] = append(f.events[id], f.event(&qd.Message, relay.EventKind(strings.TrimPrefix(what, "queue.")), -1, "", relay.EventData{By: by.String(), ByRank: by.Stands(qd.Message.Subuser)}))
	}
	return n, nil
}

func (f *fakeConsole) holdsOver(by store.By, m *relay.Message) bool {
	var d relay.EventData
	for _, e := range f.events[m.ID] {
		if e.Kind == relay.EventHeld {
			d = relay.EventData{}
			if err := json.Unmarshal(e.Data, &d); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	rank, _ := d.Stood()
	return m.State == relay.MessageHeld && by.RankOver(m.Subuser) > rank
}

var (
	going   = []relay.MessageState{relay.MessageQueued}
	stopped = []relay.MessageState{relay.MessageHeld, relay.MessageQuarantined}
)

func (f *fakeConsole) Hold(_ context.Context, by store.By, ids []relay.MessageID, _ string) (int64, error) {
	return f.act(by, ids, "queue.held", going, relay.MessageHeld)
}

func (f *fakeConsole) Release(_ context.Context, by store.By, ids []relay.MessageID) (int64, error) {
	return f.act(by, ids, "queue.released", stopped, relay.MessageQueued)
}

func (f *fakeConsole) Retry(_ context.Context, by store.By, ids []relay.MessageID) (int64, error) {
	return f.act(by, ids, "queue.retried", going, relay.MessageQueued)
}

func (f *fakeConsole) Bounce(_ context.Context, by store.By, ids []relay.MessageID, _ string) (n int64, err error) {
	for _, id := range ids {
		k, err := f.act(by, []relay.MessageID{id}, "queue.bounced", append(stopped, going...), relay.MessageQueued)
		if err != nil && relay.KindOf(err) != relay.NotFound {
			return n, err
		}
		n += k
		f.mu.Lock()
		delete(f.queued, id)
		f.mu.Unlock()
	}
	return n, nil
}

func (f *fakeConsole) lookout(_ context.Context, of relay.Tenant, _ int) ([]relay.WatchFinding, error) {
	return f.findings, f.fail
}

package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
)

// fakeDirectory knows two tenants: acme owns acme.test, globex owns globex.test.
type fakeDirectory struct {
	off      bool
	accounts map[relay.AccountID]relay.Account // those that are more than an id
	subusers map[relay.SubuserID]relay.Subuser
}

var (
	acme     = relay.AccountID{ID: relay.ID{1}}
	globex   = relay.AccountID{ID: relay.ID{2}}
	system   = relay.AccountID{ID: relay.ID{3}}
	mainPool = relay.PoolID{ID: relay.ID{4}}
	bulkPool = relay.PoolID{ID: relay.ID{5}}
)

func (d *fakeDirectory) Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage) {
	owner := map[string]relay.AccountID{"acme.test": acme, "globex.test": globex, "relay.test": system, "paused.test": acme}[name]
	if owner != t.Account || owner.IsZero() {
		return relay.Domain{}, relay.CoverNone
	}
	dm := relay.Domain{ID: relay.DomainID{ID: relay.ID{9}}, Account: owner, Name: name, State: relay.DomainAsserted}
	switch name {
	case "acme.test":
		dm.ReturnPath = "em.acme.test"
	case "paused.test":
		return dm, relay.CoverPaused
	}
	return dm, relay.CoverUsable
}
func (d *fakeDirectory) SenderFor(t relay.Tenant, address string) (relay.SingleSender, bool) {
	return relay.SingleSender{Tenant: t, Address: address}, address == "ann@mail.test" && t.Account == acme
}
func (d *fakeDirectory) Domain(relay.DomainID) (relay.Domain, bool) { return relay.Domain{}, false }
func (d *fakeDirectory) System() (relay.Account, relay.Domain, bool) {
	return relay.Account{ID: system}, relay.Domain{ID: relay.DomainID{ID: relay.ID{8}}, Account: system, Name: "relay.test"}, true
}
func (d *fakeDirectory) DKIMKeys(relay.DomainID) []relay.DKIMKey { return nil }
func (d *fakeDirectory) Pool(id relay.PoolID) (relay.Pool, bool) { return relay.Pool{ID: id}, true }
func (d *fakeDirectory) DefaultPool(relay.Tenant) (relay.Pool, bool) {
	return relay.Pool{ID: mainPool, Name: "default"}, true
}
func (d *fakeDirectory) PoolNamed(a relay.AccountID, name string) (relay.Pool, bool) {
	return relay.Pool{ID: bulkPool, Name: "bulk"}, name == "bulk" && a == acme
}
func (d *fakeDirectory) Account(id relay.AccountID) (relay.Account, bool) {
	if a, ok := d.accounts[id]; ok {
		return a, true
	}
	return relay.Account{ID: id}, true
}
func (d *fakeDirectory) Subuser(id relay.SubuserID) (relay.Subuser, bool) {
	s, ok := d.subusers[id]
	return s, ok
}
func (d *fakeDirectory) Deleted(t relay.Tenant) bool {
	return !d.subusers[t.Subuser].DeletedAt.IsZero()
}
func (d *fakeDirectory) Sending(relay.Tenant) (bool, string) { return !d.off, "off" }
func (d *fakeDirectory) IsReturnPath(h string) bool {
	return h == "relay.test" || h == "em.acme.test"
}

var _ sender.Directory = &fakeDirectory{}

// fakeQueue admits nothing, so that everything stays in the store to be looked at.
type fakeQueue struct{ waiting int }

func (q *fakeQueue) Admit(relay.Tenant, []relay.Lane, int64) (queue.Admission, bool) {
	return queue.Admission{}, false
}
func (q *fakeQueue) Waiting(relay.Lane, relay.Tenant, time.Time) { q.waiting++ }

type world struct {
	t       testing.TB
	store   *store.Store
	dir     *fakeDirectory
	queue   *fakeQueue
	service *Service
	key     relay.Key
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	sealer := newSealer(t)
	s, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, store: s, dir: &fakeDirectory{}, queue: &fakeQueue{}}
	w.key = relay.Key{ID: relay.KeyID{ID: relay.ID{7}}, Account: acme, Mode: relay.KeyLive, Scopes: []string{relay.ScopeMailSend}}
	cfg := Config{
		Store: s, Queue: w.queue, Directory: w.dir, ReturnPaths: NewReturnPaths(sealer.DeriveAll("return-path")), Hostname: "relay.test",
	}
	if change != nil {
		change(&cfg)
	}
	w.service = New(cfg)
	return w
}

func newSealer(t testing.TB) *secret.Sealer {
	t.Helper()
	s, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func addr(s string) smtp.Address {
	a, err := smtp.ParseAddress(s, true)
	if err != nil {
		panic(err)
	}
	return a
}

func envelope(to ...string) Envelope {
	e := Envelope{From: addr("sender@acme.test"), Source: relay.Source{Helo: "client.example", Protocol: "ESMTPSA"}}
	for _, a := range to {
		e.Recipients = append(e.Recipients, Recipient{Address: addr(a)})
	}
	return e
}

// send hands a message in, in pieces of the given size.
func (w *world) send(env Envelope, raw string, piece int) (relay.MessageID, error) {
	w.t.Helper()
	p := &relay.Principal{Tenant: relay.Tenant{Account: acme}, Key: &w.key}
	in, err := w.service.Begin(w.t.Context(), p, env)
	if err != nil {
		return relay.MessageID{}, err
	}
	for b := []byte(raw); len(b) > 0; {
		n := min(piece, len(b))
		chunk := bytes.Clone(b[:n])
		in.Write(w.t.Context(), chunk)
		clear(chunk) // the octets are lent for the call only
		b = b[n:]
	}
	return in.ID(), in.Commit(w.t.Context(), p)
}

func (w *world) content(id relay.MessageID) string {
	w.t.Helper()
	c, err := w.store.Content(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := c.Open(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if int64(len(b)) != c.Size() {
		w.t.Errorf("size %d, read %d", c.Size(), len(b))
	}
	return string(b)
}

func (w *world) queued() int {
	w.t.Helper()
	q, err := w.store.Messages(w.t.Context(), store.MessageFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(q)
}

const plain = "From: Ann <sender@acme.test>\r\nTo: b@one.test\r\nSubject: hello\r\nDate: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@acme.test>\r\n\r\nbody\r\n"

func TestAccept(t *testing.T) {
	w := newWorld(t, nil)
	for _, piece := range []int{1, 3, 7, 4096} {
		id, err := w.send(envelope("b@one.test"), plain, piece)
		if err != nil {
			t.Fatalf("pieces of %d: %v", piece, err)
		}
		got := w.content(id)
		if !strings.HasSuffix(got, plain) {
			t.Errorf("pieces of %d: the client's octets changed:\n%q", piece, got)
		}
		trace := strings.TrimSuffix(got, plain)
		if !strings.HasPrefix(trace, "Received: from client.example") || !strings.Contains(trace, id.String()) || !strings.Contains(trace, "ESMTPSA") {
			t.Errorf("trace %q", trace)
		}
	}
	if w.queue.waiting != 4 {
		t.Errorf("the queue was told of %d messages", w.queue.waiting)
	}
}

func TestHeaderEdits(t *testing.T) {
	w := newWorld(t, nil)
	raw := "Return-Path: <x@evil.test>\r\nAuthentication-Results: relay.test; dkim=pass\r\nX-Postern-Account: 1\r\n" +
		"Bcc: hidden@one.test,\r\n other@two.test\r\nFrom: sender@acme.test\r\nSubject:  odd   spacing\t\r\n" +
		"X-SMTPAPI: {\"category\":[\"a\",\"b\"],\r\n \"unique_args\":{\"k\":\"v\"},\"ip_pool\":\"bulk\"}\r\nX-SMTPAPI: {\"to\":[\"z@z.test\"]}\r\n\r\nbody\r\n"
	id, err := w.send(envelope("b@one.test", "hidden@one.test"), raw, 5)
	if err != nil {
		t.Fatal(err)
	}
	got := w.content(id)
	for _, gone := range []string{"Return-Path", "Authentication-Results", "X-Postern", "Bcc", "hidden", "X-SMTPAPI", "unique_args"} {
		if strings.Contains(got, gone) {
			t.Errorf("%q is still there:\n%s", gone, got)
		}
	}
	for _, want := range []string{"\r\nDate: ", "\r\nMessage-ID: <" + id.String() + "@relay.test>\r\n", "Subject:  odd   spacing\t\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	m := q.Message
	if m.Pool != bulkPool || fmt.Sprint(m.Categories) != "[a b]" || m.UniqueArgs["k"] != "v" {
		t.Errorf("X-SMTPAPI was not kept: pool %v, %v, %v", m.Pool, m.Categories, m.UniqueArgs)
	}
	if len(q.Recipients) != 2 {
		t.Errorf("%d recipients; the Bcc one must stay", len(q.Recipients))
	}
	if got, n, err := w.service.cfg.ReturnPaths.Parse(strings.TrimSuffix(m.ReturnPath, "@em.acme.test")); err != nil || got != id || n != -1 {
		t.Errorf("return path %q: %v %v", m.ReturnPath, got, err)
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 999)
	tests := []struct {
		name string
		raw  string
		want string
	}{
		{"ID-01 forged From", "From: ceo@globex.test\r\n\r\nx\r\n", "550 5.7.1 The from address does not match"},
		{"ID-03 two From fields", "From: sender@acme.test\r\nfrom: ceo@globex.test\r\n\r\nx\r\n", "554 5.6.0"},
		{"ID-04 several authors", "From: sender@acme.test, ceo@globex.test\r\nSender: sender@acme.test\r\n\r\nx\r\n", "550 5.7.1"},
		{"ID-04 several authors without Sender", "From: sender@acme.test, b@acme.test\r\n\r\nx\r\n", "550 5.7.1"},
		{"ID-05 no From", "To: b@one.test\r\n\r\nx\r\n", "554 5.6.0"},
		{"ID-06 space before colon", "From : sender@acme.test\r\n\r\nx\r\n", "554 5.6.0"},
		{"ID-06 first line is a continuation", " From: sender@acme.test\r\n\r\nx\r\n", "554 5.6.0"},
		{"ID-06 line without colon hides a second From", "From: sender@acme.test\r\nnonsense\r\nFrom: ceo@globex.test\r\n\r\nx\r\n", "554 5.6.0"},
		{"ID-07 verified only in the display name", "From: \"sender@acme.test\" <ceo@globex.test>\r\n\r\nx\r\n", "550 5.7.1"},
		{"ID-07 two angle addresses", "From: <sender@acme.test><ceo@globex.test>\r\n\r\nx\r\n", "550 5.7.1"},
		{"ID-08 foreign Sender", "From: sender@acme.test\r\nSender: x@globex.test\r\n\r\nx\r\n", "550 5.7.1"},
		{"HD-01 loop", strings.Repeat("Received: from a by b; Sun, 01 Nov 2026 10:00:00 +0000\r\n", 101) + plain, "554 5.4.6"},
		{"AD-10 our own trace", strings.Repeat("Received: from a by relay.test (postern) with ESMTPSA id x; Sun, 01 Nov 2026 10:00:00 +0000\r\n", 5) + plain, "554 5.4.6"},
		{"HD-02 header too large", "From: sender@acme.test\r\n" + strings.Repeat("X-A: "+strings.Repeat("y", 900)+"\r\n", 300) + "\r\nx\r\n", "552 5.3.4"},
		{"HD-02 too many fields", "From: sender@acme.test\r\n" + strings.Repeat("X: y\r\n", 1001) + "\r\nx\r\n", "552 5.3.4"},
		{"HD-03 one endless folded field", "From: sender@acme.test\r\nX: y\r\n" + strings.Repeat(" y\r\n", 100000) + "\r\nx\r\n", "552 5.3.4"},
		{"HD-10 two subjects", "Subject: a\r\nSubject: b\r\nFrom: sender@acme.test\r\n\r\nx\r\n", "554 5.6.0"},
		{"HD-11 empty message", "", "554 5.6.0"},
		{"HD-11 only an empty line", "\r\n", "554 5.6.0"},
		{"HD-11 body without header", "\r\nhello\r\n", "554 5.6.0"},
		{"HD-11 text instead of header", "hello there\r\n\r\nx\r\n", "554 5.6.0"},
		{"8-bit display name that is not UTF-8", "From: J\xfcrgen <sender@acme.test>\r\n\r\nx\r\n", "550 5.7.1"},
		{"ID-16 paused domain", "From: sender@paused.test\r\n\r\nx\r\n", "450 4.7.1 The records of the sender's domain are missing in DNS."},
		{"ID-19 neighbour of a single sender", "From: ben@mail.test\r\n\r\nx\r\n", "550 5.7.1 The from address does not match"},
		{"ID-07 name that shows an address", "From: \"ceo@bank.test\" <sender@acme.test>\r\n\r\nx\r\n", "550 5.7.1 The display name in From shows an address"},
		{"ID-12 hidden characters in a name", "From: =?utf-8?q?a=E2=80=AEb?= <sender@acme.test>\r\n\r\nx\r\n", "550 5.7.1 From holds hidden characters"},
		{"ID-13 encoded line break in a name", "From: =?utf-8?q?Ann=0D=0ABcc=3A_x?= <sender@acme.test>\r\n\r\nx\r\n", "550 5.7.1 From holds hidden characters"},
		{"name in a charset of nobody", "From: =?utf-7?q?+AEA-?= <sender@acme.test>\r\n\r\nx\r\n", "550 5.7.1 The display name in From is encoded"},
		{"8-bit address without SMTPUTF8", "From: j\u00fcrgen@acme.test\r\n\r\nx\r\n", "550 5.7.1"},
		{"FR-26 long header line", "From: sender@acme.test\r\nX-Long: " + long + "\r\n\r\nx\r\n", "554 5.6.0"},
		{"X-SMTPAPI key that is not served", "X-SMTPAPI: {\"filters\":{}}\r\n" + plain, "554 5.6.0 X-SMTPAPI: the key \"filters\""},
		{"X-SMTPAPI that is no JSON", "X-SMTPAPI: {category\r\n" + plain, "554 5.6.0"},
		{"X-SMTPAPI with a pool of nobody", "X-SMTPAPI: {\"ip_pool\":\"nope\"}\r\n" + plain, "554 5.6.0"},
		{"long line in a signed part", "From: sender@acme.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"\r\n\r\n--b\r\n\r\n" + long + "\r\n--b--\r\n", "554 5.6.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			_, err := w.send(envelope("b@one.test"), tt.raw, 1000)
			if r, ok := errors.AsType[smtp.Reply](err); !ok || !strings.HasPrefix(r.String(), tt.want) {
				t.Errorf("reply %v, want %s…", err, tt.want)
			}
			if n := w.queued(); n != 0 {
				t.Errorf("%d messages are queued", n)
			}
		})
	}
}

func TestSMTPAPIIgnoredBySetting(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.IgnoreSMTPAPI = true })
	for _, h := range []string{"X-SMTPAPI: {\"filters\":{},\"category\":\"c\"}\r\n", "X-SMTPAPI: {broken\r\n"} {
		id, err := w.send(envelope("b@one.test"), h+plain, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(w.content(id), "SMTPAPI") {
			t.Error("the header was sent on")
		}
	}
}

// Recipients are kept exactly, and the same mailbox is delivered once.
func TestRecipients(t *testing.T) {
	w := newWorld(t, nil)
	env := envelope("b@one.test", "b@ONE.test", "B@one.test", "\"b\"@one.test", "\"a b\"@one.test", "c@b\u00fccher.test", "c@xn--bcher-kva.test")
	env.SMTPUTF8 = true
	id, err := w.send(env, plain, 1000)
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range q.Recipients {
		got = append(got, r.Address+" "+r.Site)
	}
	want := []string{"b@one.test one.test", "B@one.test one.test", "\"a b\"@one.test one.test", "c@b\u00fccher.test xn--bcher-kva.test"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("recipients\n%q, want\n%q", got, want)
	}
}

func TestKeyModes(t *testing.T) {
	w := newWorld(t, nil)
	w.key.Mode = relay.KeyTest
	id, err := w.send(envelope("b@one.test", "c@one.test"), plain, 1000)
	if err != nil || w.queued() != 0 {
		t.Errorf("test mode: %v, %d queued", err, w.queued())
	}
	ev, err := w.store.Events(t.Context(), store.EventFilter{Message: id})
	if err != nil || len(ev) != 3 || ev[0].Kind != relay.EventReceived || ev[2].Kind != relay.EventDropped {
		t.Errorf("test mode: events %+v %v", ev, err)
	}
	w.key.Mode = relay.KeyHold
	if id, err = w.send(envelope("b@one.test"), plain, 1000); err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil || q.Message.State != relay.MessageHeld {
		t.Errorf("hold mode: %v %v", q.Message.State, err)
	}
	jobs, err := w.store.Claim(t.Context(), relay.Lane{Pool: mainPool, Site: "one.test"}, relay.Tenant{Account: acme}, time.Now().Add(time.Hour), 10)
	if err != nil || len(jobs) != 0 {
		t.Errorf("held mail was claimed: %v %v", jobs, err)
	}
}

func TestLargeBodiesAndLongLines(t *testing.T) {
	head := "From: sender@acme.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
	for _, size := range []int{200 << 10, 300 << 10, 3 << 20} {
		w := newWorld(t, nil)
		line := strings.Repeat("0123456789", 7) + "\r\n"
		body := strings.Repeat(line, size/len(line))
		id, err := w.send(envelope("b@one.test"), head+body, 5000)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(w.content(id), body) {
			t.Errorf("a body of %d octets changed", len(body))
		}
		long := strings.Repeat("y", 5000) + "\r\n" + body
		if id, err = w.send(envelope("b@one.test"), head+long, 5000); err != nil {
			t.Fatal(err)
		}
		got := w.content(id)
		if !strings.Contains(got, "quoted-printable") {
			t.Error("a long line was not re-encoded")
		}
		for _, l := range strings.Split(got, "\r\n") {
			if len(l) > 998 {
				t.Fatalf("a line of %d octets leaves", len(l))
			}
		}
	}
	w := newWorld(t, func(c *Config) { c.RefuseLong = true })
	if _, err := w.send(envelope("b@one.test"), head+strings.Repeat("y", 999)+"\r\n", 100); err == nil || !strings.HasPrefix(err.Error(), "554 5.6.0") {
		t.Errorf("long line with refuse: %v", err)
	}
	if _, err := w.send(envelope("b@one.test"), head+strings.Repeat("y", 998)+"\r\n", 100); err != nil {
		t.Errorf("a line of 998 octets: %v", err)
	}
}

// Raw 8-bit octets in other header fields stay as they are and need 8BITMIME,
// not SMTPUTF8.
func TestRawEightBitHeader(t *testing.T) {
	w := newWorld(t, nil)
	id, err := w.send(envelope("b@one.test"), "From: sender@acme.test\r\nSubject: \xe4 raw\r\n\r\nx\r\n", 100)
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil || q.Message.Body != relay.Body8Bit || q.Message.SMTPUTF8 {
		t.Errorf("body %v, SMTPUTF8 %v, %v", q.Message.Body, q.Message.SMTPUTF8, err)
	}
	if !strings.Contains(w.content(id), "Subject: \xe4 raw\r\n") {
		t.Error("the octet changed")
	}
}

func TestRefusedBodyLeavesNothing(t *testing.T) {
	w := newWorld(t, nil)
	id, err := w.send(envelope("b@one.test"), "From: x@evil.test\r\n\r\n"+strings.Repeat(strings.Repeat("z", 70)+"\r\n", 20000), 5000)
	if err == nil {
		t.Fatal("accepted")
	}
	if _, err := w.store.Content(t.Context(), id); relay.KindOf(err) != relay.NotFound {
		t.Errorf("content of a refused message: %v", err)
	}
}

func TestCheckRecipient(t *testing.T) {
	w := newWorld(t, nil)
	p := &relay.Principal{Tenant: relay.Tenant{Account: acme}, Key: &w.key}
	for a, want := range map[string]string{
		"b@one.test": "", "b@relay.test": "550", "b@localhost": "550", "b@host": "550", "b@a.localhost": "550",
	} {
		err := w.service.CheckRecipient(p, addr(a))
		if (err == nil) != (want == "") {
			t.Errorf("%s: %v", a, err)
		}
	}
	w.key.RecipientDomains = []string{"one.test"}
	if err := w.service.CheckRecipient(p, addr("b@two.test")); err == nil {
		t.Error("outside the key's recipient domains")
	}
}

func TestReturnPaths(t *testing.T) {
	a := NewReturnPaths([][]byte{{1}, {2}})
	old := NewReturnPaths([][]byte{{2}})
	other := NewReturnPaths([][]byte{{3}})
	id := relay.MessageID{ID: relay.NewID(time.Now())}
	for name, made := range map[string]string{
		"current": a.Make(id, "em.acme.test"), "earlier key": old.Make(id, "em.acme.test"), "recipient": a.MakeFor(id, 300, "em.acme.test"),
	} {
		local, _, _ := strings.Cut(made, "@")
		if len(local) > 64 || strings.ToLower(local) != local {
			t.Errorf("local part %q", local)
		}
		want := -1
		if name == "recipient" {
			want = 300
		}
		if got, n, err := a.Parse(strings.ToUpper(local)); err != nil || got != id || n != want {
			t.Errorf("%s: %v %d %v", name, got, n, err)
		}
		for i := len(returnPathPrefix); i < len(local)-1; i++ {
			bad := []byte(local)
			bad[i] = 'a' + (bad[i]-'a'+1)%26
			if got, _, err := a.Parse(string(bad)); err == nil {
				t.Fatalf("%s: changed octet %d gives %v", name, i, got)
			}
		}
	}
	local, _, _ := strings.Cut(other.Make(id, "x"), "@")
	if _, _, err := a.Parse(local); err == nil {
		t.Error("a foreign MAC was accepted")
	}
}

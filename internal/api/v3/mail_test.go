package v3

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
	"postern/internal/submit"
)

const mailSend = "/v3/mail/send"

// mailWith is a request from acme with other members.
func mailWith(members string) string {
	return `{"from":{"email":"from@acme.test"},"subject":"s","content":[{"type":"text/plain","value":"v"}],` + members + `}`
}

func mailTo(to string, more string) string {
	return mailWith(`"personalizations":[{"to":[{"email":"` + to + `"}]}]` + more)
}

func TestMailSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "mail.send")
	a := c.with("User-Agent", "sendgrid/9 (go)").want("POST", mailSend, mailWith(`
		"categories":["news"],"custom_args":{"k":"v"},"ip_pool_name":"bulk",
		"personalizations":[
			{"to":[{"email":"a@dest.test"}],"cc":[{"email":"b@dest.test"}],"bcc":[{"email":"c@dest.test"}]},
			{"to":[{"email":"d@other.test"}],"subject":"own","from":{"email":"second@acme.test"},"custom_args":{"k":"2"}}]`), 202, nil)
	if a.Body != "" || len(a.Header["X-Ratelimit-Limit"]) > 0 {
		t.Errorf("%q %v", a.Body, a.Header)
	}
	q := mailOf(w).queued()
	if len(q) != 2 || mailOf(w).calls != 1 {
		t.Fatalf("%d messages in %d commits", len(q), mailOf(w).calls)
	}
	slices.SortFunc(q, func(a, b store.Queued) int { return len(b.Recipients) - len(a.Recipients) })
	m := q[0].Message
	if id := a.Header.Get("X-Message-Id"); id != m.ID.String() || len(id) != 22 {
		t.Errorf("X-Message-Id %q, queued as %s", id, m.ID)
	}
	if m.Tenant != w.acme || m.Key != c.key.ID || m.Source.Protocol != "HTTP" || m.Source.Helo != "" || m.Source.Mechanism != "BEARER" || !m.Source.Addr.IsValid() ||
		m.EnvelopeFrom != "from@acme.test" || m.Subject != "s" || m.HeaderID != "<"+m.ID.String()+"@relay.test>" ||
		!slices.Equal(m.Categories, []string{"news"}) || m.UniqueArgs["k"] != "v" || m.Pool.IsZero() {
		t.Errorf("%+v", m)
	}
	if m := q[1].Message; m.HeaderFrom != "second@acme.test" || m.Subject != "own" || m.UniqueArgs["k"] != "2" {
		t.Errorf("%+v", m)
	}
	var rcpts []string
	for _, r := range q[0].Recipients {
		rcpts = append(rcpts, r.Address)
	}
	if !slices.Equal(rcpts, []string{"a@dest.test", "b@dest.test", "c@dest.test"}) {
		t.Errorf("%q", rcpts)
	}
	raw := mailOf(w).content(m.ID)
	if !strings.HasPrefix(raw, "Received: from unknown\r\n\tby relay.test (postern) with HTTP id "+m.ID.String()) || !strings.Contains(raw, "\r\nCc: b@dest.test\r\n") || strings.Contains(raw, "c@dest.test") {
		t.Errorf("%s", raw)
	}
}

// mailNamed is a request with a display name.
func mailNamed(name string) string {
	b, _ := json.Marshal(name)
	return `{"personalizations":[{"to":[{"email":"to@dest.test"}]}],"from":{"email":"from@acme.test","name":` + string(b) + `},"subject":"s","content":[{"type":"text/plain","value":"v"}]}`
}

func TestMailRefused(t *testing.T) {
	t.Parallel()
	verified := "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements"
	over := &submit.Limited{Reply: smtp.R(450, 4, 7, 1, "This key may not send at this hour"), Until: t0.Add(90 * time.Second)}
	for name, x := range map[string]struct {
		change  func(w *world, k *relay.Key)
		body    string
		status  int
		message string
		field   string
	}{
		"not JSON":               {nil, `{`, 400, "Bad Request", ""},
		"not UTF-8":              {nil, "{\"subject\":\"\xff\"}", 415, "Invalid UTF8 in request", "Encoding"},
		"validation":             {nil, `{"personalizations":[{"to":[{"email":"x"}]}],"from":{"email":"from@acme.test"},"subject":"s","content":[{"type":"text/plain","value":"v"}]}`, 400, "Does not contain a valid address.", "personalizations.0.to.0.email"},
		"not verified":           {nil, mailFrom("from@globex.test"), 403, verified, "from"},   // ID-01, ID-14
		"subdomain":              {nil, mailFrom("from@sub.acme.test"), 403, verified, "from"}, // ID-10
		"personalization's from": {nil, mailWith(`"personalizations":[{"to":[{"email":"a@dest.test"}]},{"to":[{"email":"a@dest.test"}],"from":{"email":"x@globex.test"}}]`), 403, verified, "personalizations.1.from"},
		"Sender header":          {nil, mailTo("a@dest.test", `,"headers":{"Sender":"x@globex.test"}`), 403, verified, "headers.Sender"},                                                          // ID-08
		"Resent-From header":     {nil, mailTo("a@dest.test", `,"headers":{"Resent-From":"x@globex.test"}`), 403, verified, "headers.Resent-From"},                                                // ID-08
		"From as a header":       {nil, mailTo("a@dest.test", `,"headers":{"FROM":"x@globex.test"}`), 400, "Header can not be one of the reserved keys.", "headers"},                              // ID-24
		"paused domain":          {nil, mailFrom("from@paused.acme.test"), 503, "The records of the sender's domain are missing in DNS. Mail from it is taken again when they are back.", "from"}, // ID-16
		"name of somebody else":  {nil, mailNamed("ceo@globex.test"), 400, "The display name in From shows an address that this account may not send as", "from.name"},
		"the same, encoded":      {nil, mailNamed("=?utf-8?q?ceo=40globex.test?="), 400, "The display name in From shows an address that this account may not send as", "from.name"},
		"name turned round":      {nil, mailNamed("Ann \u202etset.xebolg@oec"), 400, "From holds hidden characters, or some that turn text round", "from.name"}, // ID-12
		"Reply-To turned round":  {nil, mailTo("a@dest.test", `,"reply_to":{"email":"x@globex.test","name":"\u202ex"}`), 400, "Reply-To holds hidden characters, or some that turn text round", "reply_to"},
		"bound Reply-To": {func(w *world, _ *relay.Key) { w.accounts[1].Policy.BindReplyTo = true }, mailTo("a@dest.test", `,"reply_to":{"email":"x@globex.test"}`), 403,
			"The policy of this account binds Reply-To to addresses that it may send as", "reply_to"}, // ID-20
		"key's senders":        {func(_ *world, k *relay.Key) { k.Senders = []string{"only@acme.test"} }, mailTo("a@dest.test", ""), 403, verified, "from"},
		"key's recipients":     {func(_ *world, k *relay.Key) { k.RecipientDomains = []string{"x.test"} }, mailTo("a@dest.test", ""), 403, "This key may not send to that domain", "personalizations.0.to.0.email"},
		"to ourselves":         {nil, mailTo("a@relay.test", ""), 400, "No mail is relayed to that domain", "personalizations.0.to.0.email"},
		"to a name of no host": {nil, mailTo("a@localhost", ""), 400, "No mail is relayed to that domain", "personalizations.0.to.0.email"},
		"no pool of ours":      {nil, mailTo("a@dest.test", `,"ip_pool_name":"x"`), 400, "The IP Pool name must be a valid pool name for your account. You provided [x].", "ip_pool_name"},
		"no batch":             {nil, mailTo("a@dest.test", `,"batch_id":"x"`), 400, "invalid batch id", "batch_id"},
		"loop": {func(w *world, _ *relay.Key) {
			mailOf(w).fail = &submit.PartError{Index: 0, Err: smtp.R(554, 5, 4, 6, "Routing loop detected")}
		}, mailTo("a@dest.test", ""), 400, "Routing loop detected", "personalizations.0"},
		"credits":             {func(w *world, _ *relay.Key) { mailOf(w).credits = noCredit{t0.Add(time.Hour)} }, mailTo("a@dest.test", ""), 401, "Maximum credits exceeded", ""},
		"hours":               {func(_ *world, k *relay.Key) { k.Hours = "Sat 00:00-00:01" }, mailTo("a@dest.test", ""), 429, "This key may not send at this hour", ""},
		"hours by the commit": {func(w *world, _ *relay.Key) { mailOf(w).fail = over }, mailTo("a@dest.test", ""), 429, "This key may not send at this hour", ""},
		"switched off":        {func(w *world, _ *relay.Key) { mailOf(w).off = true }, mailTo("a@dest.test", ""), 401, "Authenticated user is not authorized to send mail", ""},
		"too many recipients": {func(w *world, _ *relay.Key) {
			mailOf(w).fail = &submit.PartError{Index: 0, Err: smtp.R(452, 4, 5, 3, "Too many recipients for one message")}
		}, mailTo("a@dest.test", ""), 400, "Too many recipients for one message", "personalizations.0"},
		"too large": {func(w *world, _ *relay.Key) {
			mailOf(w).fail = &submit.PartError{Index: 0, Err: smtp.R(552, 5, 3, 4, "Message size exceeds the limit")}
		}, mailTo("a@dest.test", ""), 413, "content too large", ""},
		"disk full": {func(w *world, _ *relay.Key) {
			mailOf(w).fail = smtp.R(452, 4, 3, 1, "Insufficient system storage; try again later")
		}, mailTo("a@dest.test", ""), 503, "Insufficient system storage; try again later", ""},
		"revoked meanwhile": {func(w *world, _ *relay.Key) { mailOf(w).recheck = auth.ReplyEnded }, mailTo("a@dest.test", ""), 401, "The provided authorization grant is invalid, expired, or revoked", ""},
		"cannot tell":       {func(w *world, _ *relay.Key) { mailOf(w).recheck = auth.ReplyUnavailable }, mailTo("a@dest.test", ""), 503, "temporarily unavailable; try again", ""},
		"a fault of ours":   {func(w *world, _ *relay.Key) { mailOf(w).fail = errors.New("secret detail") }, mailTo("a@dest.test", ""), 500, "An internal error occurred. The operator finds it under this id.", ""}, // AP-22
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.as(w.acme, "mail.send")
			if x.change != nil {
				x.change(w, &w.keys[len(w.keys)-1])
			}
			c.refused("POST", mailSend, x.body, x.status, x.message, x.field)
			a := c.do("POST", mailSend, x.body)
			if a.Header.Get("X-Message-Id") != "" || strings.Contains(a.Body, "secret detail") {
				t.Errorf("%v %s", a.Header, a.Body)
			}
			if x.status == 403 && !strings.HasSuffix(a.Body, `"help":null}]}`+"\n") {
				t.Errorf("%s", a.Body)
			}
			if name == "hours by the commit" && a.Header.Get("Retry-After") != "90" {
				t.Errorf("Retry-After: %s", a.Header.Get("Retry-After"))
			}
			if n := len(mailOf(w).queued()); n > 0 {
				t.Errorf("%d messages are queued", n)
			}
		})
	}
}

// All or nothing: one message that cannot be sent holds back the others.
func TestMailAllOrNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "mail.send")
	c.refused("POST", mailSend, mailWith(`"personalizations":[{"to":[{"email":"a@dest.test"}]},{"to":[{"email":"b@dest.test"}],"headers":{"Resent-From":"x@globex.test"}}]`),
		403, textNotVerified, "headers.Resent-From")
	if n := len(mailOf(w).queued()); n != 0 {
		t.Errorf("%d messages are queued", n)
	}
}

// Recipients that are refused are told together, those that are no addresses
// before those that the key may not write to.
func TestMailRecipientsTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "mail.send")
	w.keys[len(w.keys)-1].RecipientDomains = []string{"dest.test"}
	body := func(more string) string {
		return mailWith(`"personalizations":[{"to":[{"email":"a@dest.test"},{"email":"a@x.test"}],"cc":[{"email":"b@y.test"}]` + more + `}]`)
	}
	var e httpx.ErrorBody
	c.want("POST", mailSend, body(""), 403, &e)
	if len(e.Errors) != 2 || *e.Errors[0].Field != "personalizations.0.to.1.email" || *e.Errors[1].Field != "personalizations.0.cc.0.email" {
		t.Errorf("%+v", e)
	}
	c.want("POST", mailSend, body(`,"bcc":[{"email":"c@localhost"}]`), 400, &e)
	if len(e.Errors) != 1 || *e.Errors[0].Field != "personalizations.0.bcc.0.email" {
		t.Errorf("%+v", e)
	}
}

func TestMailSandbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mailOf(w).credits = noCredit{}
	c := w.as(w.acme, "mail.send")
	const sandbox = `,"mail_settings":{"sandbox_mode":{"enable":true}}`
	if a := c.want("POST", mailSend, mailTo("a@dest.test", sandbox), 200, nil); a.Body != "" {
		t.Errorf("%q", a.Body)
	}
	c.refused("POST", mailSend, strings.Replace(mailTo("a@dest.test", sandbox), "from@acme.test", "from@globex.test", 1), 403, textNotVerified, "from")
	c.refused("POST", mailSend, mailTo("a@localhost", sandbox), 400, "No mail is relayed to that domain", "personalizations.0.to.0.email")
	c.refused("POST", mailSend, mailTo("a@dest.test", `,"mail_settings":{"sandbox_mode":{"enable":"true"}}`), 400, "The sandbox mode enable param should be a boolean value.", "mail_settings.sandbox_mode.enable")
	if n := len(mailOf(w).queued()); n != 0 || mailOf(w).calls != 0 {
		t.Errorf("%d messages are queued", n)
	}
}

func TestMailKeyModes(t *testing.T) {
	t.Parallel()
	for mode, want := range map[relay.KeyMode]relay.MessageState{relay.KeyTest: "", relay.KeyHold: relay.MessageHeld} {
		w := newWorld(t)
		c := w.as(w.acme, "mail.send")
		w.keys[len(w.keys)-1].Mode = mode
		c.want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
		q := mailOf(w).queued()
		if want == "" && len(q) != 0 || want != "" && (len(q) != 1 || q[0].Message.State != want) {
			t.Errorf("%s: %+v", mode, q)
		}
	}
}

func TestMailSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := t0.Add(5 * time.Hour)
	w.as(w.acme, "mail.send").want("POST", mailSend, mailTo("a@dest.test", fmt.Sprintf(`,"send_at":%d`, at.Unix())), 202, nil)
	if q := mailOf(w).queued(); len(q) != 1 || !q[0].Recipients[0].DueAt.Equal(at) || !q[0].Message.ExpiresAt.After(at) {
		t.Errorf("%+v", q)
	}
}

// A parent's key sends for its subuser, and what it is restricted to holds; the
// message is the subuser's.
func TestMailOnBehalf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "mail.send", "subusers.read").with("on-behalf-of", "staging")
	c.want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
	if q := mailOf(w).queued(); len(q) != 1 || q[0].Message.Tenant != w.staging {
		t.Errorf("%+v", q)
	}
	w.keys[len(w.keys)-1].RecipientDomains = []string{"x.test"}
	c.refused("POST", mailSend, mailTo("a@dest.test", ""), 403, "This key may not send to that domain", "personalizations.0.to.0.email")
}

// AP-13: a repeated request gets the first answer, and its mail goes out once.
func TestMailIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "mail.send").with("Idempotency-Key", "one")
	first := c.want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
	again := c.want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
	if id := again.Header.Get("X-Message-Id"); id == "" || id != first.Header.Get("X-Message-Id") || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%v", again.Header)
	}
	c.refused("POST", mailSend, mailTo("b@dest.test", ""), 422, "another request", "")
	f := mailOf(w)
	if len(f.queued()) != 1 || f.calls != 1 || f.idem[0] == nil || f.idem[0].Status != 202 || f.idem[0].Header["X-Message-Id"] != first.Header.Get("X-Message-Id") {
		t.Errorf("%d queued, %d commits", len(f.queued()), f.calls)
	}
	// What was refused can be repeated.
	c = c.with("Idempotency-Key", "two")
	f.fail = smtp.R(451, 4, 3, 0, "Mail cannot be stored now; try again later")
	c.want("POST", mailSend, mailTo("a@dest.test", ""), 503, nil)
	f.fail = nil
	c.want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
}

func zipped(tb testing.TB, body string) string {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(body)); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestMailBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "mail.send")
	zip := c.with("Content-Encoding", "gzip")
	zip.want("POST", mailSend, zipped(t, mailTo("a@dest.test", "")), 202, nil)
	zip.refused("POST", mailSend, "no gzip", 400, "gzip", "")
	zip.refused("POST", mailSend, zipped(t, mailTo("a@dest.test", ""))[:40], 400, "did not arrive in full", "")
	zip.refused("POST", mailSend, zipped(t, strings.Repeat(" ", maxMailBody+1)), 413, "content too large", "") // a bomb
	c.with("Content-Encoding", "br").refused("POST", mailSend, "x", 415, "Content-Encoding", "")
	c.refused("POST", mailSend, strings.Repeat(" ", maxMailBody+1), 413, "content too large", "")
	c.with("Content-Type", "text/plain").refused("POST", mailSend, mailTo("a@dest.test", ""), 415, "Content-Type should be application/json.", "")
	c.with("Content-Type", "application/json; charset=latin1").refused("POST", mailSend, mailTo("a@dest.test", ""), 415, "Content-Type should be application/json.", "")
	nothingHeld(t, w)
}

// The messages of one request are bounded together: a small request cannot ask
// for gigabytes.
func TestMailComposedTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.MaxComposed = 1 << 20 })
	c := w.as(w.acme, "mail.send")
	var blocks []string
	for i := range 12 {
		blocks = append(blocks, fmt.Sprintf(`{"to":[{"email":"a%d@dest.test"}]}`, i))
	}
	body, err := json.Marshal(strings.Repeat("x\n", 50000))
	if err != nil {
		t.Fatal(err)
	}
	send := func(n int) string {
		return `{"from":{"email":"from@acme.test"},"subject":"s","content":[{"type":"text/plain","value":` + string(body) + `}],"personalizations":[` + strings.Join(blocks[:n], ",") + `]}`
	}
	c.refused("POST", mailSend, send(12), 413, "content too large", "")
	if n := len(mailOf(w).queued()); n != 0 {
		t.Errorf("%d messages are queued", n)
	}
	c.want("POST", mailSend, send(6), 202, nil)
}

// Request bodies share a budget: who would go over it is told to come again, one
// tenant gets half, and nothing stays taken.
func TestMailBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := &w.services.Budget.bodies
	half := b.limit / 2
	if !b.take(w.acme.Account, half-readAhead) {
		t.Fatal("no half for one account")
	}
	c := w.as(w.acme, "mail.send")
	large := mailTo("a@dest.test", `,"sections":{"-x-":"`+strings.Repeat("x", 2*readAhead)+`"}`)
	c.want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
	c.refused("POST", mailSend, large, 429, "too many requests", "")
	if a := c.do("POST", mailSend, large); a.Header.Get("Retry-After") != "1" {
		t.Errorf("%v", a.Header)
	}
	c.with("Idempotency-Key", "k").refused("POST", mailSend, large, 429, "too many requests", "")
	w.as(w.staging, "mail.send").refused("POST", mailSend, large, 429, "too many requests", "") // subusers are no way to get more
	c.with("Content-Encoding", "gzip").refused("POST", mailSend, zipped(t, large), 429, "too many requests", "")
	w.as(w.globex, "mail.send").want("POST", mailSend, strings.Replace(large, "from@acme", "from@globex", 1), 202, nil)
	if !b.take(w.globex.Account, half) {
		t.Error("the other half is not all there")
	}
	w.as(w.system, "mail.send").want("POST", mailSend, mailTo("a@dest.test", ""), 403, nil) // the last readAhead
	b.give(w.globex.Account, half)
	b.give(w.acme.Account, half-readAhead)
	nothingHeld(t, w)
	if n := NewMailBudget(1).bodies.limit; n < 2*maxMailBody {
		t.Errorf("a budget of %d keeps large bodies out", n)
	}
	if n := NewMailBudget(1).messages.limit / 2; n < maxMailBody {
		t.Errorf("a budget of %d keeps large requests out", n)
	}
}

// What is made of small requests is bounded too.
func TestMailBudgetOfMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := &w.services.Budget.messages
	if !b.take(w.acme.Account, b.limit/2-2000) {
		t.Fatal("no half for one account")
	}
	c := w.as(w.acme, "mail.send")
	c.want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
	c.refused("POST", mailSend, mailWith(`"custom_args":{"a":"","b":"","c":"","d":""},"personalizations":[{"to":[{"email":"a@dest.test"}]}]`), 429, "too many requests", "")
	c.refused("POST", mailSend, mailTo("a@dest.test", `,"headers":{"X-A":"`+strings.Repeat("x ", 1000)+`"}`), 429, "too many requests", "")
	if n := len(mailOf(w).queued()); n != 1 {
		t.Errorf("%d messages are queued", n)
	}
	b.give(w.acme.Account, b.limit/2-2000)
	nothingHeld(t, w)
}

func nothingHeld(tb testing.TB, w *world) {
	tb.Helper()
	for name, b := range map[string]*share{"bodies": &w.services.Budget.bodies, "messages": &w.services.Budget.messages} {
		if b.held != 0 || len(b.accounts) != 0 {
			tb.Errorf("%s: %d octets are held after all requests", name, b.held)
		}
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "mail.batch.create", "mail.batch.read", "mail.send")
	var made batchAnswer
	c.want("POST", "/v3/mail/batch", "", 201, &made)
	c.want("GET", "/v3/mail/batch/"+made.BatchID, "", 200, nil)
	c.want("POST", mailSend, mailTo("a@dest.test", `,"batch_id":"`+made.BatchID+`"`), 202, nil)
	later := fmt.Sprintf(`,"send_at":%d,"batch_id":"%s"`, t0.Add(time.Hour).Unix(), made.BatchID)
	c.refused("POST", mailSend, mailTo("a@dest.test", later), 400, "paused or cancelled", "batch_id")

	const bad = `{"errors":[{"message":"invalid batch id","field":null,"help":null}]}` + "\n"
	absent := c.want("GET", "/v3/mail/batch/nothing", "", 400, nil)
	// AP-01: another tenant's id is answered like none.
	for _, of := range []relay.Tenant{w.globex, w.staging} {
		if a := w.as(of, "mail.batch.read").want("GET", "/v3/mail/batch/"+made.BatchID, "", 400, nil); a.Body != bad || absent.Body != bad {
			t.Errorf("%s", a.Body)
		}
	}
	w.pass(10 * 24 * time.Hour)
	c.want("GET", "/v3/mail/batch/"+made.BatchID, "", 400, nil)
}

// The operator on admin.sock needs no key.
func TestMailOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.operator("acme").want("POST", mailSend, mailTo("a@dest.test", ""), 202, nil)
	w.operator("acme").refused("POST", mailSend, mailFrom("x@globex.test"), 403, textNotVerified, "from")
	w.operator("acme").refused("POST", mailSend, mailTo("a@dest.test", `,"headers":{"Sender":"x@globex.test"}`), 403, textNotVerified, "headers.Sender")
	if q := mailOf(w).queued(); len(q) != 1 || q[0].Message.Tenant != w.acme || !q[0].Message.Key.IsZero() {
		t.Errorf("%+v", q)
	}
}

// As many messages as a request can ask for, in one commit.
func TestMailThousand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var blocks []string
	for i := range 1000 {
		blocks = append(blocks, fmt.Sprintf(`{"to":[{"email":"a%d@d%d.test"}],"substitutions":{"-n-":"%d"}}`, i, i%7, i))
	}
	c := w.as(w.acme, "mail.send")
	body := strings.Replace(mailWith(`"personalizations":[`+strings.Join(blocks, ",")+`]`), `"v"`, `"Dear -n-"`, 1)
	a := c.want("POST", mailSend, body, 202, nil)
	q := mailOf(w).queued()
	if len(q) != 1000 || mailOf(w).calls != 1 {
		t.Fatalf("%d messages in %d commits", len(q), mailOf(w).calls)
	}
	seen := map[string]bool{}
	for _, m := range q {
		seen[m.Recipients[0].Address] = true
		if m.Message.ID.String() == a.Header.Get("X-Message-Id") && (m.Recipients[0].Address != "a0@d0.test" || !strings.HasSuffix(mailOf(w).content(m.Message.ID), "\r\n\r\nDear 0\r\n")) {
			t.Errorf("the first message is to %s", m.Recipients[0].Address)
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d recipients", len(seen))
	}
	nothingHeld(t, w)
}

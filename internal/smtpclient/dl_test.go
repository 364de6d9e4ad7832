package smtpclient

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
)

// TestDL holds what a session must do when the next hop misbehaves: one subtest
// per row of docs/security.md. The rows that concern a whole attempt stand in
// package deliver under the same names.
func TestDL(t *testing.T) {
	t.Parallel()
	t.Run("DL-01", testTemporary)
	t.Run("DL-02", testSomeRecipientsRefused)
	t.Run("DL-03", testPermanent)
	t.Run("DL-05", testLostWithinData)
	t.Run("DL-06", testLostAfterData)
	t.Run("DL-08", testGarbageAfterAcceptance)
	t.Run("DL-09", testGarbage)
	t.Run("DL-10", test421InGroup)
	t.Run("DL-11", testLoneDot)
	t.Run("DL-12", testTooMany)
	t.Run("DL-17", testRequireTLS)
	t.Run("DL-24", testHostOffersLess)
	t.Run("DL-26", testDSNOffered)
}

func testTemporary(t *testing.T) {
	t.Parallel()
	for _, stage := range []fakemx.Stage{fakemx.Mail, fakemx.Rcpt, fakemx.Data, fakemx.End} {
		mx := fakemx.Start(t, fakemx.Config{Script: at(stage, 0, fakemx.Step{Reply: "450 4.2.1 Not now"})})
		s := open(t, mx)
		want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "450 4.2.1 "+string(stage))
		// The session goes on, in step.
		want(t, s.Send(t.Context(), message(testMessage, "c@example.test")), "250 2.0.0 end")
		s.Quit(t.Context())
	}
}

func testPermanent(t *testing.T) {
	t.Parallel()
	for _, stage := range []fakemx.Stage{fakemx.Mail, fakemx.Rcpt, fakemx.Data, fakemx.End} {
		mx := fakemx.Start(t, fakemx.Config{Script: at(stage, 0, fakemx.Step{Reply: "554-5.7.1 First line\n554 5.7.1 \x1b[31mred\x00"})})
		s := open(t, mx)
		res := s.Send(t.Context(), message(testMessage, "b@example.test", "c@example.test"))
		second := "554 5.7.1 " + string(stage)
		if stage == fakemx.Rcpt {
			second = "250 2.0.0 end"
		}
		want(t, res, "554 5.7.1 "+string(stage), second)
		if got := res.Outcomes[0].Reply.Text; got != "First line\n?[31mred?" {
			t.Errorf("the host's words became %q", got)
		}
		want(t, s.Send(t.Context(), message(testMessage, "d@example.test")), "250 2.0.0 end")
		s.Quit(t.Context())
	}
}

func testSomeRecipientsRefused(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
		switch {
		case e.Stage != fakemx.Rcpt:
		case strings.Contains(e.Line, "gone"):
			return fakemx.Step{Reply: "550 5.1.1 No such user"}
		case strings.Contains(e.Line, "full"):
			return fakemx.Step{Reply: "452 4.2.2 Mailbox full"}
		}
		return fakemx.Step{}
	}})
	s := open(t, mx)
	want(t, s.Send(t.Context(), message(testMessage, "gone@example.test", "b@example.test", "full@example.test", "c@example.test")),
		"550 5.1.1 rcpt", "250 2.0.0 end", "452 4.2.2 rcpt", "250 2.0.0 end")
	s.Quit(t.Context())
	if got := mx.Complete(); len(got) != 1 || len(got[0].Rcpt) != 2 {
		t.Errorf("transactions %+v", got)
	}
}

func testLostWithinData(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 100000)
	for name, step := range map[string]fakemx.Step{
		"closed": {After: 1000, Close: true},
		"reset":  {After: 1000, Reset: true},
	} {
		mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.Body, 0, step)})
		s := open(t, mx)
		res := s.Send(t.Context(), message(long, "b@example.test"))
		t.Log(name)
		want(t, res, "451 4.4.2 body local")
		if e := wantError(t, res.Err, "451 4.4.2 body local lost"); e.Permanent() || s.Usable() {
			t.Errorf("%s: usable %v", name, s.Usable())
		}
	}
	// A host that says why before it hangs up is believed.
	for reply, outcome := range map[string]string{
		"421 4.3.2 Going down": "421 4.3.2 body",
		"552 5.3.4 Too large":  "552 5.3.4 body",
	} {
		mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.Body, 0, fakemx.Step{After: 1000, Reply: reply, Close: true})})
		s := open(t, mx)
		conn := s.raw.(*countingConn)
		tx := message(long, "b@example.test")
		// The reply has arrived and the host's end is gone once enough was written.
		tx.Content = &pausing{Reader: strings.NewReader(long), conn: conn}
		want(t, s.Send(t.Context(), tx), outcome)
	}
}

// pausing waits a moment after the first writes, so that the other side's close
// is known by the next.
type pausing struct {
	*strings.Reader
	conn   *countingConn
	waited bool
}

func (p *pausing) Read(b []byte) (int, error) {
	if !p.waited && p.conn.writes.Load() > 3 {
		p.waited = true
		time.Sleep(time.Second) // a loaded machine
	}
	return p.Reader.Read(b)
}

// WriteTo hides that of strings.Reader.
func (p *pausing) WriteTo() {}

func testLostAfterData(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]fakemx.Step{
		"closed":        {Close: true},
		"reset":         {Reset: true},
		"half a reply":  {Raw: "250 2.0", Close: true},
		"first line":    {Raw: "250-2.0.0 Ok\r\n", Close: true},
		"garbage":       {Raw: "what?\r\n"},
		"another 3yz":   {Reply: "354 More"},
		"unequal lines": {Raw: "250-Ok\r\n550 No\r\n"},
	} {
		for _, body := range []smtp.Body{smtp.Body7Bit, smtp.BodyBinary} {
			mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.End, 0, step)})
			s := open(t, mx)
			tx := message(testMessage, "b@example.test")
			tx.Body = body
			res := s.Send(t.Context(), tx)
			if o := res.Outcomes[0]; !o.Ambiguous || !o.Reply.Temporary() || o.Delivered() || o.Open || s.Usable() || res.Err == nil {
				t.Errorf("%s: %s, usable %v", name, show(o), s.Usable())
			}
		}
	}
}

func testGarbageAfterAcceptance(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
		switch e.Stage {
		case fakemx.End:
			return fakemx.Step{Extra: "\x00\xff garbage\r\n500 more\r\n"}
		case fakemx.Quit:
			return fakemx.Step{Close: true}
		}
		return fakemx.Step{}
	}})
	s := open(t, mx)
	res := s.Send(t.Context(), message(testMessage, "b@example.test"))
	want(t, res, "250 2.0.0 end")
	if res.Err != nil || s.Usable() || s.Messages() != 1 {
		t.Errorf("error %v, usable %v, messages %d", res.Err, s.Usable(), s.Messages())
	}
	s.Quit(t.Context())
}

func testGarbage(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"words":          "hello there\r\n",
		"no code":        "25\r\n",
		"NUL":            "\x00\x00\x00\r\n",
		"600":            "650 2.0.0 Ok\r\n",
		"199":            "199 Ok\r\n",
		"many lines":     strings.Repeat("250-2.0.0 line\r\n", 200000) + "250 2.0.0 Ok\r\n",
		"a line of 1 MB": "250 " + strings.Repeat("x", 1<<20) + "\r\n",
		"mixed codes":    "250-2.0.0 Ok\r\n251 2.0.0 Ok\r\n",
		"glued code":     "250Ok\r\n",
		"a full-width 2": "２50 Ok\r\n",
	} {
		for _, stage := range []fakemx.Stage{fakemx.Banner, fakemx.Ehlo, fakemx.Mail, fakemx.Rcpt, fakemx.Data} {
			mx := fakemx.Start(t, fakemx.Config{Script: at(stage, 0, fakemx.Step{Raw: raw, Close: true})})
			s, err := tryOpen(t, mx)
			if stage == fakemx.Banner || stage == fakemx.Ehlo {
				wantError(t, err, "451 4.5.0 "+string(stage)+" local")
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			res := s.Send(t.Context(), message(testMessage, "b@example.test"))
			t.Log(name, stage)
			want(t, res, "451 4.5.0 "+string(stage)+" local open")
			if s.Usable() || len(mx.Complete()) != 0 {
				t.Errorf("%s at %s: usable %v", name, stage, s.Usable())
			}
		}
	}
	t.Run("well-formed and out of place", testReplyOutOfPlace)
	t.Run("endless words", testEndlessWords)
	t.Run("injected before the handshake", func(t *testing.T) {
		t.Parallel()
		ca := fakemx.NewCA(t)
		for _, mode := range []TLSMode{TLSOpportunistic, TLSRequired} {
			mx := fakemx.Start(t, fakemx.Config{
				TLS:    ca.Server(t, time.Hour, "mx.example.test"),
				Script: at(fakemx.StartTLS, 0, fakemx.Step{Reply: "220 Go ahead", Extra: "250-mx.evil.test\r\n250 AUTH PLAIN\r\n"}),
			})
			_, err := tryOpen(t, mx, func(o *Options) { o.TLS = mode })
			e := wantError(t, err, "451 4.5.0 starttls local")
			if !errors.Is(e, errInjected) {
				t.Errorf("error %v", e)
			}
		}
	})
}

// A reply that cannot be one to the command ends the session.
func testReplyOutOfPlace(t *testing.T) {
	t.Parallel()
	for stage, reply := range map[fakemx.Stage]string{fakemx.Data: "250 2.0.0 Ok", fakemx.Mail: "354 Go", fakemx.Rcpt: "334 Go", fakemx.End: "354 Go"} {
		mx := fakemx.Start(t, fakemx.Config{Script: at(stage, 0, fakemx.Step{Reply: reply})})
		s := open(t, mx)
		o := s.Send(t.Context(), message(testMessage, "b@example.test")).Outcomes[0]
		if o.Reply.Enhanced != (smtp.EnhancedCode{4, 5, 0}) || s.Usable() || o.Ambiguous != (stage == fakemx.End) {
			t.Errorf("%s to %s: %s, usable %v", reply, stage, show(o), s.Usable())
		}
		s.Close()
	}
}

// What is kept of a host's words is little and printable.
func testEndlessWords(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.End, 0, fakemx.Step{Reply: "550 5.7.1 \u202e" + strings.Repeat("x", 3000)})})
	s := open(t, mx)
	if o := s.Send(t.Context(), message(testMessage, "b@example.test")).Outcomes[0]; o.Reply.Text != "?"+strings.Repeat("x", maxText-1) {
		t.Errorf("kept %d octets: %.20q", len(o.Reply.Text), o.Reply.Text)
	}
	s.Quit(t.Context())
}

func test421InGroup(t *testing.T) {
	t.Parallel()
	bye := fakemx.Step{Reply: "421 4.3.2 Shutting down", Close: true}
	refuseFirst := func(e fakemx.Event) bool { return e.Stage == fakemx.Rcpt && strings.Contains(e.Line, "gone") }
	for _, tc := range []struct {
		stage fakemx.Stage
		n     int
		want  []string
	}{
		{fakemx.Mail, 0, []string{"421 4.3.2 mail open", "421 4.3.2 mail open", "421 4.3.2 mail open"}},
		{fakemx.Rcpt, 0, []string{"421 4.3.2 rcpt open", "421 4.3.2 rcpt open", "421 4.3.2 rcpt open"}},
		{fakemx.Rcpt, 1, []string{"550 5.1.1 rcpt", "421 4.3.2 rcpt open", "421 4.3.2 rcpt open"}},
		{fakemx.Rcpt, 2, []string{"550 5.1.1 rcpt", "421 4.3.2 rcpt open", "421 4.3.2 rcpt open"}},
		{fakemx.Data, 0, []string{"550 5.1.1 rcpt", "421 4.3.2 data open", "421 4.3.2 data open"}},
		{fakemx.End, 0, []string{"550 5.1.1 rcpt", "421 4.3.2 end", "421 4.3.2 end"}},
	} {
		mx := fakemx.Start(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
			switch {
			case e.Stage == tc.stage && e.N == tc.n:
				return bye
			case refuseFirst(e):
				return fakemx.Step{Reply: "550 5.1.1 No"}
			}
			return fakemx.Step{}
		}})
		s := open(t, mx)
		res := s.Send(t.Context(), message(testMessage, "gone@example.test", "b@example.test", "c@example.test"))
		t.Log(tc.stage, tc.n)
		want(t, res, tc.want...)
		if s.Usable() {
			t.Error("the session is still used after 421")
		}
	}
}

func testLoneDot(t *testing.T) {
	t.Parallel()
	for _, end := range []fakemx.Step{{}, {Reply: "554 5.5.1 No valid recipients"}, {Close: true}} {
		mx := fakemx.Start(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
			switch {
			case e.Stage == fakemx.Rcpt && strings.Contains(e.Line, "gone"):
				return fakemx.Step{Reply: "550 5.1.1 No"}
			case e.Stage == fakemx.Data && e.N == 0:
				return fakemx.Step{Reply: "354 Go ahead anyway"}
			case e.Stage == fakemx.End && e.N == 0:
				return end
			}
			return fakemx.Step{}
		}})
		s := open(t, mx)
		tx := message(testMessage, "gone@example.test", "gone2@example.test")
		tx.BeforeEnd = func(context.Context) error { t.Error("BeforeEnd without a message"); return nil }
		res := s.Send(t.Context(), tx)
		want(t, res, "550 5.1.1 rcpt", "550 5.1.1 rcpt")
		if s.Usable() == end.Close {
			t.Errorf("usable %v after %+v", s.Usable(), end)
		}
		if s.Usable() {
			want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "250 2.0.0 end")
		}
		s.Quit(t.Context())
		if got := string(mx.Complete()[0].Wire); got != ".\r\n" {
			t.Errorf("sent %q", got)
		}
		if slices.Contains(mx.Lines(0), "RSET") {
			t.Error("RSET after a transaction that had ended")
		}
	}
}

func testTooMany(t *testing.T) {
	t.Parallel()
	rcpt := []string{"a@x.test", "b@x.test", "c@y.test", "d@y.test"}
	for _, tc := range []struct {
		name   string
		config fakemx.Config
		want   []string
	}{
		{"452 4.5.3", fakemx.Config{Script: from(2, "452 4.5.3 Too many")}, []string{"250 2.0.0 end", "250 2.0.0 end", "452 4.5.3 rcpt toomany", "452 4.5.3 rcpt toomany"}},
		{"452 plain", fakemx.Config{Script: from(2, "452 Too many")}, []string{"250 2.0.0 end", "250 2.0.0 end", "452 rcpt toomany", "452 rcpt toomany"}},
		{"552 in its place", fakemx.Config{Script: from(3, "552 Too many")}, []string{"250 2.0.0 end", "250 2.0.0 end", "250 2.0.0 end", "552 rcpt toomany"}},
		{"452 for another reason", fakemx.Config{Script: from(3, "452 4.2.2 Full")}, []string{"250 2.0.0 end", "250 2.0.0 end", "250 2.0.0 end", "452 4.2.2 rcpt"}},
		{"552 for another reason", fakemx.Config{Script: from(3, "552 5.2.2 Full")}, []string{"250 2.0.0 end", "250 2.0.0 end", "250 2.0.0 end", "552 5.2.2 rcpt"}},
		{"not even one", fakemx.Config{Script: from(0, "452 4.5.3 Too many")}, []string{"452 4.5.3 rcpt", "452 4.5.3 rcpt", "452 4.5.3 rcpt", "452 4.5.3 rcpt"}},
		{"RCPTMAX", fakemx.Config{Extensions: []string{"PIPELINING", "limits MAILMAX=9 rcptmax=3"}}, []string{"250 2.0.0 end", "250 2.0.0 end", "250 2.0.0 end", "452 4.5.3 rcpt local toomany"}},
		{"RCPTDOMAINMAX", fakemx.Config{Extensions: []string{"LIMITS RCPTDOMAINMAX=1"}}, []string{"250 2.0.0 end", "250 2.0.0 end", "452 4.5.3 rcpt local toomany", "452 4.5.3 rcpt local toomany"}},
	} {
		mx := fakemx.Start(t, tc.config)
		s := open(t, mx)
		t.Log(tc.name)
		want(t, s.Send(t.Context(), message(testMessage, rcpt...)), tc.want...)
		s.Quit(t.Context())
	}
	mx := fakemx.Start(t, fakemx.Config{Extensions: []string{"LIMITS MAILMAX=2"}})
	s := open(t, mx)
	for i := range 2 {
		if !s.Usable() {
			t.Errorf("not usable for transaction %d of 2", i)
		}
		want(t, s.Send(t.Context(), message(testMessage, "b@x.test")), "250 2.0.0 end")
	}
	if s.Usable() {
		t.Error("usable beyond MAILMAX")
	}
	s.Quit(t.Context())
	if l := mx.Lines(0); l[len(l)-1] != "QUIT" {
		t.Errorf("a session at its MAILMAX ends with %q", l[len(l)-1])
	}
}

// from refuses every recipient from the n-th on.
func from(n int, reply string) func(fakemx.Event) fakemx.Step {
	return func(e fakemx.Event) fakemx.Step {
		if e.Stage == fakemx.Rcpt && e.N >= n {
			return fakemx.Step{Reply: reply}
		}
		return fakemx.Step{}
	}
}

func testRequireTLS(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	ext := append([]string{"REQUIRETLS"}, fakemx.DefaultExtensions...)
	tlsConfig := ca.Server(t, time.Hour, "mx.example.test")
	for _, tc := range []struct {
		config fakemx.Config
		want   string
	}{
		{fakemx.Config{Extensions: ext}, "550 5.7.30 mail local"},
		{fakemx.Config{TLS: tlsConfig}, "550 5.7.30 mail local"},
		{fakemx.Config{TLS: tlsConfig, Extensions: ext}, "250 2.0.0 end"},
	} {
		mx := fakemx.Start(t, tc.config)
		s := open(t, mx)
		tx := message(testMessage, "b@example.test")
		tx.RequireTLS = true
		want(t, s.Send(t.Context(), tx), tc.want)
		s.Quit(t.Context())
		for _, m := range mx.Complete() {
			if m.Mail != "FROM:<a@example.test> SIZE=82 REQUIRETLS" {
				t.Errorf("MAIL %s", m.Mail)
			}
		}
	}
}

func testHostOffersLess(t *testing.T) {
	t.Parallel()
	less := func(missing string) []string {
		var ext []string
		for _, e := range fakemx.DefaultExtensions {
			if e != missing {
				ext = append(ext, e)
			}
		}
		return ext
	}
	plain := func(*Transaction) {}
	eight := func(tx *Transaction) { tx.Body = smtp.Body8Bit }
	binary := func(tx *Transaction) { tx.Body = smtp.BodyBinary }
	for _, tc := range []struct {
		name   string
		ext    []string
		change func(*Transaction)
		want   []string
	}{
		{"8-bit", less("8BITMIME"), eight, []string{"550 5.6.3 mail local", "550 5.6.3 mail local"}},
		{"8-bit, offered", less("SMTPUTF8"), eight, []string{"250 2.0.0 end", "250 2.0.0 end"}},
		{"binary without BINARYMIME", less("BINARYMIME"), binary, []string{"550 5.6.3 mail local", "550 5.6.3 mail local"}},
		{"binary without CHUNKING", less("CHUNKING"), binary, []string{"550 5.6.3 mail local", "550 5.6.3 mail local"}},
		{"international header", less("SMTPUTF8"), func(tx *Transaction) { tx.SMTPUTF8 = true }, []string{"550 5.6.7 mail local", "550 5.6.7 mail local"}},
		{"international sender", less("SMTPUTF8"), func(tx *Transaction) { tx.From = "ä@example.test" }, []string{"550 5.6.7 mail local", "550 5.6.7 mail local"}},
		{"international recipient", less("SMTPUTF8"), func(tx *Transaction) { tx.Recipients[1].Address = "ä@example.test" }, []string{"250 2.0.0 end", "550 5.6.7 rcpt local"}},
		{"too large", []string{"SIZE 81"}, plain, []string{"552 5.3.4 mail local", "552 5.3.4 mail local"}},
		{"just fits", []string{"SIZE 82"}, plain, []string{"250 2.0.0 end", "250 2.0.0 end"}},
		{"no fixed limit", []string{"SIZE 0"}, plain, []string{"250 2.0.0 end", "250 2.0.0 end"}},
	} {
		mx := fakemx.Start(t, fakemx.Config{Extensions: tc.ext})
		s := open(t, mx)
		tx := message(testMessage, "b@example.test", "c@example.test")
		tc.change(tx)
		t.Log(tc.name)
		want(t, s.Send(t.Context(), tx), tc.want...)
		if !s.Usable() {
			t.Error("the session is spent")
		}
		s.Quit(t.Context())
		if n := len(mx.Lines(0)); strings.Contains(tc.want[0], "local") && n != 2 {
			t.Errorf("commands were sent: %q", mx.Lines(0))
		}
	}
}

func testDSNOffered(t *testing.T) {
	t.Parallel()
	for _, offered := range []bool{false, true} {
		ext := []string{"PIPELINING"}
		if offered {
			ext = append(ext, "dsn")
		}
		mx := fakemx.Start(t, fakemx.Config{Extensions: ext})
		s := open(t, mx)
		if res := s.Send(t.Context(), message(testMessage, "b@example.test")); res.DSN != offered {
			t.Errorf("DSN offered %v, reported %v", offered, res.DSN)
		}
		s.Quit(t.Context())
	}
}

package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
)

func TestSendDelivers(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{})
	s := open(t, mx)
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test", "c@example.test")), "250 2.0.0 end", "250 2.0.0 end")
	s.Quit(t.Context())
	got := mx.Complete()
	if len(got) != 1 || string(got[0].Body) != testMessage {
		t.Fatalf("the host took %+v", got)
	}
	wantLines := []string{"EHLO client.example.test", "MAIL FROM:<a@example.test> SIZE=82", "RCPT TO:<b@example.test>", "RCPT TO:<c@example.test>", "DATA", "QUIT"}
	if diff := cmp.Diff(wantLines, mx.Lines(0)); diff != "" {
		t.Error(diff)
	}
}

// RFC 2920: one write for the envelope; and one for a common message with its
// end.
func TestSendWritesInGroups(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{})
	s := open(t, mx)
	conn := s.raw.(*countingConn)
	body := strings.Repeat("0123456789012345678901234567890123456789\r\n", 240)
	for range 3 {
		before := conn.writes.Load()
		want(t, s.Send(t.Context(), message(body, "b@example.test", "c@example.test")), "250 2.0.0 end", "250 2.0.0 end")
		if n := conn.writes.Load() - before; n != 2 {
			t.Errorf("%d writes for a message of 10 KB, want 2", n)
		}
	}
	if s.Messages() != 3 || s.buf != nil {
		t.Errorf("after 3 messages: counted %d, buffers kept while idle: %v", s.Messages(), s.buf != nil)
	}
	s.Quit(t.Context())
	if slices.Contains(mx.Lines(0), "RSET") {
		t.Error("RSET after a transaction that had ended")
	}
}

func TestSendWithoutPipelining(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{
		Extensions: []string{"8BITMIME"},
		Script:     at(fakemx.Rcpt, 1, fakemx.Step{Reply: "550 5.1.1 Unknown"}),
	})
	s := open(t, mx)
	conn := s.raw.(*countingConn)
	before := conn.writes.Load()
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test", "c@example.test", "d@example.test")),
		"250 2.0.0 end", "550 5.1.1 rcpt", "250 2.0.0 end")
	if n := conn.writes.Load() - before; n != 6 { // MAIL, 3 × RCPT, DATA, message
		t.Errorf("%d writes, want one a command", n)
	}
	s.Quit(t.Context())
}

// Without pipelining nothing is said that the replies so far make pointless.
func TestSendStopsEarlyWithoutPipelining(t *testing.T) {
	t.Parallel()
	for stage, lines := range map[fakemx.Stage][]string{
		fakemx.Mail: {"MAIL", "MAIL"},
		fakemx.Rcpt: {"MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA"},
	} {
		mx := fakemx.Start(t, fakemx.Config{Extensions: []string{"HELP"}, Script: at(stage, 0, fakemx.Step{Reply: "450 4.2.0 Later"})})
		s := open(t, mx)
		want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "450 4.2.0 "+string(stage))
		res := s.Send(t.Context(), message(testMessage, "b@example.test"))
		s.Quit(t.Context())
		var verbs []string
		for _, l := range mx.Lines(0)[1:] {
			verbs = append(verbs, strings.Fields(l)[0])
		}
		if stage == fakemx.Mail {
			lines = []string{"MAIL", "MAIL", "RCPT", "DATA"}
		}
		if diff := cmp.Diff(append(lines, "QUIT"), verbs); diff != "" {
			t.Errorf("%s refused: %s", stage, diff)
		}
		want(t, res, "250 2.0.0 end")
	}
}

// A transaction that ended badly is reset in front of the next one, in the same
// write.
func TestSendResetsInTheNextGroup(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.Rcpt, 0, fakemx.Step{Reply: "550 5.1.1 Unknown"})})
	s := open(t, mx)
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "550 5.1.1 rcpt")
	conn := s.raw.(*countingConn)
	before := conn.writes.Load()
	want(t, s.Send(t.Context(), message(testMessage, "c@example.test")), "250 2.0.0 end")
	if n := conn.writes.Load() - before; n != 2 {
		t.Errorf("%d writes, want 2", n)
	}
	s.Quit(t.Context())
	if !slices.Contains(mx.Lines(0), "RSET") {
		t.Errorf("no RSET in %q", mx.Lines(0))
	}
}

func TestSendManyRecipients(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
		if e.Stage == fakemx.Rcpt && e.N%7 == 3 {
			return fakemx.Step{Reply: fmt.Sprintf("550 5.1.1 No %d", e.N)}
		}
		return fakemx.Step{}
	}})
	s := open(t, mx, func(o *Options) { o.MaxRecipients = 1000 })
	tx := message(testMessage)
	for i := range 500 {
		tx.Recipients = append(tx.Recipients, Recipient{Address: fmt.Sprintf("recipient%d@%s.example.test", i, strings.Repeat("x", 40))})
	}
	res := s.Send(t.Context(), tx)
	for i, o := range res.Outcomes {
		switch {
		case i%7 == 3 && (o.Reply.Code != 550 || o.Reply.Text != fmt.Sprintf("No %d", i)):
			t.Fatalf("recipient %d: %s", i, show(o))
		case i%7 != 3 && !o.Delivered():
			t.Fatalf("recipient %d: %s", i, show(o))
		}
	}
	// RFC 2920 §3.1: never so much at once that both sides could lock up.
	if n := s.raw.(*countingConn).longest.Load(); n > groupSize+512 {
		t.Errorf("a write of %d octets of commands", n)
	}
	s.Quit(t.Context())
}

func TestSendParameters(t *testing.T) {
	t.Parallel()
	full := &Transaction{
		From: "a@example.test", Body: smtp.Body8Bit, Ret: "HDRS", EnvID: "x+y z",
		Recipients: []Recipient{{Address: `"odd one"@example.test`, Notify: smtp.NotifySuccess | smtp.NotifyDelay, ORcpt: "rfc822;o+2Bne@example.test"}},
	}
	utf8 := &Transaction{
		From:       "a@example.test",
		Recipients: []Recipient{{Address: "ö@example.test", ORcpt: "utf-8;ö@example.test"}, {Address: "plain@example.test", ORcpt: "rfc822;bad one"}},
	}
	for _, tc := range []struct {
		name string
		ext  []string
		tx   *Transaction
		want []string
	}{
		{"all offered", fakemx.DefaultExtensions, full, []string{
			"MAIL FROM:<a@example.test> SIZE=82 BODY=8BITMIME RET=HDRS ENVID=x+2By+20z",
			`RCPT TO:<"odd one"@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bne@example.test`,
		}},
		{"no DSN, no SIZE", []string{"8bitMIME"}, full, []string{
			"MAIL FROM:<a@example.test> BODY=8BITMIME",
			`RCPT TO:<"odd one"@example.test>`,
		}},
		{"international", []string{"smtputf8", "8BITMIME", "dsn"}, utf8, []string{
			"MAIL FROM:<a@example.test> SMTPUTF8",
			"RCPT TO:<ö@example.test> ORCPT=utf-8;ö@example.test", "RCPT TO:<plain@example.test>",
		}},
		{"SMTPUTF8 offered and not needed", fakemx.DefaultExtensions, message("", "b@example.test"), []string{
			"MAIL FROM:<a@example.test> SIZE=82", "RCPT TO:<b@example.test>",
		}},
		{"null sender, bare postmaster", []string{"SIZE"}, &Transaction{Recipients: []Recipient{{Address: "Postmaster"}}}, []string{
			"MAIL FROM:<> SIZE=82", "RCPT TO:<Postmaster>",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mx := fakemx.Start(t, fakemx.Config{Extensions: tc.ext})
			s := open(t, mx)
			tx := *tc.tx
			tx.Content, tx.ContentSize = strings.NewReader(testMessage), int64(len(testMessage))
			res := s.Send(t.Context(), &tx)
			s.Quit(t.Context())
			if !res.Outcomes[0].Delivered() {
				t.Errorf("not delivered: %s, %v", show(res.Outcomes[0]), res.Err)
			}
			lines := mx.Lines(0)[1:]
			lines = slices.DeleteFunc(lines, func(l string) bool { return l == "DATA" || l == "QUIT" })
			if diff := cmp.Diff(tc.want, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSendBinary(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, outSize, chunkSize - 3, chunkSize, chunkSize + 1} {
		mx := fakemx.Start(t, fakemx.Config{})
		s := open(t, mx)
		body := strings.Repeat("\x00\r\n.\n\xff", size/6+1)[:size]
		tx := message(body, "b@example.test", "c@example.test")
		tx.Body, tx.Prefix = smtp.BodyBinary, []byte("A: b\r\n")
		calls := 0
		tx.BeforeEnd = func(context.Context) error {
			calls++
			if len(mx.Complete()) > 0 {
				t.Error("the end of the data left before BeforeEnd")
			}
			return nil
		}
		want(t, s.Send(t.Context(), tx), "250 2.0.0 end", "250 2.0.0 end")
		s.Quit(t.Context())
		if got := mx.Complete(); len(got) != 1 || string(got[0].Body) != "A: b\r\n"+body || calls != 1 {
			t.Errorf("size %d: %d messages, BeforeEnd called %d times", size, len(got), calls)
		}
	}
}

func TestSendBinaryRefusedChunk(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.Chunk, 0, fakemx.Step{Reply: "552 5.3.4 Enough"})})
	s := open(t, mx)
	tx := message(testMessage, "b@example.test")
	tx.Body = smtp.BodyBinary
	want(t, s.Send(t.Context(), tx), "552 5.3.4 body")
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "250 2.0.0 end")
	s.Quit(t.Context())
}

// BeforeEnd stands between the content and its end, whatever the size.
func TestBeforeEnd(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, size := range []int{10, outSize - 2, outSize, 3 * outSize} {
		for _, fail := range []bool{false, true} {
			mx := fakemx.Start(t, fakemx.Config{})
			s := open(t, mx)
			tx := message(strings.Repeat("x", size), "b@example.test")
			tx.BeforeEnd = func(context.Context) error {
				if len(mx.Complete()) > 0 {
					t.Error("the end of the data left before BeforeEnd")
				}
				if fail {
					return boom
				}
				return nil
			}
			res := s.Send(t.Context(), tx)
			s.Quit(t.Context())
			mx.Drain(t)
			if !fail {
				want(t, res, "250 2.0.0 end")
				continue
			}
			want(t, res, "451 4.3.0 body local")
			if !errors.Is(res.Err, boom) || s.Usable() || len(mx.Complete()) != 0 {
				t.Errorf("size %d: error %v, usable %v, delivered %d", size, res.Err, s.Usable(), len(mx.Complete()))
			}
		}
	}
}

// Content that breaks, ends early or goes on too long is never passed off as
// the message.
func TestContentFaults(t *testing.T) {
	t.Parallel()
	torn := errors.New("torn")
	for name, change := range map[string]func(*Transaction){
		"read error":      func(tx *Transaction) { tx.Content = io.MultiReader(tx.Content, errReader{torn}) },
		"ends early":      func(tx *Transaction) { tx.ContentSize++ },
		"goes on":         func(tx *Transaction) { tx.ContentSize-- },
		"binary, error":   func(tx *Transaction) { tx.Body = smtp.BodyBinary; tx.Content = errReader{torn} },
		"binary, early":   func(tx *Transaction) { tx.Body = smtp.BodyBinary; tx.ContentSize++ },
		"binary, goes on": func(tx *Transaction) { tx.Body = smtp.BodyBinary; tx.ContentSize-- },
	} {
		mx := fakemx.Start(t, fakemx.Config{})
		s := open(t, mx)
		tx := message(testMessage, "b@example.test")
		change(tx)
		res := s.Send(t.Context(), tx)
		mx.Drain(t)
		t.Log(name)
		want(t, res, "451 4.3.0 body local")
		if strings.Contains(name, "error") != errors.Is(res.Err, torn) {
			t.Errorf("%s: error %v", name, res.Err)
		}
		if n := len(mx.Complete()); n != 0 {
			t.Errorf("%s: %d messages delivered", name, n)
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestResetAndMessageCount(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{Script: at(fakemx.Rset, 1, fakemx.Step{Reply: "500 5.5.1 What?"})})
	s := open(t, mx)
	if err := s.Reset(t.Context()); err != nil || !s.Usable() {
		t.Errorf("Reset: %v", err)
	}
	err := s.Reset(t.Context())
	if e, ok := errors.AsType[*Error](err); !ok || e.Stage != StageReset || !e.Permanent() || s.Usable() {
		t.Errorf("refused Reset: %v, usable %v", err, s.Usable())
	}
	if err := s.Reset(t.Context()); err == nil {
		t.Error("Reset of a broken session succeeds")
	}
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test")), "451 4.4.2 mail local open")
	s.Close()
}

package ledger

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/dns/dnsmessage"
)

// play runs a load of 40 messages through a relay with a defect and returns the
// ledger of it.
func play(t *testing.T, defect func(int, *mail)) *Ledger {
	t.Helper()
	l := New(7)
	sink := &Sink{Ledger: l}
	if err := sink.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	relay := startRelay(t, sink.Addr().String(), defect)
	load := &Load{Login: relay.login, Ledger: l, From: "a@client.test", Domains: []string{"one.test", "two.test"},
		Connections: 3, Messages: 40, PerSession: 7, Sizes: []int{300, 5000}}
	if err := load.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBalanced(t *testing.T) {
	t.Parallel()
	l := play(t, nil)
	r := l.Check(nil)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if r.Acked != 40 || r.Copies != r.Recipients || r.Extra != 0 || r.Recipients < 41 {
		t.Errorf("want 40 acknowledged and as many copies as recipients: %s", &r)
	}
	if missing := l.Missing(); len(missing) != 0 {
		t.Errorf("missing %v", missing)
	}
	for _, e := range l.Entries() {
		if e.QueueID != "AAAAAAAAAAAAAAAAAAAAAA" || e.EndAt.IsZero() || !e.ReplyAt.After(e.EndAt) || e.Conn == "" {
			t.Errorf("entry %+v", e)
		}
	}
	for _, take := range l.Takes() {
		if !take.Answered || !take.Intact {
			t.Errorf("take %+v", take)
		}
	}
}

// TestDefects proves that each finding can be made: the tenth message is
// mistreated in one way, and exactly that is reported.
func TestDefects(t *testing.T) {
	t.Parallel()
	refusal := &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "no"}
	tests := []struct {
		name  string
		do    func(*mail)
		found func(Report) []string
	}{
		{"lost", func(m *mail) { m.drop = true }, func(r Report) []string { return r.Lost }},
		{"twice", func(m *mail) { m.twice = true }, func(r Report) []string { return slices.Concat(r.Unmarked, r.TooMany) }},
		{"damaged", spoil, func(r Report) []string { return r.Damaged }},
		{"refused and delivered", func(m *mail) { m.answer = refusal }, func(r Report) []string { return r.Forged }},
		{"another recipient", func(m *mail) { m.to = append(m.to, "x@one.test") }, func(r Report) []string { return r.Unknowns }},
		{"dropped recipient", func(m *mail) { m.to = []string{"x@one.test"} }, func(r Report) []string { return r.Lost }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := play(t, func(n int, m *mail) {
				if n == 10 {
					tt.do(m)
				}
			})
			r := l.Check(nil)
			if len(tt.found(r)) == 0 {
				t.Fatalf("not found: %s", &r)
			}
			if err := r.Err(); err == nil || !strings.Contains(err.Error(), "seed 7") {
				t.Errorf("error %v does not name the seed", err)
			}
		})
	}
}

// TestLostLink: a message that was delivered while its client lost the link is
// no finding, and no promise.
func TestLostLink(t *testing.T) {
	t.Parallel()
	l := play(t, func(n int, m *mail) { m.hangUp = n%10 == 0 })
	r := l.Check(nil)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if r.Unknown != 4 || r.Acked != 36 {
		t.Errorf("want 4 without an answer and 36 acknowledged: %s", &r)
	}
}

// TestExtraCopies: copies beyond the first need as many marks and kills.
func TestExtraCopies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		copies, kills, marks int
		unmarked, tooMany    bool
	}{
		{1, 0, 0, false, false},
		{1, 1, 1, false, false},
		{2, 1, 1, false, false},
		{2, 1, 0, true, false},
		{2, 0, 1, false, true},
		{3, 1, 2, false, true},
		{3, 2, 1, true, false},
		{3, 2, 2, false, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d copies %d kills %d marks", tt.copies, tt.kills, tt.marks), func(t *testing.T) {
			l := New(1)
			at := time.Now()
			l.open(Entry{ID: "m", Phase: Acked, Recipients: []string{"a@b.test"}, EndAt: at})
			kill := func(from, to time.Duration) { l.Kill(Kill{From: at.Add(from), To: at.Add(to)}) }
			kill(-2*time.Second, -time.Second)  // before its time: no excuse
			kill(time.Minute, time.Minute+1000) // after it
			for i := range tt.kills {
				// The message may have come in between the signal and the death.
				kill(time.Duration(1-2*(i%2))*time.Second/2, time.Second)
			}
			for range tt.copies {
				l.take(Take{ID: "m", Recipient: "a@b.test", At: at.Add(2 * time.Second)}, [32]byte{})
			}
			r := l.Check(slices.Repeat([]Mark{{ID: "m", Recipient: "a@b.test"}}, tt.marks))
			if got := len(r.Unmarked) > 0; got != tt.unmarked {
				t.Errorf("unmarked %v, want %v", r.Unmarked, tt.unmarked)
			}
			if got := len(r.TooMany) > 0; got != tt.tooMany {
				t.Errorf("too many %v, want %v", r.TooMany, tt.tooMany)
			}
		})
	}
}

// TestCopiesNotedOutOfOrder: the later copy may be noted first.
func TestCopiesNotedOutOfOrder(t *testing.T) {
	l := New(1)
	at := time.Now()
	l.open(Entry{ID: "m", Phase: Acked, Recipients: []string{"a@b.test"}, EndAt: at})
	l.Kill(Kill{From: at.Add(2 * time.Second), To: at.Add(3 * time.Second)})
	for _, after := range []time.Duration{4 * time.Second, time.Second} {
		l.take(Take{ID: "m", Recipient: "a@b.test", At: at.Add(after)}, [32]byte{})
	}
	if r := l.Check([]Mark{{ID: "m", Recipient: "a@b.test"}}); len(r.TooMany) > 0 || r.Extra != 1 {
		t.Errorf("too many %v, extra %d", r.TooMany, r.Extra)
	}
}

// TestWrongLogin: a load that cannot log in says so instead of knocking for ever.
func TestWrongLogin(t *testing.T) {
	t.Parallel()
	relay := startRelay(t, "", nil)
	relay.login.Password = "q"
	load := &Load{Login: relay.login, Ledger: New(1), From: "a@client.test", Domains: []string{"one.test"}, Connections: 1, Messages: 1}
	if err := load.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "535") {
		t.Errorf("got %v, want the refusal", err)
	}
}

// TestSinkJudge walks the sink's verdicts over a raw connection.
func TestSinkJudge(t *testing.T) {
	t.Parallel()
	l := New(1)
	l.open(Entry{ID: "m", Recipients: []string{"ok@one.test"}})
	sink := &Sink{Ledger: l, Judge: func(step Step, id, rcpt string) Verdict {
		switch {
		case step == AtRcpt && strings.HasPrefix(rcpt, "later"):
			return Verdict{Reply: "451 4.2.0 later"}
		case step == AtEnd && strings.HasPrefix(rcpt, "never"):
			return Verdict{Reply: "550 5.7.1 never"}
		case step == AtEnd && strings.HasPrefix(rcpt, "drop"):
			return Verdict{Drop: true}
		}
		return Verdict{}
	}}
	if err := sink.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	talk := func(to string) string {
		conn, err := net.Dial("tcp", sink.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<"+to+">\r\nDATA\r\nX-Ledger-Id: m\r\n\r\n..b\r\n.\r\nQUIT\r\n")
		var last []string
		for scan := bufio.NewScanner(conn); scan.Scan(); {
			last = append(last, scan.Text())
		}
		return strings.Join(last, "\n")
	}
	for to, want := range map[string]string{
		"ok@one.test": "250 2.0.0 taken", "later@one.test": "451 4.2.0 later",
		"never@one.test": "550 5.7.1 never", "drop@one.test": "354 go on",
	} {
		if got := talk(to); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", to, got, want)
		}
	}
	var taken []string
	for _, take := range l.Takes() {
		taken = append(taken, fmt.Sprintf("%s %t", take.Recipient, take.Answered))
	}
	slices.Sort(taken)
	if want := []string{"drop@one.test false", "ok@one.test true"}; !slices.Equal(taken, want) {
		t.Errorf("taken %v, want %v", taken, want)
	}
}

func TestStuff(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                "",
		"a\r\n":           "a\r\n",
		".\r\n":           "..\r\n",
		"a.b\r\n.c\r\n":   "a.b\r\n..c\r\n",
		"a\r\n..\r\n\r\n": "a\r\n...\r\n\r\n",
	} {
		if got := string(stuff([]byte(in))); got != want {
			t.Errorf("stuff(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestBody: the same seed draws the same body, in CRLF lines within the limit.
func TestBody(t *testing.T) {
	t.Parallel()
	draw := func() string { return string(Body(rand.New(rand.NewPCG(1, 2)), 50_000)) }
	b := draw()
	if b != draw() {
		t.Error("the same seed drew another body")
	}
	for line := range strings.SplitAfterSeq(b, "\n") {
		if line != "" && (!strings.HasSuffix(line, "\r\n") || len(line) > 998 || strings.Count(line, "\r") != 1) {
			t.Fatalf("line %q", line)
		}
	}
	if len(b) < 50_000 || !strings.Contains(b, "\r\n.\r\n") || !strings.Contains(b, "\r\n\r\n") {
		t.Errorf("%d octets without the hard lines", len(b))
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	z := &Zone{}
	if err := z.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	ask := func(name string, kind dnsmessage.Type) []dnsmessage.Resource {
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: 9, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
		packed, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("udp", z.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		conn.Write([]byte("noise")) // must be ignored
		conn.Write(packed)
		buf := make([]byte, 1024)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil || m.ID != 9 {
			t.Fatalf("id %d: %v", m.ID, err)
		}
		return m.Answers
	}
	if a := ask("One.test.", dnsmessage.TypeMX); len(a) != 1 || a[0].Body.(*dnsmessage.MXResource).MX.String() != "mx.one.test." {
		t.Errorf("MX: %v", a)
	}
	if a := ask("mx.one.test.", dnsmessage.TypeA); len(a) != 1 || a[0].Body.(*dnsmessage.AResource).A != [4]byte{127, 0, 0, 1} {
		t.Errorf("A: %v", a)
	}
	for _, none := range []string{"mx.one.test.", "one.example."} {
		if a := ask(none, dnsmessage.TypeMX); len(a) != 0 {
			t.Errorf("%s MX: %v", none, a)
		}
	}
}

// TestDoubt: only temporary refusals after the end of data, in that time, become
// doubtful.
func TestDoubt(t *testing.T) {
	t.Parallel()
	at := time.Now()
	for _, tt := range []struct {
		reply string
		at    time.Time
		want  Phase
	}{
		{"end of data: 451 4.3.0 later", at, Sent},
		{"end of data: 550 5.7.1 no", at, Refused},
		{"MAIL: 451 4.3.0 later", at, Refused},
		{"end of data: 451 4.3.0 later", at.Add(time.Minute), Refused},
	} {
		l := New(1)
		l.open(Entry{ID: "m", Phase: Refused, Reply: tt.reply, ReplyAt: tt.at})
		l.Doubt(at.Add(-time.Second), at.Add(time.Second))
		if got := l.Entries()[0].Phase; got != tt.want {
			t.Errorf("%q: %s, want %s", tt.reply, got, tt.want)
		}
	}
}

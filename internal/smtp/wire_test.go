package smtp_test

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"postern/internal/smtp"
)

func TestReadLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	tests := []struct {
		in, line, rest string
		err            error
	}{
		{"NOOP\r\nQUIT\r\n", "NOOP", "QUIT\r\n", nil},
		{"\r\nQUIT\r\n", "", "QUIT\r\n", nil},
		{"NOOP\nNOOP\r\n", "", "NOOP\r\n", smtp.ErrBareLF},
		{"\nNOOP\r\n", "", "NOOP\r\n", smtp.ErrBareLF},
		{"NO\rOP\r\nQUIT\r\n", "", "QUIT\r\n", smtp.ErrBareCR},
		{"NOOP\r\r\nQUIT\r\n", "", "QUIT\r\n", smtp.ErrBareCR},
		{"NO\x00OP\r\nQUIT\r\n", "", "QUIT\r\n", smtp.ErrNUL},
		{strings.Repeat("x", 62) + "\r\nQUIT\r\n", strings.Repeat("x", 62), "QUIT\r\n", nil},
		{strings.Repeat("x", 63) + "\r\nQUIT\r\n", "xxxxxxxx", "QUIT\r\n", smtp.ErrLineTooLong},
		{"AUTH " + long + "\r\nQUIT\r\n", "AUTH xxx", "QUIT\r\n", smtp.ErrLineTooLong},
		{long + "\nQUIT\r\n", "xxxxxxxx", "QUIT\r\n", smtp.ErrBareLF},
		{long, "xxxxxxxx", "", io.ErrUnexpectedEOF},
		{"NOOP", "", "", io.ErrUnexpectedEOF},
		{"NOOP\r", "", "", io.ErrUnexpectedEOF},
		{"", "", "", io.EOF},
	}
	for _, tt := range tests {
		for _, size := range []int{65, 100, 8192} {
			br := bufio.NewReaderSize(strings.NewReader(tt.in), size)
			line, err := smtp.ReadLine(br, 64)
			if !errors.Is(err, tt.err) || err == nil && string(line) != tt.line || err != nil && line != nil && string(line) != tt.line {
				t.Errorf("%.20q buffer %d: %q, %v; want %q, %v", tt.in, size, line, err, tt.line, tt.err)
			}
			if rest, _ := io.ReadAll(br); string(rest) != tt.rest {
				t.Errorf("%.20q buffer %d: rest %.20q, want %q", tt.in, size, rest, tt.rest)
			}
		}
	}
}

// TestReadLineTail puts a command at every power of two of an over-long line:
// it is never read as a line of its own.
func TestReadLineTail(t *testing.T) {
	t.Parallel()
	for _, at := range []int{512, 1024, 2048, 4096, 8192, 12288, 16384, 65536} {
		for off := -2; off <= 2; off++ {
			in := strings.Repeat("x", at+off) + "RCPT TO:<a@b.example>\r\nNOOP\r\n"
			br := bufio.NewReaderSize(strings.NewReader(in), 16384)
			limit := 500
			if _, err := smtp.ReadLine(br, limit); !errors.Is(err, smtp.ErrLineTooLong) {
				t.Fatalf("tail at %d%+d: %v", at, off, err)
			}
			if line, err := smtp.ReadLine(br, limit); string(line) != "NOOP" || err != nil {
				t.Errorf("tail at %d%+d: next line %q, %v", at, off, line, err)
			}
		}
	}
}

func TestReadLineFlood(t *testing.T) {
	t.Parallel()
	src := &endless{}
	if _, err := smtp.ReadLine(bufio.NewReaderSize(src, 4096), 512); !errors.Is(err, smtp.ErrLineFlood) {
		t.Fatalf("endless line: %v", err)
	}
	if src.n > 2*smtp.MaxDiscard {
		t.Errorf("%d octets were read of it", src.n)
	}
	if _, err := smtp.ReadLine(bufio.NewReaderSize(src, 512), 512); err == nil || errors.Is(err, smtp.ErrLineFlood) {
		t.Errorf("buffer smaller than the limit: %v", err)
	}
}

type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.n += len(p)
	return len(p), nil
}

func TestAppendReply(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   smtp.Reply
		want string
	}{
		{smtp.R(250, 2, 1, 0, "Ok"), "250 2.1.0 Ok\r\n"},
		{smtp.Reply{Code: 354, Text: "Continue"}, "354 Continue\r\n"},
		{smtp.Reply{Code: 334}, "334 \r\n"},
		{smtp.R(334, 2, 0, 0, "x"), "334 x\r\n"},
		{smtp.Reply{Code: 250, Text: "a\nb\nc"}, "250-a\r\n250-b\r\n250 c\r\n"},
		{smtp.R(550, 5, 7, 1, "no\nway"), "550-5.7.1 no\r\n550 5.7.1 way\r\n"},
		{smtp.R(550, 4, 7, 1, "class"), "550 5.7.1 class\r\n"},
		{smtp.R(550, 5, 7, 1, "a\r\x00\x7fü"), "550 5.7.1 a?????\r\n"},
		{smtp.Reply{Code: 0, Text: "secret"}, "451 4.3.0 Internal error\r\n"},
		{smtp.Reply{Code: 999}, "451 4.3.0 Internal error\r\n"},
		{smtp.Reply{Code: 250, Text: strings.Repeat("x", 1000)}, "250 " + strings.Repeat("x", 506) + "\r\n"},
	}
	for _, tt := range tests {
		if got := string(smtp.AppendReply(nil, tt.in)); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestReadReply(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want smtp.Reply
	}{
		{"250 ok\r\n", smtp.Reply{Code: 250, Text: "ok"}},
		{"250\r\n", smtp.Reply{Code: 250}},
		{"250 \r\n", smtp.Reply{Code: 250}},
		{"250 ok\n", smtp.Reply{Code: 250, Text: "ok"}},
		{"250 2.1.0 ok\r\n", smtp.R(250, 2, 1, 0, "ok")},
		{"250 2.1.0\r\n", smtp.R(250, 2, 1, 0, "")},
		{"550 2.1.0 odd\r\n", smtp.Reply{Code: 550, Text: "2.1.0 odd"}},
		{"550 5.01.0 odd\r\n", smtp.Reply{Code: 550, Text: "5.01.0 odd"}},
		{"550 5.1000.0 odd\r\n", smtp.Reply{Code: 550, Text: "5.1000.0 odd"}},
		{"550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n", smtp.R(550, 5, 1, 1, "a\nb\nc")},
		{"550-5.1.1 a\r\n550 b\r\n", smtp.R(550, 5, 1, 1, "a\nb")},
		{"250-host\r\n250-SIZE 1\r\n250 DSN\r\n", smtp.Reply{Code: 250, Text: "host\nSIZE 1\nDSN"}},
		{"250 a\x00b\rc\x7f\x1b[31m\r\n", smtp.Reply{Code: 250, Text: "a?b?c??[31m"}},
		{"250-\r\n250 x\r\n", smtp.Reply{Code: 250, Text: "\nx"}},
	}
	for _, tt := range tests {
		for _, size := range []int{16, 4096} {
			br := bufio.NewReaderSize(strings.NewReader(tt.in+"221 bye\r\n"), size)
			got, err := smtp.ReadReply(br)
			if err != nil || got != tt.want {
				t.Errorf("%q: %#v, %v; want %#v", tt.in, got, err, tt.want)
			}
			if next, err := smtp.ReadReply(br); err != nil || next.Code != 221 {
				t.Errorf("%q: next reply %v, %v", tt.in, next, err)
			}
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want error
	}{
		{"", io.EOF},
		{"250 ok", io.ErrUnexpectedEOF},
		{"250-ok\r\n", io.ErrUnexpectedEOF},
		{"\r\n", smtp.ErrProtocol},
		{"25\r\n", smtp.ErrProtocol},
		{"hello\r\n", smtp.ErrProtocol},
		{"150 ok\r\n", smtp.ErrProtocol},
		{"650 ok\r\n", smtp.ErrProtocol},
		{"2x0 ok\r\n", smtp.ErrProtocol},
		{"250ok\r\n", smtp.ErrProtocol},
		{"250-a\r\n251 b\r\n", smtp.ErrProtocol},
		{"250-a\r\njunk\r\n", smtp.ErrProtocol},
		{strings.Repeat("250-x\r\n", 200000), smtp.ErrProtocol},
		{"250 " + strings.Repeat("x", 1<<20), smtp.ErrProtocol},
		{strings.Repeat("250-"+strings.Repeat("x", 4000)+"\r\n", 30), smtp.ErrProtocol},
	}
	for _, tt := range tests {
		if r, err := smtp.ReadReply(bufio.NewReader(strings.NewReader(tt.in))); !errors.Is(err, tt.want) {
			t.Errorf("%.40q: %v, %v; want %v", tt.in, r, err, tt.want)
		}
	}
}

func TestParseExtensions(t *testing.T) {
	t.Parallel()
	x := smtp.ParseExtensions(strings.Split("250-pipelining|SIZE 1000|size 5|8bitMIME|SMTPUTF8|Dsn|CHUNKING|BINARYMIME|starttls|REQUIRETLS|"+
		"ENHANCEDSTATUSCODES|AUTH plain LOGIN|AUTH=LOGIN CRAM-MD5|LIMITS MAILMAX=7 rcptmax=100 RCPTMAX=x RCPTDOMAINMAX=0|X-ODD  a b |", "|")[1:])
	want := smtp.Extensions{
		EightBitMIME: true, SMTPUTF8: true, DSN: true, Chunking: true, BinaryMIME: true, StartTLS: true, RequireTLS: true,
		EnhancedCodes: true, SizeOffered: true, Size: 5, Auth: []string{"PLAIN", "LOGIN", "CRAM-MD5"},
		Limits: smtp.Limits{MailMax: 7, RcptMax: 100},
	}
	if d := cmp.Diff(want, x, cmpopts.IgnoreUnexported(smtp.Extensions{})); d != "" {
		t.Error(d)
	}
	if !x.Has("x-odd") || x.Param("X-Odd") != "a b" || x.Has("PIPELINING") {
		t.Error("keywords")
	}
	if x := smtp.ParseExtensions([]string{"SIZE -1", "SIZE x", "LIMITS"}); !x.SizeOffered || x.Size != 0 {
		t.Errorf("odd SIZE: %+v", x)
	}
	var none smtp.Extensions
	if none.Has("DSN") {
		t.Error("the zero value has something")
	}
}

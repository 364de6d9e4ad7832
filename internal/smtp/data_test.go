package smtp_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"postern/internal/smtp"
)

// readData reads one message through a buffer of the given size, in pieces as r
// gives them, and returns the content and what stands behind it.
func readData(r io.Reader, size int) (content, rest string, err error) {
	br := bufio.NewReaderSize(r, size)
	d := smtp.NewDataReader(br)
	var b strings.Builder
	for {
		p, err := d.Next()
		if err == io.EOF {
			tail, _ := io.ReadAll(br)
			return b.String(), string(tail), nil
		}
		if err != nil {
			return b.String(), "", err
		}
		if len(p) == 0 {
			return b.String(), "", errors.New("empty piece")
		}
		b.Write(p)
	}
}

func TestDataReader(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want, rest string }{
		{"empty", ".\r\n", "", ""},
		{"empty line", "\r\n.\r\n", "\r\n", ""},
		{"one line", "a\r\n.\r\nNOOP\r\n", "a\r\n", "NOOP\r\n"},
		{"stuffed", "..\r\n...x\r\n. x\r\n.\t\r\n.\r\n", ".\r\n..x\r\n x\r\n\t\r\n", ""},
		{"stuffed first", "..a\r\n.\r\n", ".a\r\n", ""},
		{"dot inside", "a.\r\n.\r\n", "a.\r\n", ""},
		{"LF . LF", "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", ""},
		{"LF . CRLF", "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", ""},
		{"CRLF . LF", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", ""},
		{"CR . CR", "a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", ""},
		{"CR . CRLF", "a\r.\r\nb\r\n.\r\n", "a\r.\r\nb\r\n", ""},
		{"CRLF . CR", "a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", ""},
		{"CR . LF", "a\r.\nb\r\n.\r\n", "a\r.\nb\r\n", ""},
		{"LF . CR", "a\n.\rb\r\n.\r\n", "a\n.\rb\r\n", ""},
		{"NUL before", "a\r\n\x00.\r\nb\r\n.\r\n", "a\r\n\x00.\r\nb\r\n", ""},
		{"NUL after", "a\r\n.\x00\r\nb\r\n.\r\n", "a\r\n\x00\r\nb\r\n", ""},
		{"CR CR LF", "a\r\r\n.\r\r\nb\r\n.\r\n", "a\r\r\n\r\r\nb\r\n", ""},
		{"CR CR LF ends", "a\r\r\n.\r\nNOOP\r\n", "a\r\r\n", "NOOP\r\n"},
		{"CRLF . CR CR LF", "a\r\n.\r\r\nb\r\n.\r\n", "a\r\n\r\r\nb\r\n", ""},
		{"CRLF . CR CRLF . CRLF", "a\r\n.\r\r\n.\r\n", "a\r\n\r\r\n", ""},
		{"first . LF", ".\na\r\n.\r\n", "\na\r\n", ""},
		{"first . CR", ".\ra\r\n.\r\n", "\ra\r\n", ""},
		{"first LF . CRLF", "\n.\r\na\r\n.\r\n", "\n.\r\na\r\n", ""},
		{"first CR . CRLF", "\r.\r\na\r\n.\r\n", "\r.\r\na\r\n", ""},
		{"dots", ".....\r\n.\r\n", "....\r\n", ""},
		{"two ends", "a\r\n.\r\n.\r\n", "a\r\n", ".\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{16, 17, 31, 4096} {
				for name, r := range map[string]io.Reader{
					"whole": strings.NewReader(tt.in), "octet": iotest.OneByteReader(strings.NewReader(tt.in)),
					"half": iotest.HalfReader(strings.NewReader(tt.in)), "eof": iotest.DataErrReader(strings.NewReader(tt.in)),
				} {
					got, rest, err := readData(r, size)
					if err != nil || got != tt.want || rest != tt.rest {
						t.Errorf("buffer %d, %s: %q, rest %q, %v; want %q, %q", size, name, got, rest, err, tt.want, tt.rest)
					}
				}
			}
		})
	}
}

func TestDataReaderCutOff(t *testing.T) {
	t.Parallel()
	whole := "a\r\n..b\r\n.\r\n"
	for n := range whole {
		if _, _, err := readData(strings.NewReader(whole[:n]), 16); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", whole[:n], err)
		}
	}
	for _, in := range []string{"a\n.\n", "a\r.\r", "a\r\n.\r", "a\r\n.\n"} {
		if _, _, err := readData(strings.NewReader(in), 16); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", in, err)
		}
	}
	broken := errors.New("broken")
	if _, _, err := readData(io.MultiReader(strings.NewReader("a\r\n."), iotest.ErrReader(broken)), 16); !errors.Is(err, broken) {
		t.Errorf("broken input: %v", err)
	}
}

// TestDataReaderBoundaries puts the end of the data, and things that look like
// it, at every place around the end of the buffer.
func TestDataReaderBoundaries(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1024, 4096, 16384, 65536} {
		for _, seq := range []string{"\r\n.\r\n", "x.\r\n\r\n.\r\n", "\r\n..\r\n.\r\n", "\r\r\n.\r\n", "\r\n.\r\r\n.\r\n"} {
			for off := -8; off <= 8; off++ {
				fill := strings.Repeat("x", size+off)
				got, rest, err := readData(strings.NewReader(fill+seq+"QUIT\r\n"), size)
				want := fill + reference(seq)
				if err != nil || got != want || rest != "QUIT\r\n" {
					t.Fatalf("buffer %d offset %d %q: ends %q, rest %q, %v", size, off, seq, got[len(got)-8:], rest, err)
				}
			}
		}
	}
}

// reference reads the data of one message octet by octet: slow, and plain
// enough to be checked by eye.
func reference(in string) string {
	var out strings.Builder
	start := true
	for i := 0; i < len(in); {
		if start && strings.HasPrefix(in[i:], ".\r\n") {
			return out.String()
		}
		if start && in[i] == '.' {
			i++
			start = false
			continue
		}
		out.WriteByte(in[i])
		i++
		start = i >= 2 && in[i-2:i] == "\r\n"
	}
	return "unfinished: " + out.String()
}

func TestDataReaderRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 20000 {
		in := make([]byte, rnd.IntN(60))
		for i := range in {
			in[i] = "\r\r\n\n..a\x00"[rnd.IntN(8)]
		}
		s := string(in) + "\r\n.\r\n"
		end := s[:endOfData(s)]
		got, rest, err := readData(iotest.HalfReader(strings.NewReader(s+"tail")), 16)
		if want := reference(end); err != nil || got != want || rest != s[len(end):]+"tail" {
			t.Fatalf("seed %d: %q: %q, rest %q, %v; want %q", seed, s, got, rest, err, want)
		}
	}
}

func endOfData(s string) int {
	if strings.HasPrefix(s, ".\r\n") {
		return 3
	}
	return strings.Index(s, "\r\n.\r\n") + 5
}

func TestDataReaderDiscard(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("x\n.\n", 10) + "\r\n.\r\nNOOP\r\n"
	br := bufio.NewReaderSize(strings.NewReader(in), 16)
	d := smtp.NewDataReader(br)
	if err := d.Discard(100); err != nil || !d.Done() {
		t.Fatalf("discard: %v", err)
	}
	if rest, _ := io.ReadAll(br); string(rest) != "NOOP\r\n" {
		t.Errorf("rest %q", rest)
	}
	d = smtp.NewDataReader(bufio.NewReader(strings.NewReader(in)))
	if err := d.Discard(20); !errors.Is(err, smtp.ErrLineFlood) || d.Done() {
		t.Errorf("discard over its limit: %v", err)
	}
	if _, err := smtp.NewDataReader(bufio.NewReader(strings.NewReader(".\r\n"))).Next(); err != io.EOF {
		t.Errorf("empty data: %v", err)
	}
}

// filter runs a TextFilter over pieces.
func filter(policy smtp.TextPolicy, maxLine int, pieces ...string) (string, error) {
	f := smtp.TextFilter{Policy: policy, MaxLine: maxLine}
	var out bytes.Buffer
	emit := func(p []byte) error { out.Write(p); return nil }
	for _, p := range pieces {
		if err := f.Filter([]byte(p), emit); err != nil {
			return out.String(), err
		}
	}
	err := f.End(emit)
	return out.String(), err
}

func split(s string, n int) []string {
	var out []string
	for len(s) > n {
		out = append(out, s[:n])
		s = s[n:]
	}
	return append(out, s)
}

func TestTextFilter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, normal string
		err        error // of RejectBare
	}{
		{"", "", nil},
		{"a\r\nb\r\n", "a\r\nb\r\n", nil},
		{"no end", "no end", nil},
		{"a\nb\r\n", "a\r\nb\r\n", smtp.ErrBareLF},
		{"\n", "\r\n", smtp.ErrBareLF},
		{"a\rb\r\n", "a\r\nb\r\n", smtp.ErrBareCR},
		{"a\r", "a\r\n", smtp.ErrBareCR},
		{"a\r\r\n", "a\r\n\r\n", smtp.ErrBareCR},
		{"a\n\r\n", "a\r\n\r\n", smtp.ErrBareLF},
		{"a\r\n\r\r\n", "a\r\n\r\n\r\n", smtp.ErrBareCR},
		{"\r\n.\n\r\n", "\r\n.\r\n\r\n", smtp.ErrBareLF},
		{"\x0b\x0c\u0085\u2028.\r\n", "\x0b\x0c\u0085\u2028.\r\n", nil},
	}
	for _, tt := range tests {
		for n := 1; n <= len(tt.in)+1; n++ {
			pieces := split(tt.in, n)
			got, err := filter(smtp.RejectBare, 0, pieces...)
			if !errors.Is(err, tt.err) || err == nil && got != tt.in {
				t.Errorf("reject %q: %q, %v; want %v", pieces, got, err, tt.err)
			}
			if got, err := filter(smtp.NormaliseBare, 0, pieces...); err != nil || got != tt.normal {
				t.Errorf("normalise %q: %q, %v; want %q", pieces, got, err, tt.normal)
			}
		}
	}
}

func TestTextFilterLimits(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 20)
	for _, policy := range []smtp.TextPolicy{smtp.RejectBare, smtp.NormaliseBare} {
		for n := 1; n < 50; n++ {
			if _, err := filter(policy, 20, split(line+"\r\n"+line+"\r\n"+line, n)...); err != nil {
				t.Errorf("policy %d pieces of %d: line at the limit: %v", policy, n, err)
			}
			if _, err := filter(policy, 20, split("\r\n"+line+"x\r\n", n)...); !errors.Is(err, smtp.ErrLineTooLong) {
				t.Errorf("policy %d pieces of %d: line over the limit: %v", policy, n, err)
			}
			if _, err := filter(policy, 20, split("a\r\nb\x00c\r\n", n)...); !errors.Is(err, smtp.ErrNUL) {
				t.Errorf("policy %d pieces of %d: NUL: %v", policy, n, err)
			}
		}
	}
	if _, err := filter(smtp.NormaliseBare, 20, "\n"+line+"x"); !errors.Is(err, smtp.ErrLineTooLong) {
		t.Errorf("over the limit after a bare LF: %v", err)
	}
	if _, err := filter(smtp.RejectBare, 0, strings.Repeat("x", smtp.MaxTextLine+1)); !errors.Is(err, smtp.ErrLineTooLong) {
		t.Errorf("over the default limit: %v", err)
	}
	broken := errors.New("broken")
	f := smtp.TextFilter{Policy: smtp.NormaliseBare}
	for _, in := range []string{"a\r\n", "a\n", "\n", "\r"} {
		if err := f.Filter([]byte(in), func([]byte) error { return broken }); err != broken {
			t.Errorf("%q: emit's error became %v", in, err)
		}
	}
}

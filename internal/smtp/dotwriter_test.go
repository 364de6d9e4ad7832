package smtp_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"postern/internal/smtp"
)

func TestDotWriter(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ".\r\n"},
		{"\r\n", "\r\n.\r\n"},
		{"a\r\n", "a\r\n.\r\n"},
		{"a", "a\r\n.\r\n"},
		{".", "..\r\n.\r\n"},
		{".\r\n.\r\n", "..\r\n..\r\n.\r\n"},
		{"..a\r\nb.\r\n.c", "...a\r\nb.\r\n..c\r\n.\r\n"},
	}
	for _, tt := range tests {
		for n := 1; n <= len(tt.in)+1; n++ {
			var out bytes.Buffer
			d := smtp.NewDotWriter(&out)
			for _, p := range split(tt.in, n) {
				if k, err := d.Write([]byte(p)); err != nil || k != len(p) {
					t.Fatalf("%q: write %d, %v", tt.in, k, err)
				}
			}
			if err := d.End(); err != nil || out.String() != tt.want {
				t.Errorf("%q in %ds: %q, %v", tt.in, n, &out, err)
			}
			got, rest, err := readData(&out, 16)
			if want := strings.TrimSuffix(tt.want[:len(tt.want)-3], ""); err != nil || rest != "" || len(got) > len(want) {
				t.Errorf("%q comes back as %q, %q, %v", tt.in, got, rest, err)
			}
			if d.End() == nil {
				t.Error("a second end")
			}
			if _, err := d.Write([]byte("x")); err == nil {
				t.Error("a write after the end")
			}
		}
	}
}

// TestFR holds the rows of FR that are about what is sent.
func TestFR(t *testing.T) {
	t.Parallel()
	t.Run("FR-46", testDotWriterRefuses)
	t.Run("FR-47", testNoInjection)
}

// testNoInjection: whatever an address was made of, it cannot end a line or its
// own path.
func testNoInjection(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a@b.example>\r\nRCPT TO:<c@d.example", "a\r\n@b.example", "a@b.example\r\nDATA", "a@b.example> NOTIFY=NEVER", "\"a\r\nb\"@b.example",
		"\"a\\\r\"@b.example", "a@b.exa\nmple", "a@b.example\x00", "a@b.example\r", "\u2028a@b.example", "a@b\u0085.example"} {
		for _, parse := range []func(string, bool) (smtp.Address, error){smtp.ParseAddress, smtp.ParseLiteral} {
			if a, err := parse(s, true); err == nil {
				t.Errorf("%q is the address %q", s, a)
			}
		}
	}
	if s := smtp.EncodeXtext("a\r\nRSET =+"); s != "a+0D+0ARSET+20+3D+2B" {
		t.Errorf("xtext %q", s)
	}
}

// testDotWriterRefuses: nothing that a sloppy next hop could take for the end of
// the data is ever written.
func testDotWriterRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want error
	}{
		{"a\n.\nb", smtp.ErrBareLF}, {"a\n.\r\nb", smtp.ErrBareLF}, {"a\r\n.\nb", smtp.ErrBareLF},
		{"a\r.\rb", smtp.ErrBareCR}, {"a\r.\r\nb", smtp.ErrBareCR}, {"a\r\n.\rb", smtp.ErrBareCR},
		{"a\r.\nb", smtp.ErrBareLF}, {"a\n.\rb", smtp.ErrBareLF}, {"a\r\n\x00.\r\nb", smtp.ErrNUL},
		{"a\r\n.\x00\r\nb", smtp.ErrNUL}, {"a\r\r\n.\r\r\nb", smtp.ErrBareCR}, {"a\r\n.\r\r\nb", smtp.ErrBareCR},
		{"\n", smtp.ErrBareLF}, {"\r", smtp.ErrBareCR}, {strings.Repeat("x", smtp.MaxTextLine+1), smtp.ErrLineTooLong},
	}
	for _, tt := range tests {
		if err := smtp.CheckText([]byte(tt.in)); err == nil {
			t.Errorf("%.20q passes CheckText", tt.in)
		}
		for _, n := range []int{1, 2, 3, len(tt.in)} {
			if n < 3 && len(tt.in) > 1000 {
				continue
			}
			var out bytes.Buffer
			d := smtp.NewDotWriter(&out)
			var err error
			for _, p := range split(tt.in, n) {
				if _, err = d.Write([]byte(p)); err != nil {
					break
				}
			}
			if end := d.End(); err == nil {
				err = end
			}
			if err == nil || n == len(tt.in) && tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%.20q: %v, want %v", tt.in, err, tt.want)
			}
			if strings.HasSuffix(out.String(), "\r\n.\r\n") {
				t.Errorf("%.20q: the end was written", tt.in)
			}
			if err := d.End(); err == nil {
				t.Errorf("%.20q: an end after an error", tt.in)
			}
		}
	}
	if err := smtp.CheckText([]byte("a\r\n.b\r\n")); err != nil {
		t.Errorf("canonical text: %v", err)
	}
	if err := smtp.CheckText(nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func TestDotWriterBroken(t *testing.T) {
	t.Parallel()
	for after := range 6 {
		w := &brittle{left: after}
		d := smtp.NewDotWriter(w)
		_, err := d.Write([]byte(".a\r\n.b\r\n.c"))
		if err == nil {
			err = d.End()
		}
		want := after < 6 // six writes and more
		if (err != nil) != want {
			t.Errorf("broken after %d writes: %v", after, err)
		}
		if again := d.End(); again == nil {
			t.Error("an end after an error")
		}
	}
}

type brittle struct{ left int }

func (b *brittle) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, errors.New("broken")
	}
	return len(p), nil
}

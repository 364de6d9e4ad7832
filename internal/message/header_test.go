package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = "Received: from a.test\r\n\tby b.test; Mon, 01 Jan 2024 00:00:00 +0000\r\n" +
	"From: \"A\" <a@example.com>\r\nTO:  b@example.com,\r\n  c@example.com \r\nSubject:\r\n folded first\r\nX-Empty:\r\nX-1: one\r\nx-1: two\r\n\r\nbody\r\n"

func mustHeader(tb testing.TB, s string) Header {
	tb.Helper()
	h, err := ParseHeader([]byte(s), Limits{Octets: AnyOctet})
	if err != nil {
		tb.Fatalf("ParseHeader(%q): %v", s, err)
	}
	return h
}

func TestHeaderIsByteExact(t *testing.T) {
	t.Parallel()
	h := mustHeader(t, sample)
	end := strings.Index(sample, "body")
	if got := string(h.Bytes()); got != sample[:end] {
		t.Errorf("Bytes differ:\n%q\n%q", got, sample[:end])
	}
	if h.Len() != end || h.Size() != end {
		t.Errorf("Len = %d, Size = %d, want %d", h.Len(), h.Size(), end)
	}
	for _, f := range h.Fields {
		if got := sample[f.Offset : f.Offset+len(f.Raw)]; got != string(f.Raw) {
			t.Errorf("field %s: offset points to %q", f.Name, got)
		}
	}
	if diff := cmp.Diff([]string{"one", "two"}, h.Values("X-1")); diff != "" {
		t.Error(diff)
	}
	if got := h.Values("to")[0]; got != "b@example.com,  c@example.com" {
		t.Errorf("unfolded To = %q", got)
	}
	if got := h.Values("Subject")[0]; got != "folded first" {
		t.Errorf("unfolded Subject = %q", got)
	}
	if got := h.Values("X-Empty")[0]; got != "" {
		t.Errorf("empty value = %q", got)
	}
	if n, f := h.LongestLine(); n != 43 || f != "Received" {
		t.Errorf("LongestLine = %d %s", n, f)
	}
}

func TestHeaderEdits(t *testing.T) {
	t.Parallel()
	h := mustHeader(t, sample)
	if n := h.Remove("x-1", "RECEIVED"); n != 3 {
		t.Errorf("removed %d fields, want 3", n)
	}
	top, err := FoldField("X-Top", "1")
	if err != nil {
		t.Fatal(err)
	}
	last, err := FoldField("X-Last", "2")
	if err != nil {
		t.Fatal(err)
	}
	h.Prepend(top)
	h.Append(last)
	want := "X-Top: 1\r\nFrom: \"A\" <a@example.com>\r\nTO:  b@example.com,\r\n  c@example.com \r\nSubject:\r\n folded first\r\nX-Empty:\r\nX-Last: 2\r\n\r\n"
	if got := string(h.Bytes()); got != want {
		t.Errorf("after edits:\n%q\n%q", got, want)
	}
	if h.Size() != len(want) {
		t.Errorf("Size = %d, want %d", h.Size(), len(want))
	}
	if h.Count("from") != 1 || len(h.All("from")) != 1 {
		t.Error("From not counted once")
	}
	if _, ok := h.First("Received"); ok {
		t.Error("Received still there")
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		want Reason
	}{
		"HD-11 empty":                      {"", Malformed},
		"HD-11 body only":                  {"\r\nbody\r\n", Malformed},
		"HD-11 line without colon":         {"From: a@b\r\nnonsense\r\n\r\n", Malformed},
		"ID-06 first line folded":          {" From: a@b\r\n\r\n", Malformed},
		"ID-06 first line tab":             {"\tx\r\nFrom: a@b\r\n\r\n", Malformed},
		"ID-06 space before colon":         {"From : a@b\r\n\r\n", Malformed},
		"ID-06 tab before colon":           {"From\t: a@b\r\n\r\n", Malformed},
		"ID-06 folded before colon":        {"From\r\n : a@b\r\n\r\n", Malformed},
		"ID-06 NUL in name":                {"Fr\x00om: a@b\r\n\r\n", Malformed},
		"ID-06 colonless before From":      {"X\r\nFrom: a@b\r\n\r\n", Malformed},
		"FR-24 NUL in value":               {"From: a@b\x00\r\n\r\n", Malformed},
		"FR-23 bare LF":                    {"X: 1\nFrom: a@b\r\n\r\n", Malformed},
		"FR-23 bare CR":                    {"X: 1\rFrom: a@b\r\n\r\n", Malformed},
		"FR-23 CR CR LF":                   {"X: 1\r\r\nFrom: a@b\r\n\r\n", Malformed},
		"bare LF ends section":             {"X: 1\r\n\nFrom: a@b\r\n\r\n", Malformed},
		"no name":                          {": a@b\r\n\r\n", Malformed},
		"8-bit name":                       {"Fr\xc3\xb6m: a@b\r\n\r\n", Malformed},
		"blank continuation":               {"From: a@b\r\n \r\nTo: c@d\r\n\r\n", Malformed},
		"blank continuation of tabs":       {"From:\r\n \t\r\n a@b\r\n\r\n", Malformed},
		"unfinished last line":             {"From: a@b", Malformed},
		"mbox From line":                   {"From a@b Mon Jan  1 00:00:00 2024\r\nFrom: a@b\r\n\r\n", Malformed},
		"8-bit without permission":         {"Subject: \xe4\r\n\r\n", Malformed},
		"UTF-8 without permission":         {"Subject: ä\r\n\r\n", Malformed},
		"HD-02 too many fields":            {strings.Repeat("X: 1\r\n", 1001) + "\r\n", TooLarge},
		"HD-02 too many octets":            {"X: 1\r\n" + strings.Repeat(" "+strings.Repeat("x", 998)+"\r\n", 300) + "\r\n", TooLarge},
		"HD-02 one endless line":           {"X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", TooLarge},
		"HD-03 one field folded to 512 KB": {"X:\r\n" + strings.Repeat(" y\r\n", 128<<10) + "\r\n", TooLarge},
	} {
		if _, err := ParseHeader([]byte(c.in), Limits{}); ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want reason %q", name, err, c.want)
		}
	}
}

func TestParseHeaderLimitsAreExact(t *testing.T) {
	t.Parallel()
	in := "A: 1\r\nB: 2\r\n\r\nbody"
	for _, c := range []struct {
		l  Limits
		ok bool
	}{
		{Limits{Bytes: 14, Fields: 2}, true},
		{Limits{Bytes: 13}, false},
		{Limits{Bytes: 12}, false},
		{Limits{Fields: 1}, false},
	} {
		if _, err := ParseHeader([]byte(in), c.l); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.l, err)
		}
	}
	h, err := ParseHeader([]byte("A: 1\r\n"), Limits{Bytes: 6})
	if err != nil || h.Len() != 6 || string(h.Bytes()) != "A: 1\r\n\r\n" {
		t.Errorf("a message that is all header: %v, Len %d, %q", err, h.Len(), h.Bytes())
	}
}

func TestParseHeaderOctets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		o    Octets
		ok   bool
		high bool
	}{
		{"S: a\r\n\r\nb\xff", ASCII, true, false}, // the body does not count
		{"S: \xc3\xa4\r\n\r\n", UTF8, true, true},
		{"S: \xe4\r\n\r\n", UTF8, false, true},
		{"S: \xe4\r\n\r\n", AnyOctet, true, true},
	} {
		h, err := ParseHeader([]byte(c.in), Limits{Octets: c.o})
		if (err == nil) != c.ok || err == nil && h.NonASCII() != c.high {
			t.Errorf("%q %d: %v, NonASCII %v", c.in, c.o, err, h.NonASCII())
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, s := range []string{sample, "A: 1\r\n\r\n", "A:\r\n b\r\n", " x", "A : 1\r\n\r\n", "\r\n", "A: \x00\r\n\r\n", "A: 1\r\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b, Limits{Octets: AnyOctet})
		if err != nil {
			if ReasonOf(err) == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		head := h.Bytes()
		if !bytes.HasPrefix(append(b[:len(b):len(b)], "\r\n"...), head) {
			t.Fatalf("Bytes %q is no prefix of %q", head, b)
		}
		again, err := ParseHeader(head, Limits{Octets: AnyOctet, Bytes: len(head)})
		if err != nil || len(again.Fields) != len(h.Fields) || again.Len() != len(head) {
			t.Fatalf("second reading of %q: %v", head, err)
		}
		if bytes.Contains(bytes.ReplaceAll(head, crlf, nil), []byte("\n")) {
			t.Fatalf("bare LF let through: %q", head)
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	var s strings.Builder
	for i := range 20 {
		fmt.Fprintf(&s, "X-Header-%d: some value that is of ordinary length for a header field\r\n", i)
	}
	in := []byte(s.String() + "\r\n")
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := ParseHeader(in, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

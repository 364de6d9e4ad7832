package message

import (
	"bytes"
	"encoding/base64"
	"mime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParameter(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 40)
	for value, want := range map[string]string{
		"":             "",
		"a.pdf":        `; name="a.pdf"`,
		"a b;c=d.txt":  `; name="a b;c=d.txt"`,
		`a"b`:          `; name*=utf-8''a%22b`,
		"größe.pdf":    `; name*=utf-8''gr%C3%B6%C3%9Fe.pdf`,
		"a\r\nX: y":    `; name*=utf-8''a%0D%0AX%3A%20y`,
		"\xff":         `; name*=utf-8''%EF%BF%BD`,
		long:           `; name*0*=utf-8''` + strings.Repeat("%C3%A4", 10) + `; name*1*=` + strings.Repeat("%C3%A4", 10) + `; name*2*=` + strings.Repeat("%C3%A4", 10) + `; name*3*=` + strings.Repeat("%C3%A4", 10),
		"100% 'ok'*()": `; name="100% 'ok'*()"`,
	} {
		if got := parameter("name", value); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.String().Draw(t, "value")
		if value == "" {
			return
		}
		_, params, err := mime.ParseMediaType("attachment" + parameter("filename", value))
		if err != nil || params["filename"] != value || len(params) != 1 {
			t.Fatalf("%q is read as %q: %v", value, params, err)
		}
	})
}

func TestBase64(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"YQ==": true, "YWI=": true, "YWJj": true, "YWJjYQ==": true, "++//": true,
		"": false, "YQ": false, "YR==": false, "YWJ=": false, "YQ==YQ==": false, "Y Q=": false, "YQ=\n": false, "YWJj\n": false, "____": false, "====": false, "\r\n\r\n": false,
	} {
		if got := IsBase64([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 1, 500).Draw(t, "octets")
		text := []byte(base64.StdEncoding.EncodeToString(b))
		wrapped := WrapBase64(text)
		if !IsBase64(text) || !bytes.Equal(wrapped, EncodeBase64(b)) || !wrappedBase64(wrapped) || longestLine(wrapped) > 76 {
			t.Fatalf("%q", wrapped)
		}
		if got := bytes.ReplaceAll(wrapped, crlf, nil); !bytes.Equal(got, text) || len(wrapped) != base64Size(len(b)) {
			t.Fatalf("%q of %d octets", wrapped, len(wrapped))
		}
	})
}

// Files: their names stand in both fields, and what is no base64 is refused.
func TestComposeFiles(t *testing.T) {
	t.Parallel()
	o := outgoing(t)
	o.Cc = []Mailbox{mailbox(t, strings.Repeat("n", 1000), "c@x.test"), mailbox(t, `He "said" <x@evil.test>`, "d@x.test")}
	o.Subject = strings.Repeat("s", 2000)
	o.Part = Part{Type: "multipart/mixed", Parts: []Part{
		{Type: "text/plain", Text: strings.Repeat("中文", 100)},
		{Type: "image/png", Disposition: "inline", ContentID: "x y", FileName: "größe.png", Encoded: EncodeBase64([]byte("\x00\x01"))},
		{Type: "message/rfc822", Disposition: "attachment", FileName: "m.eml", Raw: []byte("From: a@x.test\r\n\r\nx\r\n")},
	}}
	head, body, err := o.Compose()
	if err != nil {
		t.Fatal(err)
	}
	if longestLine(head) > 120 || longestLine(body) > 120 || !isASCII(head) || !isASCII(body) {
		t.Errorf("%s%s", head, body)
	}
	for _, want := range []string{
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n",
		"Content-Type: image/png; name*=utf-8''gr%C3%B6%C3%9Fe.png\r\nContent-Disposition: inline; filename*=utf-8''gr%C3%B6%C3%9Fe.png\r\nContent-ID: <x y>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAE=\r\n",
		"Content-Type: message/rfc822; name=\"m.eml\"\r\nContent-Disposition: attachment; filename=\"m.eml\"\r\n\r\nFrom: a@x.test\r\n\r\nx\r\n\r\n--",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	h := mustHeader(t, string(head))
	for _, name := range []string{"Cc"} {
		f, _ := h.First(name)
		ms, err := ParseMailboxes(f.Value(), AddressLimits{})
		if err != nil || len(ms) != 2 || ms[1].Address.String() != "d@x.test" {
			t.Errorf("%s is read as %v: %v", name, ms, err)
		}
	}
	for name, part := range map[string]Part{
		"no base64":       {Type: "image/png", Encoded: []byte("--x\r\n")},
		"a long line":     {Type: "image/png", Encoded: []byte(strings.Repeat("A", 80) + "\r\n")},
		"no end":          {Type: "image/png", Encoded: []byte("AAAA")},
		"a bare LF":       {Type: "image/png", Encoded: []byte("AAAA\nAAAA\r\n")},
		"id with angles":  {Type: "image/png", Encoded: []byte("AAAA\r\n"), ContentID: "a><b"},
		"id not ASCII":    {Type: "image/png", Encoded: []byte("AAAA\r\n"), ContentID: "ä"},
		"id of two lines": {Type: "image/png", Encoded: []byte("AAAA\r\n"), ContentID: "a\r\nX: y"},
		"disposition":     {Type: "image/png", Encoded: []byte("AAAA\r\n"), Disposition: "inline\r\nX: y"},
	} {
		o := outgoing(t)
		o.Part = part
		if _, _, err := o.Compose(); ReasonOf(err) != Unsafe {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// ComposePieces copies no content: a large file in many messages is there once.
func TestComposePiecesShare(t *testing.T) {
	t.Parallel()
	file := EncodeBase64(make([]byte, 1<<20))
	o := outgoing(t)
	o.Part = Part{Type: "multipart/mixed", Parts: []Part{{Type: "text/plain", Text: "x"}, {Type: "image/png", Encoded: file}}}
	_, pieces, err := o.ComposePieces()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if len(p) == len(file) && &p[0] == &file[0] {
			return
		}
	}
	t.Error("the file was copied")
}

func TestTransparent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"a\r\n": true, "ä\r\n": true, "a": false, "a\n": false, "a\rb\r\n": false, "\x00\r\n": false, "": false} {
		if got := Transparent([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

package submit

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"

	"postern/internal/message"
	"postern/internal/smtp"
)

// A letter in two forms is multipart/alternative, the one to prefer last (RFC 2046
// §5.1.4); one whose HTML is too long is its text.
func TestLetterInTwoForms(t *testing.T) {
	t.Parallel()
	const html = "<!doctype html>\n<p>Score 900 &lt;of&gt; 1000 — <b>ü</b></p>\n"
	for name, test := range map[string]struct {
		html string
		want []string
	}{
		"text":     {"", []string{"text/plain"}},
		"both":     {html, []string{"text/plain", "text/html"}},
		"too long": {strings.Repeat("x", maxHTML+1), []string{"text/plain"}},
	} {
		address, err := smtp.ParseAddress("ann@example.test", true)
		if err != nil {
			t.Fatal(err)
		}
		head, body, err := message.Outgoing{
			From: message.Mailbox{Address: address}, To: []message.Mailbox{{Address: address}}, Subject: "Report", MessageID: "<1@example.test>",
			Part: letterPart("Score 900\n\nKEY      NAME\nSG.1     shop\n", test.html),
		}.Compose()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		parts := partsOf(t, append(head, body...))
		var kinds []string
		for _, p := range parts {
			kinds = append(kinds, p[0])
		}
		if strings.Join(kinds, " ") != strings.Join(test.want, " ") {
			t.Errorf("%s: parts %v, want %v", name, kinds, test.want)
			continue
		}
		if !strings.Contains(parts[0][1], "KEY      NAME\r\nSG.1     shop") {
			t.Errorf("%s: the table has lost its columns:\n%s", name, parts[0][1])
		}
		if len(parts) == 2 && strings.ReplaceAll(parts[1][1], "\r\n", "\n") != html {
			t.Errorf("%s: the HTML is %q", name, parts[1][1])
		}
	}
}

// partsOf are the leaves of a message: media type and content.
func partsOf(t *testing.T, raw []byte) (parts [][2]string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "multipart/alternative" {
		b, err := io.ReadAll(decoded(m.Header.Get("Content-Transfer-Encoding"), m.Body))
		if err != nil {
			t.Fatal(err)
		}
		return [][2]string{{kind, string(b)}}
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(decoded(p.Header.Get("Content-Transfer-Encoding"), p))
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		parts = append(parts, [2]string{kind, string(b)})
	}
}

func decoded(encoding string, r io.Reader) io.Reader {
	switch encoding {
	case "quoted-printable":
		return quotedprintable.NewReader(r)
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r)
	}
	return r
}

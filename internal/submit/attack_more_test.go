package submit

import (
	"strings"
	"testing"

	"postern/internal/relay"
)

// HD-13: names that are split, encoded or numbered in odd ways are content. They
// leave octet for octet as they came, below the fields that are put on top.
func TestOddNamesAreContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	odd := "From: sender@acme.test\r\nTo: =?utf-8?q?a=3D=3Futf-8=3Fq=3Fb=3F=3D?= <b@one.test>\r\n" +
		"Date: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@acme.test>\r\nMIME-Version: 1.0\r\n" +
		"Subject: =?utf-8?b?4oCuZmRwLmV4ZQ==?= =?utf-8?q?=1B[2J=0D=0ABcc:_x@evil.test?=\r\n" +
		"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n"
	parts := "--b\r\nContent-Type: application/octet-stream; name*1=\"xe\"; name*0=\"a.e\"; name=\"b.txt\"\r\n" +
		"Content-Disposition: attachment; filename*0*=utf-8''%e2%80%ae; filename*1=\".exe\";\r\n filename=\"=?utf-8?q?c.txt?=\"; filename=\"../../d\"\r\n\r\nx\r\n" +
		"--b\r\nContent-Type: text/plain; name=\"a\\\"; boundary=b2; x=\"\r\n\r\n--b2\r\n--b--\r\n"
	id, err := w.send(envelope("b@one.test"), odd+parts, 100)
	if err != nil {
		t.Fatal(err)
	}
	got := w.content(id)
	if !strings.HasSuffix(got, odd+parts) {
		t.Errorf("changed on the way:\n%s", got)
	}
	if n := strings.Count(got, "\r\nBcc"); n != 0 {
		t.Errorf("%d Bcc fields came out of an encoded word", n)
	}
	for _, e := range w.events(id, relay.EventReceived) {
		if strings.ContainsAny(string(e.Data), "\x1b\r\u202e") {
			t.Errorf("the event holds what moves a cursor: %q", e.Data)
		}
	}
}

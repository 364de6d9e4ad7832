package message

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// part writes the header fields of an entity to c.head and returns its content,
// and whether that holds octets over 127.
func (c *composer) part(p Part) (content [][]byte, eight bool) {
	switch {
	case len(p.Parts) > 0:
		return c.multipart(p)
	case p.Encoded != nil:
		c.field("Content-Type", p.Type+parameter("name", p.FileName))
		c.describe(p)
		c.field("Content-Transfer-Encoding", "base64")
		if !wrappedBase64(p.Encoded) {
			c.fail(&Error{Reason: Unsafe, Detail: "content that is no base64"})
		}
		return [][]byte{p.Encoded}, false
	case strings.HasPrefix(p.Type, "text/"):
		return c.text(p), false
	}
	c.field("Content-Type", p.Type+parameter("name", p.FileName))
	c.describe(p)
	if eight = !isASCII(p.Raw); eight {
		c.field("Content-Transfer-Encoding", "8bit")
	}
	if err := checkRaw(p.Raw); err != nil {
		c.fail(err)
	}
	return [][]byte{p.Raw}, eight
}

// describe writes the fields that say what an entity is for.
func (c *composer) describe(p Part) {
	c.field("Content-Description", EncodeText(p.Description))
	if p.Disposition != "" {
		c.field("Content-Disposition", p.Disposition+parameter("filename", p.FileName))
	}
	if p.ContentID != "" {
		if !isASCII([]byte(p.ContentID)) || strings.ContainsAny(p.ContentID, "<>") {
			c.fail(&Error{Reason: Unsafe, Field: "Content-ID"})
		}
		c.field("Content-ID", "<"+p.ContentID+">")
	}
}

// checkRaw makes sure that content may stand in a message as it is.
func checkRaw(b []byte) error {
	rest := bytes.ReplaceAll(b, crlf, nil)
	switch {
	case bytes.ContainsAny(rest, "\r\n\x00"):
		return &Error{Reason: Unsafe, Detail: "content with a bare CR or LF, or a NUL"}
	case longestLine(b) > MaxLine:
		return longLineIn("content that cannot be encoded")
	}
	return nil
}

// Transparent reports content that may be Raw and comes out of the message again
// octet for octet.
func Transparent(b []byte) bool { return bytes.HasSuffix(b, crlf) && checkRaw(b) == nil }

func (c *composer) text(p Part) [][]byte {
	text := crlfLines(strings.ToValidUTF8(p.Text, "\uFFFD"))
	charset := "us-ascii"
	if !isASCII(text) {
		charset = "utf-8"
	}
	c.field("Content-Type", p.Type+"; charset="+charset+parameter("name", p.FileName))
	c.describe(p)
	switch {
	case charset == "us-ascii" && longestLine(text) <= foldAt && bytes.IndexByte(text, 0) < 0:
		return [][]byte{text}
	case qpSize(text) > base64Size(len(text)):
		// Text in another script than Latin: quoted-printable would triple it.
		c.field("Content-Transfer-Encoding", "base64")
		return [][]byte{EncodeBase64(text)}
	}
	c.field("Content-Transfer-Encoding", "quoted-printable")
	return [][]byte{encodeQP(text)}
}

// crlfLines makes CRLF of every line end and ends the last line. It takes one
// buffer: texts can be as large as messages.
func crlfLines(s string) []byte {
	out := make([]byte, 0, len(s)+strings.Count(s, "\n")+strings.Count(s, "\r")+len(crlf))
	for s != "" {
		i := strings.IndexAny(s, "\r\n")
		if i < 0 {
			out, s = append(out, s...), ""
		} else {
			out = append(out, s[:i]...)
			s = strings.TrimPrefix(s[i:], "\r")
			s = strings.TrimPrefix(s, "\n")
		}
		out = append(out, crlf...)
	}
	return out
}

func (c *composer) multipart(p Part) (content [][]byte, eight bool) {
	var r [16]byte
	rand.Read(r[:])
	// 128 random bits: no content can hold it but by being told.
	boundary := "=_" + hex.EncodeToString(r[:])
	for _, inner := range p.Parts {
		var ic composer
		pieces, e := ic.part(inner)
		if ic.err != nil {
			c.fail(ic.err)
		}
		eight = eight || e
		content = append(content, []byte("--"+boundary+"\r\n"), append(ic.head, crlf...))
		content = append(content, pieces...)
		if last := pieces[len(pieces)-1]; !bytes.HasSuffix(last, crlf) {
			content = append(content, crlf)
		}
		content = append(content, crlf)
	}
	content = append(content, []byte("--"+boundary+"--\r\n"))
	c.field("Content-Type", p.Type+`; boundary="`+boundary+`"`)
	c.describe(p)
	if eight {
		c.field("Content-Transfer-Encoding", "8bit")
	}
	return content, eight
}

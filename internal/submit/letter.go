package submit

import (
	"fmt"
	"regexp"
	"strings"

	"postern/internal/message"
	"postern/internal/smtp"
	"postern/internal/store"
)

// Letter composes a message from postern to a person, such as the reminder that
// a key ends soon. It leaves as notices do, and is not answered when it bounces.
func (n *Notifier) Letter(to, subject, text string) (*store.Acceptance, error) {
	return n.LetterBoth(to, subject, text, "")
}

// maxHTML bounds the HTML of a letter, in octets; readers cut longer ones, and then
// the text alone goes.
const maxHTML = 512 << 10

// LetterBoth is Letter with the same words as HTML, which must need nothing from
// elsewhere; readers show the form that they can (RFC 2046 §5.1.4). "": text alone.
func (n *Notifier) LetterBoth(to, subject, text, html string) (*store.Acceptance, error) {
	address, err := smtp.ParseAddress(to, true)
	if err != nil {
		return nil, fmt.Errorf("letter to %q: %w", to, err)
	}
	o, err := n.begin(address)
	if err != nil {
		return nil, err
	}
	o.from.Name = "postern"
	head, body, err := message.Outgoing{
		From: o.from, To: []message.Mailbox{{Address: address}}, Subject: subject, Date: o.now, MessageID: o.headerID,
		// RFC 3834 §5: no program should answer.
		Extra: []message.Extra{{Name: "Auto-Submitted", Value: "auto-generated"}},
		Part:  letterPart(text, html),
	}.Compose()
	if err != nil {
		return nil, fmt.Errorf("letter to %q: %w", to, err)
	}
	return o.end(head, body, address.IsUTF8())
}

func letterPart(text, html string) message.Part {
	plain := message.Part{Type: "text/plain", Text: wrapped(text)}
	if html == "" || len(html) > maxHTML {
		return plain
	}
	// The last is the one to prefer.
	return message.Part{Type: "multipart/alternative", Parts: []message.Part{plain, {Type: "text/html", Text: html}}}
}

// verbatim matches lines to copy: of a zone file, its comments, "Value: …" of a form,
// and commands behind a prompt. Broken up, they are worth nothing. So are the rows of
// a table, which has two spaces between its columns.
var verbatim = regexp.MustCompile(`^(\s*[A-Z][A-Za-z]*: |;|\S+\. \d+ IN |\s*\$ )|\S {2,}\S`)

// wrapped breaks lines between words at 72 columns, as letters in plain text are,
// and leaves those alone that are there to be copied.
func wrapped(text string) string {
	const columns = 72
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if verbatim.MatchString(line) || len(line) <= columns {
			b.WriteString(line + "\n")
			continue
		}
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		at := 0
		for i, word := range strings.Fields(line) {
			switch {
			case i > 0 && at+1+len(word) > columns:
				b.WriteByte('\n')
				fallthrough
			case i == 0:
				b.WriteString(indent)
				at = len(indent)
			default:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(word)
			at += len(word)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

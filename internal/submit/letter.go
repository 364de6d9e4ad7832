package submit

import (
	"fmt"
	"strings"

	"postern/internal/message"
	"postern/internal/smtp"
	"postern/internal/store"
)

// Letter composes a message from postern to a person, such as the reminder that
// a key ends soon. It leaves as notices do, and is not answered when it bounces.
func (n *Notifier) Letter(to, subject, text string) (*store.Acceptance, error) {
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
		Part:  message.Part{Type: "text/plain", Text: wrapped(text)},
	}.Compose()
	if err != nil {
		return nil, fmt.Errorf("letter to %q: %w", to, err)
	}
	return o.end(head, body, address.IsUTF8())
}

// wrapped breaks lines between words at 72 columns, as letters in plain text are.
func wrapped(text string) string {
	const columns = 72
	var b strings.Builder
	for line := range strings.Lines(text) {
		at := 0
		for i, word := range strings.Fields(line) {
			switch {
			case i == 0:
			case at+1+len(word) > columns:
				b.WriteByte('\n')
				at = 0
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

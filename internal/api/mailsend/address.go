package mailsend

import (
	"strings"
	"unicode/utf8"

	"postern/internal/message"
	"postern/internal/smtp"
)

// Mailbox is an address with its display name (plain text) and the path of the
// member that it came from.
type Mailbox struct {
	message.Mailbox
	Field string
}

// maxEmail is the length that SendGrid names, in characters; what SMTP can carry
// is shorter.
const maxEmail = 320

// mailboxWords are what to say of one kind of address.
type mailboxWords struct {
	anchor string
	object string // it is no object with an email
	// noEmail is for a missing email, at the path of the email; "": object.
	noEmail string
	bad     string // no valid address
	// whole: what is wrong with the address is said at the object.
	whole bool
	long  string
	plain bool // the name must hold no ; or , outside quotes
}

var (
	fromWords = mailboxWords{
		anchor: "message.from", object: textFromObject, bad: textFromBad,
		long: "The From email exceeds the maximum total length of 320 characters",
	}
	replyToWords = mailboxWords{
		anchor: "message.reply_to", object: textReplyTo, bad: textReplyTo, whole: true,
		long: "The Reply-To email exceeds the maximum total length of 320 characters",
	}
	toWords  = recipientWords("to", "To", textToObject)
	ccWords  = recipientWords("cc", "CC", textRecipientObject)
	bccWords = recipientWords("bcc", "BCC", textRecipientObject)
)

func recipientWords(name, title, object string) mailboxWords {
	return mailboxWords{
		anchor: "message.personalizations." + name, object: object, noEmail: "The " + name + " email parameter is required.", bad: textNoAddress,
		long: "The " + title + " email exceeds the maximum total length of 320 characters", plain: true,
	}
}

// mailbox reads {"email":…, "name":…}.
func (f *faults) mailbox(field string, v value, w mailboxWords) (Mailbox, bool) {
	if !v.isObject() {
		f.add(field, w.anchor, "%s", w.object)
		return Mailbox{}, false
	}
	m := v.object("email", "name")
	box := Mailbox{Field: field}
	named := f.name(&box, m["name"], w)
	email, ok := m["email"]
	switch {
	case !ok && w.noEmail != "":
		f.add(field+".email", w.anchor, "%s", w.noEmail)
		return Mailbox{}, false
	case !ok:
		f.add(field, w.anchor, "%s", w.object)
		return Mailbox{}, false
	}
	return box, f.email(&box, email, w) && named
}

func (f *faults) email(box *Mailbox, v value, w mailboxWords) bool {
	at := box.Field + ".email"
	s, ok := v.text()
	if !ok {
		f.wrongType(at, w.anchor, "string", v)
		return false
	}
	if utf8.RuneCountInString(s) > maxEmail {
		f.add(at, w.anchor, "%s", w.long)
		return false
	}
	if box.Address, ok = address(s); !ok {
		if w.whole {
			at = box.Field
		}
		f.add(at, w.anchor, "%s", w.bad)
	}
	return ok
}

// name reads a display name. Some client libraries put names with a comma or a
// semicolon into quotes, as they would stand in a header: those are taken off.
func (f *faults) name(box *Mailbox, v value, w mailboxWords) bool {
	if v == nil {
		return true
	}
	at := box.Field + ".name"
	s, ok := v.text()
	if !ok {
		f.wrongType(at, w.anchor, "string", v)
		return false
	}
	inner, quoted := unquoted(s)
	switch {
	case hasControl(s):
		f.add(at, w.anchor, "The name cannot contain CRLF characters.")
		return false
	case w.plain && !quoted && strings.ContainsAny(s, ";,"):
		f.add(at, w.anchor, "The name cannot contain ';' or ',', except in double quotes.")
		return false
	case len(s) > maxName:
		f.add(at, w.anchor, "The name exceeds the maximum length of 1,000 bytes.")
		return false
	}
	box.Name = inner
	return true
}

const maxName = 1000

// unquoted takes the quotes off a name that is wholly a quoted string.
func unquoted(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s, false
	}
	var b strings.Builder
	for in := s[1 : len(s)-1]; in != ""; in = in[1:] {
		switch in[0] {
		case '"':
			return s, false
		case '\\':
			if in = in[1:]; in == "" {
				return s, false
			}
		}
		b.WriteByte(in[0])
	}
	return b.String(), true
}

// address reads one address: that of the strict parser that judges who a message
// is from, without anything beside it, and with the domain in A-labels where the
// local part is ASCII, so that every receiver can take it.
func address(s string) (smtp.Address, bool) {
	ms, err := message.ParseMailboxes([]byte(s), message.AddressLimits{Mailboxes: 1, UTF8: true})
	if err != nil || len(ms) != 1 {
		return smtp.Address{}, false
	}
	a := ms[0].Address
	// White space in a quoted local part is where a header would be folded, and
	// there readers disagree.
	if a.String() != s || strings.ContainsAny(s, " \t") {
		return smtp.Address{}, false
	}
	if ascii, ok := a.ASCII(); ok {
		a = ascii
	}
	return a, true
}

// hasControl reports what no header may hold: C0 controls other than TAB, DEL,
// and the characters that some programs take for line ends.
func hasControl(s string) bool {
	for _, r := range s {
		if r < ' ' && r != '\t' || r == 0x7f || r == 0x85 || r == '\u2028' || r == '\u2029' {
			return true
		}
	}
	return false
}

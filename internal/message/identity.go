package message

import "fmt"

// Identity is who a header section says the message is from.
type Identity struct {
	From   Mailbox
	Sender Mailbox // zero if there is no Sender field
	// Resent holds every mailbox of Resent-From and Resent-Sender, topmost
	// field first.
	Resent []Mailbox
}

// Mailboxes lists all of them: the caller must be allowed to use each.
func (id Identity) Mailboxes() []Mailbox {
	out := []Mailbox{id.From}
	if !id.Sender.Address.IsZero() {
		out = append(out, id.Sender)
	}
	return append(out, id.Resent...)
}

// once are the fields that a section holds at most once (RFC 5322 §3.6,
// RFC 2045 §3 to §8). Readers differ on which of two counts, so two are
// refused. Bcc is not among them: it is removed.
var once = []string{
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-ID", "Content-Description", "Content-Disposition",
}

// Identify reads who the message is from, on the exact octets of the section:
// one From field with one mailbox, at most one Sender with one mailbox, and
// the Resent- fields. It also refuses sections with two of a field that may
// stand once. utf8 allows RFC 6532 addresses.
//
// Errors are *Error: Missing (no From), Duplicate, Unparseable, Several
// (RFC 6854 allows several authors; one identity is what can be checked) or
// TooLarge, each with its Field.
func Identify(h *Header, utf8 bool) (Identity, error) {
	var count [16]int
	for _, f := range h.Fields {
		for i, name := range once {
			if f.Is(name) {
				if count[i]++; count[i] > 1 {
					return Identity{}, &Error{Reason: Duplicate, Field: name}
				}
			}
		}
	}
	var id Identity
	from, ok := h.First("From")
	if !ok {
		return Identity{}, &Error{Reason: Missing, Field: "From"}
	}
	var err error
	if id.From, err = single(from, "From", utf8); err != nil {
		return Identity{}, err
	}
	if f, ok := h.First("Sender"); ok {
		if id.Sender, err = single(f, "Sender", utf8); err != nil {
			return Identity{}, err
		}
	}
	for _, f := range h.Fields {
		name := ""
		switch {
		case f.Is("Resent-From"):
			name = "Resent-From"
		case f.Is("Resent-Sender"):
			name = "Resent-Sender"
		default:
			continue
		}
		ms, err := mailboxes(f, name, utf8)
		if err != nil {
			return Identity{}, err
		}
		if id.Resent = append(id.Resent, ms...); len(id.Resent) > maxResent {
			return Identity{}, &Error{Reason: TooLarge, Field: name, Detail: fmt.Sprintf("more than %d resent mailboxes", maxResent)}
		}
	}
	return id, nil
}

// maxResent bounds how many resent identities one message may make the caller
// check.
const maxResent = 100

func single(f Field, name string, utf8 bool) (Mailbox, error) {
	ms, err := mailboxes(f, name, utf8)
	if err != nil {
		return Mailbox{}, err
	}
	if len(ms) > 1 {
		return Mailbox{}, &Error{Reason: Several, Field: name, Detail: "one mailbox is wanted"}
	}
	return ms[0], nil
}

// mailboxes parses an address field and puts its name into the error.
func mailboxes(f Field, name string, utf8 bool) ([]Mailbox, error) {
	ms, err := ParseMailboxes(f.Value(), AddressLimits{UTF8: utf8})
	if e, ok := err.(*Error); ok {
		e.Field = name
	}
	return ms, err
}

package message

import "fmt"

// Identity is who a header section says the message is from.
type Identity struct {
	From Mailbox
	// CoAuthors are the further mailboxes of From, all at the domain of the first.
	CoAuthors []Mailbox
	Sender    Mailbox // zero if there is no Sender field
	// Resent holds every mailbox of Resent-From and Resent-Sender, topmost
	// field first.
	Resent []Mailbox
	// Values are the fields as they stand: what they would show beside the
	// addresses.
	Values IdentityValues
}

// IdentityValues are the values of fields, folding included; nil where there is
// no such field. Reply-To is no identity and not parsed.
type IdentityValues struct {
	From, Sender, ReplyTo []byte
	Resent                [][]byte
}

// Mailboxes lists all of them: the caller must be allowed to use each.
func (id Identity) Mailboxes() []Mailbox {
	out := append([]Mailbox{id.From}, id.CoAuthors...)
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
// one From field, at most one Sender with one mailbox, and the Resent- fields. It
// also refuses sections with two of a field that may stand once. utf8 allows
// RFC 6532 addresses.
//
// From has one mailbox. RFC 5322 §3.6.2 allows several with a Sender field: they
// are taken where all are at one domain, so that whichever of them a receiver
// shows or asks DMARC about (RFC 9989 leaves it open), it is that domain.
//
// Display names may be UTF-8 without utf8 too: all readers agree on the address
// beside them. Other octets over 127 are refused: in some charsets a character
// ends in what another reader takes for a quote or a backslash.
//
// Errors are *Error: Missing (no From), Duplicate, Unparseable, Several (authors
// at several domains, or without a Sender) or TooLarge, each with its Field.
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
	if err := id.author(h, utf8); err != nil {
		return Identity{}, err
	}
	if f, ok := h.First("Reply-To"); ok {
		id.Values.ReplyTo = f.Value()
	}
	return id, id.resent(h, utf8)
}

// author reads From and Sender.
func (id *Identity) author(h *Header, utf8 bool) error {
	from, ok := h.First("From")
	if !ok {
		return &Error{Reason: Missing, Field: "From"}
	}
	ms, err := mailboxes(from, "From", utf8)
	if err != nil {
		return err
	}
	id.From, id.CoAuthors, id.Values.From = ms[0], ms[1:], from.Value()
	if f, ok := h.First("Sender"); ok {
		id.Values.Sender = f.Value()
		if id.Sender, err = single(f, "Sender", utf8); err != nil {
			return err
		}
	}
	if len(id.CoAuthors) > maxCoAuthors {
		return &Error{Reason: TooLarge, Field: "From", Detail: fmt.Sprintf("more than %d mailboxes", maxCoAuthors+1)}
	}
	for _, m := range id.CoAuthors {
		if m.Address.ASCIIDomain() != id.From.Address.ASCIIDomain() {
			return &Error{Reason: Several, Field: "From", Detail: "authors at several domains"}
		}
	}
	if len(id.CoAuthors) > 0 && id.Values.Sender == nil {
		return &Error{Reason: Several, Field: "From", Detail: "several authors need a Sender field"}
	}
	return nil
}

// resent reads the Resent- fields.
func (id *Identity) resent(h *Header, utf8 bool) error {
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
			return err
		}
		id.Values.Resent = append(id.Values.Resent, f.Value())
		if id.Resent = append(id.Resent, ms...); len(id.Resent) > maxResent {
			return &Error{Reason: TooLarge, Field: name, Detail: fmt.Sprintf("more than %d resent mailboxes", maxResent)}
		}
	}
	return nil
}

// maxCoAuthors bounds the authors beside the first.
const maxCoAuthors = 9

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
	ms, err := ParseMailboxes(f.Value(), AddressLimits{UTF8: utf8, UTF8Names: true})
	if e, ok := err.(*Error); ok {
		e.Field = name
	}
	return ms, err
}

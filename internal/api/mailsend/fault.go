package mailsend

import (
	"fmt"
	"net/http"
)

// Fault is one thing that is wrong with a request.
type Fault struct {
	Message string
	Field   string // dotted path of the member; "": none (null on the wire)
	Help    string // a URL; "": none (null on the wire)
}

// Refusal is why a request is not accepted: all that is wrong with it, at most
// 100 faults.
type Refusal struct {
	Status int // 400, 413 or 415
	Faults []Fault
}

func (r *Refusal) Error() string {
	if len(r.Faults) == 0 {
		return fmt.Sprintf("mail/send refused: %d", r.Status)
	}
	return fmt.Sprintf("mail/send refused: %d: %s: %s", r.Status, r.Faults[0].Field, r.Faults[0].Message)
}

// TooLarge is the refusal of what is over a limit on octets or parts.
func TooLarge() *Refusal {
	return &Refusal{Status: http.StatusRequestEntityTooLarge, Faults: []Fault{{Message: "content too large"}}}
}

func badRequest() *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Faults: []Fault{{Message: "Bad Request"}}}
}

// helpURL is where SendGrid's help is; a fault names the anchor on that page.
const helpURL = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#"

// maxFaults bounds an answer: a body of a million mistakes gets no million lines.
const maxFaults = 100

// faults collects what is wrong.
type faults struct {
	list     []Fault
	tooLarge bool // over a limit that is answered with 413
}

// add notes a fault. anchor is that of the help page; "": no help.
func (f *faults) add(field, anchor, format string, args ...any) {
	if len(f.list) == maxFaults {
		return
	}
	fault := Fault{Message: format, Field: field}
	if len(args) > 0 {
		fault.Message = fmt.Sprintf(format, args...)
	}
	if anchor != "" {
		fault.Help = helpURL + anchor
	}
	f.list = append(f.list, fault)
}

// wrongType is the fault of a member that is of another JSON type.
func (f *faults) wrongType(field, anchor, want string, v value) {
	f.add(field, anchor, "Invalid type. Expected: %s, given: %s.", want, v.kind())
}

// err is the refusal, nil if nothing is wrong.
func (f *faults) err() error {
	switch {
	case f.tooLarge:
		return TooLarge()
	case len(f.list) > 0:
		return &Refusal{Status: http.StatusBadRequest, Faults: f.list}
	}
	return nil
}

// shown is a given text as it is repeated in a message, cut.
func shown(s string) string {
	const most = 320
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i]
		}
	}
	return s
}

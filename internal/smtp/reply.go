// Package smtp is the vocabulary that both sides of an SMTP session share:
// replies and enhanced status codes, addresses and paths, command lines and
// their parameters, and the octet stream of DATA. It parses and formats; it
// never reads a clock, opens a connection or keeps state between calls.
package smtp

import (
	"fmt"
	"strings"
)

// EnhancedCode is an RFC 3463 status code. The zero value means none.
type EnhancedCode [3]int

// IsZero reports whether there is no code.
func (e EnhancedCode) IsZero() bool { return e == EnhancedCode{} }

func (e EnhancedCode) String() string {
	if e.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
}

// Reply is one SMTP reply, to be written or as read.
type Reply struct {
	Code     int // 200 to 599
	Enhanced EnhancedCode
	Text     string // lines separated by \n, without code and enhanced code
}

// R makes a reply. The class of enhanced must be that of code (RFC 2034 §4).
func R(code int, a, b, c int, text string) Reply {
	return Reply{Code: code, Enhanced: EnhancedCode{a, b, c}, Text: text}
}

// Temporary reports a 4yz reply; Permanent a 5yz one; Positive a 2yz or 3yz one.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports a 5yz reply.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Positive reports a 2yz or 3yz reply.
func (r Reply) Positive() bool { return r.Code/100 == 2 || r.Code/100 == 3 }

// String is the reply on one line, for logs and records: "550 5.1.1 No such user".
func (r Reply) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", r.Code)
	if !r.Enhanced.IsZero() {
		b.WriteByte(' ')
		b.WriteString(r.Enhanced.String())
	}
	if r.Text != "" {
		b.WriteByte(' ')
		b.WriteString(strings.ReplaceAll(r.Text, "\n", " / "))
	}
	return b.String()
}

// Error lets a Reply be returned as an error by a session's backend.
func (r Reply) Error() string { return r.String() }

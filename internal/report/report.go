// Package report writes and reads the messages that mail systems send about
// mail: delivery status notifications (RFC 3461, 3464, 6522, 6533), the bounces
// of systems that never heard of them, and feedback reports (RFC 5965).
//
// It decides nothing: whether a report is due and to whom is the queue's, what
// follows from one that came in is its reader's. It keeps no state, reads no
// clock and sends nothing.
//
// Its invariant: whatever a remote system or a stranger wrote, Notice.Compose
// gives a message whose structure is the one asked for, and Parse ends within
// its limits with text that is safe to store, log and show.
package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Action is what became of a recipient (RFC 3464 §2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"    // no further attempt
	Delayed   Action = "delayed"   // will be tried again
	Delivered Action = "delivered" // in the mailbox
	Relayed   Action = "relayed"   // passed to a system that sends no notifications
	Expanded  Action = "expanded"  // given to the members of a list
)

// valid reports one of the five.
func (a Action) valid() bool {
	switch a {
	case Failed, Delayed, Delivered, Relayed, Expanded:
		return true
	}
	return false
}

// MaxText bounds every piece of foreign text that is kept, in octets.
const MaxText = 1024

// Clean makes foreign text fit for a record, a header or a screen: one line of
// valid UTF-8, without controls, line separators and characters that turn the
// direction of text, single spaces, at most limit octets.
func Clean(s string, limit int) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.IsSpace(r) || unicode.Is(unicode.Bidi_Control, r) {
			space = true
			continue
		}
		n := utf8.RuneLen(r)
		if space && b.Len() > 0 {
			n++
		}
		if b.Len()+n > limit {
			break
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		b.WriteRune(r)
	}
	return b.String()
}

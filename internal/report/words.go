package report

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/smtp"
)

// has reports an outcome with the action.
func (n Notice) has(a Action) bool {
	for _, o := range n.Outcomes {
		if o.Action == a {
			return true
		}
	}
	return false
}

func (n Notice) subject() string {
	switch {
	case n.has(Failed):
		return "Mail could not be delivered"
	case n.has(Delayed):
		return "Mail is delayed"
	}
	return "Mail was passed on"
}

// text is the part for people: what happened, to whom, and what to do next.
func (n Notice) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail relay at %s.\n\n", n.ReportingMTA)
	if !n.Arrival.IsZero() {
		fmt.Fprintf(&b, "It is about the message that you handed in on %s.\n", when(n.Arrival))
	}
	for _, part := range []struct {
		action Action
		intro  string
	}{
		{Failed, "It could not be delivered to the recipients below, and will not be tried again."},
		{Delayed, "It could not be delivered to the recipients below yet. It will be tried again by itself; there is nothing that you need to do."},
		{Delivered, "It was delivered to the recipients below."},
		{Relayed, "It was passed on for the recipients below, to a mail system that does not report back."},
		{Expanded, "It was given to the members of the lists below."},
	} {
		if n.has(part.action) {
			fmt.Fprintf(&b, "\n%s\n", wrap(part.intro, 72, ""))
			for _, o := range n.Outcomes {
				if o.Action == part.action {
					o.text(&b)
				}
			}
		}
	}
	b.WriteString("\nA report for programs is attached, with what is returned of your message.\n")
	return b.String()
}

func when(t time.Time) string { return t.Format("2 January 2006 at 15:04:05 -0700") }

// text writes one recipient's paragraph.
func (o Outcome) text(b *strings.Builder) {
	fmt.Fprintf(b, "\n<%s>\n", o.Recipient)
	if o.Why != "" {
		fmt.Fprintf(b, "%s\n", wrap(Clean(o.Why, MaxText), 68, "    "))
	}
	if o.Reply != "" {
		host := "The receiving system"
		if h := Clean(o.RemoteMTA, 255); h != "" {
			host = "The mail server " + h
		}
		fmt.Fprintf(b, "    %s said:\n%s\n", host, wrap(Clean(o.Reply, MaxText), 64, "        "))
	}
	if o.Action == Delayed && !o.WillRetryUntil.IsZero() {
		fmt.Fprintf(b, "    It will be tried until %s.\n", when(o.WillRetryUntil))
	}
	if o.Action == Failed {
		fmt.Fprintf(b, "%s\n", wrap("What to do: "+advice(o.status()), 68, "    "))
	}
}

// advice says what a sender can do about a failure, by its status code
// (RFC 3463).
func advice(c smtp.EnhancedCode) string {
	switch [2]int{c[1], c[2]} {
	case [2]int{1, 2}, [2]int{1, 10}, [2]int{4, 4}:
		return "the domain does not exist or takes no mail. Check the part after the @ for typing errors."
	case [2]int{2, 2}:
		return "the mailbox is full. Try again later, or tell the recipient by other means."
	case [2]int{2, 1}:
		return "the mailbox is disabled. Reach the recipient by other means."
	case [2]int{2, 3}, [2]int{3, 4}:
		return "the message is larger than the receiving system takes. Send it without attachments, or with smaller ones."
	case [2]int{4, 6}:
		return "the message went round in circles. The administrator of the receiving system must change its forwarding."
	case [2]int{4, 7}:
		return "the receiving system could not be reached, or did not take the message, for as long as it was tried. Try again later."
	case [2]int{6, 7}:
		return "the address needs a mail system with internationalised addresses, and the receiving one is none. Use another address of the recipient."
	case [2]int{7, 10}, [2]int{7, 11}, [2]int{7, 30}:
		return "the connection to the receiving system is not as safe as you asked for. Ask its administrator, or send it without that demand."
	}
	switch c[1] {
	case 1:
		return "the address is unknown there. Check it for typing errors."
	case 2:
		return "something is wrong with the recipient's mailbox. Reach the recipient by other means."
	case 6:
		return "the receiving system cannot take the message in this form. Send it in a simpler one, such as plain text."
	case 7:
		return "the receiving system refused the message by its rules. Its administrator can say why; quote the reply above."
	}
	return "show the reply above to the administrator of your mail system, or try again later."
}

// wrap breaks text into lines of about width, each with a prefix.
func wrap(s string, width int, prefix string) string {
	var b strings.Builder
	line := 0
	for _, w := range strings.Fields(s) {
		switch {
		case b.Len() == 0:
			b.WriteString(prefix)
		case line+1+len(w) > width:
			b.WriteString("\n" + prefix)
			line = 0
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(w)
		line += len(w)
	}
	return b.String()
}

package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// summary is a report in one line per recipient.
func summary(r *Report) string {
	var b strings.Builder
	b.WriteString(string(r.Kind))
	for _, x := range r.Recipients {
		fmt.Fprintf(&b, "|%s %s %s %s", x.Final, x.Action, x.Status, x.Class)
	}
	return b.String()
}

func words(from, subject, body string) string {
	return strings.ReplaceAll("From: "+from+"\nSubject: "+subject+"\nDate: Thu, 05 Nov 2026 07:08:09 +0000\n\n"+body, "\n", "\r\n")
}

const daemon = "Mail Delivery Subsystem <MAILER-DAEMON@mx.example.test>"

// bounces are written after what the systems named send; the hosts and people
// are made up.
var bounces = map[string]struct{ in, want string }{
	"qmail": {words(daemon, "failure notice", `Hi. This is the qmail-send program at mx.example.test.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<bob@example.test>:
192.0.2.7 does not like recipient.
Remote host said: 550 5.1.1 <bob@example.test>: Recipient address rejected
Giving up on 192.0.2.7.

<carol@example.test>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

Return-Path: <ann@customer.example>
<dave@example.test>:
`), "bounce|bob@example.test failed 5.1.1 hard|carol@example.test failed 5.1.1 hard"},
	"exim": {strings.Replace(words(daemon, "Mail delivery failed: returning message to sender", `This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  bob@example.test
    host mx.example.test [192.0.2.7]
    SMTP error from remote mail server after RCPT TO:<bob@example.test>:
    552 5.2.2 mailbox full

------ This is a copy of the message, including all the headers. ------

From: eve@example.test
`), "Subject:", "X-Failed-Recipients: bob@example.test\r\nAuto-Submitted: auto-replied\r\nSubject:", 1),
		"bounce|bob@example.test failed 5.2.2 soft"},
	"exim, unrouteable, no header": {words(daemon, "Mail delivery failed", `A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  bob@nowhere.test
    Unrouteable address
`), "bounce|bob@nowhere.test failed 5.1.2 hard"},
	"exim, delay": {words(daemon, "Warning: message delayed 24 hours", `A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mx.example.test.

The address to which the message has not yet been delivered is:

  bob@example.test
    host mx.example.test: 451 4.7.1 Greylisted

No action is required on your part. Delivery attempts will continue for
some time, and this warning may be repeated at intervals.
`), "bounce|bob@example.test delayed 4.7.1 "},
	"postfix": {words(daemon, "Undelivered Mail Returned to Sender", `This is the mail system at host mx.example.test.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

<bob@example.test> (expanded from <team@example.test>): host mx2.example.test[192.0.2.7] said: 550
    5.7.1 Message rejected as spam (in reply to end of DATA command)

<carol@gone.test>: Host or domain name not found. Name service error for
    name=gone.test type=A: Host not found
`), "bounce|bob@example.test failed 5.7.1 soft|carol@gone.test failed 5.1.2 hard"},
	"postfix, delay": {words(daemon, "Delayed Mail (still being retried)", `This is the mail system at host mx.example.test.

####################################################################
# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #
####################################################################

Your message could not be delivered for more than 4 hour(s).

<bob@example.test>: connect to mx2.example.test[192.0.2.7]:25: Connection timed out
`), "bounce|bob@example.test delayed 4.0.0 "},
	"sendmail": {words(daemon, "Returned mail: see transcript for details", `The original message was received at Thu, 5 Nov 2026 07:08:09 GMT
from localhost

   ----- The following addresses had permanent fatal errors -----
<bob@example.test>
<carol@example.test>

   ----- Transcript of session follows -----
... while talking to mx.example.test.:
<<< 550 5.1.1 No such user
550 5.1.1 User unknown
`), "bounce|bob@example.test failed 5.1.1 hard|carol@example.test failed 5.1.1 hard"},
	"gmail": {words("Mail Delivery Subsystem <mailer-daemon@mail.example>", "Delivery Status Notification (Failure)", `
** Address not found **

Your message wasn't delivered to bob@example.test because the address couldn't be found, or is unable to receive mail.

The response from the remote server was:
550 5.1.1 The email account that you tried to reach does not exist.
`), "bounce|bob@example.test failed 5.1.1 hard"},
	"gmail, older": {words("Mail Delivery Subsystem <mailer-daemon@mail.example>", "Delivery Status Notification (Failure)", `Delivery to the following recipient failed permanently:

     bob@example.test

Technical details of permanent failure:
Message rejected by the recipient domain. The error that the other server returned was:
552 552 5.2.2 user is over quota (state 14).

----- Original message -----
`), "bounce|bob@example.test failed 5.2.2 soft"},
	"gmail, delay": {words("Mail Delivery Subsystem <mailer-daemon@mail.example>", "Delivery Status Notification (Delay)", `
** Delivery incomplete **

There was a temporary problem delivering your message to bob@example.test. Gmail will retry for 47 more hours.
`), "bounce|bob@example.test delayed 4.0.0 "},
	"yahoo": {words("MAILER-DAEMON@mail.example", "Failure Notice", `Sorry, we were unable to deliver your message to the following address.

<bob@example.test>:
554: delivery error: dd This user doesn't have a yahoo.example account (bob@example.test) [0] - mta1.example

--- Below this line is a copy of the message.
`), "bounce|bob@example.test failed 5.1.1 hard"},
	"exchange, older": {words("System Administrator <postmaster@corp.test>", "Undeliverable: hello", `Your message did not reach some or all of the intended recipients.

      Subject:  hello
      Sent:     05/11/2026 07:08

The following recipient(s) cannot be reached:

      bob@corp.test on 05/11/2026 07:09
            The e-mail account does not exist at the organization this message was sent to.
            <mail.corp.test #5.1.1>
`), "bounce|bob@corp.test failed 5.1.1 hard"},
	"exchange": {words("Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.test>", "Undeliverable: hello", `Delivery has failed to these recipients or groups:

bob@corp.test<mailto:bob@corp.test>
Your message can't be delivered because delivery to this address is restricted.

Diagnostic information for administrators:

Generating server: ex1.corp.test

bob@corp.test
Remote Server returned '550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup'

Original message headers:
`), "bounce|bob@corp.test failed 5.7.133 soft"},
	"exchange, HTML only": {strings.Replace(words("postmaster@corp.test", "Undeliverable: hello",
		`<html><head><style>x</style></head><body><p>Your message couldn&#39;t be delivered</p><table><tr><td>bob@corp.test</td></tr></table><p>550 5.1.10 RESOLVER.ADR.RecipientNotFound</p></body></html>`),
		"Subject:", "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nSubject:", 1), "bounce|bob@corp.test failed 5.1.10 hard"},
	"ironport": {words("Mail Delivery System <postmaster@example.test>", "Delivery Notification: Delivery has failed; undeliverable", `The following message to <bob@example.test> was undeliverable.
The reason for the problem:
5.1.0 - Unknown address error 550-'5.1.1 unknown'
`), "bounce|bob@example.test failed 5.1.0 hard"},
	"no address anywhere": {words(daemon, "Mail delivery failed", "Your message could not be delivered.\n550 5.7.1 Go away.\n"), "bounce| failed 5.7.1 soft"},

	"a person quotes a bounce": {words("Bob <bob@example.test>", "Re: hello", "I got this:\n\n> Hi. This is the qmail-send program at mx.example.test.\n> <ann@customer.example>:\n> 550 no\n"), "other"},
	"a person writes of one":   {words("Bob <bob@example.test>", "Re: hello", "Delivery to the following recipient failed permanently:\n\n  ann@customer.example\n\nWhat shall I do?\n"), "other"},
	"out of office":            {words("Bob <bob@example.test>", "Automatic reply: hello", "I am away until Monday. In urgent cases: carol@example.test\n"), "auto-reply"},
	"auto-submitted":           {strings.Replace(words("Bob <bob@example.test>", "Re: hello", "Away.\n"), "Subject:", "Auto-Submitted: auto-replied (vacation)\r\nSubject:", 1), "auto-reply"},
	"auto-submitted: no":       {strings.Replace(words("Bob <bob@example.test>", "Re: hello", "Here.\n"), "Subject:", "Auto-Submitted: no\r\nSubject:", 1), "other"},
	"encoded subject":          {words("Bob <bob@example.test>", "=?utf-8?q?Abwesenheit=3A_hallo?=", "Bin weg.\n"), "auto-reply"},
	"mail":                     {words("Bob <bob@example.test>", "hello", "Hello.\n"), "other"},
	"a system's chatter":       {words(daemon, "Quota report", "All is well with <bob@example.test>:\n"), "other"},
	"nothing in it":            {"From: x@y.test\r\n\r\n", "other"},
}

func TestBouncesInWords(t *testing.T) {
	t.Parallel()
	for name, c := range bounces {
		if diff := cmp.Diff(c.want, summary(parse(t, c.in))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDiagnosticsAreKept(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"qmail": "192.0.2.7 does not like recipient. Remote host said: 550 5.1.1 <bob@example.test>: Recipient address rejected Giving up on 192.0.2.7.",
		"exim":  "host mx.example.test [192.0.2.7] SMTP error from remote mail server after RCPT TO:<bob@example.test>: 552 5.2.2 mailbox full",
	} {
		if got := parse(t, bounces[name].in).Recipients[0].Diagnostic; got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Package mailsend reads the body of POST /v3/mail/send and writes the messages
// that it asks for. It is pure: JSON in; messages, or everything that is wrong
// with the JSON, out. It knows no accounts, opens nothing and has no clock.
//
// Its invariant: whatever Parse accepted, Compose either writes as a message in
// which every given text stands only where it was given (no field, part or line
// of its own can be made of it), or refuses.
//
// Words and field paths of errors are those that clients of SendGrid's v3 match
// on. Members that it does not know are passed over, as SendGrid does. What it
// knows and postern cannot do is refused, never passed over: templates
// (template_id, dynamic_template_data), unsubscribe groups (asm), the tracking
// settings, and the mail settings bcc and spam_check, where they are switched on.
// The bypass settings are accepted: there are no suppression lists that mail
// could have to bypass. A batch_id is accepted for mail that goes out at once; on
// mail for later it is refused, because it could only serve to pause or cancel,
// which is not there.
//
// Differences, on purpose: Unicode in from (an internationalised domain leaves in
// A-labels; a local part that is not ASCII needs SMTPUTF8 on the way), and more
// reserved headers: those that make the structure of the message, that only a
// relay writes, and X-SMTPAPI, whose wishes have members of their own here.
package mailsend

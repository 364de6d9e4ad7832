package v3

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"

	"postern/internal/api/mailsend"
	"postern/internal/auth"
	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/submit"
)

// The words that clients of mail/send match on.
const (
	textNotVerified = "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. " +
		"Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements"
	textCredits    = "Maximum credits exceeded"
	textNotSending = "Authenticated user is not authorized to send mail"
	textKeyEnded   = "The provided authorization grant is invalid, expired, or revoked"
	textNoAddress  = "Does not contain a valid address."
)

// item is one line of an error answer; "" is null.
func item(message, field, help string) httpx.ErrorItem {
	out := httpx.ErrorItem{Message: message}
	if field != "" {
		out.Field = &field
	}
	if help != "" {
		out.Help = &help
	}
	return out
}

// mailRefusal is the answer to what mailsend refuses.
func mailRefusal(err error) error {
	r, ok := errors.AsType[*mailsend.Refusal](err)
	if !ok {
		return err
	}
	items := make([]httpx.ErrorItem, len(r.Faults))
	for i, f := range r.Faults {
		items[i] = item(f.Message, f.Field, f.Help)
	}
	return Fail(r.Status, items...)
}

// notVerified is 403 of an author that the tenant may not write as. The key's own
// restriction is answered in the same words, as over SMTP.
func notVerified(field string) error {
	return Fail(http.StatusForbidden, item(textNotVerified, field, ""))
}

func senderAttrs(d sender.Decision) []slog.Attr {
	return []slog.Attr{slog.String("field", d.Field), slog.String("address", d.Address), slog.String("rule", string(d.Rule))}
}

// recipientFaults collects recipients that are refused: 403 where the key may not
// send there, 400 where nobody may. Each answer has those of one status; what is
// no address at all is told first.
type recipientFaults struct{ bad, forbidden []httpx.ErrorItem }

// maxRecipientFaults bounds an answer.
const maxRecipientFaults = 100

func (f *recipientFaults) add(field string, err error) {
	text := textNoAddress
	list := &f.bad
	if r, ok := errors.AsType[smtp.Reply](err); ok {
		text = r.Text
		if r.Enhanced[1] == 7 {
			list = &f.forbidden
		}
	}
	if len(*list) < maxRecipientFaults {
		*list = append(*list, item(text, field+".email", ""))
	}
}

func (f *recipientFaults) err() error {
	switch {
	case len(f.bad) > 0:
		return Fail(http.StatusBadRequest, f.bad...)
	case len(f.forbidden) > 0:
		return Fail(http.StatusForbidden, f.forbidden...)
	}
	return nil
}

// recheckRefusal is the answer when the key died while the request came in. By
// SMTP that is a temporary reply: logging in again tells the rest.
func recheckRefusal(err error) error {
	if errors.Is(err, auth.ReplyEnded) {
		return &relay.Error{Kind: relay.Unauthenticated, Public: textKeyEnded, Err: err}
	}
	return &relay.Error{Kind: relay.Unavailable, Err: err}
}

// refusal is the answer to what submit refuses. i is the message that it is about;
// -1: as the error says, or all of them.
func (s *sending) refusal(i int, err error) error {
	if part, ok := errors.AsType[*submit.PartError](err); ok {
		i, err = part.Index, part.Err
	}
	if limited, ok := errors.AsType[*submit.Limited](err); ok {
		return s.limited(limited)
	}
	if refused, ok := errors.AsType[*submit.Refused](err); ok {
		return s.refused(i, refused)
	}
	r, ok := errors.AsType[smtp.Reply](err)
	if !ok {
		return err
	}
	field := ""
	if i >= 0 && i < s.request.Len() {
		field = personalization(i)
	}
	return replyRefusal(r, s.fromField(i), field)
}

// refused is the answer to a message that says it is from somebody else: 403, 400
// where only its words are wrong, 503 where waiting heals it, as 450 is over SMTP.
func (s *sending) refused(i int, r *submit.Refused) error {
	d := r.Decision
	httpx.Annotate(s.call.R.Context(), senderAttrs(d)...)
	field := s.fromField(i)
	switch d.Field {
	case "Reply-To":
		field = "reply_to"
	case "Sender", "Resent-From":
		field = "headers." + d.Field
	}
	switch d.Rule {
	case sender.Paused:
		return Fail(http.StatusServiceUnavailable, item(r.Reply.Text, field, ""))
	case sender.ForeignName, sender.TrickyName, sender.UnreadName:
		if d.Field == "From" {
			field += ".name"
		}
		return Fail(http.StatusBadRequest, item(r.Reply.Text, field, ""))
	case sender.ForeignReply:
		return Fail(http.StatusForbidden, item(r.Reply.Text, field, ""))
	}
	return notVerified(field)
}

// fromField is the member that names the author of message i.
func (s *sending) fromField(i int) string {
	if i < 0 || i >= s.request.Len() {
		return "from"
	}
	m := s.request.Message(i)
	return m.From.Field
}

// limited is the answer to a limit. Credits have SendGrid's status and words, so
// that clients know it; hours of a key are 429 with the time to wait.
func (s *sending) limited(l *submit.Limited) error {
	if l.Exceeded != nil {
		return &relay.Error{Kind: relay.Unauthenticated, Public: textCredits, Err: l}
	}
	if !l.Until.IsZero() {
		wait := math.Ceil(l.Until.Sub(s.call.Now).Seconds())
		s.call.W.Header().Set("Retry-After", strconv.Itoa(max(1, int(wait))))
	}
	return &relay.Error{Kind: relay.RateLimited, Public: l.Reply.Text, Err: l}
}

// replyRefusal turns a reply of SMTP's into an answer.
func replyRefusal(r smtp.Reply, from, field string) error {
	class, detail := r.Enhanced[1], r.Enhanced[2]
	switch {
	case class == 7 && r.Permanent() && strings.HasPrefix(r.Text, textNotVerified[:50]):
		return notVerified(from)
	case class == 7 && r.Permanent():
		return Fail(http.StatusForbidden, item(r.Text, field, ""))
	case class == 7 && detail == 0: // the account is switched off
		return &relay.Error{Kind: relay.Unauthenticated, Public: textNotSending, Err: r}
	case class == 3 && detail == 4:
		return mailRefusal(mailsend.TooLarge())
	case class == 5 && detail == 3:
		return Fail(http.StatusBadRequest, item(r.Text, field, ""))
	case r.Permanent():
		return Fail(http.StatusBadRequest, item(r.Text, field, ""))
	}
	return &relay.Error{Kind: relay.Unavailable, Public: r.Text, Err: r}
}

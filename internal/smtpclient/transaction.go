package smtpclient

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"postern/internal/smtp"
)

// Recipient is one forward-path of a transaction.
type Recipient struct {
	Address string      // wire form, without angle brackets
	Notify  smtp.Notify // RFC 3461 §4.1; zero: not said
	ORcpt   string      // RFC 3461 §4.2, wire form ("rfc822;…"); "": not said
}

// Transaction is one message for some recipients of one host.
type Transaction struct {
	From       string // reverse-path, wire form; "" is the null one
	Recipients []Recipient
	Body       smtp.Body
	SMTPUTF8   bool   // the message itself needs SMTPUTF8, whatever its addresses
	RequireTLS bool   // RFC 8689
	Ret        string // RFC 3461 §4.3
	EnvID      string // RFC 3461 §4.4, decoded

	// Prefix is sent first, then Content: together one message, CRLF lines
	// throughout unless Body is BINARYMIME. ContentSize is the exact number of
	// octets that Content yields; a Content that ends earlier or later is never
	// passed off as the message. Content is first read when the host has said 354.
	Prefix      []byte
	Content     io.Reader
	ContentSize int64

	// BeforeEnd, if set, is called once all content is written (the last of it
	// perhaps still buffered here) and before the end of the data is. An error
	// drops the connection: nothing was delivered then.
	BeforeEnd func(context.Context) error
}

func (t *Transaction) size() int64 { return int64(len(t.Prefix)) + t.ContentSize }

// Outcome is what became of one recipient.
type Outcome struct {
	Reply smtp.Reply // the last word about it: the host's, or ours
	Stage Stage      // at which that word fell; StageEnd with 2yz: delivered
	Local bool       // the words are ours

	// Ambiguous: the link broke after the end of the data may have left; the host
	// may have the message. Reply is temporary then.
	Ambiguous bool
	// TooMany: this recipient was beyond what fits one transaction and may be
	// sent in the next one at once.
	TooMany bool
	// Open: the session ended before any content was sent, and without a verdict on
	// this recipient; another host may be tried at once.
	Open bool
}

// Delivered reports that the host has taken over responsibility.
func (o *Outcome) Delivered() bool {
	return o.Stage == StageEnd && o.Reply.Code/100 == 2
}

// Result is the end of a transaction.
type Result struct {
	Outcomes []Outcome // one per recipient, in their order
	DSN      bool      // the host offered DSN and was told what the recipients asked
	// Err is why the session ended, nil where it may go on: of type *Error. An error
	// of Content or BeforeEnd is in its chain.
	Err error
}

// Replies of our own to what cannot be sent.
var (
	replyBadSender = smtp.R(550, 5, 1, 7, "The sender address cannot be sent")
	replyBadRcpt   = smtp.R(550, 5, 1, 3, "The recipient address cannot be sent")
	replyNeedUTF8  = smtp.R(550, 5, 6, 7, "The host does not accept international addresses or headers (SMTPUTF8)")
	replyNeed8Bit  = smtp.R(550, 5, 6, 3, "The host does not accept 8-bit content and conversion is not done")
	replyNeedBin   = smtp.R(550, 5, 6, 3, "The host does not accept binary content and conversion is not done")
	replyTooBig    = smtp.R(552, 5, 3, 4, "The message is larger than the host accepts")
	replyNeedRTLS  = smtp.R(550, 5, 7, 30, "REQUIRETLS is needed and the host does not support it")
	replyNotText   = smtp.R(554, 5, 6, 0, "The message is not lines of text and cannot be sent")
	replyTooMany   = smtp.R(452, 4, 5, 3, "More recipients than fit one transaction")
)

// unsendable judges, before any command, what the host did not offer and the
// whole transaction needs. The zero Reply means that all is well.
func (s *Session) unsendable(t *Transaction) smtp.Reply {
	from, err := smtp.Address{}, error(nil)
	if t.From != "" {
		from, err = smtp.ParseLiteral(t.From, true)
	}
	switch {
	case err != nil:
		return replyBadSender
	case t.RequireTLS && (s.tls == nil || !s.ext.RequireTLS): // RFC 8689 §4.2.1
		return replyNeedRTLS
	case (t.SMTPUTF8 || from.IsUTF8()) && !s.ext.SMTPUTF8: // RFC 6531 §3.2
		return replyNeedUTF8
	case t.Body == smtp.BodyBinary && (!s.ext.BinaryMIME || !s.ext.Chunking): // RFC 3030 §3
		return replyNeedBin
	case t.Body == smtp.Body8Bit && !s.ext.EightBitMIME: // RFC 6152 §3
		return replyNeed8Bit
	case s.ext.Size > 0 && t.size() > s.ext.Size: // RFC 1870 §6.1
		return replyTooBig
	}
	return smtp.Reply{}
}

// choose settles the recipients that cannot be sent and those beyond this
// transaction, and returns the positions of the others. utf8 reports that an
// address among them needs SMTPUTF8.
func (s *Session) choose(t *Transaction, out []Outcome) (chosen []int, utf8 bool) {
	limit, domainLimit := s.MaxRecipients(), int(s.ext.Limits.RcptDomainMax)
	var domains map[string]bool
	chosen = make([]int, 0, min(len(t.Recipients), limit))
	for i := range t.Recipients {
		a, err := parseRecipient(t.Recipients[i].Address)
		switch {
		case err != nil:
			out[i] = ours(StageRcpt, replyBadRcpt)
			continue
		case a.IsUTF8() && !s.ext.SMTPUTF8:
			out[i] = ours(StageRcpt, replyNeedUTF8)
			continue
		}
		fits := len(chosen) < limit
		if fits && domainLimit > 0 {
			if domains == nil {
				domains = make(map[string]bool)
			}
			if fits = domains[a.ASCIIDomain()] || len(domains) < domainLimit; fits {
				domains[a.ASCIIDomain()] = true
			}
		}
		if !fits {
			out[i] = ours(StageRcpt, replyTooMany)
			out[i].TooMany = true
			continue
		}
		chosen = append(chosen, i)
		utf8 = utf8 || a.IsUTF8()
	}
	return chosen, utf8
}

// parseRecipient reads a forward-path. Whatever way an address came here,
// nothing reaches the wire that is not one (control octets, or a ">" that would
// end the path, least of all).
func parseRecipient(s string) (smtp.Address, error) {
	if strings.EqualFold(s, "postmaster") { // RFC 5321 §4.5.1
		return smtp.Postmaster(s)
	}
	return smtp.ParseLiteral(s, true)
}

// mailCommand writes MAIL with the parameters that are offered and needed.
// SMTPUTF8 is never said without need: the host might then refuse to pass plain
// mail on to a hop without it.
func (s *Session) mailCommand(t *Transaction, utf8 bool) {
	s.out = append(append(append(s.out, "MAIL FROM:<"...), t.From...), '>')
	if s.ext.SizeOffered {
		s.out = strconv.AppendInt(append(s.out, " SIZE="...), t.size(), 10)
	}
	if s.ext.EightBitMIME && t.Body == smtp.Body8Bit || t.Body == smtp.BodyBinary {
		s.out = append(append(s.out, " BODY="...), t.Body...)
	}
	if utf8 {
		s.out = append(s.out, " SMTPUTF8"...)
	}
	if t.RequireTLS {
		s.out = append(s.out, " REQUIRETLS"...)
	}
	if s.ext.DSN {
		if t.Ret == "FULL" || t.Ret == "HDRS" {
			s.out = append(append(s.out, " RET="...), t.Ret...)
		}
		if t.EnvID != "" {
			s.out = append(append(s.out, " ENVID="...), smtp.EncodeXtext(t.EnvID)...)
		}
	}
	s.out = append(s.out, "\r\n"...)
}

// rcptCommand writes RCPT. An original recipient that is malformed, or is not
// ASCII in a transaction without SMTPUTF8 (RFC 6533 §3), is left out.
func (s *Session) rcptCommand(r *Recipient, utf8 bool) {
	s.out = append(append(append(s.out, "RCPT TO:<"...), r.Address...), '>')
	if s.ext.DSN {
		if r.Notify != 0 {
			s.out = append(append(s.out, " NOTIFY="...), r.Notify.String()...)
		}
		if _, _, err := smtp.ParseORcpt(r.ORcpt); err == nil && (utf8 || ascii(r.ORcpt)) {
			s.out = append(append(s.out, " ORCPT="...), r.ORcpt...)
		}
	}
	s.out = append(s.out, "\r\n"...)
}

// tooMany reports that a refusal of RCPT is about their number (RFC 5321
// §4.5.3.1.10: 452, and from some 552 in its place) and not about this one. A
// host that takes not even one has another complaint.
func tooMany(r smtp.Reply, accepted int) bool {
	if accepted == 0 {
		return false
	}
	if !r.Enhanced.IsZero() {
		return r.Enhanced[1] == 5 && r.Enhanced[2] == 3
	}
	return r.Code == 452 || r.Code == 552
}

func ours(stage Stage, r smtp.Reply) Outcome { return Outcome{Reply: r, Stage: stage, Local: true} }

// outcomeOf is the outcome of a recipient whose session ended with err. A
// refusal of RSET is no verdict on it.
func outcomeOf(err *Error) Outcome {
	if err.Stage == StageReset && err.Permanent() {
		return ours(StageReset, replyProtocol)
	}
	return Outcome{Reply: err.Reply(), Stage: err.Stage, Local: err.Local}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// notText reports that the dot writer refused content.
func notText(err error) bool {
	return errors.Is(err, smtp.ErrBareCR) || errors.Is(err, smtp.ErrBareLF) ||
		errors.Is(err, smtp.ErrNUL) || errors.Is(err, smtp.ErrLineTooLong)
}

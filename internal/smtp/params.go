package smtp

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Body is the BODY parameter of MAIL (RFC 6152, RFC 3030).
type Body string

// The values. BodyDefault means that the client said nothing: 7BIT by the
// letter, though 8-bit content is common.
const (
	BodyDefault Body = ""
	Body7Bit    Body = "7BIT"
	Body8Bit    Body = "8BITMIME"
	BodyBinary  Body = "BINARYMIME"
)

// Notify is the NOTIFY parameter of RCPT (RFC 3461 §4.1): a set of bits.
type Notify uint8

// The bits. None set means that the client said nothing.
const (
	NotifyNever   Notify = 1 << 0 // stands alone
	NotifySuccess Notify = 1 << 1
	NotifyFailure Notify = 1 << 2
	NotifyDelay   Notify = 1 << 3
)

// String is the value as it stands in a command; empty for none.
func (n Notify) String() string {
	if n&NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for _, w := range notifyWords {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

var notifyWords = []struct {
	word string
	bit  Notify
}{{"NEVER", NotifyNever}, {"SUCCESS", NotifySuccess}, {"FAILURE", NotifyFailure}, {"DELAY", NotifyDelay}}

// Param is one esmtp-param (RFC 5321 §4.1.2) that nothing here knows.
type Param struct {
	Keyword  string // upper case
	Value    string
	HasValue bool
}

// MailParams are the parameters of MAIL.
type MailParams struct {
	HasSize    bool
	Size       int64 // octets, as declared (RFC 1870); 0 without HasSize
	Body       Body
	SMTPUTF8   bool   // RFC 6531
	RequireTLS bool   // RFC 8689
	Ret        string // RFC 3461 §4.3: "FULL", "HDRS" or ""
	EnvID      string // RFC 3461 §4.4, decoded; printable ASCII
	Auth       string // RFC 4954 §5, decoded; "<>" for nobody, "" when absent. Never proof of identity
	Unknown    []Param
}

// RcptParams are the parameters of RCPT.
type RcptParams struct {
	Notify  Notify
	ORcpt   string // RFC 3461 §4.2, checked and as given: "rfc822;bob+2Bx@example.com"
	Unknown []Param
}

// Replies to arguments that cannot be read (RFC 5321 §4.1.1.11, §4.2.2).
var (
	replyMailSyntax  = R(501, 5, 5, 4, "Syntax: MAIL FROM:<address>")
	replyRcptSyntax  = R(501, 5, 5, 4, "Syntax: RCPT TO:<address>")
	replySender      = R(501, 5, 1, 7, "Bad sender address syntax")
	replyRecipient   = R(501, 5, 1, 3, "Bad recipient address syntax")
	replyNeedsUTF8   = R(553, 5, 6, 7, "Non-ASCII addresses need SMTPUTF8")
	replyBadParam    = R(501, 5, 5, 4, "Bad parameter")
	replyDuplicate   = R(501, 5, 5, 4, "Duplicate parameter")
	replySizeTooHuge = R(552, 5, 3, 4, "Message too big")
)

// ParseMail reads what follows "MAIL ". Its errors are of type Reply: what to
// answer. Unknown parameters are collected, not refused.
func ParseMail(arg string) (Address, MailParams, error) {
	path, list, err := splitPath(arg, "FROM:", replyMailSyntax, replySender)
	if err != nil {
		return Address{}, MailParams{}, err
	}
	p, err := parseMailParams(list)
	if err != nil || path == "" {
		return Address{}, p, err
	}
	a, err := ParseAddress(path, p.SMTPUTF8)
	if err != nil {
		return Address{}, p, pathReply(err, replySender)
	}
	return a, p, nil
}

// ParseRcpt reads what follows "RCPT ". smtputf8 says that the transaction was
// opened with SMTPUTF8. The bare postmaster is accepted (RFC 5321 §4.5.1), the
// null path is not, and neither is an address that carries a route: in front
// ("@a,@b:c@d") or in its local part (Address.Routed). Errors are of type Reply.
func ParseRcpt(arg string, smtputf8 bool) (Address, RcptParams, error) {
	path, list, err := splitPath(arg, "TO:", replyRcptSyntax, replyRecipient)
	if err != nil {
		return Address{}, RcptParams{}, err
	}
	a, err := Postmaster(path)
	if err != nil {
		a, err = ParseAddress(path, smtputf8)
	}
	switch {
	case err != nil:
		return Address{}, RcptParams{}, pathReply(err, replyRecipient)
	case a.Routed():
		return Address{}, RcptParams{}, replyRecipient
	}
	p, err := parseRcptParams(list, smtputf8)
	return a, p, err
}

func pathReply(err error, syntax Reply) Reply {
	if errors.Is(err, ErrNeedsUTF8) {
		return replyNeedsUTF8
	}
	return syntax
}

// splitPath takes "FROM:<path> params" apart. Spaces after the colon are
// accepted, since many clients send one.
func splitPath(arg, prefix string, syntax, address Reply) (path string, params []Param, err error) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return "", nil, syntax
	}
	rest := strings.TrimLeft(arg[len(prefix):], " ")
	if !strings.HasPrefix(rest, "<") {
		return "", nil, address
	}
	end := pathEnd(rest)
	if end < 0 {
		return "", nil, address
	}
	path, rest = rest[1:end], rest[end+1:]
	if rest == "" {
		return path, nil, nil
	}
	if rest[0] != ' ' { // trailing junk belongs to the address
		return "", nil, address
	}
	params, err = splitParams(rest)
	return path, params, err
}

// pathEnd finds the ">" that closes the path: not one inside a quoted string.
func pathEnd(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// splitParams reads esmtp-params (RFC 5321 §4.1.2). A keyword may stand once.
func splitParams(s string) ([]Param, error) {
	var list []Param
	for word := range strings.SplitSeq(s, " ") {
		if word == "" {
			continue
		}
		key, value, has := strings.Cut(word, "=")
		if !isKeyword(key) || has && !isParamValue(value) {
			return nil, replyBadParam
		}
		key = strings.ToUpper(key)
		for _, p := range list {
			if p.Keyword == key {
				return nil, replyDuplicate
			}
		}
		list = append(list, Param{Keyword: key, Value: value, HasValue: has})
	}
	return list, nil
}

func isKeyword(s string) bool {
	if s == "" || !isAlnum(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isAlnum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

// isParamValue is esmtp-value, with the UTF-8 of RFC 6531 §3.3.
func isParamValue(s string) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '=' || c == 0x7f {
			return false
		}
	}
	return true
}

func parseMailParams(list []Param) (MailParams, error) {
	var p MailParams
	for _, param := range list {
		var err error
		switch v := param.Value; param.Keyword {
		case "SIZE":
			p.HasSize = true
			p.Size, err = parseSize(v)
		case "BODY":
			p.Body = Body(strings.ToUpper(v))
			if p.Body != Body7Bit && p.Body != Body8Bit && p.Body != BodyBinary {
				err = replyBadParam
			}
		case "SMTPUTF8":
			p.SMTPUTF8 = true
			err = noValue(param)
		case "REQUIRETLS":
			p.RequireTLS = true
			err = noValue(param)
		case "RET":
			p.Ret = strings.ToUpper(v)
			if p.Ret != "FULL" && p.Ret != "HDRS" {
				err = replyBadParam
			}
		case "ENVID":
			p.EnvID, err = parseEnvID(v)
		case "AUTH":
			p.Auth, err = DecodeXtext(v)
			if err != nil || v == "" || !utf8.ValidString(p.Auth) {
				err = replyBadParam
			}
		default:
			p.Unknown = append(p.Unknown, param)
		}
		if err != nil {
			return MailParams{}, err
		}
	}
	return p, nil
}

func noValue(p Param) error {
	if p.HasValue {
		return replyBadParam
	}
	return nil
}

// parseSize reads 1 to 20 digits (RFC 1870 §6.1). What does not fit an int64 is
// a message that is too big, not a syntax error.
func parseSize(s string) (int64, error) {
	if s == "" || !digits([]byte(s)) {
		return 0, replyBadParam
	}
	var n int64
	for i := 0; i < len(s); i++ {
		if n > (1<<63-10)/10 {
			return 0, replySizeTooHuge
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, nil
}

// parseEnvID reads at most 100 characters of xtext (RFC 3461 §4.4) that decode
// to printable ASCII, since they come back in a header.
func parseEnvID(s string) (string, error) {
	v, err := DecodeXtext(s)
	if err != nil || s == "" || len(s) > 100 || !isPrintable(v) {
		return "", replyBadParam
	}
	return v, nil
}

func parseRcptParams(list []Param, smtputf8 bool) (RcptParams, error) {
	var p RcptParams
	for _, param := range list {
		var err error
		switch param.Keyword {
		case "NOTIFY":
			p.Notify, err = parseNotify(param.Value)
		case "ORCPT":
			p.ORcpt = param.Value
			if _, _, e := ParseORcpt(param.Value); e != nil || !smtputf8 && !isASCII(param.Value) {
				err = replyBadParam
			}
		default:
			p.Unknown = append(p.Unknown, param)
		}
		if err != nil {
			return RcptParams{}, err
		}
	}
	return p, nil
}

// parseNotify reads NEVER, or a list of the others each at most once.
func parseNotify(s string) (Notify, error) {
	var n Notify
next:
	for word := range strings.SplitSeq(s, ",") {
		for _, w := range notifyWords {
			if strings.EqualFold(word, w.word) && n&w.bit == 0 {
				n |= w.bit
				continue next
			}
		}
		return 0, replyBadParam
	}
	if n&NotifyNever != 0 && n != NotifyNever {
		return 0, replyBadParam
	}
	return n, nil
}

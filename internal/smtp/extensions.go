package smtp

import (
	"strconv"
	"strings"
)

// Limits are the values of the LIMITS extension (RFC 9422). 0: not announced.
type Limits struct {
	MailMax       int64 // transactions in a session
	RcptMax       int64 // recipients in a transaction
	RcptDomainMax int64 // recipient domains in a transaction
}

// Extensions is what a server announced in its reply to EHLO.
type Extensions struct {
	Pipelining    bool
	EightBitMIME  bool
	SMTPUTF8      bool
	DSN           bool
	Chunking      bool
	BinaryMIME    bool
	StartTLS      bool
	RequireTLS    bool
	EnhancedCodes bool
	SizeOffered   bool
	Size          int64    // octets; 0 with SizeOffered: no fixed limit
	Auth          []string // mechanisms, upper case, in the order announced
	Limits        Limits
	keywords      map[string]string
}

// Has reports whether a keyword was announced, in whatever case.
func (x *Extensions) Has(keyword string) bool {
	_, ok := x.keywords[strings.ToUpper(keyword)]
	return ok
}

// Param is the text after a keyword, as announced first.
func (x *Extensions) Param(keyword string) string { return x.keywords[strings.ToUpper(keyword)] }

// ParseExtensions reads the lines of a reply to EHLO after the first (which is
// the server's name). Keywords are case-insensitive (RFC 5321 §4.1.1.1); lines
// that make no sense are passed over, so that an odd server can still be used.
func ParseExtensions(lines []string) Extensions {
	x := Extensions{keywords: make(map[string]string, len(lines))}
	for _, line := range lines {
		word, param, _ := strings.Cut(strings.TrimSpace(line), " ")
		word, param = strings.ToUpper(word), strings.TrimSpace(param)
		if old, ok := strings.CutPrefix(word, "AUTH="); ok { // the form of before RFC 2554
			word, param = "AUTH", strings.TrimSpace(old+" "+param)
		}
		if word == "" {
			continue
		}
		if _, ok := x.keywords[word]; !ok {
			x.keywords[word] = param
		}
		x.set(word, param)
	}
	return x
}

func (x *Extensions) set(word, param string) {
	switch word {
	case "PIPELINING":
		x.Pipelining = true
	case "8BITMIME":
		x.EightBitMIME = true
	case "SMTPUTF8":
		x.SMTPUTF8 = true
	case "DSN":
		x.DSN = true
	case "CHUNKING":
		x.Chunking = true
	case "BINARYMIME":
		x.BinaryMIME = true
	case "STARTTLS":
		x.StartTLS = true
	case "REQUIRETLS":
		x.RequireTLS = true
	case "ENHANCEDSTATUSCODES":
		x.EnhancedCodes = true
	case "SIZE":
		x.SizeOffered = true
		if n, err := strconv.ParseInt(param, 10, 64); err == nil && n > 0 {
			x.Size = n
		}
	case "AUTH":
		x.addAuth(param)
	case "LIMITS":
		x.Limits.parse(param)
	}
}

func (x *Extensions) addAuth(param string) {
next:
	for mech := range strings.FieldsSeq(strings.ToUpper(param)) {
		for _, have := range x.Auth {
			if have == mech {
				continue next
			}
		}
		x.Auth = append(x.Auth, mech)
	}
}

// parse reads "NAME=value" pairs (RFC 9422 §3). Unknown names and values that
// are no numbers are passed over.
func (l *Limits) parse(param string) {
	for pair := range strings.FieldsSeq(param) {
		name, value, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 1 {
			continue
		}
		switch strings.ToUpper(name) {
		case "MAILMAX":
			l.MailMax = n
		case "RCPTMAX":
			l.RcptMax = n
		case "RCPTDOMAINMAX":
			l.RcptDomainMax = n
		}
	}
}

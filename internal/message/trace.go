package message

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"

	"postern/internal/smtp"
)

// Trace is what the Received field of one hop says. The client's address is
// not among it: it is in the records, not on the wire.
type Trace struct {
	Helo     string // as the client said it; anything is safe here
	Host     string // our name
	Protocol string // "ESMTPSA", "UTF8SMTPSA", "HTTP" (RFC 3848, RFC 6531 §4.3)
	ID       string // the message id
	TLS      string // version and cipher, for people; may be empty
	At       time.Time
}

// Received makes the trace field (RFC 5321 §4.4), folded. Every text in it is
// reduced to harmless characters, so that a name that looks like trace text
// stays a name.
func (t Trace) Received() Field {
	var b bytes.Buffer
	b.WriteString("Received: from " + traceName(t.Helo) + "\r\n\tby " + traceName(t.Host) + " (postern) with " +
		traceWord(t.Protocol, "SMTP") + " id " + traceWord(t.ID, "0"))
	if tls := sanitise(t.TLS, func(c byte) bool { return isTraceOctet(c) || c == '_' || c == ' ' }, 80); tls != "" {
		b.WriteString("\r\n\t(" + tls + ")")
	}
	b.WriteString(";\r\n\t" + FormatDate(t.At) + "\r\n")
	return Field{Name: "Received", Raw: b.Bytes(), Offset: -1}
}

// traceName reduces a host name to [A-Za-z0-9.-]. What is no name at all, and
// an address or address literal, which would show where the client is, becomes
// "unknown".
func traceName(s string) string {
	s = sanitise(s, isTraceOctet, smtp.MaxDomain)
	if strings.ContainsAny(s, "[:]") || !strings.ContainsFunc(s, func(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' }) {
		return "unknown"
	}
	return s
}

// isTraceOctet: what an EHLO name may hold in a trace field.
func isTraceOctet(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".:[]-", c) >= 0
}

func traceWord(s, empty string) string {
	s = sanitise(s, func(c byte) bool { return isTraceOctet(c) && c != '[' && c != ']' && c != ':' || c == '_' }, 64)
	if s == "" {
		return empty
	}
	return s
}

func sanitise(s string, keep func(byte) bool, limit int) string {
	b := make([]byte, 0, min(len(s), limit))
	for i := 0; i < len(s) && len(b) < limit; i++ {
		if keep(s[i]) {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// FormatDate is an RFC 5322 §3.3 date-time in t's own zone.
func FormatDate(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// NewMessageID makes a Message-ID value, brackets included, that is unique by
// 128 random bits; domain is its right side.
func NewMessageID(domain string) string {
	var r [16]byte
	rand.Read(r[:])
	return "<" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(r[:])) + "@" + domain + ">"
}

// Hops is what the trace fields of a message say of its way so far.
type Hops struct {
	Received int // Received fields
	Ours     int // those that say "by" one of our names
}

// MaxReceived is how many Received fields a message may have before it is
// taken to loop (RFC 5321 §6.3: at least 100).
const MaxReceived = 100

// CountHops counts trace fields. names are our own host names in any case.
func (h *Header) CountHops(names ...string) Hops {
	var n Hops
	for _, f := range h.Fields {
		if !f.Is("Received") {
			continue
		}
		n.Received++
		by := receivedBy(f.Value())
		for _, name := range names {
			if name != "" && strings.EqualFold(by, name) {
				n.Ours++
				break
			}
		}
	}
	return n
}

// receivedBy returns the word after "by" in a Received value, "" if there is
// none. Comments are skipped, so that "by" inside one does not count.
func receivedBy(v []byte) string {
	depth, by := 0, false
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case c == '\\':
			i += 2
		case c == '(':
			depth++
			i++
		case c == ')':
			depth = max(depth-1, 0)
			i++
		case depth > 0 || c <= ' ':
			i++
		case c == ';':
			return ""
		default:
			j := i
			for j < len(v) && v[j] > ' ' && v[j] != '(' && v[j] != ';' {
				j++
			}
			if by {
				return strings.TrimSuffix(string(v[i:j]), ".")
			}
			by = bytes.EqualFold(v[i:j], []byte("by"))
			i = j
		}
	}
	return ""
}

// RemoveForged drops trace-like fields that speak in our name: readers inside
// our trust boundary would believe them (RFC 8601 §5). Authentication-Results
// and ARC-Authentication-Results go when their authserv-id is one of ids or
// cannot be read, Received-SPF when its receiver is. It says how many went.
func (h *Header) RemoveForged(ids ...string) int {
	ours := func(id string) bool {
		for _, x := range ids {
			if strings.EqualFold(id, x) {
				return true
			}
		}
		return id == ""
	}
	return h.RemoveFunc(func(f Field) bool {
		switch {
		case f.Is("Authentication-Results"):
			return ours(authservID(f.Value()))
		case f.Is("ARC-Authentication-Results"):
			// RFC 8617 §4.1.1: the instance tag comes first.
			_, rest, ok := bytes.Cut(f.Value(), []byte(";"))
			return !ok || ours(authservID(rest))
		case f.Is("Received-SPF"):
			return mentions(f.Unfolded(), ids)
		}
		return false
	})
}

// authservID reads the first token or quoted string of an
// Authentication-Results value (RFC 8601 §2.2), "" if it cannot be read.
func authservID(v []byte) string {
	p := addressParser{s: v, utf8: true}
	if p.check() != nil || p.cfws() != nil || p.done() {
		return ""
	}
	if p.peek() == '"' {
		s, err := p.quoted(false)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(strings.TrimSpace(s), ".")
	}
	start := p.i
	for !p.done() && p.s[p.i] > ' ' && strings.IndexByte(";(", p.s[p.i]) < 0 {
		p.i++
	}
	return strings.TrimSuffix(string(p.s[start:p.i]), ".")
}

// mentions reports that one of the names stands in s as "receiver=name".
func mentions(s string, names []string) bool {
	for _, part := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ';' || r == ' ' || r == '\t' }) {
		v, ok := strings.CutPrefix(part, "receiver=")
		v = strings.TrimSuffix(strings.Trim(v, `"`), ".")
		for _, n := range names {
			if ok && strings.EqualFold(v, n) {
				return true
			}
		}
	}
	return false
}

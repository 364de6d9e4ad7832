package spf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Limits on what is read of one record. Real ones have a few hundred octets.
const (
	maxRecord = 16 << 10 // octets
	maxTerms  = 400
)

// term is one word of a record. Problem and fix are set where it breaks the
// grammar of RFC 7208 §12; receivers then refuse the whole record.
type term struct {
	text      string
	qualifier byte   // '+', '-', '~', '?'; 0: a modifier
	name      string // lower case
	spec      string // domain-spec as written, macros and all; "": the current domain
	prefix    netip.Prefix
	cidr4     int // of a and mx; -1: not given
	cidr6     int
	problem   string
	fix       string
}

// isRecord reports whether a TXT value is an SPF record, RFC 7208 §4.5: the
// version, in any case, and then a space or the end.
func isRecord(txt string) bool {
	const version = "v=spf1"
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// parse reads the terms of a record. What is wrong with the record as a whole
// is in problem.
func parse(record string) (terms []term, problem string) {
	if len(record) > maxRecord {
		return nil, fmt.Sprintf("it has %d octets", len(record))
	}
	for i, word := range strings.Split(record, " ") {
		if word == "" || i == 0 { // i 0 is the version
			continue
		}
		if len(terms) == maxTerms {
			return terms, fmt.Sprintf("it has more than %d terms", maxTerms)
		}
		terms = append(terms, parseTerm(word))
	}
	seen := map[string]bool{}
	for i, t := range terms {
		if t.qualifier != 0 || t.name != "redirect" && t.name != "exp" {
			continue
		}
		if seen[t.name] && t.problem == "" { // RFC 7208 §6
			terms[i].problem = fmt.Sprintf("%q stands in the record twice", t.name+"=")
			terms[i].fix = "Keep one of them."
		}
		seen[t.name] = true
	}
	return terms, ""
}

func parseTerm(word string) term {
	t := term{text: word, cidr4: -1, cidr6: -1}
	if i := strings.IndexFunc(word, func(c rune) bool { return c < '!' || c > '~' }); i >= 0 {
		t.fail("it contains a character that is not visible ASCII", "Type the term anew, without tabs, line breaks, typographic signs or invisible characters.")
		return t
	}
	if name, value, ok := strings.Cut(word, "="); ok && modifierName(name) {
		t.name = strings.ToLower(name)
		t.modifier(value)
		return t
	}
	t.qualifier = '+'
	if strings.IndexByte("+-~?", word[0]) >= 0 {
		t.qualifier, word = word[0], word[1:]
	}
	end := strings.IndexAny(word, ":/")
	if end < 0 {
		end = len(word)
	}
	t.name = strings.ToLower(word[:end])
	t.mechanism(word[end:])
	return t
}

func (t *term) fail(problem, fix string) { t.problem, t.fix = problem, fix }

// modifierName: name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." )
func modifierName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !letter(c) && (i == 0 || !digit(c) && c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != ""
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

func (t *term) modifier(value string) {
	switch t.name {
	case "redirect", "exp":
		t.domain(value)
	default: // RFC 7208 §6: unknown ones are ignored, if their value is a macro-string
		if _, problem := macros(value); problem != "" {
			t.fail(problem, "Take the term out, or correct the macro.")
		}
	}
}

// mechanism reads what follows a mechanism's name.
func (t *term) mechanism(rest string) {
	arg, colon := strings.CutPrefix(rest, ":")
	switch t.name {
	case "all":
		if rest != "" {
			t.fail(`"all" takes no value`, fmt.Sprintf("Write %q.", string(t.qualifier)+"all"))
		}
	case "ip4", "ip6":
		if !colon || arg == "" {
			t.fail("it lacks an address", fmt.Sprintf("Write %q and the address or network.", t.name+":"))
			return
		}
		t.network(arg)
	case "include", "exists":
		if !colon || arg == "" {
			t.fail("it lacks a domain", fmt.Sprintf("Write %q and the domain.", t.name+":"))
			return
		}
		t.domain(arg)
	case "ptr":
		t.optionalDomain(rest)
	case "a", "mx":
		rest, ok := t.cidr(rest)
		if ok {
			t.optionalDomain(rest)
		}
	default:
		t.unknown()
	}
}

// unknown explains a word that is no mechanism, with what was probably meant.
func (t *term) unknown() {
	problem := "no such mechanism exists"
	bare := strings.TrimLeft(t.text, "+-~?")
	host, _, _ := strings.Cut(bare, "/")
	switch addr, err := netip.ParseAddr(host); {
	case err == nil && addr.Is4():
		t.fail(problem, fmt.Sprintf("Write %q.", "ip4:"+bare))
	case err == nil:
		t.fail(problem, fmt.Sprintf("Write %q.", "ip6:"+bare))
	case t.name == "redirect" || t.name == "exp":
		t.fail(fmt.Sprintf("%q is a modifier, written with an equals sign", t.name), fmt.Sprintf("Write %q and the domain.", t.name+"="))
	case t.name == "ipv4" || t.name == "ipv6" || t.name == "ip":
		t.fail(problem, `Write "ip4:" or "ip6:" and the address.`)
	case strings.HasPrefix(strings.ToLower(bare), "v=spf1"):
		t.fail("a second record was pasted into this one", "Keep one version, at the beginning.")
	default:
		t.fail(problem, "Correct the word or take it out.")
	}
}

func (t *term) network(arg string) {
	host, bits, slash := strings.Cut(arg, "/")
	addr, err := netip.ParseAddr(host)
	four := t.name == "ip4"
	switch {
	case err != nil || addr.Zone() != "":
		t.fail("its value is not an address", "Write a whole address, without port or missing parts, and the length of the network after a slash if it is one.")
		return
	case four != addr.Is4():
		other := map[bool]string{true: "ip6:", false: "ip4:"}[four]
		t.fail("the address is of the other kind", fmt.Sprintf("Write %q before this address.", other))
		return
	}
	n := addr.BitLen()
	if slash {
		var ok bool
		if n, ok = length(bits, addr.BitLen()); !ok {
			t.fail("the length of the network is not valid", fmt.Sprintf("Write a number from 0 to %d after the slash.", addr.BitLen()))
			return
		}
	}
	t.prefix = netip.PrefixFrom(addr, n).Masked()
}

// length reads a prefix length: no leading zeros, RFC 7208 §12.
func length(s string, most int) (int, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return int(n), err == nil && int(n) <= most
}

// cidr takes the dual-cidr-length off the end:
// dual-cidr-length = [ ip4-cidr-length ] [ "/" ip6-cidr-length ]
func (t *term) cidr(rest string) (string, bool) {
	const fix = `Write lengths as "/24", "//64" or "/24//64".`
	if head, bits, ok := cutDigits(rest, "//"); ok {
		if t.cidr6, ok = length(bits, 128); !ok {
			t.fail("the length of the IPv6 network is not valid", fix)
			return "", false
		}
		rest = head
	}
	if head, bits, ok := cutDigits(rest, "/"); ok && !strings.HasSuffix(head, "/") {
		if t.cidr4, ok = length(bits, 32); !ok {
			t.fail("the length of the IPv4 network is not valid", fix)
			return "", false
		}
		rest = head
	}
	if rest != "" && (rest[0] != ':' || strings.HasSuffix(rest, "/")) {
		t.fail("what follows the slash is not the length of a network", fix)
		return "", false
	}
	return rest, true
}

// cutDigits cuts "head", sep and a number at the very end of s.
func cutDigits(s, sep string) (head, digits string, ok bool) {
	i := len(s)
	for i > 0 && digit(s[i-1]) {
		i--
	}
	head, ok = strings.CutSuffix(s[:i], sep)
	return head, s[i:], ok && i < len(s)
}

func (t *term) optionalDomain(rest string) {
	arg, colon := strings.CutPrefix(rest, ":")
	switch {
	case rest == "":
	case !colon:
		t.fail("no network length may stand here", fmt.Sprintf("Write %q, with a colon and a domain if need be.", t.name))
	case arg == "":
		t.fail("there is nothing after the colon", fmt.Sprintf("Write the domain, or %q alone for this domain.", t.name))
	default:
		t.domain(arg)
	}
}

// domain checks a domain-spec = macro-string domain-end, where
// domain-end = ( "." toplabel [ "." ] ) / macro-expand.
func (t *term) domain(spec string) {
	ends, problem := macros(spec)
	if problem != "" {
		t.fail(problem, "Correct the macro; RFC 7208 §7 lists them.")
		return
	}
	t.spec = spec
	if ends {
		return
	}
	name := strings.TrimSuffix(spec, ".")
	dot := strings.LastIndexByte(name, '.')
	if _, err := netip.ParseAddr(name); err == nil {
		t.fail("its value is an address, not a domain", `Write "ip4:" or "ip6:" before an address.`)
		return
	}
	if dot >= 0 && topLabel(name[dot+1:]) {
		return
	}
	if host, _, slash := strings.Cut(spec, "/"); slash {
		t.fail("no network length may stand here", fmt.Sprintf("Write %q.", t.name+":"+host))
		return
	}
	t.fail("its value is not a whole domain name", "Write the whole name, such as mail.example.com.")
}

// toplabel = ( *alphanum ALPHA *alphanum ) / ( 1*alphanum "-" *( alphanum / "-" ) alphanum )
func topLabel(s string) bool {
	alpha, dash := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case letter(c):
			alpha = true
		case c == '-':
			if i == 0 || i == len(s)-1 {
				return false
			}
			dash = true
		case !digit(c):
			return false
		}
	}
	return alpha || dash
}

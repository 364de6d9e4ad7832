package forge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

// variant is one message that somebody hands in.
type variant struct {
	seed   uint64
	class  string
	sender *sender
	from   string // of the envelope
	utf8   bool   // SMTPUTF8
	raw    []byte
	api    string // a request to mail/send instead of raw
}

// generator makes the variants of one seed.
type generator struct {
	*rand.Rand
	s *sender
}

// classes are the kinds of attack, in turn.
var classes = []struct {
	name string
	make func(g *generator) string
}{
	{"soup", (*generator).soup},
	{"name", (*generator).named},
	{"name", (*generator).named},
	{"comment", (*generator).commented},
	{"local part", (*generator).localPart},
	{"list", (*generator).list},
	{"fields", (*generator).fields},
	{"neighbours", (*generator).neighbour},
	{"X-SMTPAPI", (*generator).smtpapi},
	{"MIME", (*generator).mime},
}

// generate makes variant number n.
func generate(seed, n uint64, people []*sender) variant {
	g := &generator{rand.New(rand.NewPCG(seed, n)), people[n%uint64(len(people))]}
	v := variant{seed: n, sender: g.s, utf8: g.chance(3), from: g.pick(g.s.mine, "", g.foreign(), "me@paused.test")}
	if g.chance(12) {
		v.class, v.api = "API", g.request()
		return v
	}
	c := classes[g.IntN(len(classes))]
	v.class, v.raw = c.name, []byte(c.make(g))
	return v
}

func (g *generator) chance(n int) bool             { return g.IntN(n) == 0 }
func (g *generator) pick(options ...string) string { return options[g.IntN(len(options))] }

// foreign is an address that is not the sender's.
func (g *generator) foreign() string {
	for {
		a := g.pick("ceo@bank.test", "ceo@globex.test", "me@acme.test", "boss@team.test", "bob@mail.test", "x@pending.test", "root@relay.test",
			"ceo@mail.acme.test", "ceo@acme.test.bank.test", "ceo@notacme.test", "ceo@b\u00e4nk.test", "ceo@\u0430cme.test")
		local, domain, _ := strings.Cut(a, "@")
		if !ownsShown(g.s, local, domain) {
			return a
		}
	}
}

// message puts fields around those that are the attack.
func (g *generator) message(fields ...string) string {
	lines := append([]string{"To: b@one.test", "Subject: s", "X-Folded: a\r\n\tb", "Date: Sun, 01 Nov 2026 10:00:00 +0000"}, fields...)
	g.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	return strings.Join(lines, "\r\n") + "\r\n\r\nbody\r\n"
}

func (g *generator) field(name, value string) string {
	return g.pick(name, name, strings.ToUpper(name), strings.ToLower(name)) + ":" + g.pick(" ", " ", "", "\t", "\r\n ") + value
}

// soup is a value of pieces in any order.
func (g *generator) soup() string {
	pieces := []string{
		"<", ">", `"`, "(", ")", ",", ";", ":", `\`, "@", " ", "\r\n ", "\t", "%M", "%M", "%E", "<%M>", "<%M>", "<%E>", `"%E"`, "(%E)", `"\"`, `\""`,
		`"a\\"`, `\(`, "<<", ">>", "<>", "=?utf-8?q?=3C%E=3E?=", "=?utf-8?q?a=0D=0AFrom:_%E?=", "me", ".", "[", "]", "%%", "!", "\x00", "\x7f", "\v", "\f",
		"\r", "\n", "\uff20", "\u3002", "\u00ad", "\u200d", "\u2028", "\u0085", "\u202e", "é", "\xe9", "Group:", "<@e.test:", "=?", "?=", "'", `"me"`, "Me", "Me",
	}
	var b strings.Builder
	for range g.IntN(6) {
		b.WriteString(pieces[g.IntN(len(pieces))])
	}
	if g.chance(2) {
		b.WriteString(g.pick(" %M", "<%M>", " <%M>", "\r\n <%M>"))
	}
	for range g.IntN(3) {
		b.WriteString(pieces[g.IntN(len(pieces))])
	}
	value := strings.NewReplacer("%M", g.s.mine, "%E", g.foreign(), "%%", "%").Replace(b.String())
	return g.message(g.field(g.pick("From", "From", "From", "Sender"), value), g.pick("X: y", "From: "+g.s.mine))
}

// named hides an address, its own or not, in the display name of an honest From.
func (g *generator) named() string {
	return g.message(g.field("From", g.phrase()+g.pick(" ", "", "\r\n ")+"<"+g.s.mine+">"+g.pick("", "", " (x)")))
}

// commented hides it in a comment.
func (g *generator) commented() string {
	c := "(" + g.pick("", "(", `\(`) + g.disguise(g.shownAddress()) + g.pick("", ")", `\)`) + ")"
	return g.message(g.field("From", g.pick(c+" "+g.s.mine, g.s.mine+" "+c, "Me "+c+" <"+g.s.mine+">", g.s.mine+c, c+c+"<"+g.s.mine+">", "<"+g.s.mine+"> "+c)))
}

func (g *generator) shownAddress() string {
	if g.chance(4) {
		return g.s.mine
	}
	return g.foreign()
}

// phrase is a display name that shows an address in some disguise.
func (g *generator) phrase() string {
	name := g.disguise(g.shownAddress())
	if g.chance(3) {
		name = g.pick("CEO ", "Me <", "via ", "<", `"`, `\"`, "Bank, ") + name + g.pick("", ">", " via us", `"`, `\"`)
	}
	switch g.IntN(8) {
	case 0, 1:
		return `"` + name + `"`
	case 2:
		return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(name) + `"`
	case 3:
		return name
	case 4:
		return g.split(name)
	case 5:
		return `"` + g.word(name) + `"`
	}
	return g.words(name)
}

// disguise changes an address so that it still looks like one.
func (g *generator) disguise(a string) string {
	for range g.IntN(3) {
		switch g.IntN(12) {
		case 0:
			a = strings.ReplaceAll(a, "@", g.pick("\uff20", "\ufe6b", " @ ", "@ ", " @", `\@`, `"@"`, "(@)", "(x)@", "@(x)", "@\u200b", "@@", "&#64;", "%40"))
		case 1:
			a = strings.ReplaceAll(a, ".", g.pick("\uff0e", "\u3002", "\uff61", "\u2024", "\u00b7", `\.`, " .", ". ", "(x).", "..", "\u200b."))
		case 2:
			a = strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' && g.chance(2) {
					return r - 'a' + 0xff41
				}
				return r
			}, a)
		case 3:
			a = strings.ToUpper(a)
		case 4:
			i := 1 + g.IntN(len(a)-1)
			for !utf8.RuneStart(a[i]) {
				i--
			}
			a = a[:i] + g.pick("\u200b", "\u200d", "\u200c", "\u00ad", "\u2060", "\ufe0f", "\U000E0061", "\u034f", "\u202e", "\u2066", "\u200f", "\x00", "\t", "\r\n ", "\u3164", "\u00a0") + a[i:]
		case 5:
			r := []rune(a)
			for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
				r[i], r[j] = r[j], r[i]
			}
			a = "\u202e" + string(r) + g.pick("", "\u202c")
		case 6:
			a = g.words(a)
		case 7:
			a = "<" + a + ">"
		case 8:
			a = strings.ReplaceAll(a, "e", g.pick("\u0435", "e\u0301", "\u212f"))
		case 9:
			a = g.pick("mailto:", "@e.test:", "a@", "'", "\u200e", "*") + a + g.pick("", "'", ";", ",", ".", "\u200e")
		case 10:
			a = g.split(a)
		case 11:
			a = a + g.pick(" "+g.s.mine, ", "+g.s.mine, "<"+g.s.mine+">", "> "+g.s.mine)
		}
	}
	return a
}

// split puts quotes, comments and folds between the parts of a text.
func (g *generator) split(s string) string {
	var b strings.Builder
	for s != "" {
		n := 1 + g.IntN(len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n++
		}
		part := s[:n]
		s = s[n:]
		b.WriteString(g.pick(part, `"`+part+`"`, g.word(part), `"`+part+`"`) + g.pick("", "", " ", "\r\n ", "(x)", " (x) ", "()"))
	}
	return b.String()
}

// charsets are those that names are written in, with what they are called.
var charsets = map[string]encoding.Encoding{
	"utf-8": encoding.Nop, "UTF-8*en": encoding.Nop, "us-ascii": encoding.Nop, "x-unknown": encoding.Nop, "": encoding.Nop, "utf8": encoding.Nop,
	"iso-8859-1": encoding.Nop, "iso-2022-jp": japanese.ISO2022JP, "shift_jis": japanese.ShiftJIS, "euc-jp": japanese.EUCJP, "gb2312": simplifiedchinese.GBK,
	"hz-gb-2312": simplifiedchinese.HZGB2312, "gb18030": simplifiedchinese.GB18030, "utf-16be": unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	"utf-16": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "utf-7": utf7{}, "cp500": ebcdic{}, "windows-1252": encoding.Nop, "unicode_escape": escapes{},
}

// names in one order, so that a seed makes the same each time.
var charsetNames = []string{
	"utf-8", "utf-8", "utf-8", "utf-8", "utf-8", "UTF-8*en", "us-ascii", "x-unknown", "", "utf8", "iso-8859-1", "iso-2022-jp", "shift_jis", "euc-jp", "gb2312", "hz-gb-2312",
	"gb18030", "utf-16be", "utf-16", "utf-7", "cp500", "windows-1252", "unicode_escape",
}

// word is an encoded-word.
func (g *generator) word(s string) string {
	set := charsetNames[g.IntN(len(charsetNames))]
	octets, err := encoding.ReplaceUnsupported(charsets[set].NewEncoder()).Bytes([]byte(s))
	if err != nil {
		octets = []byte(s)
	}
	switch g.IntN(6) {
	case 0, 1:
		return "=?" + set + "?" + g.pick("b", "B") + "?" + base64.StdEncoding.EncodeToString(octets) + "?="
	case 2:
		return "=?" + set + "?b?" + base64.RawStdEncoding.EncodeToString(octets) + "?="
	case 3:
		n := g.IntN(len(octets) + 1)
		return "=?" + set + "?b?" + base64.StdEncoding.EncodeToString(octets[:n]) + g.pick("", " ", "*") + base64.StdEncoding.EncodeToString(octets[n:]) + "?="
	}
	var b strings.Builder
	for _, c := range octets {
		plain := c > ' ' && c < 0x7f && !strings.ContainsRune(`=?_"(),.:;<>@[\]`, rune(c)) || g.chance(6) && c >= ' ' && c < 0x7f && c != '?' && c != '=' && c != '_'
		if plain {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, g.pick("=%02X", "=%02x"), c)
		}
	}
	return "=?" + set + "?" + g.pick("q", "Q") + "?" + b.String() + "?="
}

// words is a text in one encoded-word or several, nested at times.
func (g *generator) words(s string) string {
	var out []string
	for s != "" {
		n := len(s)
		if g.chance(2) {
			n = 1 + g.IntN(len(s)) // a character may go to pieces
		}
		out = append(out, g.word(s[:n]))
		s = s[n:]
	}
	text := strings.Join(out, g.pick(" ", "", "\r\n ", "\t", " (x) "))
	if g.chance(6) {
		return g.word(text)
	}
	return text
}

// localPart hides an address in the local part.
func (g *generator) localPart() string {
	_, domain, _ := strings.Cut(g.s.mine, "@")
	e := g.disguise(g.foreign())
	local := g.pick(`"`+e+`"`, e, `"`+strings.ReplaceAll(e, "@", `\@`)+`"`, strings.ReplaceAll(e, "@", "%"), strings.ReplaceAll(e, "@", "="), g.word(e), `"`+e+`,"`, `"<`+e+`>"`, `"`+e+` "`)
	return g.message(g.field("From", g.pick("", "Me ", `"Me" `)+g.pick("<", "")+local+"@"+domain+g.pick(">", "")))
}

// list is a From with more than one mailbox.
func (g *generator) list() string {
	part := func() string {
		return g.pick(g.s.mine, "<"+g.s.mine+">", "Me <"+g.s.mine+">", g.foreign(), "<"+g.foreign()+">", "", "g: "+g.s.mine+";", "\"x,\" <"+g.s.mine+">")
	}
	var all []string
	for range 1 + g.IntN(3) {
		all = append(all, part())
	}
	return g.message(g.field("From", strings.Join(all, g.pick(",", ", ", ";", " ", ",,", `\,`, ",\r\n "))), g.field("Sender", g.pick(g.s.mine, "<"+g.s.mine+">", part())))
}

// fields are odd fields beside an honest From.
func (g *generator) fields() string {
	e := g.foreign()
	odd := g.pick("From : ", "From\t: ", "From\x00: ", " From: ", "X:\r\nFrom: ", "X: \rFrom: ", "X: \nFrom: ", "from:", "Sender: ", "Resent-From: ", "Resent-Sender: ",
		"\ufeffFrom: ", "From\u200b: ", ">From: ", "\vFrom: ", "X: a\vFrom: ", "X: a\x1cFrom: ", "X: a\u0085From: ", "X: a\u2028From: ", "Reply-To: ", "X: \x85From: ",
		"From\r\n : ", "X-From: ", "Apparently-From: ", "Sender: Me "+g.s.mine+" ", "Subject: x\r\n\t\r\nFrom: ", "Comments: \r\n From: ", "Content-Type: text/plain; x=\"\r\nFrom: ",
		"Subject: =?utf-8?q?x=0D=0AFrom:?= ", "Disposition-Notification-To: ", "Mail-Followup-To: ", "Resent-From: "+g.s.mine+", ", "Resent-Reply-To: ", "Return-Path: ") +
		g.pick(e, "<"+e+">", "CEO <"+e+">", g.phrase()+" <"+g.s.mine+">")
	return g.message(odd, g.field("From", g.pick(g.s.mine, "Me <"+g.s.mine+">")))
}

// neighbour is an address close to one's own.
func (g *generator) neighbour() string {
	local, domain, _ := strings.Cut(g.s.mine, "@")
	a := g.pick("ben@"+domain, local+"+x@"+domain, strings.ToUpper(local)+"@"+domain, local+"@x."+domain, local+"@"+domain[strings.IndexByte(domain, '.')+1:],
		local+"@"+domain+".", local+"@not"+domain, local+"@"+domain+".bank.test", local+"@"+strings.ToUpper(domain), `"`+local+`"@`+domain, local+"@"+strings.Replace(domain, "e", "\u0435", 1),
		local+"@"+strings.Replace(domain, ".", "\u3002", 1), local+"@"+strings.Replace(domain, "e", "\uff45", 1), local+"@["+domain+"]", local+"@xn--"+domain, local+".@"+domain,
		local+"@b\u00fccher.test", local+"@xn--bcher-kva.test", local+"@B\u00dcCHER.test", local+"@paused.test", g.foreign(), `"\`+local[:1]+`\`+local[1:2]+`"@`+domain)
	return g.message(g.field("From", g.pick(a, "<"+a+">", "Me <"+a+">", `"`+a+`" <`+a+">", `"`+a+`" <`+g.s.mine+">")))
}

// smtpapi tries to get header text out of X-SMTPAPI.
func (g *generator) smtpapi() string {
	e := g.pick("x\r\nFrom: ", "x\nFrom: ", "\u2028From: ", "x\x00From: ", "From: ") + g.foreign()
	member := func() string {
		text, _ := json.Marshal(e)
		return g.pick(`"category":`, `"category":["a",`, `"unique_args":{"k":`, `"unique_args":{`, `"ip_pool":`, `"sub":{"x":[`, `"section":{"x":`, `"from":`, `"filters":{"x":`, `"headers":{"From":`, `"send_at":`, `"category":"ok","x":`) + string(text)
	}
	m := member()
	for range strings.Count(m, "[") {
		m += "]"
	}
	if strings.HasSuffix(strings.SplitN(m, ":", 2)[0], `unique_args"`) && strings.Count(m, ":") < 2 {
		m += ":1"
	}
	for range strings.Count(m, "{") {
		m += "}"
	}
	return g.message("X-SMTPAPI: {"+m+"}", g.field("From", g.s.mine), g.pick("X: y", "X-SMTPAPI: {}", "X-SMTPAPI: {}\r\n From: "+g.foreign()))
}

// mime puts another author into what a reader may take for the header.
func (g *generator) mime() string {
	e := g.foreign()
	inner := g.pick("From: ", "Sender: ", "from : ") + e + "\r\nSubject: s\r\n\r\nx\r\n"
	kind := g.pick("message/rfc822", "message/partial; id=1; number=1", "message/global", "text/rfc822-headers", "multipart/mixed; boundary=b", "message/external-body")
	from := g.field("From", g.s.mine)
	if kind == "multipart/mixed; boundary=b" {
		inner = "--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + "--b--\r\n"
	}
	return g.pick("", "Content-Disposition: attachment\r\n") + from + "\r\nMIME-Version: 1.0\r\nContent-Type: " + kind + "\r\n\r\n" + inner
}

// request is a mail/send of the HTTP API, with one thing in it or two that are odd.
func (g *generator) request() string {
	odd := func(fine string, others ...string) string {
		if g.chance(5) {
			return g.pick(others...)
		}
		return fine
	}
	name := g.disguise(g.shownAddress())
	headers := map[string]string{}
	if g.chance(4) {
		headers[g.pick("From", "Sender", "Resent-From", "X-A", "X-A", "Sender", "from", "X-A\r\nFrom", "FROM ", "X-SMTPAPI", "Subject")] =
			g.pick(g.foreign(), "x\r\nFrom: "+g.foreign(), g.word(g.foreign()), g.s.mine, "\v From: "+g.foreign(), "\u2028From: "+g.foreign())
	}
	from := map[string]any{"email": odd(g.s.mine, g.foreign(), g.s.mine+","+g.foreign(), g.s.mine+"\r\nFrom: "+g.foreign())}
	from["name"] = g.pick("Me", "Me", name, g.words(name), `"`+name+`"`, g.split(name), odd("Me", "Me\r\nFrom: "+name))
	to := map[string]any{"email": "b@one.test", "name": odd("b", name)}
	b, _ := json.Marshal(map[string]any{
		"from": from, "headers": headers, "categories": []string{odd("c", "c\r\nFrom: x")},
		"subject":          odd("s", "s\r\nFrom: "+g.foreign(), "=?utf-8?q?=0D=0AFrom:?= "+g.foreign(), "s\u2028From: "+g.foreign()),
		"reply_to_list":    []any{map[string]any{"email": g.foreign(), "name": odd("r", name)}},
		"custom_args":      map[string]string{"k": odd("v", "v\r\nFrom: x")},
		"personalizations": []any{map[string]any{"to": []any{to}, "headers": headers}},
		"content":          []any{map[string]any{"type": odd("text/plain", "text/plain\r\nFrom: x", "text/html; charset=\"x"), "value": "From: " + g.foreign()}},
		"attachments": []any{map[string]any{"content": "QUFB", "filename": odd("a.txt", "a\"\r\nFrom: x", "\u202etxt.exe"), "type": odd("text/x", "a/b\r\nFrom: x"),
			"content_id": odd("c", "c>\r\nFrom: x")}},
	})
	return string(b)
}

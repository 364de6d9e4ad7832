package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	library "blitiri.com.ar/go/spf"

	"postern/internal/dns"
	"postern/internal/finding"
)

// through says by which records a reader gets to the last domain of path.
func through(path []string) string {
	if len(path) < 2 {
		return ""
	}
	return fmt.Sprintf(", which is part of the record of %s,", strings.Join(path[:len(path)-1], " → "))
}

// elsewhere says what to do about a record that the owner may not be able to change.
func elsewhere(path []string, fix string) string {
	if len(path) < 2 {
		return fix
	}
	return fmt.Sprintf("Ask those who run %s to correct it, or take the term that refers to it out. %s", path[len(path)-1], fix)
}

func (w *walker) unknown(typ, name string) {
	w.out.Unknown = true
	text := fmt.Sprintf("The DNS did not answer for %s %s.", typ, finding.Quote(name))
	if w.r.left <= 0 {
		text = fmt.Sprintf("%s %s was not looked up: these records make receivers ask too many questions.", typ, finding.Quote(name))
	}
	w.add(finding.Finding{Severity: finding.Unknown, Code: CodeUnknown, Where: cut(name), Text: text,
		Fix: "Look again later; if it stays so, see whether the domain's name servers answer."})
}

// size judges the answer with all TXT records of the domain, RFC 7208 §3.4.
func (w *walker) size(name string, txts []string, has bool) {
	// Of the packet: header and question, and for each record its name (a
	// pointer), type, class, TTL, length and a length for each 255 octets.
	total := 12 + len(name) + 6
	for _, s := range txts {
		total += 12 + len(s) + len(s)/255 + 1
	}
	f := finding.Finding{Code: CodeLarge, Where: name, Fix: "Move TXT records that are no longer needed away from this name, or the list of addresses into an include."}
	switch {
	case !has:
		return
	case total > 1232: // the size that fits every network path without fragments
		f.Severity = finding.Warning
		f.Text = fmt.Sprintf("The TXT records of %s make an answer of about %d octets, more than one UDP packet carries safely: receivers that cannot ask by TCP do not see the record.", name, total)
	case total > 512:
		f.Severity = finding.Info
		f.Text = fmt.Sprintf("The TXT records of %s make an answer of about %d octets; RFC 7208 recommends to stay below 512.", name, total)
	default:
		return
	}
	w.add(f)
}

func (w *walker) missing(name string, path []string, how string, txts []string) {
	for _, s := range txts {
		if text, fix := almost(s); text != "" {
			w.add(finding.Finding{Severity: finding.Error, Code: CodeMisspelt, Where: cut(name), Found: cut(s), Fix: fix,
				Text: fmt.Sprintf("A TXT record of %s looks like SPF but is not read as such: %s.", name, text)})
		}
	}
	f := finding.Finding{Severity: finding.Error, Code: CodeMissing, Where: cut(name),
		Text: fmt.Sprintf("%s publishes no SPF record: receivers cannot tell which servers may send for it.", name),
		Fix:  fmt.Sprintf("Publish a TXT record at %s that names its servers, or “v=spf1 -all” if it sends no mail.", name)}
	if how != "" {
		from := path[len(path)-1]
		f.Code = map[string]string{"include": CodeIncludeMissing, "redirect": CodeRedirectMissing}[how]
		f.Text = fmt.Sprintf("The record of %s refers to %s (%s), which publishes no SPF record. Receivers count the whole record as broken.", from, finding.Quote(name), how)
		f.Fix = fmt.Sprintf("Correct the name, or take the %s out of the record of %s.", how, from)
	}
	w.add(f)
}

// almost explains a TXT value that was meant to be an SPF record.
func almost(s string) (text, fix string) {
	const asIs = "Publish it so that the value begins with “v=spf1” and a space."
	lower := strings.ToLower(s)
	bare := strings.Join(strings.FieldsFunc(lower, func(c rune) bool { return c == '"' || c == '\'' || c == ' ' || c == '\t' || c == '\\' }), "")
	switch {
	case isRecord(s):
		return "", ""
	case strings.HasPrefix(strings.TrimLeft(lower, " \t"), `"v=spf1`), strings.HasPrefix(lower, `\"v=spf1`), strings.HasPrefix(lower, `'v=spf1`), strings.HasPrefix(lower, "“v=spf1"):
		return "quotation marks became part of the value", "Enter the value without quotation marks."
	case strings.HasPrefix(lower, "v=spf1"):
		return "there is no space after “v=spf1”", "Put a space after “v=spf1”; where the value is made of several strings, a space belongs at the end of a string."
	case strings.HasPrefix(bare, "v=spf1"):
		return "something stands before “v=spf1” or within it", asIs
	case strings.HasPrefix(lower, "spf1 "), strings.HasPrefix(lower, "v=spf "), strings.HasPrefix(lower, "v=spf2"), strings.HasPrefix(lower, "v=spfl"), strings.HasPrefix(lower, "v:spf1"), strings.HasPrefix(lower, "spf="):
		return "the version is written wrong", asIs
	}
	return "", ""
}

func (w *walker) several(name string, path []string, how string, records []string) {
	f := finding.Finding{Severity: finding.Error, Code: CodeSeveral, Where: cut(name), Found: cut(strings.Join(records, "\n")),
		Text: fmt.Sprintf("%s publishes %d SPF records. Receivers count that as broken and use none of them.", name, len(records)),
		Fix:  "Make one record of them: all their terms after a single “v=spf1”, and one “all” at the end. Delete the others."}
	if how != "" {
		f.Code = CodeIncludeSeveral
		f.Text = fmt.Sprintf("%s, to which the record of %s refers, publishes %d SPF records. Receivers count the whole record as broken.", finding.Quote(name), path[len(path)-1], len(records))
		f.Fix = fmt.Sprintf("Ask those who run it to publish one, or take the %s out.", how)
	}
	w.add(f)
}

func (w *walker) syntax(path []string, f finding.Finding) {
	f.Severity, f.Code, f.Where = finding.Error, CodeSyntax, path[len(path)-1]
	if len(path) > 1 {
		f.Code = CodeIncludeSyntax
		f.Fix = elsewhere(path, f.Fix)
	}
	w.add(f)
}

func (w *walker) badTerm(path []string, t term, i int) {
	w.syntax(path, finding.Finding{Found: cut(t.text), Fix: t.fix,
		Text: fmt.Sprintf("Term %d of the SPF record of %s%s is wrong: %s: %s. Receivers count the whole record as broken.", i+1, path[len(path)-1], through(path), finding.Quote(t.text), t.problem)})
}

func (w *walker) modifier(path []string, t term) {
	f := finding.Finding{Severity: finding.Info, Code: CodeModifier, Where: path[len(path)-1], Found: cut(t.text),
		Text: fmt.Sprintf("%s in the record of %s is an unknown modifier; receivers ignore it.", finding.Quote(t.text), path[len(path)-1]),
		Fix:  elsewhere(path, "Take it out, unless something of yours reads it.")}
	switch t.name {
	case "v":
		f.Severity = finding.Warning
		f.Text = fmt.Sprintf("%s stands in the middle of the record of %s: two records were pasted into one. Receivers ignore the word and read on.", finding.Quote(t.text), path[len(path)-1])
		f.Fix = elsewhere(path, "Keep one version at the beginning, and one “all” at the end.")
	case "include", "ip4", "ip6", "a", "mx", "exists", "ptr", "all":
		f.Severity = finding.Warning
		f.Text = fmt.Sprintf("%s in the record of %s is written with an equals sign: receivers take it for an unknown modifier and ignore it.", finding.Quote(t.text), path[len(path)-1])
		f.Fix = elsewhere(path, fmt.Sprintf("Write %q and the value.", t.name+":"))
	}
	w.add(f)
}

// afterAll says which terms of a record no receiver gets to.
func (w *walker) afterAll(node *Node, path []string, end ending) {
	var late []string
	for _, t := range node.Terms {
		if t.Ignored && t.Name != "redirect" {
			late = append(late, t.Text)
		}
	}
	if len(late) == 0 {
		return
	}
	why := "“all”"
	if end.by != node.Domain {
		why = fmt.Sprintf("the include of %s, which passes everybody", end.by)
	}
	w.add(finding.Finding{Severity: finding.Warning, Code: CodeAfterAll, Where: node.Domain, Found: cut(strings.Join(late, " ")),
		Text: fmt.Sprintf("Receivers stop reading the record of %s at %s: what follows has no effect (%s).", node.Domain, why, finding.Quote(strings.Join(late, " "))),
		Fix:  elsewhere(path, "Move “all” to the end of the record.")})
}

func (w *walker) repeated(path []string, t term, seen map[string]bool) {
	key := strings.ToLower(string(t.qualifier) + strings.TrimLeft(t.text, "+-~?"))
	if seen[key] {
		w.add(finding.Finding{Severity: finding.Info, Code: CodeTwice, Where: path[len(path)-1], Found: cut(t.text),
			Text: fmt.Sprintf("%s stands in the record of %s more than once.", finding.Quote(t.text), path[len(path)-1]), Fix: elsewhere(path, "Take the copy out.")})
	}
	seen[key] = true
}

// Networks of which it is safe to say that nobody has all of one.
const (
	wide4 = 16 // bits: longer prefixes are not remarked upon
	wide6 = 32
)

func (w *walker) network(path []string, t term) {
	if t.qualifier != '+' {
		return
	}
	bits := t.prefix.Bits()
	addr := t.prefix.Addr()
	from := path[len(path)-1]
	switch {
	case bits == 0:
		w.add(finding.Finding{Severity: finding.Error, Code: CodePassAll, Where: from, Found: cut(t.text),
			Text: fmt.Sprintf("%s in the record of %s names every address there is: anybody passes SPF for this domain.", finding.Quote(t.text), from),
			Fix:  elsewhere(path, "Name the servers' own addresses.")})
	case t.name == "ip4" && bits < wide4, t.name == "ip6" && bits < wide6:
		w.wide(path, t.text, bits)
	case addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast():
		w.add(finding.Finding{Severity: finding.Warning, Code: CodePrivate, Where: from, Found: cut(t.text),
			Text: fmt.Sprintf("%s in the record of %s names addresses of private networks; no receiver on the Internet sees mail from them.", finding.Quote(t.text), from),
			Fix:  elsewhere(path, "Name the public address that the mail leaves from.")})
	}
}

func (w *walker) wide(path []string, text string, bits int) {
	w.add(finding.Finding{Severity: finding.Warning, Code: CodeWide, Where: path[len(path)-1], Found: cut(text),
		Text: fmt.Sprintf("%s in the record of %s lets a very large network (/%d) send as this domain, certainly also machines of others.", finding.Quote(text), path[len(path)-1], bits),
		Fix:  elsewhere(path, "Name the servers' own addresses.")})
}

// wideHosts judges the lengths at a and mx.
func (w *walker) wideHosts(path []string, t term) {
	switch {
	case t.qualifier != '+':
	case t.cidr4 >= 0 && t.cidr4 < wide4:
		w.wide(path, t.text, t.cidr4)
	case t.cidr6 >= 0 && t.cidr6 < wide6:
		w.wide(path, t.text, t.cidr6)
	}
}

func (w *walker) ptr(path []string, t term) {
	w.add(finding.Finding{Severity: finding.Warning, Code: CodePTR, Where: path[len(path)-1], Found: cut(t.text),
		Text: fmt.Sprintf("The record of %s uses “ptr”, which RFC 7208 §5.5 says not to publish: it is slow, and many receivers skip it.", path[len(path)-1]),
		Fix:  elsewhere(path, "Name the servers by ip4, ip6, a or mx instead.")})
}

func (w *walker) macro(path []string, t term) {
	f := finding.Finding{Severity: finding.Info, Code: CodeMacro, Where: path[len(path)-1], Found: cut(t.text),
		Text: fmt.Sprintf("%s in the record of %s asks about another name for each message, so that what it lets pass cannot be told beforehand.", finding.Quote(t.text), path[len(path)-1])}
	if strings.Contains(strings.ToLower(t.spec), "%{p") {
		f.Severity, f.Code = finding.Warning, CodePTR
		f.Text = fmt.Sprintf("%s in the record of %s uses the macro p, which RFC 7208 §7.2 says not to publish: many receivers do not resolve it.", finding.Quote(t.text), path[len(path)-1])
		f.Fix = elsewhere(path, "Name the servers by ip4, ip6, a or mx instead.")
	}
	w.add(f)
}

// answered judges the look-up of one name.
func (w *walker) answered(shown *Term, t term, path []string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, dns.ErrTemporary):
		shown.Problem = "the DNS did not answer"
		typ := "address"
		if t.name == "mx" {
			typ = "MX"
		}
		w.unknown(typ, shown.Target)
	case errors.Is(err, dns.ErrBadName):
		shown.Problem = "not a name that the DNS can hold"
		shown.Void = true
		w.out.Void++
		w.add(finding.Finding{Severity: finding.Warning, Code: CodeBadName, Where: path[len(path)-1], Found: shown.Text,
			Text: fmt.Sprintf("%s in the record of %s holds a name that the DNS cannot hold: some receivers ignore the term, others the whole record.", finding.Quote(t.text), path[len(path)-1]),
			Fix:  elsewhere(path, "Correct the name.")})
	default:
		shown.Void = true
		w.out.Void++
		if t.name == "exists" {
			return // often meant: the name appears when somebody is to pass
		}
		what := "no addresses"
		if t.name == "mx" {
			what = "no mail exchangers"
		}
		shown.Problem = what
		w.add(finding.Finding{Severity: finding.Warning, Code: CodeDead, Where: path[len(path)-1], Found: shown.Text,
			Text: fmt.Sprintf("%s in the record of %s lets nobody pass: %s has %s. Receivers bear %d such terms.", finding.Quote(t.text), path[len(path)-1], finding.Quote(shown.Target), what, MaxVoid),
			Fix:  elsewhere(path, "Correct the name or take the term out.")})
	}
}

func (w *walker) exchangers(shown *Term, t term, path []string, mx []dns.MX, err error) {
	if err != nil {
		w.answered(shown, t, path, err)
		return
	}
	for _, m := range mx {
		shown.Hosts = append(shown.Hosts, m.Host)
	}
	if len(mx) > maxMX {
		shown.Problem = fmt.Sprintf("%d exchangers", len(mx))
		w.add(finding.Finding{Severity: finding.Error, Code: CodeManyMX, Where: path[len(path)-1], Found: shown.Text,
			Text: fmt.Sprintf("%s in the record of %s stands for %d mail exchangers. Receivers bear %d and count the whole record as broken.", finding.Quote(t.text), path[len(path)-1], len(mx), maxMX),
			Fix:  elsewhere(path, "Name the sending servers by ip4 and ip6 instead.")})
		return
	}
	for _, m := range mx {
		_, _, err := w.r.Addr(w.ctx, m.Host)
		switch {
		case err == nil || m.Host == ".":
		case errors.Is(err, dns.ErrTemporary):
			shown.Problem = "the DNS did not answer"
			w.unknown("address", m.Host)
		default:
			w.add(finding.Finding{Severity: finding.Info, Code: CodeDead, Where: path[len(path)-1], Found: m.Host,
				Text: fmt.Sprintf("%s in the record of %s stands for %s too, which has no addresses.", finding.Quote(t.text), path[len(path)-1], finding.Quote(m.Host)),
				Fix:  fmt.Sprintf("Correct the MX record of %s.", shown.Target)})
		}
	}
}

// totals judges the record as a whole.
func (w *walker) totals(node *Node, end ending) {
	a := w.out
	a.Lookups = w.lookups
	if a.Record == "" {
		return
	}
	a.All = end.all
	for _, t := range node.Terms {
		if t.Name == "redirect" && !t.Ignored && t.Lookups > 0 {
			a.All = "redirect"
		}
	}
	w.limits()
	w.policy(node, end)
}

func (w *walker) limits() {
	a := w.out
	need := plural(a.Lookups, "DNS look-up")
	if w.stopped {
		need = "more than " + need
	}
	switch {
	case a.Lookups > MaxLookups:
		w.add(finding.Finding{Severity: finding.Error, Code: CodeLookups, Where: a.Domain, Expected: fmt.Sprintf("at most %d", MaxLookups), Found: need,
			Text: fmt.Sprintf("The record of %s needs %s, with the records that it refers to. Receivers stop after %d and count the record as broken.", a.Domain, need, MaxLookups),
			Fix:  "Take out includes of services that no longer send for this domain, and name servers by ip4 and ip6 instead of a and mx. A service can also get a subdomain of its own."})
	case a.Lookups == MaxLookups:
		w.add(finding.Finding{Severity: finding.Info, Code: CodeNearLimit, Where: a.Domain, Found: need,
			Text: fmt.Sprintf("The record of %s needs %s, all that receivers make: if one of the domains that it refers to adds one, it breaks.", a.Domain, need),
			Fix:  "Take out includes that are no longer needed."})
	}
	if a.Void == MaxVoid {
		w.add(finding.Finding{Severity: finding.Warning, Code: CodeNearLimit, Where: a.Domain, Expected: fmt.Sprintf("at most %d", MaxVoid), Found: fmt.Sprint(a.Void),
			Text: fmt.Sprintf("%d look-ups of the record of %s have no answer, all that receivers bear: one more, and the record counts as broken.", a.Void, a.Domain),
			Fix:  "Take out the terms whose names no longer exist."})
	}
	if a.Void > MaxVoid {
		w.add(finding.Finding{Severity: finding.Error, Code: CodeVoid, Where: a.Domain, Expected: fmt.Sprintf("at most %d", MaxVoid), Found: fmt.Sprint(a.Void),
			Text: fmt.Sprintf("%d look-ups of the record of %s have no answer. Receivers stop after %d and count the record as broken.", a.Void, a.Domain, MaxVoid),
			Fix:  "Take out the terms whose names no longer exist."})
	}
}

// policy judges what happens to the senders that nothing names.
func (w *walker) policy(node *Node, end ending) {
	if end.broken {
		return
	}
	by := ""
	if end.by != node.Domain {
		by = fmt.Sprintf(" (in the record of %s)", end.by)
	}
	f := finding.Finding{Where: node.Domain, Found: end.all}
	switch end.all {
	case "+all":
		f.Severity, f.Code = finding.Error, CodePassAll
		f.Text = fmt.Sprintf("The record of %s ends in “+all”%s: anybody on the Internet passes SPF for this domain.", node.Domain, by)
		f.Fix = "Replace it by “-all” or “~all” after the servers that send."
	case "?all":
		f.Severity, f.Code = finding.Warning, CodeNeutralAll
		f.Text = fmt.Sprintf("The record of %s ends in “?all”%s: it says nothing about forged mail.", node.Domain, by)
		f.Fix = "Replace it by “~all”, and by “-all” once all servers that send are named."
	case "":
		if w.depends(node) {
			return // which record decides is not known before a message comes
		}
		f.Severity, f.Code = finding.Warning, CodeNoAll
		f.Text = fmt.Sprintf("The record of %s has no “all” at its end: it says nothing about servers that it does not name.", node.Domain)
		f.Fix = "Add “~all”, or “-all” once all servers that send are named."
	case "-all":
		if len(node.Terms) > 1 || end.by != node.Domain {
			return
		}
		f.Severity, f.Code = finding.Info, CodeNone
		f.Text = fmt.Sprintf("The record of %s says that no server may send mail for it.", node.Domain)
	default:
		return
	}
	w.add(f)
}

// depends reports whether the record ends in a redirect that is another one for
// each message.
func (w *walker) depends(node *Node) bool {
	for _, t := range node.Terms {
		if t.Name == "redirect" && (t.Depends || t.Node != nil && w.depends(t.Node)) {
			return true
		}
	}
	return false
}

// cover evaluates each address.
func (w *walker) cover(addrs []netip.Addr) {
	for _, ip := range addrs {
		result, err := Check(w.ctx, w.r, ip, w.top, "postmaster@"+w.top)
		c := Covered{Addr: ip, Result: result, Why: why(result, err)}
		w.out.Senders = append(w.out.Senders, c)
		f := finding.Finding{Code: CodeNotCovered, Severity: finding.Error, Where: w.top, Expected: Pass, Found: result,
			Text: fmt.Sprintf("Mail from %s does not pass SPF for %s: %s, %s.", ip, w.top, result, c.Why),
			Fix:  fmt.Sprintf("Add %q to the record, before “all”.", term4(ip))}
		switch result {
		case Pass:
			f = finding.Finding{Code: CodeCovered, Severity: finding.OK, Where: w.top, Found: ip.String(), Text: fmt.Sprintf("Mail from %s passes SPF for %s: %s.", ip, w.top, c.Why)}
		case TempError:
			w.out.Unknown = true
			f.Severity, f.Code, f.Fix = finding.Unknown, CodeUnknown, "Look again later."
			f.Text = fmt.Sprintf("Whether mail from %s passes SPF for %s could not be told: the DNS did not answer.", ip, w.top)
		case PermError, None:
			f.Fix = "Correct what the other findings say; then look again."
		}
		f.Found = ip.String()
		w.add(f)
	}
}

// term4 is the term that names an address.
func term4(ip netip.Addr) string {
	if ip = ip.Unmap(); ip.Is4() {
		return "ip4:" + ip.String()
	}
	return "ip6:" + ip.String()
}

// why puts the library's reason in words.
func why(result string, err error) string {
	for _, r := range []struct {
		is   error
		text string
	}{
		{library.ErrMatchedAll, "no term but “all” matches"},
		{library.ErrMatchedIP, "a term ip4 or ip6 names it"},
		{library.ErrMatchedA, "a term a names it"},
		{library.ErrMatchedMX, "a term mx names it"},
		{library.ErrMatchedPTR, "a term ptr names it"},
		{library.ErrMatchedExists, "a term exists names it"},
		{library.ErrLookupLimitReached, "the record needs too many look-ups"},
		{library.ErrVoidLookupLimitReached, "too many look-ups have no answer"},
		{library.ErrTooManyMXRecords, "a term mx stands for too many exchangers"},
		{library.ErrMultipleRecords, "there are several records"},
		{library.ErrNoResult, "a record is missing"},
		{errSyntax, "a record is written wrong"},
		{dns.ErrTemporary, "the DNS did not answer"},
	} {
		if errors.Is(err, r.is) {
			return r.text
		}
	}
	if result == Neutral {
		return "no term matches"
	}
	return "the record cannot be used"
}

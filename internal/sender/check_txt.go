package sender

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
	"postern/internal/spf"
)

// joined are TXT values as readers see them: the strings of each record with
// nothing between (RFC 6376 §3.6.2.2, RFC 7208 §3.3).
func joined(t dns.Told) []string {
	out := make([]string, len(t.TXT))
	for i, strs := range t.TXT {
		out[i] = strings.Join(strs, "")
	}
	return out
}

// unquoted drops what gets into values by copying: quotes, and backslashes.
func unquoted(s string) string { return strings.NewReplacer(`"`, "", `\`, "", "'", "").Replace(s) }

// unspaced drops white space.
func unspaced(s string) string { return strings.Join(strings.Fields(s), "") }

// readOwnership judges the proof of a manual domain. Other TXT records may stand
// beside it.
func readOwnership(r relay.DNSRecord, t dns.Told) reading {
	found := joined(t)
	if slices.ContainsFunc(found, func(s string) bool { return strings.TrimSpace(s) == r.Data }) {
		return reading{verdict: isValid, found: found}
	}
	for _, s := range found {
		switch bare := unspaced(unquoted(s)); {
		case bare == r.Data:
			return wrong(codeQuoted, found, article(r)+" has quotes or spaces inside its value.", "Enter the value without quotes: "+r.Data)
		case strings.HasPrefix(strings.ToLower(bare), ownershipPrefix):
			return wrong(codeOtherProof, found, article(r)+" has the proof of another entry, or an old one.", "Change its value to "+r.Data)
		}
	}
	out := absent(r, dns.ErrNoData)
	out.problem.text = fmt.Sprintf("There are TXT records at %s, and the proof of ownership is not among them.", r.Host)
	out.found, out.problem.found = found, strings.Join(found, " | ")
	return out
}

// keyTags is a DKIM record by its tags (RFC 6376 §3.6.1); nil: it is none.
func keyTags(s string) map[string]string {
	tags := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if !ok {
			if name != "" {
				return nil
			}
			continue
		}
		if _, twice := tags[name]; twice || name == "" {
			return nil
		}
		tags[name] = strings.TrimSpace(value)
	}
	if _, ok := tags["p"]; !ok || tags["v"] != "" && tags["v"] != "DKIM1" {
		return nil
	}
	return tags
}

// readKey judges the records at a selector.
func readKey(r relay.DNSRecord, t dns.Told) reading {
	found := joined(t)
	want := keyTags(r.Data)
	var keys []map[string]string // all DKIM records there
	match := -1
	for _, s := range found {
		tags := keyTags(s)
		if tags == nil {
			continue
		}
		keys = append(keys, tags)
		if unspaced(tags["p"]) == want["p"] {
			match = len(keys) - 1
		}
	}
	if match < 0 {
		return otherKey(r, found, want, keys)
	}
	if len(keys) > 1 {
		return wrong(codeSeveralKeys, found, fmt.Sprintf("There are %d DKIM records at %s. Receivers take any of them, or none.", len(keys), r.Host),
			"Remove all but this one: "+r.Data)
	}
	if why := unusable(keys[0], want); why != "" {
		return wrong(codeTags, found, article(r)+" has the right key, but receivers do not use it: "+why, "Change its value to "+r.Data)
	}
	out := reading{verdict: isValid, found: found}
	if keys[0]["p"] != want["p"] {
		out.notes = append(out.notes, problem{
			severity: finding.Warning, code: codeSpaces, text: article(r) + " has spaces inside the key. Most receivers overlook them, some do not.",
			fix: "Enter the value in one piece, without spaces in the key: " + r.Data,
		})
	}
	if hasFlag(keys[0]["t"], "y") {
		out.notes = append(out.notes, problem{
			severity: finding.Warning, code: codeTestMode, text: article(r) + " says that DKIM is only being tested (t=y): receivers may treat the mail as if it was not signed.",
			fix: "Take t=y out of the record.",
		})
	}
	return out
}

// unusable says which tag keeps receivers from using the right key.
func unusable(got, want map[string]string) string {
	algorithm := func(tags map[string]string) string {
		if k := strings.ToLower(tags["k"]); k != "" {
			return k
		}
		return "rsa"
	}
	switch {
	case algorithm(got) != algorithm(want):
		return "it says that the key is for " + clean(got["k"], 20) + " (k=)."
	case got["h"] != "" && !hasFlag(got["h"], "sha256"):
		return "it allows other hash algorithms only (h=)."
	case got["s"] != "" && !hasFlag(got["s"], "*") && !hasFlag(got["s"], "email"):
		return "it is not for mail (s=)."
	}
	return ""
}

// hasFlag looks for a word in a colon-separated list.
func hasFlag(list, word string) bool {
	for w := range strings.SplitSeq(list, ":") {
		if strings.EqualFold(strings.TrimSpace(w), word) {
			return true
		}
	}
	return false
}

// otherKey says what went wrong where the key is not found.
func otherKey(r relay.DNSRecord, found []string, want map[string]string, keys []map[string]string) reading {
	all := unspaced(strings.Join(found, ""))
	for _, s := range found {
		if bare := unspaced(unquoted(s)); bare == unspaced(r.Data) {
			if strings.Contains(s, `\`) {
				return wrong(codeEscaped, found, article(r)+` has backslashes inside its value (such as "\;"), which receivers cannot read.`, "Enter the value without backslashes: "+r.Data)
			}
			return wrong(codeQuoted, found, article(r)+" has quotes inside its value, which receivers cannot read.", "Enter the value in one piece and without quotes: "+r.Data)
		}
	}
	if len(found) > 1 && sameLetters(all, unspaced(r.Data)) {
		return wrong(codeInPieces, found, fmt.Sprintf("The value at %s is published as %d records. It must be one record; its strings may be several.", r.Host, len(found)),
			"Enter it as one TXT record: "+r.Data)
	}
	for _, k := range keys {
		switch p := unspaced(k["p"]); {
		case p == "":
			return wrong(codeRevoked, found, article(r)+" has an empty key: it says that the key was withdrawn.", "Change its value to "+r.Data)
		case len(p) < len(want["p"]) && strings.HasPrefix(want["p"], p):
			return wrong(codeCutOff, found, fmt.Sprintf("%s ends early: %d of %d characters of the key are there.", article(r), len(p), len(want["p"])),
				"Enter the whole value. Where your DNS host takes 255 characters at most in one field, cut it into several strings of one record: "+r.Data)
		}
	}
	if len(keys) > 0 {
		return wrong(codeOtherKey, found, article(r)+" has another key: an old one, or that of another service.", "Change its value to "+r.Data)
	}
	return wrong(codeNoKey, found, fmt.Sprintf("There is a TXT record at %s, and it is not a DKIM record that can be read.", r.Host), "Change its value to "+r.Data)
}

// sameLetters reports whether two texts have the same characters in any order:
// pieces of one come back in the order that the name server likes.
func sameLetters(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	var n [256]int
	for i := range len(a) {
		n[a[i]]++
		n[b[i]]--
	}
	return n == [256]int{}
}

// readSPF judges the SPF record of a return path.
func (x *examiner) readSPF(r relay.DNSRecord, t dns.Told, follow follower) reading {
	all := joined(t)
	var found []string
	for _, s := range all {
		if low := strings.ToLower(s); low == "v=spf1" || strings.HasPrefix(low, "v=spf1 ") {
			found = append(found, s)
		}
	}
	switch {
	case len(found) > 1:
		return wrong(codeSeveralSPF, found, fmt.Sprintf("There are %d SPF records at %s. Receivers take that as an error, and none of them counts.", len(found), r.Host),
			"Remove all but one: "+r.Data)
	case len(found) == 0:
		for _, s := range all {
			if low := strings.ToLower(unquoted(s)); strings.HasPrefix(strings.TrimSpace(low), "v=spf1") {
				return wrong(codeQuoted, all, article(r)+" has quotes or spaces before its value.", "Enter the value without quotes: "+r.Data)
			}
		}
		return wrong(codeNoSPF, all, fmt.Sprintf("There is no SPF record at %s.", r.Host), publish(r))
	}
	out := reading{verdict: isValid, found: found}
	missing := missingTerms(found[0], r.Data)
	switch {
	case slices.Equal(strings.Fields(strings.ToLower(found[0])), strings.Fields(strings.ToLower(r.Data))):
	case len(missing) == 0 || x.d.CustomSPF || x.covered(follow, r.Host):
		out.notes = append(out.notes, problem{
			severity: finding.Info, code: codeLooseSPF, found: found[0], text: fmt.Sprintf("The SPF record at %s is another than the one shown here. Keep it up to date yourself when our addresses change.", r.Host),
		})
	case x.d.Holds() && len(missing) < countAddresses(r.Data):
		// It was right when the domain was proven, and our addresses have changed since:
		// that stops nobody's mail. DKIM carries it where SPF does not.
		out.notes = append(out.notes, problem{
			severity: finding.Warning, code: codeWrongSPF, found: found[0],
			text: fmt.Sprintf("The SPF record at %s does not name all addresses that mail leaves from: %s. Mail from those does not pass SPF.", r.Host, strings.Join(missing, ", ")),
			fix:  "Change it to " + r.Data,
		})
	default:
		return wrong(codeWrongSPF, found, fmt.Sprintf("The SPF record at %s does not name all addresses that mail leaves from: %s.", r.Host, strings.Join(missing, ", ")), "Change it to "+r.Data)
	}
	return out
}

// covered reports whether receivers find all our addresses in the record of a
// host, whatever words it has for them.
func (x *examiner) covered(follow follower, host string) bool {
	addrs := x.s.addresses(x.d)
	if follow.r == nil || len(addrs) == 0 {
		return false
	}
	a := spf.Analyse(follow.ctx, follow.r, host, addrs)
	return len(a.Senders) == len(addrs) && !slices.ContainsFunc(a.Senders, func(c spf.Covered) bool { return c.Result != "pass" })
}

// isAddress reports a term that allows our addresses.
func isAddress(term string) bool {
	return strings.HasPrefix(term, "ip4:") || strings.HasPrefix(term, "ip6:") || strings.HasPrefix(term, "a:")
}

// countAddresses is how many such terms a record has.
func countAddresses(record string) (n int) {
	for t := range strings.FieldsSeq(record) {
		if isAddress(t) {
			n++
		}
	}
	return n
}

// missingTerms are the terms that allow our addresses and are not in a record,
// one way or another.
func missingTerms(got, want string) (missing []string) {
	terms := strings.Fields(strings.ToLower(got))
	for _, w := range strings.Fields(strings.ToLower(want)) {
		if isAddress(w) && !slices.ContainsFunc(terms, func(g string) bool { return allows(g, w) }) {
			missing = append(missing, w)
		}
	}
	return missing
}

// allows reports whether an SPF term lets through what another one does: the same
// term, or a network around its address.
func allows(got, want string) bool {
	if got = strings.TrimPrefix(got, "+"); got == want {
		return true
	}
	kind, addr, _ := strings.Cut(want, ":")
	rest, ok := strings.CutPrefix(got, kind+":")
	if !ok || kind == "a" {
		return false
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	if p, err := netip.ParsePrefix(rest); err == nil {
		return p.Contains(a)
	}
	b, err := netip.ParseAddr(rest)
	return err == nil && a == b
}

// addresses are those that a domain's mail leaves from.
func (s *Domains) addresses(d relay.Domain) []netip.Addr {
	if len(d.IPs) > 0 || s.Zone.Addresses == nil {
		return d.IPs
	}
	return s.Zone.Addresses(d)
}

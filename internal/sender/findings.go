package sender

import (
	"strings"
	"unicode/utf8"

	"postern/internal/finding"
	"postern/internal/relay"
)

// The codes of a domain check's findings, beside those of packages spf and dmarc.
const (
	codeOK            = "records_ok"
	codeMissing       = "record_missing"
	codeNoDomain      = "domain_missing"    // the DNS has no such domain
	codeUnknown       = "dns_unknown"       // no name server answered
	codeFewServers    = "dns_few_servers"   // too few answered to go by
	codePrivate       = "dns_private"       // name servers at private addresses
	codeServer        = "dns_server"        // one name server does not answer, or not for the zone
	codeSplit         = "dns_split"         // name servers answer differently
	codeBogus         = "dnssec_bogus"      // the resolver cannot validate what the name servers say
	codeUnsigned      = "dnssec_none"       // no DNSSEC
	codeSigned        = "dnssec_ok"         // validated
	codeWildcard      = "wildcard"          // any name gives the same answer
	codeWrongTarget   = "cname_wrong"       // an alias of something else
	codeOtherToken    = "cname_other"       // an alias of another domain's or account's place in our zone
	codeSwapped       = "cname_swapped"     // the target of another of the domain's records
	codeChain         = "cname_chain"       // an alias of an alias
	codeBeside        = "cname_beside"      // an alias with other records at its name
	codeApex          = "cname_at_domain"   // the domain itself is an alias
	codeAliasHere     = "alias_instead"     // an alias where a value has to be
	codeTXTInstead    = "txt_instead"       // the target of an alias, as text
	codeNameTwice     = "name_doubled"      // the DNS host added the domain to a name that had it
	codeValueTwice    = "value_completed"   // the DNS host added the domain to the value
	codeWrongName     = "name_wrong"        // the record stands at another name
	codeQuoted        = "value_quoted"      // quotes, a last dot or backslashes inside the value
	codeEscaped       = "value_escaped"     // "\;" inside the value
	codeOtherProof    = "ownership_other"   // another token
	codeOtherKey      = "dkim_other_key"    // another public key
	codeNoKey         = "dkim_unreadable"   // no DKIM record at the selector
	codeRevoked       = "dkim_revoked"      // an empty key
	codeCutOff        = "dkim_cut"          // the key ends early
	codeInPieces      = "dkim_in_pieces"    // one value as several records
	codeSpaces        = "dkim_spaces"       // spaces inside the key
	codeSeveralKeys   = "dkim_several"      // several records at a selector
	codeTags          = "dkim_tags"         // tags that make receivers ignore the key
	codeTestMode      = "dkim_test"         // t=y
	codeNoSPF         = "spf_label_missing" // no SPF record at the return path
	codeSeveralSPF    = "spf_label_several" // more than one
	codeWrongSPF      = "spf_label_wrong"   // it does not name our addresses
	codeLooseSPF      = "spf_label_differs" // another record that does
	codeWrongMX       = "mx_wrong"          // other exchangers
	codeMoreMX        = "mx_more"           // others beside ours
	codePriority      = "mx_priority"       // another priority
	codeNotServed     = "dkim_not_served"   // the alias is right, and our zone does not answer
	codeNotAligned    = "dmarc_not_aligned" // mail would fail DMARC
	codePolicyUnknown = "dmarc_unknown"     // the policy could not be looked up
	codeRecommended   = "dmarc_recommended" // the next DMARC record
)

// The bounds of what is kept of other people's words.
const (
	maxWords    = 200 // octets of one answer in a sentence
	maxFound    = 800 // octets of one answer in a record's list
	maxAnswers  = 5   // answers in that list
	maxFindings = 80  // of one check
	maxServers  = 26  // name servers listed
)

// plainQuotes turns the quotation marks of our own sentences into ASCII.
var plainQuotes = strings.NewReplacer("“", `"`, "”", `"`, "‘", "'", "’", "'", "…", "...")

// clean makes text from the DNS safe to show and to mail: printable ASCII, and
// not more than n octets.
func clean(s string, n int) string {
	var b strings.Builder
	for _, r := range plainQuotes.Replace(s) {
		if b.Len() >= n {
			b.WriteString("...")
			break
		}
		if r < ' ' || r > '~' || r == utf8.RuneError {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// problem is what is wrong with an answer, or worth knowing about it.
type problem struct {
	severity finding.Severity // zero: Error
	code     string
	text     string
	fix      string
	found    string // raw
	where    string // empty: the record's host
}

// finding turns a problem with a record into a finding.
func (p problem) finding(r relay.DNSRecord, server string) finding.Finding {
	f := finding.Finding{
		Severity: p.severity, Code: p.code, Record: r.Key, Text: p.text, Fix: p.fix, Where: r.Host, Server: clean(server, maxWords),
		Expected: r.Data, Found: clean(p.found, maxFound),
	}
	if f.Severity == "" {
		f.Severity = finding.Error
		if !r.Required {
			f.Severity = finding.Info // offered, not required
		}
	}
	if p.where != "" {
		f.Where = p.where
	}
	return f
}

// publish says what to publish, in one sentence.
func publish(r relay.DNSRecord) string {
	switch r.Type {
	case "CNAME":
		return "Publish a CNAME record: name " + r.Host + ", target " + r.Data + "."
	case "MX":
		priority, host, _ := strings.Cut(r.Data, " ")
		return "Publish an MX record: name " + r.Host + ", priority " + priority + ", mail server " + host + "."
	}
	return "Publish a TXT record: name " + r.Host + ", value " + r.Data
}

// article is "The CNAME record at …", to begin a sentence.
func article(r relay.DNSRecord) string { return "The " + r.Type + " record at " + r.Host }

package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
	"postern/internal/store"
)

// Asker asks a domain's own name servers; *dns.Authority does.
type Asker interface {
	Ask(ctx context.Context, name, typ string) (dns.Asked, error)
}

// verdict is how a record stands. The DNS not answering is none of the others.
type verdict int

const (
	isUnknown verdict = iota
	isValid
	isInvalid
)

// examiner is one look at one domain's records.
type examiner struct {
	s    *Domains
	d    relay.Domain
	keys []relay.DKIMKey

	mu       sync.Mutex
	findings []finding.Finding
	told     map[string]serverWord // by name server
	servers  []string
	unsigned bool // a record's answer was not validated
	bogus    bool
	verdicts map[string]verdict // by record key
}

// serverWord is how a name server behaved over all questions.
type serverWord struct {
	answered bool
	err      error
}

// inFlight is how many records of one domain are asked about at once.
const inFlight = 4

// Examine looks at a domain's records as its own name servers give them, and at
// what receivers make of them. It changes nothing. NextAt is left empty.
func (s *Domains) Examine(ctx context.Context, d relay.Domain, keys []relay.DKIMKey) relay.DomainCheck {
	x := &examiner{s: s, d: d, keys: keys, told: map[string]serverWord{}, verdicts: map[string]verdict{}}
	records := Records(s.Zone, d, keys)
	out := relay.DomainCheck{Domain: d.ID, At: s.now(), Records: make([]relay.RecordCheck, len(records))}
	slots := make(chan struct{}, inFlight)
	var wg sync.WaitGroup
	for i, r := range records {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out.Records[i] = x.record(ctx, r)
		})
	}
	wg.Wait()
	x.proof(ctx, records, out.Records)
	x.apex(ctx)
	out.Valid, out.Unknown = x.outcome(records)
	x.network()
	out.Secure = !x.unsigned && !x.bogus && len(records) > 0 && !out.Unknown
	x.dnssec(out.Secure)
	x.policy(ctx, &out)
	if out.Valid {
		x.add(finding.Finding{Severity: finding.OK, Code: codeOK, Text: "All records that are required are published and right."})
	}
	slices.Sort(x.servers)
	out.Servers = x.servers[:min(len(x.servers), maxServers)]
	out.Findings = x.sorted()
	fit(&out)
	return out
}

// outcome is the whole domain's: valid if every required record is, unknown if
// none of them is wrong and some did not get an answer.
func (x *examiner) outcome(records []relay.DNSRecord) (valid, unknown bool) {
	valid = true
	for _, r := range records {
		switch v := x.verdicts[r.Key]; {
		case !r.Required:
		case v == isInvalid:
			return false, false
		case v == isUnknown:
			valid, unknown = false, true
		}
	}
	return valid && len(records) > 0, unknown
}

func (x *examiner) add(fs ...finding.Finding) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range fs {
		if !slices.Contains(x.findings, f) {
			x.findings = append(x.findings, f)
		}
	}
}

// sorted are the findings, those that matter most first, in an order that two
// looks at the same records share.
func (x *examiner) sorted() []finding.Finding {
	rank := map[finding.Severity]int{finding.Error: 0, finding.Unknown: 1, finding.Warning: 2, finding.Info: 3, finding.OK: 4}
	slices.SortFunc(x.findings, func(a, b finding.Finding) int {
		if a.Severity != b.Severity {
			return rank[a.Severity] - rank[b.Severity]
		}
		return strings.Compare(a.Record+"\x00"+a.Code+"\x00"+a.Server+"\x00"+a.Text, b.Record+"\x00"+b.Code+"\x00"+b.Server+"\x00"+b.Text)
	})
	return x.findings[:min(len(x.findings), maxFindings)]
}

// record asks about one record and judges what came back.
func (x *examiner) record(ctx context.Context, r relay.DNSRecord) relay.RecordCheck {
	out := relay.RecordCheck{DNSRecord: r}
	asked, err := x.s.Authority.Ask(ctx, r.Host, r.Type)
	if err != nil {
		x.setVerdict(r, x.noServers(r, err, &out))
		return out
	}
	t := x.tally(ctx, r, asked)
	out.Found = t.found
	v := t.verdict()
	switch {
	case v == isUnknown:
		p := t.unknown()
		out.Reason = p.text
		x.add(p.finding(r, ""))
	case v == isInvalid && len(t.right) > 0:
		p := t.split(r)
		out.Reason = p.text
		x.add(p.finding(r, strings.Join(t.wrongServers(), ", ")))
	case v == isInvalid:
		p := x.diagnose(ctx, r, asked, t.problem)
		out.Reason = p.text
		x.add(p.finding(r, ""))
	}
	if v == isValid {
		v = x.doubt(r, asked, &out)
	}
	for _, n := range t.notes {
		x.add(n.finding(r, ""))
	}
	out.Valid = v == isValid
	x.note(asked)
	x.setVerdict(r, v)
	return out
}

func (x *examiner) setVerdict(r relay.DNSRecord, v verdict) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.verdicts[r.Key] = v
}

// noServers judges a name whose name servers could not be found.
func (x *examiner) noServers(r relay.DNSRecord, err error, out *relay.RecordCheck) verdict {
	p := problem{
		severity: finding.Unknown, code: codeUnknown, text: "The name servers of " + x.d.Name + " could not be found out: the DNS does not answer for now.",
		fix: "Nothing to do if this passes; it is looked at again.",
	}
	v := isUnknown
	if errors.Is(err, dns.ErrNotFound) && !errors.Is(err, dns.ErrTemporary) {
		p = problem{
			severity: finding.Error, code: codeNoDomain, text: "The DNS knows no domain " + x.d.Name + ": it is not registered, or no longer delegated.",
			fix: "Register the domain or have its name servers entered at the registrar.",
		}
		v = isInvalid
	}
	f := p.finding(r, "")
	f.Record, f.Where, f.Expected = "", x.d.Name, "" // once for all records
	x.add(f)
	out.Reason = p.text
	return v
}

// doubt is for an answer that is right while the resolver, which validates,
// could not get it: its signatures may be wrong, and then the answer may be
// forged. That is not good enough for a first proof.
func (x *examiner) doubt(r relay.DNSRecord, asked dns.Asked, out *relay.RecordCheck) verdict {
	if !errors.Is(asked.Resolved, dns.ErrTemporary) {
		return isValid
	}
	p := problem{
		severity: finding.Warning, code: codeBogus,
		text: article(r) + " is right at the domain's name servers, but our resolver cannot get it: the zone's DNSSEC signatures may be broken, and then many receivers do not see it either.",
		fix:  "Have the DNSSEC of the zone checked, above all the DS record at the registrar.",
	}
	v := isValid
	if r.Required && !x.d.Holds() {
		p.severity, v = finding.Unknown, isUnknown
		out.Reason = p.text
	}
	x.mu.Lock()
	x.bogus = true
	x.mu.Unlock()
	x.add(p.finding(r, ""))
	return v
}

// note keeps how the name servers behaved.
func (x *examiner) note(asked dns.Asked) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unsigned = x.unsigned || !asked.Secure
	for _, t := range asked.Told {
		w, known := x.told[t.Server]
		if !known {
			x.servers = append(x.servers, clean(t.Server, maxWords))
		}
		if silent(t.Err) {
			if w.err == nil {
				w.err = t.Err
			}
		} else {
			w.answered = true
		}
		x.told[t.Server] = w
	}
}

// silent reports an answer that says nothing about the records.
func silent(err error) bool {
	return err != nil && !errors.Is(err, dns.ErrNotFound) && !errors.Is(err, dns.ErrNoData)
}

// network tells of name servers that do not do their work.
func (x *examiner) network() {
	for server, w := range x.told {
		if w.answered || w.err == nil {
			continue
		}
		f := finding.Finding{Severity: finding.Warning, Code: codeServer, Server: clean(server, maxWords), Where: x.d.Name}
		switch {
		case errors.Is(w.err, dns.ErrPrivate):
			f.Code = codePrivate
			f.Text = "The name server " + f.Server + " has a private address, which nobody outside can ask."
			f.Fix = "Give it a public address, or take it out of the domain's name servers."
		case errors.Is(w.err, dns.ErrLame):
			f.Text = "The name server " + f.Server + " is listed for the domain and does not answer for it."
			f.Fix = "Have it serve the zone, or take it out of the domain's name servers."
		default:
			f.Text = "The name server " + f.Server + " does not answer."
			f.Fix = "If this lasts, have it repaired or take it out of the domain's name servers."
		}
		x.add(f)
	}
}

func (x *examiner) dnssec(secure bool) {
	switch {
	case x.bogus || len(x.told) == 0:
	case secure:
		x.add(finding.Finding{Severity: finding.OK, Code: codeSigned, Text: "DNSSEC vouches for the domain's records."})
	default:
		x.add(finding.Finding{Severity: finding.Info, Code: codeUnsigned, Text: "The records are not protected by DNSSEC, as far as our resolver can tell. Mail works without."})
	}
}

// apex tells of a domain that is itself an alias: nothing else can stand at its
// name, neither MX nor SPF.
func (x *examiner) apex(ctx context.Context) {
	asked, err := x.s.Authority.Ask(ctx, x.d.Name, "CNAME")
	if err != nil {
		return
	}
	for _, t := range asked.Told {
		if t.Err == nil && t.CNAME != "" {
			x.add(finding.Finding{
				Severity: finding.Warning, Code: codeApex, Where: x.d.Name, Found: clean(t.CNAME, maxWords),
				Text: x.d.Name + " itself is an alias (CNAME) of " + clean(t.CNAME, maxWords) + ". Beside a CNAME no other record counts, so the domain can have no MX and no SPF record of its own, and some name servers drop the names below it.",
				Fix:  "Publish A and AAAA records (or what your DNS host offers in their place, such as ALIAS) at " + x.d.Name + " instead of the CNAME.",
			})
			return
		}
	}
}

// Check looks at a domain now, keeps what was found, and moves the domain's
// state and its keys by it. An error means that it could not be kept, or
// (relay.RateLimited) that the account has too many checks under way; what the DNS
// did not answer is in the result.
func (s *Domains) Check(ctx context.Context, by store.By, id relay.DomainID) (relay.DomainCheck, error) {
	c, err := s.checkNow(ctx, by, id)
	if s.Checked != nil && !c.At.IsZero() {
		s.Checked(checkResult(c, err))
	}
	return c, err
}

// checkResult is one word, for metrics: error, unknown, valid or invalid.
func checkResult(c relay.DomainCheck, err error) string {
	switch {
	case err != nil:
		return "error"
	case c.Unknown:
		return "unknown"
	case c.Valid:
		return "valid"
	}
	return "invalid"
}

func (s *Domains) checkNow(ctx context.Context, by store.By, id relay.DomainID) (relay.DomainCheck, error) {
	d, err := s.live(ctx, id)
	if err != nil {
		return relay.DomainCheck{}, err
	}
	if s.Authority == nil {
		return relay.DomainCheck{}, relay.E(relay.Unavailable, "This installation is not set up to ask other name servers.")
	}
	if by != byChecker {
		leave, err := s.looking.enter(ctx, d.Account, checksOnDemand)
		if err != nil {
			return relay.DomainCheck{}, err
		}
		defer leave()
	}
	keys, err := s.Store.DKIMKeys(ctx, id)
	if err != nil {
		return relay.DomainCheck{}, err
	}
	c := s.Examine(ctx, d, keys)
	if err := ctx.Err(); err != nil { // what was cut short says nothing about the DNS
		return c, fmt.Errorf("check domain %s: %w", d.Name, err)
	}
	if err := s.settle(ctx, by, &c); err != nil {
		return c, fmt.Errorf("check domain %s: %w", d.Name, err)
	}
	if d, err = s.live(ctx, id); err != nil {
		return c, err
	}
	// Its keys go on where their records were seen. The check stands if they cannot.
	return c, s.Advance(ctx, d, c)
}

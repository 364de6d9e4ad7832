package sender

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
)

// read judges one server's answer about a record.
func (x *examiner) read(r relay.DNSRecord, t dns.Told, follow follower) reading {
	switch {
	case r.Type == "CNAME":
		return x.readAlias(r, t, follow)
	case t.Err != nil:
		return absent(r, t.Err)
	case t.CNAME != "":
		return x.readThrough(r, t, follow)
	case r.Type == "MX":
		return readMX(r, t)
	case r.Key == recordOwnership:
		return readOwnership(r, t)
	case r.Key == recordSPF:
		return x.readSPF(r, t, follow)
	}
	return readKey(r, t)
}

// absent is for a name without the record.
func absent(r relay.DNSRecord, err error) reading {
	p := problem{code: codeMissing, text: article(r) + " is missing: there is no such name.", fix: publish(r)}
	if errors.Is(err, dns.ErrNoData) {
		p.text = article(r) + " is missing: the name exists and has no record of this type."
	}
	return reading{verdict: isInvalid, problem: p}
}

func wrong(code string, found []string, text, fix string) reading {
	return reading{verdict: isInvalid, found: found, problem: problem{code: code, text: text, fix: fix, found: strings.Join(found, " | ")}}
}

// maxChain is how many aliases are followed to our own name.
const maxChain = 8

// follower follows an alias to its end, or a name through it, once for all
// answers that are the same.
type follower struct {
	ctx context.Context
	r   dns.Resolver

	mu   *sync.Mutex
	ends map[string]chainEnd
}

type chainEnd struct {
	name string
	hops int
	err  error
}

func (x *examiner) follower(ctx context.Context) follower {
	return follower{ctx: ctx, r: x.s.Resolver, mu: new(sync.Mutex), ends: map[string]chainEnd{}}
}

// end is the name that an alias ends at, or the first on the way that is stop.
func (f follower) end(name, stop string) chainEnd {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := f.ends[name]; ok {
		return e
	}
	e := chainEnd{name: name}
	for f.r != nil && e.name != stop && e.hops < maxChain {
		next, _, err := f.r.CNAME(f.ctx, e.name)
		if err != nil {
			if !errors.Is(err, dns.ErrNotFound) && !errors.Is(err, dns.ErrNoData) {
				e.err = err
			}
			break
		}
		e.name = strings.ToLower(strings.TrimSuffix(next, "."))
		e.hops++
	}
	f.ends[name] = e
	return e
}

// readAlias judges an alias into our zone.
func (x *examiner) readAlias(r relay.DNSRecord, t dns.Told, follow follower) reading {
	if t.Err != nil || t.CNAME == "" {
		err := t.Err
		if err == nil {
			err = dns.ErrNoData
		}
		return absent(r, err)
	}
	target := strings.ToLower(strings.TrimSuffix(t.CNAME, "."))
	found := []string{target}
	shown := clean(target, maxWords)
	bare := strings.Trim(strings.Trim(target, `"' `), ".")
	switch {
	case target == r.Data:
		return reading{verdict: isValid, found: found}
	case bare == r.Data:
		return wrong(codeQuoted, found, article(r)+" has quotes or other signs around its target.", "Enter the target without any quotes: "+r.Data)
	case completed(target, r.Data):
		return wrong(codeValueTwice, found, fmt.Sprintf("%s points to %s: your DNS host added a domain to the end of the target.", article(r), shown),
			"Enter the target with a dot at its end: "+r.Data+".")
	case x.s.Zone.Name != "" && within(target, "wl."+x.s.Zone.Name):
		return x.readOther(r, target, found)
	}
	end := follow.end(target, r.Data)
	switch {
	case end.name == r.Data:
		return reading{verdict: isValid, found: found, notes: []problem{{
			severity: finding.Info, code: codeChain, found: target,
			text: fmt.Sprintf("%s points to %s, which points on to the right name after %d more. It works as long as each of them does.", article(r), shown, end.hops),
			fix:  "Point it straight to " + r.Data + ".",
		}}}
	case end.err != nil:
		return reading{found: found}
	}
	return wrong(codeWrongTarget, found, fmt.Sprintf("%s points to %s, which is not the right name.", article(r), shown), "Change its target to "+r.Data+".")
}

// completed reports a value to whose end a name was added.
func completed(got, want string) bool {
	return strings.HasPrefix(got, want+".") && len(got) > len(want)+1
}

// readOther judges an alias into our zone that is not this record's target.
// ID-16: what points to another token proves nothing here.
func (x *examiner) readOther(r relay.DNSRecord, target string, found []string) reading {
	label := target[:strings.Index(target, ".wl."+x.s.Zone.Name)+1]
	label = strings.TrimSuffix(label, ".")
	label = label[strings.LastIndexByte(label, '.')+1:]
	token := strings.TrimPrefix(label, "u")
	if token == x.d.Token {
		return wrong(codeSwapped, found, fmt.Sprintf("%s points to %s, the target of another of this domain's records.", article(r), clean(target, maxWords)),
			"Change its target to "+r.Data+".")
	}
	whose := "to the place of another domain or of another account here, or to one that was removed"
	if x.s.Directory != nil {
		if o, ok := x.s.Directory.DomainByToken(token); ok && o.Account == x.d.Account {
			whose = "to the place of " + o.Name + ", another entry of your account"
			if !o.DeletedAt.IsZero() {
				whose = "to the place of an earlier entry of " + o.Name + " that your account has removed"
			}
		}
	}
	return wrong(codeOtherToken, found, fmt.Sprintf("%s points %s. That proves nothing for this one.", article(r), whose), "Change its target to "+r.Data+".")
}

// readThrough judges an alias that stands where a value is expected. It is
// followed, except for the proof of ownership: what it points to may be
// somebody else's.
func (x *examiner) readThrough(r relay.DNSRecord, t dns.Told, follow follower) reading {
	found := []string{"CNAME " + t.CNAME}
	bad := wrong(codeAliasHere, found, fmt.Sprintf("At %s stands a CNAME record, pointing to %s, where a %s record is expected.", r.Host, clean(t.CNAME, maxWords), r.Type),
		"Remove the CNAME. "+publish(r))
	if r.Key == recordOwnership || follow.r == nil {
		return bad
	}
	there := dns.Told{Server: t.Server, Addr: t.Addr}
	var err error
	if r.Type == "MX" {
		there.MX, _, err = follow.r.MX(follow.ctx, r.Host)
	} else {
		var txts []string
		txts, _, err = follow.r.TXT(follow.ctx, r.Host)
		there.TXT = asStrings(txts)
	}
	switch {
	case errors.Is(err, dns.ErrNotFound) || errors.Is(err, dns.ErrNoData):
		return bad
	case err != nil:
		return reading{found: found}
	}
	if rd := x.read(r, there, follow); rd.verdict == isValid {
		rd.found = append(found, rd.found...)
		return rd
	}
	return bad
}

// asStrings are TXT records as a resolver gives them, in the form of Told.
func asStrings(txts []string) (out [][]string) {
	for _, s := range txts {
		out = append(out, []string{s})
	}
	return out
}

// readMX judges the mail exchangers of a return path.
func readMX(r relay.DNSRecord, t dns.Told) reading {
	_, want, _ := strings.Cut(r.Data, " ")
	var found []string
	ours, best := -1, -1
	for i, mx := range t.MX {
		found = append(found, fmt.Sprintf("%d %s", mx.Preference, mx.Host))
		if mx.Host == want && (ours < 0 || mx.Preference < t.MX[ours].Preference) {
			ours = i
		}
		if best < 0 || mx.Preference < t.MX[best].Preference {
			best = i
		}
	}
	shown := clean(strings.Join(found, ", "), maxWords)
	switch {
	case len(t.MX) == 0:
		return absent(r, dns.ErrNoData)
	case ours < 0 && completed(t.MX[0].Host, want):
		return wrong(codeValueTwice, found, fmt.Sprintf("%s names %s: your DNS host added a domain to the end of the value.", article(r), shown),
			"Enter the mail server with a dot at its end: "+want+".")
	case ours < 0:
		return wrong(codeWrongMX, found, fmt.Sprintf("%s names %s, not %s: bounces do not come back here.", article(r), shown, want), "Change it: "+publish(r))
	case t.MX[best].Preference < t.MX[ours].Preference:
		return wrong(codeWrongMX, found, fmt.Sprintf("Other mail servers come first at %s: %s. Bounces go there.", r.Host, shown), "Remove the others, so that "+want+" is the only one.")
	}
	out := reading{verdict: isValid, found: found}
	if len(t.MX) > 1 {
		out.notes = append(out.notes, problem{
			severity: finding.Warning, code: codeMoreMX, found: strings.Join(found, ", "),
			text: fmt.Sprintf("Beside %s there are other mail servers at %s (%s): some bounces may go there and be lost.", want, r.Host, shown), fix: "Remove the others.",
		})
	} else if r.Data != found[0] {
		out.notes = append(out.notes, problem{
			severity: finding.Info, code: codePriority, found: found[0],
			text: fmt.Sprintf("The priority at %s is another (%s). With one mail server it does not matter.", r.Host, shown),
		})
	}
	return out
}

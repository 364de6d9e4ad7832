package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
)

// reading is what one answer says about a record.
type reading struct {
	verdict verdict
	problem problem   // where it is not valid
	notes   []problem // good to know
	found   []string  // what stood there, raw
}

// tally is what all name servers said about a record. A server counts once, by
// the first of its addresses that answered: many hosts reach only one family.
type tally struct {
	r       relay.DNSRecord
	right   []string // servers whose answer is right
	wrong   map[string]reading
	order   []string // wrong ones in the order in which they were asked
	silent  []string // servers that said nothing
	private int      // of those, because nobody can ask them
	lame    int      // of those, because they do not serve the zone
	first   bool     // the domain is not proven yet
	unsure  int      // answers that could not be followed to their end
	problem problem  // of the first wrong one
	notes   []problem
	found   []string // cleaned
}

// tally reads all answers.
func (x *examiner) tally(ctx context.Context, r relay.DNSRecord, asked dns.Asked) *tally {
	t := &tally{r: r, wrong: map[string]reading{}, first: !x.d.Holds()}
	seen := map[string]bool{}
	private, lame := map[string]bool{}, map[string]bool{}
	var servers []string
	follow := x.follower(ctx)
	for _, told := range asked.Told {
		if !slices.Contains(servers, told.Server) {
			servers = append(servers, told.Server)
		}
		if silent(told.Err) {
			private[told.Server] = private[told.Server] || errors.Is(told.Err, dns.ErrPrivate)
			lame[told.Server] = lame[told.Server] || errors.Is(told.Err, dns.ErrLame)
			continue
		}
		rd := x.read(r, told, follow)
		t.take(told.Server, rd, seen[told.Server])
		seen[told.Server] = true
	}
	for _, s := range servers {
		if !seen[s] {
			t.silent = append(t.silent, s)
			switch {
			case private[s]:
				t.private++
			case lame[s]:
				t.lame++
			}
		}
	}
	return t
}

// take counts one answer. Where a server's addresses answer differently, the
// wrong answer counts.
func (t *tally) take(server string, rd reading, again bool) {
	for _, f := range rd.found {
		if f = clean(f, maxFound); len(t.found) < maxAnswers && !slices.Contains(t.found, f) {
			t.found = append(t.found, f)
		}
	}
	for _, n := range rd.notes {
		if !slices.Contains(t.notes, n) {
			t.notes = append(t.notes, n)
		}
	}
	switch rd.verdict {
	case isUnknown:
		if !again {
			t.unsure++
		}
	case isValid:
		if _, bad := t.wrong[server]; !bad && !slices.Contains(t.right, server) {
			t.right = append(t.right, server)
		}
	case isInvalid:
		if _, bad := t.wrong[server]; bad {
			return
		}
		if len(t.order) == 0 {
			t.problem = rd.problem
		}
		t.wrong[server] = rd
		t.order = append(t.order, server)
		t.right = slices.DeleteFunc(t.right, func(s string) bool { return s == server })
	}
}

// tooFew reports whether too few name servers answer to go by. Once a domain is
// proven, half of them are enough. For a first proof more than half must answer
// of those that serve the zone at all: somebody may hold one of them, where the
// delegation names a server whose address is another's by now, and keep the
// others from answering.
func (t *tally) tooFew() bool {
	answered := len(t.right) + len(t.order)
	all := answered + len(t.silent) + t.unsure
	if t.first {
		return 2*answered <= all-t.private-t.lame
	}
	return answered == 0 || 2*answered < all
}

// verdict: a record is right where all that answer say so and enough of the name
// servers do answer; with fewer nothing is known.
func (t *tally) verdict() verdict {
	switch {
	case t.tooFew():
		return isUnknown
	case len(t.order) > 0:
		return isInvalid
	}
	return isValid
}

// unknown says why nothing is known.
func (t *tally) unknown() problem {
	answered := len(t.right) + len(t.order)
	all := answered + len(t.silent) + t.unsure
	p := problem{severity: finding.Unknown, code: codeUnknown, fix: "Nothing to do if this passes; it is looked at again."}
	switch {
	case all > 0 && t.private == all:
		p.severity, p.code = finding.Error, codePrivate
		p.text = "All name servers of the domain have private addresses: nobody outside can ask them about " + t.r.Host + "."
		p.fix = "Give them public addresses, and enter those at the registrar."
	case answered == 0 && t.unsure > 0:
		p.text = article(t.r) + " points on to other names, which do not answer for now."
	case answered == 0:
		p.text = fmt.Sprintf("None of the domain's name servers answered about %s.", t.r.Host)
	default:
		p.code = codeFewServers
		p.text = fmt.Sprintf("Only %d of %d name servers answered about %s: too few to go by.", answered, all, t.r.Host)
		if t.first {
			p.text = fmt.Sprintf("Only %d of %d name servers answered about %s. As long as nothing is proven, more than half of them must answer.", answered, all, t.r.Host)
			p.fix = "If it stays so, have the silent name servers repaired, or take them out of the domain's delegation."
		}
	}
	return p
}

func (t *tally) wrongServers() []string { return t.order }

// split is for name servers that disagree.
func (t *tally) split(r relay.DNSRecord) problem {
	say := func(servers []string) string { return clean(strings.Join(servers, ", "), maxWords) }
	return problem{
		code: codeSplit,
		text: fmt.Sprintf("The domain's name servers answer differently about %s: %s right, %s not. %s", r.Host, say(t.right), say(t.order), t.problem.text),
		fix: "If it was changed just now, wait until all name servers have it. If it lasts, the named servers do not get changes of the zone: " +
			"have their transfers repaired, or change the record there too.",
		found: t.problem.found,
	}
}

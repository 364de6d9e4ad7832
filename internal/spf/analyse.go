package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/dns"
	"postern/internal/finding"
)

// Bounds of one analysis. A record that needs more is broken for receivers long
// before, and is reported as such.
const (
	timeLimit  = 20 * time.Second // RFC 7208 §4.6.4: at least 20 s for a whole evaluation
	maxQueries = 80               // beside those of the addresses
	perAddress = 25               // queries more for each address that is evaluated
	maxAddrs   = 64
	maxCounted = 40 // look-ups after which counting stops
)

// Analyse tells what receivers make of a domain's record, and whether it covers
// each of addrs (the first 64). It counts as RFC 7208 §4.6.4 does. It never
// fails: trouble is a finding. It takes 20 s at most.
func Analyse(ctx context.Context, r dns.Resolver, domain string, addrs []netip.Addr) Analysis {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	addrs = addrs[:min(len(addrs), maxAddrs)]
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	w := &walker{
		ctx: ctx, top: domain, out: &Analysis{Domain: domain},
		r: &memo{Resolver: r, left: maxQueries + perAddress*len(addrs)},
	}
	node, last := w.domain(domain, nil, "")
	w.out.Tree = node
	w.totals(node, last)
	w.cover(addrs)
	if len(w.out.Findings) == 0 || finding.Worst(w.out.Findings) == finding.OK {
		w.add(finding.Finding{Severity: finding.OK, Code: CodeOK, Where: domain,
			Text: fmt.Sprintf("The SPF record of %s is sound; it makes receivers look up %s of at most %d.", domain, plural(w.out.Lookups, "name"), MaxLookups)})
	}
	return *w.out
}

// walker follows one domain's record into the others.
type walker struct {
	ctx     context.Context
	r       *memo
	top     string
	out     *Analysis
	lookups int
	stopped bool // counting stopped at maxCounted
}

// ending is how an evaluation that no term matched ends.
type ending struct {
	all    string // "-all" and so on, of this record or of the one that it redirects to; "": neither
	by     string // the domain whose record has it
	broken bool   // there is no usable record
}

// domain reads one domain's record. path are the domains that led here; how is
// the term that did, "" for the first.
func (w *walker) domain(name string, path []string, how string) (*Node, ending) {
	node := &Node{Domain: cut(name)}
	txts, _, err := w.r.TXT(w.ctx, name)
	if errors.Is(err, dns.ErrTemporary) {
		node.Problem = "the DNS did not answer"
		w.unknown("TXT", name)
		return node, ending{broken: true}
	}
	var records []string
	for _, s := range txts {
		if isRecord(s) {
			records = append(records, s)
		}
	}
	if len(path) == 0 {
		for _, s := range records[:min(len(records), maxRecords)] {
			w.out.Records = append(w.out.Records, cut(s))
		}
		w.size(name, txts, len(records) > 0)
	}
	switch len(records) {
	case 0:
		node.Problem = "no SPF record"
		w.missing(name, path, how, txts)
		return node, ending{broken: true}
	case 1:
	default:
		node.Problem = "several SPF records"
		w.several(name, path, how, records)
		return node, ending{broken: true}
	}
	node.Record = cut(records[0])
	if len(path) == 0 {
		w.out.Record = node.Record
	}
	terms, problem := parse(records[0])
	before := w.lookups
	end := w.terms(node, terms, problem, append(slices.Clone(path), name))
	node.Lookups = w.lookups - before
	return node, end
}

// terms goes through a record's terms in the order of RFC 7208 §4.6: mechanisms
// from left to right up to "all", then the redirect if there was no "all".
func (w *walker) terms(node *Node, terms []term, problem string, path []string) ending {
	end := ending{}
	if problem != "" {
		node.Problem = problem
		w.syntax(path, finding.Finding{Text: fmt.Sprintf("The SPF record of %s cannot be used: %s.", node.Domain, problem), Fix: "Publish a shorter record."})
		end.broken = true
	}
	redirect := -1
	seen := map[string]bool{}
	for i, t := range terms {
		shown := Term{Text: cut(t.text), Name: t.name, Problem: t.problem}
		ended := end.all != ""
		switch {
		case t.problem != "":
			w.badTerm(path, t, i)
			end.broken = true
		case t.qualifier == 0:
			if t.name == "redirect" {
				redirect = i
				shown.Ignored = ended
			} else if t.name != "exp" {
				w.modifier(path, t)
			}
		case ended:
			shown.Ignored = true
		case t.name == "all":
			end.all, end.by = string(t.qualifier)+"all", node.Domain
		default:
			w.repeated(path, t, seen)
			end = w.mechanism(&shown, t, path, end)
		}
		node.Terms = append(node.Terms, shown)
	}
	w.afterAll(node, path, end)
	if redirect < 0 || node.Terms[redirect].Problem != "" {
		return end
	}
	if end.all != "" {
		node.Terms[redirect].Ignored = true
		w.add(finding.Finding{Severity: finding.Warning, Code: CodeRedirectIgnored, Where: node.Domain, Found: cut(terms[redirect].text),
			Text: fmt.Sprintf("The record of %s has %s beside an “all”: receivers never follow it.", node.Domain, finding.Quote(terms[redirect].text)),
			Fix:  "Take the redirect out, or take “all” out if the other domain's record should decide."})
		return end
	}
	return w.redirect(&node.Terms[redirect], terms[redirect], path, end)
}

// mechanism evaluates one mechanism other than "all" for a sender that it does
// not match.
func (w *walker) mechanism(shown *Term, t term, path []string, end ending) ending {
	current := path[len(path)-1]
	switch t.name {
	case "ip4", "ip6":
		w.network(path, t)
		return end
	case "ptr":
		w.ptr(path, t)
	case "a", "mx":
		w.wideHosts(path, t)
	}
	if !w.count(shown) {
		return end
	}
	name, ok := current, true
	if t.spec != "" {
		name, ok = expand(t.spec, current, w.top)
	}
	if !ok {
		shown.Depends = true
		w.macro(path, t)
		return end
	}
	shown.Target = cut(strings.ToLower(strings.TrimSuffix(name, ".")))
	switch t.name {
	case "include":
		return w.include(shown, t, path, end)
	case "a", "exists":
		_, _, err := w.r.Addr(w.ctx, name)
		w.answered(shown, t, path, err)
	case "mx":
		mx, _, err := w.r.MX(w.ctx, name)
		w.exchangers(shown, t, path, mx, err)
	}
	return end
}

// count takes one look-up; false: the analysis has counted enough.
func (w *walker) count(shown *Term) bool {
	if w.lookups >= maxCounted {
		w.stopped = true
		return false
	}
	w.lookups++
	shown.Lookups = 1
	return true
}

func (w *walker) include(shown *Term, t term, path []string, end ending) ending {
	if w.loops(shown, path) {
		end.broken = true
		return end
	}
	node, inner := w.domain(shown.Target, path, "include")
	shown.Node = node
	shown.Lookups += node.Lookups
	end.broken = end.broken || inner.broken
	if inner.all == "+all" && !inner.broken {
		// RFC 7208 §5.2: the included record passes everybody, so the include
		// matches everybody and nothing after it is read.
		end.all, end.by = string(t.qualifier)+"all", inner.by
	}
	return end
}

func (w *walker) redirect(shown *Term, t term, path []string, end ending) ending {
	if !w.count(shown) {
		return end
	}
	name, ok := expand(t.spec, path[len(path)-1], w.top)
	if !ok {
		shown.Depends = true
		w.macro(path, t)
		return end
	}
	shown.Target = cut(strings.ToLower(strings.TrimSuffix(name, ".")))
	if w.loops(shown, path) {
		end.broken = true
		return end
	}
	node, inner := w.domain(shown.Target, path, "redirect")
	shown.Node = node
	shown.Lookups += node.Lookups
	inner.broken = inner.broken || end.broken
	return inner
}

// loops finds a record that is already being read.
func (w *walker) loops(shown *Term, path []string) bool {
	at := slices.Index(path, shown.Target)
	if at < 0 {
		return false
	}
	shown.Problem = "leads back to itself"
	w.add(finding.Finding{Severity: finding.Error, Code: CodeLoop, Where: path[len(path)-1], Found: shown.Text,
		Text: fmt.Sprintf("SPF records lead in a circle: %s. Receivers run into their limit and count the record as broken.", strings.Join(append(slices.Clone(path[at:]), shown.Target), " → ")),
		Fix:  fmt.Sprintf("Take %s out of the record of %s.", finding.Quote(shown.Text), path[len(path)-1])})
	return true
}

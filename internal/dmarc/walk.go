package dmarc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postern/internal/dns"
)

// maxQueries is the most that one walk asks (RFC 9989 §4.10).
const maxQueries = 8

// step is one name of a walk that has a valid record.
type step struct {
	name   string
	record *Record
}

// walk asks for policy records from name upwards, nearest first in its result.
// An error means that the DNS failed for now, and that nothing is known.
func walk(ctx context.Context, r dns.Resolver, name string) ([]step, error) {
	var found []step
	for target, n := name, 0; target != "" && n < maxQueries; n++ {
		record, err := lookup(ctx, r, target)
		if err != nil {
			return nil, err
		}
		if record != nil {
			found = append(found, step{target, record})
			if record.PSD != PSDUnknown {
				break
			}
		}
		target = above(target)
	}
	return found, nil
}

// above is the name that a walk goes to next: one label less, at most seven.
func above(name string) string {
	labels := strings.Split(name, ".")
	if n := len(labels); n > maxQueries-1 {
		labels = labels[n-(maxQueries-1):]
	} else {
		labels = labels[1:]
	}
	return strings.Join(labels, ".")
}

// lookup returns the one valid record at a name; nil: there is none.
func lookup(ctx context.Context, r dns.Resolver, name string) (*Record, error) {
	txts, _, err := r.TXT(ctx, "_dmarc."+name)
	if errors.Is(err, dns.ErrNotFound) || errors.Is(err, dns.ErrNoData) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("policy of %s: %w", name, err)
	}
	var record *Record
	count := 0
	for _, txt := range txts {
		rec, err := ParseRecord(txt)
		if errors.Is(err, errNotDMARC) {
			continue
		}
		if count++; count > 1 {
			return nil, nil // RFC 9989 §4.10: several are none
		}
		record = rec // nil where it is invalid
	}
	return record, nil
}

// organizational chooses the organizational domain of the name that a walk
// began with, RFC 9989 §4.10.2.
func organizational(name string, found []step) string {
	for _, s := range found {
		if s.record.PSD == PSDNo {
			return s.name
		}
	}
	for _, s := range found {
		if s.record.PSD == PSDYes && s.name != name {
			// One label below the public suffix, on the way to name.
			rest := strings.TrimSuffix(name, "."+s.name)
			return rest[strings.LastIndexByte(rest, '.')+1:] + "." + s.name
		}
	}
	if len(found) > 0 {
		return found[len(found)-1].name
	}
	return name
}

// OrganizationalDomain finds the organizational domain of a name. Errors wrap
// dns.ErrTemporary, or dns.ErrBadName for what is no name.
func OrganizationalDomain(ctx context.Context, r dns.Resolver, name string) (string, error) {
	name, err := normal(name)
	if err != nil {
		return "", err
	}
	found, err := walk(ctx, r, name)
	if err != nil {
		return "", err
	}
	return organizational(name, found), nil
}

// Discovery is what the DNS says about an author domain.
type Discovery struct {
	Author         string  // the author domain, normal
	Organizational string  // its organizational domain
	Record         *Record // the record that applies; nil: none, DMARC says nothing about this mail
	At             string  // the name that Record is published at
	// Policy is Record's for this author domain (p, sp or np); "" without Record.
	Policy Policy
	// Exists is false where the author domain does not exist in the DNS. It is
	// looked up only where that decides the policy; otherwise it is true.
	Exists bool
}

// Discover finds the policy for an author domain, RFC 9989 §4.10.1. Errors are
// those of OrganizationalDomain.
func Discover(ctx context.Context, r dns.Resolver, author string) (Discovery, error) {
	author, err := normal(author)
	if err != nil {
		return Discovery{}, err
	}
	found, err := walk(ctx, r, author)
	if err != nil {
		return Discovery{}, err
	}
	d := Discovery{Author: author, Organizational: organizational(author, found), Exists: true}
	at := applies(author, d.Organizational, found)
	if at == nil {
		return d, nil
	}
	d.Record, d.At = at.record, at.name
	if at.name == author {
		d.Policy = d.Record.Policy
		return d, nil
	}
	if d.Record.forBelow(false) != d.Record.forBelow(true) {
		// RFC 8020: only NXDOMAIN for the name itself says that it does not exist.
		_, _, err := r.CNAME(ctx, author)
		if err != nil && !errors.Is(err, dns.ErrNotFound) && !errors.Is(err, dns.ErrNoData) {
			return Discovery{}, fmt.Errorf("existence of %s: %w", author, err)
		}
		d.Exists = !errors.Is(err, dns.ErrNotFound)
	}
	d.Policy = d.Record.forBelow(d.Exists)
	return d, nil
}

// applies picks the record: the author domain's own, that of its
// organizational domain, or that of the public suffix.
func applies(author, org string, found []step) *step {
	for _, name := range []string{author, org} {
		for i := range found {
			if found[i].name == name {
				return &found[i]
			}
		}
	}
	for i := range found {
		if found[i].record.PSD == PSDYes {
			return &found[i]
		}
	}
	return nil
}

func normal(name string) (string, error) {
	n := strings.ToLower(strings.TrimSuffix(name, "."))
	for label := range strings.SplitSeq(n, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return "", fmt.Errorf("%.80q: %w", name, dns.ErrBadName)
		}
	}
	if len(n) > 253 {
		return "", fmt.Errorf("%.80q: %w", name, dns.ErrBadName)
	}
	return n, nil
}

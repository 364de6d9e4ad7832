package audit

import (
	"fmt"
	"strconv"

	"postern/internal/relay"
)

var accessChecks = []Check{
	{
		Code: "access_open", Section: SectionAccess, Severity: High, Weight: 15, Practice: AllowListing, Standards: []string{cisACL},
		Title: "IP access list that lets everybody in",
		Doc:   "An account without IP access list, or a list (the account's or a subuser's) with a network of fewer than 8 bits of an IPv4 address, 20 of an IPv6 address.",
		run:   openLists,
	},
	{
		Code: "access_monitor", Section: SectionAccess, Severity: Medium, Weight: 8, Practice: AllowListing, Standards: []string{cisACL},
		Title: "IP access list that refuses nobody", Doc: "An IP access list in monitor mode.",
		run: func(f *Facts, yield func(flaw)) {
			for _, l := range f.lists() {
				if l.Monitor {
					yield(flaw{
						subject: f.listSubject(l), href: f.pageOf(l.Subuser, "/access"),
						text: fmt.Sprintf("The IP access list of %s is in monitor mode: it writes down whom it would refuse, and refuses nobody.", f.ownerOf(l)),
						fix:  "postern access mode enforce" + f.ofTenant(l),
					})
				}
			}
		},
	},
}

// lists are the lists that count now: the account's, which is there even when
// nobody made one, and those of subusers that exist.
func (f *Facts) lists() []*relay.AccessList {
	own := &relay.AccessList{Tenant: relay.Tenant{Account: f.Account.ID}}
	out := []*relay.AccessList{own}
	for i := range f.Lists {
		l := f.Lists[i].At(f.At)
		if l.Subuser.IsZero() {
			out[0] = l
		} else if s := f.subuser(l.Subuser); s != nil && s.DeletedAt.IsZero() {
			out = append(out, l)
		}
	}
	return out
}

func (f *Facts) listSubject(l *relay.AccessList) Subject {
	if l.Subuser.IsZero() {
		return Subject{Kind: "access_list", ID: "account", Name: f.Account.Name}
	}
	return Subject{Kind: "access_list", ID: l.Subuser.String(), Name: f.subuserName(l.Subuser)}
}

func (f *Facts) ownerOf(l *relay.AccessList) string {
	if l.Subuser.IsZero() {
		return "the account"
	}
	return "the subuser " + quote(f.subuserName(l.Subuser))
}

func (f *Facts) ofTenant(l *relay.AccessList) string {
	return f.ofAccount() + f.ofSubuser(l.Subuser)
}

// openLists: an empty list of the account and one with a wide network are one
// flaw, so that taking the network away does not put another in its place: where
// nothing else is on it, something narrow is added first. A subuser's list may be
// empty: its account's counts for it.
func openLists(f *Facts, yield func(flaw)) {
	for _, l := range f.lists() {
		w := flaw{subject: f.listSubject(l), href: f.pageOf(l.Subuser, "/access"), fix: "postern access remove"}
		for _, r := range l.Rules {
			if r.Network.IsValid() && wide(r.Network) {
				w.evidence = append(w.evidence, r.Network.String())
				w.fix += " " + strconv.FormatInt(r.ID, 10)
			}
		}
		w.fix += f.ofTenant(l)
		switch {
		case len(w.evidence) > 0 && len(w.evidence) == len(l.Rules) && l.Subuser.IsZero():
			w.text = "The IP access list of the account lets almost everybody in. Add the networks that programs and people come from; then remove what is wide."
			w.fix = "postern access add NETWORK" + f.ofTenant(l)
		case len(w.evidence) > 0:
			w.text = fmt.Sprintf("The IP access list of %s lets almost everybody in.", f.ownerOf(l))
		case len(l.Rules) == 0 && l.Subuser.IsZero():
			w.text = "The account has no IP access list: programs and people may log in from anywhere."
			w.fix = "postern access add NETWORK --trial 10m" + f.ofTenant(l)
		default:
			continue
		}
		yield(w)
	}
}

package console

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// What the API would refuse for the one thing that a page is about is not offered,
// although the person may do it to others like it. The reader of the thing bars it, and
// all links, buttons and forms ask May. The API judges what is tried anyway: nothing
// here is trusted by it.

// bar is what cannot be done to the thing that a page is about.
type bar struct {
	needs []string // routes, as in page.Needs
	why   notice
}

// bar takes routes away. Why is told where the person would have had one of them; one
// without text needs no telling.
func (v *desk) bar(why notice, needs ...string) {
	needs = slices.DeleteFunc(slices.Clone(needs), func(need string) bool {
		method, pattern, _ := strings.Cut(need, " ")
		return !v.visit.May(method, pattern)
	})
	// A form that was refused is shown on the page of its thing, which is read once more.
	again := slices.ContainsFunc(v.bars, func(b bar) bool { return b.why.Text == why.Text && slices.Equal(b.needs, needs) })
	if len(needs) > 0 && !again {
		v.bars = append(v.bars, bar{needs, why})
	}
}

// May is visit.May for the thing that the page is about.
func (v *desk) May(method, pattern string) bool {
	return v.barOf(method+" "+pattern) == nil && v.visit.May(method, pattern)
}

func (v *desk) barOf(need string) *bar {
	for i := range v.bars {
		if slices.Contains(v.bars[i].needs, need) {
			return &v.bars[i]
		}
	}
	return nil
}

// whyNot are the notices of what is barred.
func (v *desk) whyNot() (out []notice) {
	for _, b := range v.bars {
		if b.why.Text != "" {
			out = append(out, b.why)
		}
	}
	return out
}

// unbarred is an error where the page is there for what is barred: a question or a form
// that nobody is led to. A form that is sent is the API's to refuse.
func (v *desk) unbarred(needs ...string) error {
	if v.R.Method != http.MethodGet {
		return nil
	}
	for _, need := range needs {
		if b := v.barOf(need); b != nil {
			return relay.E(relay.Forbidden, orNone(strings.TrimSpace(b.why.Title+" "+b.why.Text), "This cannot be done to it."))
		}
	}
	return nil
}

// rank is how the person stands to what is the page's tenant's: the account stands
// above its subusers.
func (v *desk) rank() relay.Rank {
	if v.Behalf != "" {
		return relay.RankAccount
	}
	return relay.RankOwn
}

// switcher is who has switched something off.
type switcher struct {
	DisabledAt time.Time  `json:"disabled_at"`
	DisabledBy relay.Rank `json:"disabled_by"`
}

// above reports whether somebody of a higher rank than the person's has switched it
// off: it stays so, and is not deleted to be made anew.
func (s *switcher) above(rank relay.Rank) bool { return !s.DisabledAt.IsZero() && s.DisabledBy > rank }

// keptOff says who has switched something off, and who can mend it; what is cannot,
// in words behind "can".
func (s *switcher) keptOff(it, what string) notice {
	who, ask := "The account that this subuser belongs to", "Ask the people of the account."
	if s.DisabledBy == relay.RankOperator {
		who, ask = "The operator of this relay", "Ask the operator."
	}
	return notice{Tone: toneWarn, Title: who + " switched " + it + " off.", Text: "Nobody else can " + what + ". " + ask}
}

// holds reports whether the person has all scopes of something: who gives it to
// somebody, or gets hold of it, gets no more than they have.
func (v *desk) holds(scopes []string) bool {
	return v.Principal != nil && !slices.ContainsFunc(scopes, func(s string) bool { return !v.Principal.Allows(s) })
}

func (v *desk) isOwner() bool {
	return v.Principal != nil && v.Principal.User != nil && v.Principal.User.Role == relay.RoleOwner
}

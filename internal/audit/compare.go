package audit

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Comparison is what became of the findings of one report in a later one.
type Comparison struct {
	A          Compared  `json:"a"`
	B          Compared  `json:"b"`
	Difference int       `json:"difference"` // of the scores: what was mended, less what is new
	Mended     []Finding `json:"mended"`
	New        []Finding `json:"new"`
	Unchanged  []Finding `json:"unchanged"`
	// Partial: one of the reports holds not all of its findings, or they measure
	// against other bounds; the lists may lack some then.
	Partial bool `json:"partial,omitempty"`
}

// Compared is one of two reports.
type Compared struct {
	ID       string    `json:"id,omitempty"`
	At       time.Time `json:"at"`
	Score    int       `json:"score"`
	Findings int       `json:"findings"`
}

// Compare tells what was mended between two reports, what is new, and what is as
// it was. The older one comes first, whichever is given first. Reports of two
// accounts have nothing in common.
func Compare(a, b *Report) Comparison {
	if b.At.Before(a.At) {
		a, b = b, a
	}
	c := Comparison{
		A: compared(a), B: compared(b), Difference: b.Score - a.Score, Mended: []Finding{}, New: []Finding{}, Unchanged: []Finding{},
		Partial: a.Omitted > 0 || b.Omitted > 0 || a.Options != b.Options || a.Version != b.Version,
	}
	before := map[string]bool{}
	for i := range a.Findings {
		before[a.Findings[i].ID] = true
	}
	after := map[string]bool{}
	for _, v := range b.Findings {
		after[v.ID] = true
		if before[v.ID] {
			c.Unchanged = append(c.Unchanged, v)
		} else {
			c.New = append(c.New, v)
		}
	}
	for _, v := range a.Findings {
		if !after[v.ID] {
			c.Mended = append(c.Mended, v)
		}
	}
	return c
}

func compared(r *Report) Compared {
	return Compared{ID: r.ID, At: r.At, Score: r.Score, Findings: len(r.Findings) + r.Omitted}
}

// group puts findings of one code together, worst first, for people who read
// many of one kind.
type group struct {
	Finding  // the first one, for what they have in common
	Findings []Finding
}

// Sum is what mending all of them adds to the score.
func (g *group) Sum() int { return len(g.Findings) * g.Weight }

// Groups are the findings of the report by their codes, worst first.
func (r *Report) groups() []group {
	at := map[string]int{}
	var out []group
	for _, v := range r.Findings {
		i, ok := at[v.Code]
		if !ok {
			i = len(out)
			at[v.Code] = i
			out = append(out, group{Finding: v})
		}
		out[i].Findings = append(out[i].Findings, v)
	}
	slices.SortStableFunc(out, func(a, b group) int {
		return cmp.Or(slices.Index(Severities, a.Severity)-slices.Index(Severities, b.Severity), b.Sum()-a.Sum(), strings.Compare(a.Code, b.Code))
	})
	return out
}

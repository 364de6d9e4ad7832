package watch

// mark is one thing that a key was seen with: a network, a country, a provider.
type mark struct {
	What  string `json:"k"`
	First int32  `json:"f"` // day
	Last  int32  `json:"l"` // day
	Days  uint16 `json:"n"` // how many days
	// Odd: it was a finding, and nobody has said yet that it is normal.
	Odd bool `json:"o,omitempty"`
}

// marks are the things of one kind, bounded: the one that was not seen for
// longest makes room.
type marks []mark

func (m marks) find(what string) *mark {
	for i := range m {
		if m[i].What == what {
			return &m[i]
		}
	}
	return nil
}

// see notes that a thing was there on a day.
func (m *marks) see(what string, day int32, room int) *mark {
	k := m.find(what)
	if k == nil {
		if len(*m) >= room {
			oldest := 0
			for i := range *m {
				if (*m)[i].Last < (*m)[oldest].Last {
					oldest = i
				}
			}
			*m = append((*m)[:oldest], (*m)[oldest+1:]...)
		}
		*m = append(*m, mark{What: what, First: day, Last: day, Days: 1})
		return &(*m)[len(*m)-1]
	}
	if day > k.Last {
		k.Last = day
		if k.Days < 1<<15 {
			k.Days++
		}
	}
	return k
}

func (m *marks) forget(what string) {
	for i := range *m {
		if (*m)[i].What == what {
			*m = append((*m)[:i], (*m)[i+1:]...)
			return
		}
	}
}

// singles are those that were there on one day only.
func (m marks) singles() (n int) {
	for i := range m {
		if m[i].Days == 1 && !m[i].Odd {
			n++
		}
	}
	return n
}

// roams reports whether new ones are usual: many are there, and a good part of
// them came once. Then the next new one says nothing (Good and Turing's estimate
// of what is still unseen).
func (m marks) roams(least int) bool {
	n := m.singles()
	return len(m) >= least && n >= 2 && 10*n >= 3*len(m)
}

package identity

import (
	"time"

	"postern/internal/relay"
)

// EndedTrials are the access lists whose trial nobody confirmed in time: what was
// before them counts already, and should be made the list again.
func (d *Directory) EndedTrials(now time.Time) []relay.AccessList {
	var out []relay.AccessList
	for _, l := range d.state.Load().access.all() {
		if l.At(now) != l {
			out = append(out, *l)
		}
	}
	return out
}

package watch

import (
	"encoding/json"
	"fmt"
	"slices"

	"postern/internal/relay"
)

// shared is what is known of failed logins: by account, and by address.
type shared struct {
	Accounts map[relay.AccountID]*failing `json:"accounts"`
	Sources  map[string]*source           `json:"sources"`
	// Allowed are addresses whose sweeps are known to be harmless.
	Allowed []string `json:"allowed,omitempty"`
	// Usual are findings of rules without a measure that a person said are normal.
	Usual []usual `json:"usual,omitempty"`
	dirty bool
}

// The bounds of what is kept.
const (
	maxFailing = 4096
	maxSources = 1024
	maxTargets = 32
	maxAddrs   = 128
	maxAllowed = 256
	maxUsual   = 1024
)

// usual is what a finding that is normal was known by, up to its severity: what is
// worse is told.
type usual struct {
	What     string              `json:"w"`
	Severity relay.WatchSeverity `json:"s"`
}

// usualKey names a finding's rule, account, key and subject.
func usualKey(f *relay.WatchFinding) string {
	return fmt.Sprintf("%s %s %s %s", f.Rule, f.Account, f.Key, f.Subject)
}

// isUsual reports whether a finding was said to be normal.
func (s *shared) isUsual(f *relay.WatchFinding) bool {
	what := usualKey(f)
	return slices.ContainsFunc(s.Usual, func(u usual) bool { return u.What == what && order(u.Severity) >= order(f.Severity) })
}

// makeUsual notes that a finding is normal; the oldest note makes room.
func (s *shared) makeUsual(f *relay.WatchFinding) {
	what := usualKey(f)
	s.Usual = slices.DeleteFunc(s.Usual, func(u usual) bool { return u.What == what })
	if len(s.Usual) >= maxUsual {
		s.Usual = s.Usual[1:]
	}
	s.Usual = append(s.Usual, usual{what, f.Severity})
}

// failing is from where logins on an account fail.
type failing struct {
	Hour   int64         `json:"h"`
	Day    int64         `json:"d"`
	InHour []uint32      `json:"ih,omitempty"` // hashes of addresses
	InDay  []uint32      `json:"id,omitempty"`
	Hours  stat          `json:"hs,omitzero"`
	Days   stat          `json:"ds,omitzero"`
	Odd    bool          `json:"o,omitempty"`
	Keys   []relay.KeyID `json:"k,omitempty"` // that were tried, at most 8
}

// source is an address that fails.
type source struct {
	Since    int64    `json:"s"` // Unix seconds
	Last     int64    `json:"l"`
	Accounts []uint32 `json:"a,omitempty"`
	Tried    []uint32 `json:"t,omitempty"`
	Count    int64    `json:"n,omitempty"`
	Names    []string `json:"m,omitempty"` // of accounts or ids, at most maxSamples
}

func newShared() shared {
	return shared{Accounts: map[relay.AccountID]*failing{}, Sources: map[string]*source{}}
}

func (s *shared) encode() ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write what is known of failed logins: %w", err)
	}
	return text, nil
}

func (s *shared) decode(text []byte) error {
	fresh := newShared()
	if len(text) > 0 {
		if err := json.Unmarshal(text, &fresh); err != nil {
			return fmt.Errorf("read what is known of failed logins: %w", err)
		}
	}
	*s = fresh
	return nil
}

// account is an account's row, rolled on to a moment.
func (s *shared) account(id relay.AccountID, c clock) *failing {
	f := s.Accounts[id]
	if f == nil {
		s.dropAccount()
		f = &failing{Hour: c.hour, Day: int64(c.day)}
		s.Accounts[id] = f
	}
	if c.hour > f.Hour {
		f.Hours.close(len(f.InHour), f.Odd)
		f.Hour, f.InHour = c.hour, nil
	}
	if int64(c.day) > f.Day {
		f.Days.close(len(f.InDay), f.Odd)
		f.Day, f.InDay, f.Odd, f.Keys = int64(c.day), nil, false, nil
	}
	return f
}

// close takes a number of addresses in; what was a finding counts little.
func (s *stat) close(n int, odd bool) {
	x := float64(n)
	if odd {
		x = min(x, 1.25*float64(s.Max)+1)
	}
	s.add(x)
}

// dropAccount makes room: the account with the oldest failure goes.
func (s *shared) dropAccount() {
	if len(s.Accounts) < maxFailing {
		return
	}
	var oldest relay.AccountID
	first := true
	for id, f := range s.Accounts {
		o := s.Accounts[oldest]
		if first || f.Hour < o.Hour || f.Hour == o.Hour && id.String() < oldest.String() {
			oldest, first = id, false
		}
	}
	delete(s.Accounts, oldest)
}

// sourceDay is how long an address is watched from its first failure, in seconds.
const sourceDay = 24 * 3600

func (s *shared) source(addr string, at int64) *source {
	src := s.Sources[addr]
	if src != nil && at-src.Since < sourceDay {
		src.Last = max(src.Last, at)
		return src
	}
	if src == nil {
		s.dropSource()
	}
	src = &source{Since: at, Last: at}
	s.Sources[addr] = src
	return src
}

// dropSource makes room: of the addresses that tried least, the oldest goes.
func (s *shared) dropSource() {
	if len(s.Sources) < maxSources {
		return
	}
	worst := ""
	for addr, v := range s.Sources {
		w := s.Sources[worst]
		if worst == "" || len(v.Tried) < len(w.Tried) || len(v.Tried) == len(w.Tried) && (v.Last < w.Last || v.Last == w.Last && addr < worst) {
			worst = addr
		}
	}
	delete(s.Sources, worst)
}

// note adds a hash to a bounded set, and reports whether it is new.
func note(set *[]uint32, what string, room int) bool {
	h := uint32(hash(what))
	if len(*set) >= room || slices.Contains(*set, h) {
		return false
	}
	*set = append(*set, h)
	return true
}

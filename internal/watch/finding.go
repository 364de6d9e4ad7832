package watch

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"postern/internal/relay"
)

// findingKey is what an open finding is known by.
type findingKey struct {
	rule    relay.WatchRule
	tenant  relay.Tenant
	key     relay.KeyID
	subject string
}

func keyOf(f *relay.WatchFinding) findingKey { return findingKey{f.Rule, f.Tenant, f.Key, f.Subject} }

const (
	// fades is after how long without a new sign an open finding is left alone: what
	// comes then is another one.
	fades = 7 * day
	// maxOpen bounds the open findings that are known; the oldest make room.
	maxOpen = 10_000
	// The bounds of evidence.
	maxPlaces  = 20
	maxSamples = 10
)

// report opens a finding, or adds to the one that is open. It returns the
// finding, and whether it is new.
func (s *scene) report(f relay.WatchFinding) (*relay.WatchFinding, bool) {
	e := s.e
	f.Tenant, f.Key = s.tenant, s.key
	if f.Rule == relay.WatchSweep {
		f.Tenant = relay.Tenant{} // the operator's
	}
	f.FirstAt, f.LastAt, f.Count, f.State = s.at.UTC(), s.at.UTC(), 1, relay.WatchOpen
	f.Answer = s.account.Rule(f.Rule).Answer
	k := keyOf(&f)
	if old := e.open[k]; old != nil && s.at.Sub(old.LastAt) < fades {
		e.add(old, &f)
		return old, false
	} else if old != nil {
		e.leave(k) // it stays open for people, and nothing is added to it any more
	}
	f.ID = idOf(k, f.FirstAt)
	f.KeyName = e.keyName(f.Key)
	e.bound()
	e.open[k] = &f
	e.changed[k] = true
	e.fresh = append(e.fresh, &f)
	return &f, true
}

// reportUnusual is report, but for what a person said is normal.
func (s *scene) reportUnusual(f relay.WatchFinding) {
	f.Tenant, f.Key = s.tenant, s.key
	if !s.e.share.isUsual(&f) {
		s.report(f)
	}
}

// add puts what was seen again into an open finding.
func (e *Engine) add(old, f *relay.WatchFinding) {
	old.Count++
	if f.LastAt.After(old.LastAt) {
		old.LastAt = f.LastAt
	}
	e.raise(old, f)
	if f.Evidence.Seen > old.Evidence.Seen {
		old.Evidence.Seen = f.Evidence.Seen
	}
	for _, p := range f.Evidence.Places {
		if len(old.Evidence.Places) < maxPlaces && !slices.Contains(old.Evidence.Places, p) {
			old.Evidence.Places = append(old.Evidence.Places, p)
		}
	}
	for _, v := range f.Evidence.Samples {
		if len(old.Evidence.Samples) < maxSamples && !slices.Contains(old.Evidence.Samples, v) {
			old.Evidence.Samples = append(old.Evidence.Samples, v)
		}
	}
	e.changed[keyOf(old)] = true
}

// raise has an open finding answered anew, once, when it became worse or the account
// asks for a stricter answer than it was given: the store takes from either that it
// is not answered. It counts also before the finding is kept, so that the number does
// not depend on the pieces in which the logs are read.
func (e *Engine) raise(old, f *relay.WatchFinding) {
	worse, stricter := order(f.Severity) > order(old.Severity), f.Answer.Stricter(old.Answer)
	if worse {
		old.Severity, old.Title, old.Text, old.Fix = f.Severity, f.Title, f.Text, f.Fix
	}
	if stricter {
		old.Answer = f.Answer
	}
	if (worse || stricter) && old.Answer != relay.WatchRecord {
		old.Raised++
	}
}

func order(s relay.WatchSeverity) int {
	return slices.Index([]relay.WatchSeverity{relay.WatchNotice, relay.WatchWarning, relay.WatchCritical}, s)
}

// finish ends an open finding whose cause is gone.
func (e *Engine) finish(k findingKey, at time.Time) {
	f := e.open[k]
	if f == nil {
		return
	}
	f.State, f.DecidedAt, f.DecidedBy = relay.WatchEnded, at.UTC(), "watch"
	e.ended = append(e.ended, copyFinding(f))
	delete(e.open, k)
	delete(e.changed, k)
}

// bound makes room for one more open finding.
func (e *Engine) bound() {
	if len(e.open) < maxOpen {
		return
	}
	var oldest findingKey
	var at time.Time
	for k, f := range e.open {
		if at.IsZero() || f.LastAt.Before(at) || f.LastAt.Equal(at) && f.ID.String() < e.open[oldest].ID.String() {
			oldest, at = k, f.LastAt
		}
	}
	e.leave(oldest)
}

// leave forgets a finding, once what is new of it is kept.
func (e *Engine) leave(k findingKey) {
	if e.changed[k] {
		e.ended = append(e.ended, copyFinding(e.open[k]))
	}
	delete(e.open, k)
	delete(e.changed, k)
}

// live is the finding that new signs add to; nil: there is none.
func (s *scene) live(rule relay.WatchRule, subject string) *relay.WatchFinding {
	f := s.e.open[findingKey{rule, s.tenant, s.key, subject}]
	if f == nil || s.at.Sub(f.LastAt) >= fades {
		return nil
	}
	return f
}

// idOf makes the id of a finding: the same whoever finds it, now or in a replay.
func idOf(k findingKey, at time.Time) relay.WatchID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%s|%s", k.rule, k.tenant.Account, k.tenant.Subuser, k.key, k.subject))
	var id relay.ID
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	copy(id[6:], sum[:10])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return relay.WatchID{ID: id}
}

func copyFinding(f *relay.WatchFinding) relay.WatchFinding {
	c := *f
	c.Evidence.Places = slices.Clone(f.Evidence.Places)
	c.Evidence.Samples = slices.Clone(f.Evidence.Samples)
	c.Evidence.Times = slices.Clone(f.Evidence.Times)
	return c
}

// Open are the findings that are open and that new signs would add to, oldest
// first.
func (e *Engine) Open() []relay.WatchFinding {
	out := make([]relay.WatchFinding, 0, len(e.open))
	for _, f := range e.open {
		out = append(out, copyFinding(f))
	}
	sortFindings(out)
	return out
}

func sortFindings(all []relay.WatchFinding) {
	slices.SortFunc(all, func(a, b relay.WatchFinding) int {
		return cmp.Or(a.FirstAt.Compare(b.FirstAt), strings.Compare(a.ID.String(), b.ID.String()))
	})
}

// keyName is the name of a key, empty for none.
func (e *Engine) keyName(id relay.KeyID) string {
	if e.cfg.Key == nil || id.IsZero() {
		return ""
	}
	k, _ := e.cfg.Key(id)
	return k.Name
}

// theKey names a key in a sentence.
func (s *scene) theKey() string {
	if name := s.e.keyName(s.key); name != "" {
		return fmt.Sprintf("The key “%s” (%s)", printable(name, 100), s.key)
	}
	return "The key " + s.key.String()
}

// keyShort names it in a title.
func (s *scene) keyShort() string {
	if name := s.e.keyName(s.key); name != "" {
		return "“" + printable(name, 60) + "”"
	}
	return s.key.String()
}

// accountName names an account in a sentence.
func (e *Engine) accountName(id relay.AccountID) string {
	if e.cfg.Account != nil {
		if a, ok := e.cfg.Account(id); ok && a.Name != "" {
			return "“" + printable(a.Name, 100) + "”"
		}
	}
	return id.String()
}

// printable makes a stranger's words fit for a sentence.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return -1
	}, s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}

// number writes a count for people: 3, 12, 4,500.
func number(x float64) string {
	text := fmt.Sprintf("%.0f", x)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// when writes a moment for people, in the account's time zone.
func (s *scene) when() string {
	zone := time.UTC
	if s.e.cfg.Account != nil {
		if a, ok := s.e.cfg.Account(s.tenant.Account); ok {
			zone = relay.Zone(a.TimeZone)
		}
	}
	return s.at.In(zone).Format("Monday 2 January 2006 15:04 MST")
}

var weekdays = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

// hourWords names an hour of the week: "Mondays from 3 to 4 o'clock".
func hourWords(slot int) string {
	h := slot % 24
	return fmt.Sprintf("%ss between %02d:00 and %02d:00", weekdays[slot/24], h, (h+1)%24)
}

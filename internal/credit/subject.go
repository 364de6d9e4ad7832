package credit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/relay"
)

// subject is what is known of one account, subuser or key.
type subject struct {
	refs atomic.Int64 // users; raised only under the shard's lock
	idle atomic.Int64 // when it was last used, Unix seconds
	done chan struct{}
	err  error // of the load; set before done is closed

	isKey bool // only keys have limits a minute

	mu      sync.Mutex
	seconds counter // of a key, by Unix second; only the last minute, and what is put off
	minutes counter // by Unix minute; the last hour, and what is put off
	days    counter // since the first day of this month or week
	ever    int64
	// tail is, for each limit, the latest time to which it put mail off: what it
	// puts off next comes after that, so that mail keeps its order.
	tail [limitCount]int64
	// told is, for each limit, what has been told of it.
	told   [limitCount]told
	judged bool // told was filled in after the load
}

// told is the last alert about a limit.
type told struct {
	window int64 // which window
	at     int64 // when, Unix seconds
	max    int64 // what the limit was
	level  int8  // 80, 100 or none
}

func newSubject(of *limited) *subject {
	return &subject{done: make(chan struct{}), isKey: of.kind == subjectKey}
}

// table holds subjects in use, and a bounded number of idle ones.
type table struct{ shards [shards]shard }

type shard struct {
	mu       sync.Mutex
	subjects map[relay.ID]*subject
	room     int
}

const shards = 64

func (t *table) init(room int) {
	for i := range t.shards {
		t.shards[i].subjects = map[relay.ID]*subject{}
		t.shards[i].room = max(1, room/shards)
	}
}

// of picks a shard. The last octets of ids are random.
func (t *table) of(id relay.ID) *shard { return &t.shards[id[15]%shards] }

// loadTimeout bounds the reading of a subject's counts.
const loadTimeout = 5 * time.Second

// acquire returns a subject with its counts, reading them from the store if
// they are not in memory. Whoever acquires it, releases it.
func (l *Ledger) acquire(ctx context.Context, of *limited, at moment) (*subject, error) {
	id := of.id
	sh := l.table.of(id)
	sh.mu.Lock()
	s, ok := sh.subjects[id]
	if !ok {
		sh.evict()
		s = newSubject(of)
		sh.subjects[id] = s
	}
	s.refs.Add(1)
	sh.mu.Unlock()
	s.idle.Store(at.sec)
	if !ok {
		// Others may wait for this load: it does not end with its caller.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		if s.err = l.load(ctx, s, id, at); s.err != nil {
			sh.mu.Lock()
			delete(sh.subjects, id)
			sh.mu.Unlock()
		}
		close(s.done)
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		s.refs.Add(-1)
		return nil, unavailable(ctx.Err())
	}
	if s.err != nil {
		s.refs.Add(-1)
		return nil, unavailable(s.err)
	}
	return s, nil
}

func unavailable(err error) error {
	return &relay.Error{Kind: relay.Unavailable, Public: "Credits cannot be counted now; try again later.", Err: fmt.Errorf("credits: %w", err)}
}

// evictSample is how many subjects are looked at to find an idle one to forget.
const evictSample = 8

// evict makes room for one subject, if there is an idle one. Those in use stay:
// their reservations are not in the store yet. mu is held.
func (sh *shard) evict() {
	// Two for one: after a flood of subjects in use the table shrinks again.
	for range 2 {
		if len(sh.subjects) >= sh.room {
			sh.forget()
		}
	}
}

// forget drops the longest idle of a few subjects.
func (sh *shard) forget() {
	var oldest relay.ID
	found, looked := false, 0
	for id, s := range sh.subjects { // in random order
		if s.refs.Load() == 0 && (!found || s.idle.Load() < sh.subjects[oldest].idle.Load()) {
			oldest, found = id, true
		}
		if looked++; looked >= evictSample && found || looked >= 8*evictSample {
			break
		}
	}
	if found {
		delete(sh.subjects, oldest)
	}
}

// load fills a subject from the store.
func (l *Ledger) load(ctx context.Context, s *subject, id relay.ID, at moment) error {
	used, err := l.cfg.Store.Used(ctx, id, at.min-span+1, firstDay(at.day-zoneDays))
	if err != nil {
		return err
	}
	for m, n := range used.Minutes {
		s.minutes.add(m, n)
		s.addSeconds(m, n, at)
	}
	for d, n := range used.Days {
		s.days.add(d, n)
	}
	s.ever = used.Ever
	return nil
}

// firstDay is the earliest day that a window around a day counts.
func firstDay(day int64) int64 {
	week, _ := days(relay.WindowWeek, day)
	month, _ := days(relay.WindowMonth, day)
	return min(week, month)
}

// addSeconds counts a stored minute, whose seconds are not known, so that no
// minute can come out too full: what is past counts as late as it can have
// been, what is to come counts at both of its ends.
func (s *subject) addSeconds(minute, n int64, at moment) {
	first, last := minute*60, minute*60+59
	if !s.isKey || last <= at.sec-span {
		return
	}
	if first > at.sec {
		s.seconds.add(first, n)
		s.seconds.add(last, n)
		return
	}
	s.seconds.add(min(last, at.sec), n)
}

// tidy forgets what no window reaches any more. mu is held.
func (s *subject) tidy(at moment) {
	s.seconds.trim(at.sec - span)
	s.minutes.trim(at.min - span)
	if len(s.days.buckets) > keptDays {
		s.days.trim(firstDay(at.day - zoneDays))
	}
}

const (
	// zoneDays: a change of time zone goes back to an earlier date, which may be
	// that of the month before.
	zoneDays = 2
	keptDays = 2*31 + 7
)

// count adds use, or takes it back. mu is held.
func (s *subject) count(at moment, n int64) {
	if s.isKey {
		s.seconds.add(at.sec, n)
	}
	s.minutes.add(at.min, n)
	s.days.add(at.day, n)
	s.ever += n
}

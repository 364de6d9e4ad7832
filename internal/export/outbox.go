package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

const (
	// patience is for how long a record is refused, by an answer that may mean
	// something else than the record, before it is left out.
	patience = time.Minute
	// surely is how often a record is refused alone before it is left out; after a
	// target took one that it had refused, it is doubtful that often for doubtFor.
	surely, doubtful = 8, 16
	doubtFor         = time.Hour
	// fruitless is how many records are refused in a row, each alone, before it looks
	// as if the target refused everything.
	fruitless = 8
	// maxWait bounds what a target may ask for with Retry-After.
	maxWait = time.Hour
)

// outbox hands records to a target and remembers, in memory, which it has: what a
// failure leaves of a batch is all that is sent again. It finds out which record a
// refusal is about.
//
// A record is left out only if it was refused alone, the target took another one
// after that, and then refused it alone again and again. While it takes nothing at all, for a
// wrong address or password, everything waits.
type outbox struct {
	target Target
	logger *slog.Logger
	// leftOut is told of each record that was.
	leftOut func(Stream)

	taken    map[string]struct{} // ids of the records before which a cursor may still stand
	suspects map[string]*suspect
	accepted int64 // requests that were taken
	last     time.Time
	barren   int // records that were refused alone since then
	limit    int // records in a request, while a refused one is looked for
	notYet   time.Time
	unsteady time.Time // when it last took a record that it had refused alone
}

// suspect is a record that was refused alone.
type suspect struct {
	accepted int64 // of the outbox, the last time
	others   bool  // another record was taken between two refusals of this one
	since    time.Time
	tries    int
	status   int // of HTTP, the last time
}

func newOutbox(e *Exporter) *outbox {
	o := &outbox{target: e.Target, logger: e.Logger, taken: map[string]struct{}{}, suspects: map[string]*suspect{}, limit: batch}
	if o.logger == nil {
		o.logger = slog.Default()
	}
	o.logger = o.logger.With("target", e.Name)
	o.leftOut = func(s Stream) {
		if e.OnLeftOut != nil {
			e.OnLeftOut(e.Name, s)
		}
	}
	return o
}

// deliver returns nil once the target has all of the records, but for those that
// are left out. lead is how many from the first on it has in any case.
func (o *outbox) deliver(ctx context.Context, records []Record) (lead int, err error) {
	if err = o.wait(ctx); err == nil {
		err = o.send(ctx, records)
	}
	var later *Later
	if errors.As(err, &later) && later.After > 0 {
		o.notYet = time.Now().Add(min(later.After, maxWait))
	}
	if err == nil {
		o.forget(records)
		return len(records), nil
	}
	for lead < len(records) && o.has(&records[lead]) {
		lead++
	}
	o.bound()
	return lead, err
}

// wait waits as the target has asked, if that is not longer than a batch may take.
func (o *outbox) wait(ctx context.Context) error {
	pause := time.Until(o.notYet)
	if pause <= 0 {
		return nil
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause {
		return fmt.Errorf("the target takes nothing before %s, as it has said", o.notYet.UTC().Format(time.TimeOnly))
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *outbox) has(r *Record) bool { _, ok := o.taken[r.ID]; return ok }

func (o *outbox) took(records []Record) {
	if len(records) == 0 {
		return
	}
	for i := range records {
		o.taken[records[i].ID] = struct{}{}
		if _, refused := o.suspects[records[i].ID]; refused {
			delete(o.suspects, records[i].ID)
			o.unsteady = time.Now()
		}
	}
	o.accepted, o.last = o.accepted+1, time.Now()
	o.barren = 0
}

// forget is told of records that lie behind a cursor that is kept.
func (o *outbox) forget(records []Record) {
	for i := range records {
		delete(o.taken, records[i].ID)
	}
}

// bound forgets what belongs to batches that nobody hands over any more: another
// node has sent them. What is forgotten is at worst sent again.
func (o *outbox) bound() {
	if most := 2 * batch * len(Streams); len(o.taken) > most || len(o.suspects) > most {
		clear(o.taken)
		clear(o.suspects)
	}
}

// send sends what the target does not have. Records that were refused alone come
// last, each alone: whether it takes others is known by then.
func (o *outbox) send(ctx context.Context, records []Record) error {
	var rest []Record
	for i := range records {
		if _, doubted := o.suspects[records[i].ID]; !doubted && !o.has(&records[i]) {
			rest = append(rest, records[i])
		}
	}
	o.barren = 0
	if err := o.narrow(ctx, rest); err != nil {
		return err
	}
	var doubted []*Record
	for i := range records {
		if _, ok := o.suspects[records[i].ID]; ok {
			doubted = append(doubted, &records[i])
		}
	}
	slices.SortStableFunc(doubted, func(a, b *Record) int { return o.suspects[a.ID].tries - o.suspects[b.ID].tries })
	var waits error
	for _, r := range doubted {
		kept, err := o.again(ctx, r)
		if err != nil {
			return err
		}
		if kept != nil {
			waits = kept
		}
	}
	return waits
}

// narrow sends records that were not refused alone yet, fewer and fewer at a time
// while they are refused. Those that are refused alone become suspects.
func (o *outbox) narrow(ctx context.Context, rest []Record) error {
	for len(rest) > 0 {
		n, err := o.target.Send(ctx, rest[:min(o.limit, len(rest))])
		o.took(rest[:n])
		rest = rest[n:]
		if err == nil {
			o.limit = min(2*o.limit, batch)
			continue
		}
		no, err := refusal(err)
		if err != nil {
			return err
		}
		if no.Records > 1 {
			o.limit = no.Records / 2
			continue
		}
		if err := o.doubt(ctx, &rest[0], no); err != nil {
			return err
		}
		rest = rest[1:]
		if o.barren < fruitless || len(rest) == 0 {
			continue
		}
		// The newest is perhaps not of the same kind as these.
		last := len(rest) - 1
		if _, err := o.alone(ctx, &rest[last]); err != nil {
			return err
		}
		if rest = rest[:last]; o.barren > 0 {
			return everything(no.Status)
		}
	}
	return nil
}

// refusal tells a refusal from other failures.
func refusal(err error) (*Refusal, error) {
	var no *Refusal
	if errors.As(err, &no) {
		return no, nil
	}
	return nil, err
}

// everything is the error while a target takes nothing.
func everything(status int) error {
	return fmt.Errorf("all is refused (HTTP %d), and kept: are the target's address and credentials right?", status)
}

// alone sends one record. One that is refused becomes a suspect.
func (o *outbox) alone(ctx context.Context, r *Record) (*Refusal, error) {
	one := []Record{*r}
	n, err := o.target.Send(ctx, one)
	o.took(one[:n])
	no, err := refusal(err)
	if no == nil || err != nil {
		return nil, err
	}
	if err := o.doubt(ctx, r, no); err != nil || o.has(r) {
		return nil, err
	}
	return no, nil
}

// doubt notes that a record was refused alone. One that is too large goes without
// its body.
func (o *outbox) doubt(ctx context.Context, r *Record, no *Refusal) error {
	if no.Status == http.StatusRequestEntityTooLarge && len(r.Body) > 0 {
		bare := []Record{*r}
		bare[0].Body = nil
		n, err := o.target.Send(ctx, bare)
		if o.took(bare[:n]); n > 0 {
			o.logger.Warn("export: a record is too large for the target, and went without its body", "stream", r.Stream, "id", r.ID)
			return nil
		}
		if _, err := refusal(err); err != nil {
			return err
		}
	}
	o.barren++
	s := o.suspects[r.ID]
	if s == nil {
		s = &suspect{since: time.Now()}
		o.suspects[r.ID] = s
	}
	s.accepted, s.status = o.accepted, no.Status
	s.tries++
	return nil
}

// again tries a suspect once more, and leaves it out if it is the record that the
// target does not take. While the target takes nothing a few are tried, and the
// others wait for their turn. kept says why the record stays.
func (o *outbox) again(ctx context.Context, r *Record) (kept, err error) {
	s := o.suspects[r.ID]
	others := (s.others || o.accepted > s.accepted) && time.Since(o.last) < patience
	if !others && o.barren >= fruitless {
		return everything(s.status), nil
	}
	var no *Refusal
	for {
		if no, err = o.alone(ctx, r); no == nil || err != nil {
			return nil, err
		}
		if !others {
			return fmt.Errorf("a record is refused (HTTP %d), and kept until it is seen that others are not", no.Status), nil
		}
		s.others = true
		steady := o.unsteady.IsZero() || time.Since(o.unsteady) >= doubtFor
		switch quick := no.Judged && steady; {
		case quick && s.tries < surely:
			continue
		case !quick && (time.Since(s.since) < patience || s.tries < surely || !steady && s.tries < doubtful):
			return fmt.Errorf("a record is refused (HTTP %d), and tried for some time before it is left out", no.Status), nil
		}
		break
	}
	o.logger.Warn("export: a record is left out, since the target takes others and refuses it", "stream", r.Stream, "id", r.ID, "status", no.Status)
	o.leftOut(r.Stream)
	o.taken[r.ID] = struct{}{}
	delete(o.suspects, r.ID)
	return nil, nil
}

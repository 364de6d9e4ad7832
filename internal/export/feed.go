package export

import (
	"context"
	"fmt"
	"time"

	"postern/internal/event"
	"postern/internal/store"
)

// feed hands one stream to the target, in whole batches also after a failure: what the
// target has of one is not sent again, and the records behind a refused one show
// whether it takes others.
type feed[T any] struct {
	e      *Exporter
	name   string // of the consumer
	log    event.Log
	read   func(ctx context.Context, c store.Cursor, limit int) ([]T, store.Cursor, error)
	record func(*T) (Record, error)

	// has is the cursor of the follower at the last reading. Once a part of a batch was
	// taken the one that is kept stands farther: at.
	has   string
	at    store.Cursor
	ahead bool
}

func follow[T any](ctx context.Context, e *Exporter, s Stream, f *event.Follower[T], record func(*T) (Record, error)) error {
	from := &feed[T]{e: e, name: f.Name, log: cursors{f.Log}, read: f.Read, record: record}
	f.Read, f.Apply, f.Log = from.Read, from.Apply, from.log
	f.Batch, f.Logger = batch, e.Logger
	if e.OnLag != nil {
		f.OnLag = func(records int64, age time.Duration) { e.OnLag(e.Name, s, records, age) }
	}
	if e.OnFailure != nil {
		f.OnFailure = func(err error) { e.OnFailure(e.Name, s, err) }
	}
	return f.Run(ctx)
}

// Read reads on from where the target's records end. A follower that reads from
// elsewhere than before has a cursor that another node has moved.
func (f *feed[T]) Read(ctx context.Context, c store.Cursor, _ int) ([]T, store.Cursor, error) {
	f.ahead = f.ahead && c.String() == f.has
	f.has = c.String()
	if f.ahead {
		c = f.at
	}
	return f.read(ctx, c, batch)
}

// Apply sends a batch. Whatever the target has of it from the first record on is
// behind the kept cursor, also if the rest fails.
func (f *feed[T]) Apply(ctx context.Context, rows []T, next store.Cursor) error {
	if len(rows) == 0 {
		return nil
	}
	records := make([]Record, len(rows))
	for i := range rows {
		r, err := f.record(&rows[i])
		if err != nil {
			return err
		}
		records[i] = r
	}
	ctx, cancel := sending(ctx)
	defer cancel()
	select {
	case f.e.turn <- struct{}{}:
		defer func() { <-f.e.turn }()
	case <-ctx.Done():
		return fmt.Errorf("the target is busy with another stream: %w", ctx.Err())
	}
	lead, err := f.e.out.deliver(ctx, records)
	if err != nil && lead > 0 {
		f.keep(ctx, records[:lead], next.Start())
	}
	return err
}

// keep moves the kept cursor behind the first records of a batch that was read from
// a cursor. Where it cannot, they are remembered, and not sent again before a restart.
func (f *feed[T]) keep(ctx context.Context, records []Record, from store.Cursor) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopFor)
	defer cancel()
	rows, next, err := f.read(ctx, from, len(records))
	if err != nil || len(rows) != len(records) {
		return
	}
	for i := range rows { // another node's may have come between
		if r, err := f.record(&rows[i]); err != nil || r.ID != records[i].ID {
			return
		}
	}
	if err := f.log.SetConsumer(ctx, f.name, next); err != nil {
		return // whatever is wrong with the store the follower sees too
	}
	f.at, f.ahead = next, true
	f.e.out.forget(records)
}

// cursors keeps one although the exporter is told to stop: the target has what lies
// before it.
type cursors struct{ event.Log }

func (l cursors) SetConsumer(ctx context.Context, name string, c store.Cursor) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopFor)
	defer cancel()
	return l.Log.SetConsumer(ctx, name, c)
}

// sending bounds a batch: what is under way goes on for a moment after ctx ends.
func sending(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendFor)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-out.Done():
		case <-time.After(stopFor):
			cancel()
		}
	})
	return out, func() { stop(); cancel() }
}

package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of one batch. They bound how long the first of a batch waits for the
// last, and how much memory the engine's transaction takes.
const (
	maxBatchOps   = 512
	maxBatchBytes = 4 << 20
	// maxLowOps is the share of records (logins, key use) in a batch that also
	// carries mail: a flood of logins costs mail at most an eighth.
	maxLowOps = 64
)

// maxBusy is how often a batch is tried again after a lock conflict.
const maxBusy = 20

// BatchStats describes one committed batch.
type BatchStats struct {
	Ops     int
	Bytes   int
	Waiting int           // operations that came in meanwhile
	Took    time.Duration // from begin to synced
}

// errUnknown: the connection broke at COMMIT and the outcome cannot be read.
var errUnknown = errors.New("commit outcome unknown")

// writer gathers operations and commits what waits, one batch at a time. It
// never waits to gather: a batch is what came while the last one was synced.
type writer struct {
	s    *Store
	wake chan struct{} // holds one token when there is work

	mu      sync.Mutex
	mail    []*op
	low     []*op
	failed  error // ErrStopped or ErrClosed; no operation is taken any more
	seqNext int64 // sequence of the next event; used by the goroutine that commits

	committed atomic.Int64 // sequence of the last event that has committed
	news      news
}

func newWriter(s *Store) *writer {
	return &writer{s: s, wake: make(chan struct{}, 1), seqNext: 1}
}

// submit queues an operation. Its outcome comes by done.
func (w *writer) submit(o *op, low bool) {
	w.mu.Lock()
	if w.failed != nil {
		err := w.failed
		w.mu.Unlock()
		o.finish(err)
		return
	}
	if low {
		w.low = append(w.low, o)
	} else {
		w.mail = append(w.mail, o)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// do queues an operation and waits for its true outcome. ctx counts only until
// the writer has taken it: afterwards only the commit decides.
func (w *writer) do(ctx context.Context, o *op) error { return w.wait(ctx, o, false) }

// doLow is do for what may wait behind mail.
func (w *writer) doLow(ctx context.Context, o *op) error { return w.wait(ctx, o, true) }

func (w *writer) wait(ctx context.Context, o *op, low bool) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	w.submit(o, low)
	select {
	case <-o.done:
	case <-ctx.Done():
		if o.state.CompareAndSwap(opQueued, opCancelled) {
			return fmt.Errorf("%s: %w", o.name, ctx.Err())
		}
		<-o.done
	}
	if o.err != nil {
		return fmt.Errorf("%s: %w", o.name, o.err)
	}
	return nil
}

// take removes the next batch from the queues.
func (w *writer) take() []*op {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch, size := []*op(nil), 0
	fill := func(queue []*op, limit int) []*op {
		i := 0
		for ; i < len(queue) && len(batch) < limit && (size < maxBatchBytes || len(batch) == 0); i++ {
			o := queue[i]
			queue[i] = nil
			if !o.state.CompareAndSwap(opQueued, opTaken) {
				continue // its caller gave up before it was taken
			}
			batch, size = append(batch, o), size+o.bytes
		}
		if i == len(queue) {
			return queue[:0]
		}
		return queue[i:]
	}
	// Records get their share even when mail would fill the batch.
	reserve := min(len(w.low), maxLowOps)
	w.mail = fill(w.mail, maxBatchOps-reserve)
	limit := maxBatchOps
	if len(batch) > 0 {
		limit = len(batch) + maxLowOps
	}
	w.low = fill(w.low, min(limit, maxBatchOps))
	return batch
}

// run commits batches until ctx ends, then calls last (which may still queue
// operations), commits what is left and refuses what comes after.
func (w *writer) run(ctx context.Context, last func()) error {
	for ctx.Err() == nil {
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
		if w.drain() != nil {
			break
		}
	}
	if errors.Is(w.failure(), ErrStopped) {
		return w.failure()
	}
	last()
	if err := w.drain(); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	w.close()
	return nil
}

// drain commits batches until nothing waits. It returns the store's failure.
func (w *writer) drain() error {
	for w.failure() == nil {
		batch := w.take()
		if len(batch) == 0 {
			return nil
		}
		w.commit(batch)
	}
	return w.failure()
}

// commit brings every operation of the batch to its own end. A faulty one is
// taken out, the others are committed without it, and it is then tried alone,
// so that neither its neighbours nor it suffer from the other.
func (w *writer) commit(batch []*op) {
	began := time.Now()
	var alone []*op
	n, size := len(batch), 0
	for _, o := range batch {
		size += o.bytes
	}
	for len(batch) > 0 {
		err := w.attempt(batch)
		if err == nil {
			w.settle(batch, nil)
			break
		}
		if fault, ok := errors.AsType[*opError](err); ok && judge(fault.err) == vOp {
			if len(batch) == 1 {
				w.settle(batch, fault.err)
				break
			}
			alone = append(alone, batch[fault.index])
			batch = append(batch[:fault.index:fault.index], batch[fault.index+1:]...)
			continue
		}
		if judge(err) == vFull {
			batch = w.refuseGrowth(batch)
			continue
		}
		w.fail(batch, err)
		break
	}
	for _, o := range alone {
		w.commitAlone(o)
	}
	if f := w.s.cfg.OnBatch; f != nil {
		w.mu.Lock()
		waiting := len(w.mail) + len(w.low)
		w.mu.Unlock()
		f(BatchStats{Ops: n, Bytes: size, Waiting: waiting, Took: time.Since(began)})
	}
}

// refuseGrowth ends the operations that take space with ErrFull and returns the
// rest, which free space or need next to none. When nothing grows and it still
// does not fit, all end with ErrFull.
func (w *writer) refuseGrowth(batch []*op) []*op {
	var rest, grow []*op
	for _, o := range batch {
		if o.grows {
			grow = append(grow, o)
		} else {
			rest = append(rest, o)
		}
	}
	if len(grow) == 0 {
		// One by one: a small one may fit where all together do not.
		w.s.eng.reclaim()
		for _, o := range rest {
			w.commitAlone(o)
		}
		return nil
	}
	w.settle(grow, ErrFull)
	return rest
}

// commitAlone gives one operation a transaction of its own.
func (w *writer) commitAlone(o *op) {
	if err := w.failure(); err != nil {
		o.finish(err)
		return
	}
	err := w.attempt([]*op{o})
	if fault, ok := errors.AsType[*opError](err); ok && judge(fault.err) == vOp {
		o.finish(fault.err)
		return
	}
	switch {
	case err == nil:
		o.finish(nil)
	case judge(err) == vFull:
		o.finish(ErrFull)
	default:
		w.fail([]*op{o}, err)
	}
}

// attempt runs one transaction, again while it only met a lock. The sequence of
// events moves on only with the commit, so it has no gaps.
func (w *writer) attempt(batch []*op) error {
	var err error
	for try := range maxBusy {
		if try > 0 {
			time.Sleep(time.Duration(try) * time.Millisecond)
		}
		if err = w.s.days.ensure(w.s, batch); err != nil {
			return err
		}
		seq := w.number(batch)
		if err = w.s.eng.runBatch(batch); err == nil {
			w.seqNext = seq
			if w.committed.Swap(seq-1) != seq-1 {
				w.news.tell()
			}
			return nil
		}
		if judge(err) != vBusy {
			return err
		}
	}
	return err
}

// number gives the batch's events their place and returns the next sequence.
func (w *writer) number(batch []*op) int64 {
	seq := w.seqNext
	for _, o := range batch {
		for i := range o.events {
			if !o.events[i].fixed {
				o.events[i].args[0] = position(w.s.epoch, seq)
				seq++
			}
		}
	}
	return seq
}

func (w *writer) settle(batch []*op, err error) {
	for _, o := range batch {
		o.finish(err)
	}
}

// patience is how long a result waits for a database that is away: the mail was
// sent, and what became of it should not be forgotten.
const patience = time.Minute

// fail ends a batch whose fault is not one of its operations. Where the
// database is away for now (PostgreSQL restarts) and nothing was committed,
// acceptances end with Unavailable and the rest waits a while; otherwise the
// store stops.
func (w *writer) fail(batch []*op, err error) {
	if judge(err) != vUnknown && judge(err) != vBusy || errors.Is(err, errUnknown) {
		w.stop(err)
		w.settle(batch, w.failure())
		return
	}
	var again []*op
	for _, o := range batch {
		if o.patience.IsZero() {
			o.patience = time.Now().Add(patience)
		}
		if o.grows || time.Now().After(o.patience) {
			o.finish(unavailable(err))
			continue
		}
		o.state.Store(opQueued)
		again = append(again, o)
	}
	if len(again) == 0 {
		return
	}
	w.s.log.Warn("database is away, results wait", "waiting", len(again), "err", err)
	time.Sleep(awayPause)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		for _, o := range again {
			o.finish(w.failed)
		}
		return
	}
	w.mail = append(again, w.mail...)
}

// awayPause is the wait between two tries while the database is away.
const awayPause = 200 * time.Millisecond

// stop refuses everything from now on. What waits ends with the same error.
func (w *writer) stop(cause error) {
	err := cause
	if !errors.Is(cause, ErrStopped) {
		err = stopped(cause)
	}
	w.end(err)
	w.s.log.Error("store stopped", "err", cause)
}

// close refuses everything from now on because the owner wants it so.
func (w *writer) close() { w.end(ErrClosed) }

func (w *writer) end(err error) {
	w.mu.Lock()
	if w.failed == nil {
		w.failed = err
	}
	err = w.failed
	left := append(w.mail, w.low...)
	w.mail, w.low = nil, nil
	w.mu.Unlock()
	for _, o := range left {
		if o.state.CompareAndSwap(opQueued, opTaken) {
			o.finish(err)
		}
	}
	select {
	case w.wake <- struct{}{}: // the writer sees the failure
	default:
	}
}

func (w *writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

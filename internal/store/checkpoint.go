package store

import (
	"context"
	"fmt"
	"time"

	"postern/internal/relay"
)

// Lengths of the write-ahead log. With a small MinFree they are smaller too: what
// is kept free must hold the log, or results would find no room.
const (
	// walPassive: pages are copied to the database in the background.
	walPassive = 8 << 20
	// walRestart: the rest is copied between two batches, so that the log starts
	// again from its beginning. What the background copy left is little.
	walRestart = 32 << 20
	// restartWait is how long the writer stands still for readers that pin the
	// start of a log that is twice as long as it should be; a longer one (a
	// backup) is waited for again only after another walRestart.
	restartWait = 250 * time.Millisecond
	// vacuumPages are given back to the file system at a time, when a third of the
	// file is free.
	vacuumPages = 512
	vacuumEvery = time.Minute
	// shrinkPages are given back at a time when the disk is nearly full: moving
	// pages needs log.
	shrinkPages = 32
)

// maintain keeps the log short without making the writer wait for the disk: a
// passive checkpoint copies and syncs while batches go on; only the few pages
// written meanwhile are copied between two batches. Readers are short, so the
// log can then start again; where one follows on the other without a gap, the
// writer waits for those there are.
func (e *sqliteEngine) maintain(ctx context.Context) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	var lastVacuum time.Time
	idle := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.kick:
		case <-tick.C:
			idle++
		}
		if e.s.low.Load() {
			if err := e.tolerate(e.shrink(ctx)); err != nil {
				return err
			}
		}
		passive, restart := e.walLimits()
		size := e.logBytes.Load()
		if size < passive && (size == 0 || idle < int(time.Minute/checkpointEvery)) {
			continue
		}
		idle = 0
		if err := e.tolerate(e.checkpoint(ctx, max(size, e.logEnd.Load()) >= restart)); err != nil {
			return err
		}
		if time.Since(lastVacuum) > vacuumEvery {
			lastVacuum = time.Now()
			if err := e.tolerate(e.vacuum(ctx)); err != nil {
				return err
			}
		}
	}
}

// tolerate lets upkeep wait for its next turn when the database cannot be asked
// now (no file descriptors left): mail goes on over the connections there are.
func (e *sqliteEngine) tolerate(err error) error {
	if relay.KindOf(err) != relay.Unavailable {
		return err
	}
	e.s.log.Warn("upkeep put off", "err", err)
	return nil
}

// shrink gives what is free inside the file back to a file system that is short
// of space: mail that has left makes room for other mail.
func (e *sqliteEngine) shrink(ctx context.Context) error {
	free, err := e.pragma(ctx, "freelist_count")
	if err != nil || free < shrinkPages {
		return err
	}
	for range 16 {
		if err := e.vacuumSome(ctx, shrinkPages); err != nil {
			return err
		}
	}
	if err := e.checkpoint(ctx, true); err != nil { // the file is cut when the log is copied
		return err
	}
	return e.s.checkSpace()
}

func (e *sqliteEngine) pragma(ctx context.Context, name string) (int64, error) {
	var n int64
	if err := e.s.db.QueryRowContext(ctx, "PRAGMA "+name).Scan(&n); err != nil {
		return 0, fmt.Errorf("read %s: %w", name, e.s.readError(err))
	}
	return n, nil
}

func (e *sqliteEngine) walLimits() (passive, restart int64) {
	free := e.s.cfg.MinFree
	if free <= 0 {
		return walPassive, walRestart
	}
	return min(walPassive, free/8), min(walRestart, free/4)
}

// frameBytes is a page in the log with its header; a batch changes about
// batchFrames of them besides what its operations carry.
const (
	frameBytes  = 8192 + 24
	batchFrames = 10
)

// noteWritten estimates how long the log has grown. It wakes the checkpointer
// early when a burst outruns its clock, and copies between batches itself when
// even that is not enough: the log has a bound, whatever the load. The caller
// holds mu.
func (e *sqliteEngine) noteWritten(ops []*op) error {
	n := int64(batchFrames * frameBytes)
	for _, o := range ops {
		n += 2 * int64(o.bytes)
	}
	now := e.logBytes.Add(n)
	passive, restart := e.walLimits()
	if e.unkicked += n; e.unkicked >= passive {
		e.unkicked = 0
		select {
		case e.kick <- struct{}{}:
		default:
		}
	}
	if now >= 2*restart {
		return e.walCheckpoint(context.Background(), "PASSIVE")
	}
	return nil
}

// reclaim makes room on a full disk: it copies the log and cuts it to nothing.
func (e *sqliteEngine) reclaim() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.walCheckpoint(context.Background(), "TRUNCATE"); err != nil {
		e.s.log.Warn("make room", "err", err)
	}
}

// checkpoint copies the log into the database; with restart it makes the log
// start again. A full disk is no error here: the log goes on as it is.
func (e *sqliteEngine) checkpoint(ctx context.Context, restart bool) error {
	if err := e.walCheckpoint(ctx, "PASSIVE"); err != nil || !restart {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	// With the writer out of the way, all frames are copied unless a reader is
	// still on an old one; the next batch then begins the log anew.
	if err := e.walCheckpoint(ctx, "PASSIVE"); err != nil {
		return err
	}
	_, limit := e.walLimits()
	end := e.logEnd.Load()
	if end < 2*limit {
		return nil
	}
	// A shorter log than that which was waited for in vain is another one.
	if e.waitedAt <= end && end < e.waitedAt+limit {
		return nil
	}
	// Who begins to read now reads the database alone, and does not pin the log.
	if err := e.walCheckpoint(ctx, "RESTART"); err != nil {
		return err
	}
	e.waitedAt = e.logEnd.Load()
	return nil
}

func (e *sqliteEngine) walCheckpoint(ctx context.Context, mode string) error {
	var busy, frames, copied int64
	err := e.cdb.QueryRowContext(context.WithoutCancel(ctx), "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &copied)
	if err == nil && frames >= 0 {
		err = e.inject("checkpoint")
		if busy == 0 && mode != "PASSIVE" {
			frames, copied = 0, 0
		}
		e.logEnd.Store(frames * frameBytes)
		if frames == copied {
			e.logBytes.Store(0) // it starts again with the next batch, unless it is read
		} else {
			e.logBytes.Store(frames * frameBytes)
		}
	}
	switch {
	case err == nil:
		return nil
	case judge(err) == vFull || judge(err) == vBusy:
		e.s.log.Warn("checkpoint put off", "err", err)
		return nil
	}
	return fmt.Errorf("checkpoint: %w", err)
}

// vacuum gives free pages back when they are a third of the file.
func (e *sqliteEngine) vacuum(ctx context.Context) error {
	pages, err := e.pragma(ctx, "page_count")
	if err != nil {
		return err
	}
	free, err := e.pragma(ctx, "freelist_count")
	if err != nil {
		return err
	}
	for n := 0; free > pages/3 && free > 8*vacuumPages && n < 32 && ctx.Err() == nil; n++ {
		if err := e.vacuumSome(ctx, vacuumPages); err != nil {
			return err
		}
		free, pages = free-vacuumPages, pages-vacuumPages
	}
	return nil
}

// vacuumSome frees a few pages between two batches.
func (e *sqliteEngine) vacuumSome(ctx context.Context, pages int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	rows, err := e.conn.QueryContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages))
	if err == nil {
		for rows.Next() { // it frees a page a step
		}
		err = rows.Err()
		_ = rows.Close()
	}
	if err != nil && judge(err) == vStop {
		return fmt.Errorf("vacuum: %w", err)
	}
	return nil
}

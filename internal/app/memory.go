package app

import (
	"context"
	"runtime/debug"
	rtm "runtime/metrics"
	"time"
)

// A busy relay turns over far more memory than it holds, and the collector is
// set to let it. When it falls quiet, what it no longer needs is given back to
// the system: thousands of idle sessions then cost what they hold and no more.
const (
	quietLook  = 15 * time.Second
	quietRate  = 1 << 20  // octets allocated between two looks: less is quiet
	quietWorth = 16 << 20 // octets that are free and not given back: less is not worth a collection
)

const (
	allocated = "/gc/heap/allocs:bytes"
	freeHeap  = "/memory/classes/heap/free:bytes"
	unused    = "/memory/classes/heap/unused:bytes"
	objects   = "/memory/classes/heap/objects:bytes"
	live      = "/gc/heap/live:bytes"
)

// giveMemoryBack runs until ctx ends.
func (a *App) giveMemoryBack(ctx context.Context) error {
	t := time.NewTicker(quietLook)
	defer t.Stop()
	samples := []rtm.Sample{{Name: allocated}, {Name: freeHeap}, {Name: unused}, {Name: objects}, {Name: live}}
	var before uint64
	given := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		rtm.Read(samples)
		now := samples[0].Value.Uint64()
		quiet := now-before < quietRate
		before = now
		if !quiet {
			given = false
			continue
		}
		// Dead objects count too: nobody has collected them since the load ended.
		spare := samples[1].Value.Uint64() + samples[2].Value.Uint64()
		if o, l := samples[3].Value.Uint64(), samples[4].Value.Uint64(); o > l {
			spare += o - l
		}
		if given || spare < quietWorth {
			continue
		}
		debug.FreeOSMemory()
		given = true
	}
}

package main

import (
	"os"
	"runtime/debug"

	"postern/internal/config"
)

// The collector's pace. A relay's live memory is small beside what passes
// through it, so Go's default (collect when it has doubled) collects a few
// megabytes many times a second: measured 7 % of the CPU of a message. The
// limit keeps the pace from costing much where live memory is large.
const (
	gcPercent  = 400
	gcHeadroom = 512 << 20 // beyond what the configuration lets message octets take
)

// tuneMemory sets the collector's pace for serving, unless the environment does.
func tuneMemory(c *config.Config) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(c.Queue.Memory) + int64(c.Limits.OctetsInFlight) + gcHeadroom)
	}
}

package watch

import (
	"context"
	"sync"

	"postern/internal/relay"
)

// Replayer runs replays over stored history, one at a time: each reads all of it.
type Replayer struct {
	Logs Logs
	// Engine has Places, Key and Account; the settings are those of each replay.
	Engine Config

	busy sync.Mutex
}

// Replay runs one. Of cfg, Logs and the names of the world are the replayer's.
// relay.RateLimited: another one runs.
func (r *Replayer) Replay(ctx context.Context, cfg ReplayConfig) (Progress, error) {
	if !r.busy.TryLock() {
		return Progress{}, relay.E(relay.RateLimited, "A replay is running already. Try again when it has ended.")
	}
	defer r.busy.Unlock()
	cfg.Logs = r.Logs
	cfg.Engine.Places, cfg.Engine.Key, cfg.Engine.Account = r.Engine.Places, r.Engine.Key, r.Engine.Account
	return Replay(ctx, cfg)
}

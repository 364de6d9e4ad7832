package submit

import (
	"context"
	"time"

	"postern/internal/queue"
	"postern/internal/store"
)

// Notifier composes DSNs.
type Notifier struct {
	Directory Directory
	Store     Store
	Hostname  string
	Lifetime  time.Duration
}

// Compose implements queue.Notifier.
func (n *Notifier) Compose(ctx context.Context, no queue.Notice) (*store.Acceptance, error) {
	return nil, nil
}

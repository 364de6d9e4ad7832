package app

import (
	"sync/atomic"

	"postern/internal/smtp"
)

// gate closes submission for a while without closing the door: new mail is
// refused with a temporary reply, what is queued goes on.
type gate struct{ closed atomic.Bool }

var replyDraining = smtp.R(451, 4, 3, 2, "This relay is being drained; try again later")

func (g *gate) open() error {
	if g.closed.Load() {
		return replyDraining
	}
	return nil
}

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

// Trouble of our own machine is asked about again at once; trouble of the name
// servers is kept for a moment.
func TestCacheKeepsNoLocalTrouble(t *testing.T) {
	for _, tt := range []struct {
		err   error
		asked int
	}{
		{&net.OpError{Op: "dial", Net: "udp", Err: os.NewSyscallError("socket", syscall.EMFILE)}, 2},
		{syscall.ENOBUFS, 2},
		{&net.OpError{Op: "read", Net: "udp", Err: os.NewSyscallError("read", syscall.ECONNREFUSED)}, 1},
		{errors.New("SERVFAIL"), 1},
	} {
		asked := 0
		c := newCache(func(context.Context, question) (*answer, error) {
			asked++
			return nil, fmt.Errorf("%w: %w", ErrTemporary, tt.err)
		}, 1<<20, 4)
		for range 2 {
			if _, err := c.get(t.Context(), question{name: "example.test"}); !errors.Is(err, ErrTemporary) {
				t.Errorf("%v: %v", tt.err, err)
			}
		}
		if asked != tt.asked {
			t.Errorf("%v: asked %d times, want %d", tt.err, asked, tt.asked)
		}
	}
}

package powercut

import (
	"fmt"
	"strings"
	"time"
)

// socketWrite is one write on a connected socket.
type socketWrite struct {
	call          *Call
	local, remote string
}

// newSocketWrite reads strace's "TCP:[local->remote]".
func newSocketWrite(c *Call, target string) socketWrite {
	_, ends, _ := strings.Cut(target, "[")
	ends = strings.TrimSuffix(ends, "]")
	local, remote, _ := strings.Cut(ends, "->")
	return socketWrite{call: c, local: unmap(local), remote: unmap(remote)}
}

// unmap writes an IPv4 address in IPv6 clothes as Go does.
func unmap(addr string) string {
	if rest, ok := strings.CutPrefix(addr, "[::ffff:"); ok {
		return strings.Replace(rest, "]", "", 1)
	}
	return addr
}

// WroteTo returns the position of the entry of the last write to the peer with
// this address that began at or before at. Where the two sides speak in turn,
// it is the write that carried what the peer had read by then: under TLS there
// is no other way to tell.
func (m *Model) WroteTo(peer string, at time.Time) (int, error) {
	return m.lastWrite(at, "to "+peer, func(w socketWrite) bool { return w.remote == peer })
}

// WroteFrom is like [Model.WroteTo] for the program's own address of a
// connection that it made.
func (m *Model) WroteFrom(local string, at time.Time) (int, error) {
	return m.lastWrite(at, "from "+local, func(w socketWrite) bool { return w.local == local })
}

func (m *Model) lastWrite(at time.Time, what string, match func(socketWrite) bool) (int, error) {
	found := 0
	for _, w := range m.sockets {
		if match(w) && !w.call.At.After(at) && (w.call.Errno == "" || w.call.Errno == "?") {
			found = max(found, w.call.Entry)
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("the record has no write %s before %s", what, at.UTC().Format(time.RFC3339Nano))
	}
	return found, nil
}

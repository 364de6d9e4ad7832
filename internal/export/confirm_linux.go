package export

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unconfirmed is how many octets of what was sent, its end among them, the other
// system has not confirmed (tcp(7), SIOCOUTQ). An error: it has reset the connection.
func unconfirmed(c *net.TCPConn) (left int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("state of the connection: %w", err)
	}
	var failed int
	if e := raw.Control(func(fd uintptr) {
		if failed, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil {
			left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		}
	}); e != nil {
		err = e
	}
	if err == nil && failed != 0 {
		err = syscall.Errno(failed)
	}
	if err != nil {
		return 0, fmt.Errorf("state of the connection: %w", err)
	}
	return left, nil
}

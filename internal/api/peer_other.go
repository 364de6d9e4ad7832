//go:build !linux

package api

import (
	"errors"
	"net"
	"os"
)

// peerUID is this process's own user: the socket's mode lets in nobody else but
// root. (The kernel's word is asked on Linux only.)
func peerUID(*net.UnixConn) (uint32, error) {
	uid := os.Getuid()
	if uid < 0 {
		return 0, errors.ErrUnsupported
	}
	return uint32(uid), nil
}

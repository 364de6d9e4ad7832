package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// socketMode lets the owner in, and root. The data directory around it is closed
// to others, too.
const socketMode = 0o600

// FromSocket is store.By.From of what was done over the socket.
const FromSocket = "admin.sock"

// ListenSocket makes the socket of the command line. A socket that a dead process
// left is replaced; one that somebody answers on is an error, and so is anything
// else that has the name.
func ListenSocket(path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("make admin socket: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("make admin socket: %s is there and is not a socket", path)
	default:
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			return nil, errors.Join(fmt.Errorf("make admin socket: another process serves %s", path), conn.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace admin socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("make admin socket: %w", err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("close admin socket to others: %w", err), l.Close())
	}
	return l, nil
}

// ConnContext fits http.Server.ConnContext for the socket: it notes who is at the
// other end, by the kernel's word. Without that word nothing can be changed.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, err := peerUID(u)
	if err != nil {
		return ctx
	}
	return withBy(ctx, store.By{Who: fmt.Sprintf("uid %d", uid), From: FromSocket, Rank: relay.RankOperator})
}

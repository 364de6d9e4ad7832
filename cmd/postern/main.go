// Command postern is a relay for authenticated mail: the server, its
// administration over the socket of a running server, and tools to try both.
// The files of this package are one subcommand each; what they do is in the
// packages below internal.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker at a release.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal asks to stop, a second one ends the process
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

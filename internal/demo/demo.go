// Package demo is a whole local world on loopback, to see postern at work
// without owning a domain: an authoritative DNS zone, a receiving server that
// verifies what it is sent, and the relay itself with two customers. It sends
// real messages through the real path, checks each step and says in plain words
// what happened.
//
// Its one invariant: a step is shown as done only after it was observed, at the
// client, in the relay's own records or at the receiving server.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"postern/internal/logfile"
)

// The names of the demo's world. All are below .test, which nobody can own
// (RFC 6761 §6.2).
const (
	hostname  = "relay.postern.test" // the relay
	sinkName  = "mx.inbox.test"      // the receiving server
	nsName    = "ns.postern.test"
	nsName2   = "ns2.postern.test"
	mailZone  = "mail.postern.test" // that the relay serves, for its customers' keys
	inbox     = "inbox.test"        // its recipients' domain
	customer  = "acme.test"         // of the account whose key is used
	stranger  = "globex.test"       // of another account
	nobodys   = "bank.test"         // of no account
	author    = "ann@" + customer
	forged    = "ceo@" + nobodys
	foreign   = "billing@" + stranger
	recipient = "bob@" + inbox
	operator  = "operator@" + inbox
	username  = "apikey"

	customerAccount = "acme"
)

// Options are the command's flags. The zero value is a demo on free ports in a
// directory that is removed at the end.
type Options struct {
	Once      bool   // end after the tour
	ReadyFile string // where to write Ready, once all is up; "": nowhere
	// Dir keeps everything durable. It must be empty, absent, or a demo's from
	// before, which goes on. "": a directory of its own, removed at the end.
	Dir string
	// Addresses to listen on, "host:port"; "": a free port on 127.0.0.1.
	ListenSMTP, ListenSMTPS, ListenHTTP, ListenDNS string
	// Faults are misbehaviour of the receiving server, each as sink.ParseFault reads it.
	Faults []string

	Out     io.Writer
	Colour  bool // Out is a terminal
	Version string
}

// ErrTour is returned by Run when a step of the tour did not go as it should.
var ErrTour = errors.New("the demo did not go as it should")

// stopTime bounds the end of the world.
const stopTime = 40 * time.Second

// Run makes the world, goes on the tour and, unless told once, stays up until
// ctx ends. The error wraps ErrTour where a step failed.
func Run(ctx context.Context, o Options) (err error) {
	dir, done, err := directory(o.Dir)
	if err != nil {
		return err
	}
	defer done()
	logPath := filepath.Join(dir, logName)
	file, err := logfile.Open(logPath)
	if err != nil {
		return err
	}
	defer file.Close()
	log := slog.New(slog.NewJSONHandler(file, nil))

	p := &printer{out: o.Out, colour: o.Colour}
	p.title("postern demo")
	p.text("A relay, a DNS zone and a receiving server, all on this machine. Nothing leaves it.")
	w, err := open(ctx, dir, o, log)
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		err = errors.Join(err, w.close(stop))
	}()
	if o.ReadyFile != "" {
		if err := w.ready.write(o.ReadyFile); err != nil {
			return err
		}
	}
	p.world(w.ready)
	failed := tour(ctx, w, p)
	if ctx.Err() != nil {
		return fmt.Errorf("the demo was interrupted: %w", context.Cause(ctx))
	}
	if failed > 0 {
		err = fmt.Errorf("%w: %d of the steps failed; the relay's log is %s", ErrTour, failed, logPath)
		if o.Once {
			return err
		}
		p.text("The steps marked ✗ did not go as they should; the relay's log has more: " + logPath)
	}
	if o.Once {
		p.title("All as it should be.")
		return nil
	}
	p.invitation(w.ready, logPath)
	select {
	case <-ctx.Done():
		p.title("Stopping.")
		return nil
	case failure := <-w.failed:
		return failure
	}
}

const (
	logName    = "relay.log"
	markerName = "postern-demo" // says that a directory is a demo's
)

// directory makes the directory ready; done undoes what should not last.
func directory(path string) (dir string, done func(), err error) {
	if path == "" {
		dir, err := os.MkdirTemp("", "postern-demo-")
		if err != nil {
			return "", nil, fmt.Errorf("make the demo's directory: %w", err)
		}
		return dir, func() { _ = os.RemoveAll(dir) }, nil
	}
	if dir, err = filepath.Abs(path); err != nil {
		return "", nil, fmt.Errorf("find the demo's directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make the demo's directory: %w", err)
	}
	marker := filepath.Join(dir, markerName)
	if _, err := os.Stat(marker); err == nil {
		return dir, func() {}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, fmt.Errorf("read the demo's directory: %w", err)
	}
	if len(entries) > 0 {
		return "", nil, fmt.Errorf("%s is not empty and not a demo's: choose another directory", dir)
	}
	if err := os.WriteFile(marker, []byte("This directory belongs to postern demo and can be deleted.\n"), 0o600); err != nil {
		return "", nil, fmt.Errorf("mark the demo's directory: %w", err)
	}
	return dir, func() {}, nil
}

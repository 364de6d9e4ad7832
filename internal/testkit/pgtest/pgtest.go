// Package pgtest runs a private PostgreSQL server for tests from the binaries of
// the system's packages. The server listens on a Unix socket in a temporary
// directory and on nothing else, and ends with the test process. It is imported
// by tests only.
package pgtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver, to create databases
)

// ErrNotInstalled: the machine has no PostgreSQL server binaries.
var ErrNotInstalled = errors.New("no PostgreSQL server is installed")

// startTimeout bounds how long a server may take to answer.
const startTimeout = 60 * time.Second

// Server is a running PostgreSQL.
type Server struct {
	bin, dir string
	settings []string
	cred     *syscall.SysProcAttr
	proc     *exec.Cmd
	exited   chan struct{}
}

var databases atomic.Int64

// binDir finds the newest server that the system's packages installed.
func binDir() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		found = append(found, p)
	}
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(found[len(found)-1]), nil
}

func version(path string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	if err != nil {
		return 0
	}
	return n
}

// credential makes the server run as the user postgres when the tests run as
// root, whom the server refuses.
func credential(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(dir, int(uid), int(gid))
}

// New makes a cluster and starts its server with the given settings
// ("name=value"). It does not sync unless "fsync=on" is among them: it survives
// Crash, and not the machine's. The caller must call Close.
func New(settings ...string) (*Server, error) {
	bin, err := binDir()
	if err != nil {
		return nil, err
	}
	// Not the test's own directory: a socket's path has at most 107 octets.
	dir, err := os.MkdirTemp("/tmp", "pgtest")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, settings: settings}
	if s.cred, err = credential(dir); err == nil {
		err = s.run("initdb", "-D", s.data(), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) run(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.SysProcAttr, cmd.Dir = s.cred, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// Start starts the server on the cluster's data, e.g. after Stop or Kill.
func (s *Server) Start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"-D", s.data(), "-k", s.dir}
	for _, v := range append([]string{"listen_addresses=", "max_connections=300", "shared_buffers=32MB", "fsync=off"}, s.settings...) {
		args = append(args, "-c", v)
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	attr := *s.cred
	attr.Pdeathsig = syscall.SIGQUIT // the server ends when the tests are killed
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = &attr, s.dir, log, log
	started := make(chan error)
	exited := make(chan struct{})
	go func() {
		// The signal comes when the thread that started the server ends, so the
		// thread is kept for as long as the server runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended does not matter
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.proc, s.exited = cmd, exited
	return s.wait()
}

// wait returns when the server answers.
func (s *Server) wait() error {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for end := time.Now().Add(startTimeout); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := db.PingContext(ctx)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("the server ended: %s", log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// URL is the connection string of a database.
func (s *Server) URL(database string) string {
	q := url.Values{"host": {s.dir}, "user": {"postgres"}, "sslmode": {"disable"}}
	return "postgres:///" + database + "?" + q.Encode()
}

// Database makes an empty database and returns its connection string.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	name := fmt.Sprintf("test%d", databases.Add(1))
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		tb.Fatalf("create database: %v", err)
	}
	return s.URL(name)
}

func (s *Server) end(sig syscall.Signal) {
	if s.proc == nil {
		return
	}
	_ = s.proc.Process.Signal(sig) // it may have ended
	<-s.exited
	s.proc = nil
}

// Stop ends the server as a restart does: connections are cut, data is flushed.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Crash ends the server at once, as a crash does: nothing is flushed. (SIGQUIT
// and not SIGKILL, which would leave its children and shared memory behind.)
func (s *Server) Crash() { s.end(syscall.SIGQUIT) }

// Close ends the server and removes its data.
func (s *Server) Close() {
	s.end(syscall.SIGQUIT)
	_ = os.RemoveAll(s.dir) // a leftover in /tmp is all that could go wrong
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"postern/internal/bench"
)

// posternRelay is a postern made with `init` and run with `serve`, as an
// operator would, on the defaults but for what loopback needs.
type posternRelay struct {
	bin, dir string
	addr     string
	key      string
	trust    *tls.Config
	cmd      *exec.Cmd
	done     chan struct{}
}

// posternPlain signs with Ed25519 alone: postern never sends unsigned, and that
// signature costs next to nothing.
func posternPlain(ctx context.Context, o options, s *sink) (relay, error) {
	return startPostern(ctx, o, s, "auto", "s1e")
}

// posternGo signs with Go's own RSA.
func posternGo(ctx context.Context, o options, s *sink) (relay, error) {
	return startPostern(ctx, o, s, "go", "s1")
}

// posternAuto signs with the system's libcrypto where it is to be had.
func posternAuto(ctx context.Context, o options, s *sink) (relay, error) {
	return startPostern(ctx, o, s, "auto", "s1")
}

// posternConfig is the configuration file: one listener, one route to the sink,
// and no limit that the load would hit. Delivery is as parallel as Postfix's.
const posternConfig = `hostname = "relay.test"
data_dir = "."
contact = "operator@receiver.test"

[[listener]]
name = "submission"
role = "submission"
addresses = [%q]
tls = "starttls"

[limits]
connections = 10000
connections_per_address = 10000
messages_per_session = 100000

[queue]
per_destination = 50

[deliver]
allow_networks = ["127.0.0.0/8"]
messages_per_session = 1000

[[deliver.destination]]
domain = "receiver.test"
route = %q

[sign]
backend = %q

[http]
listen = []

[admin]
listen = ""

[log]
level = "info"
file = "postern.log"
`

var keyPattern = regexp.MustCompile(`SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}`)

func startPostern(ctx context.Context, o options, s *sink, backend, selector string) (_ relay, err error) {
	bin, err := filepath.Abs(o.postern)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return nil, err
	}
	r := &posternRelay{bin: bin, dir: filepath.Join(root, "data"), done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	out, err := r.run(ctx, "init", "--dir", r.dir, "--hostname", "relay.test", "--owner", "operator@receiver.test")
	if err != nil {
		return nil, err
	}
	if r.key = keyPattern.FindString(out); r.key == "" {
		return nil, fmt.Errorf("postern init printed no key:\n%s", out)
	}
	if r.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	conf := filepath.Join(r.dir, "postern.toml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, posternConfig, r.addr, s.addr, backend), 0o600); err != nil {
		return nil, err
	}
	r.cmd = exec.Command(bin, "serve", "--config", conf)
	r.cmd.Stderr = os.Stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	if err := answers(r.addr, greeted, 20*time.Second); err != nil {
		return nil, fmt.Errorf("postern serve: %w\n%s", err, r.log())
	}
	if err := r.domain(ctx, selector); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(filepath.Join(r.dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("postern's authority cannot be read")
	}
	r.trust = &tls.Config{RootCAs: pool, ServerName: "relay.test"}
	return r, nil
}

// domain makes the sender's domain with that selector alone.
func (r *posternRelay) domain(ctx context.Context, selector string) error {
	if _, err := r.run(ctx, "domain", "add", "sender.test", "--assert", "--account", "main", "--data-dir", r.dir); err != nil {
		return err
	}
	// In this order: the last selector that signs cannot be disabled.
	for _, step := range [][2]string{{selector, "enable"}, {map[string]string{"s1": "s1e", "s1e": "s1"}[selector], "disable"}} {
		if _, err := r.run(ctx, "domain", "selector", "sender.test", step[0], step[1], "--data-dir", r.dir); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command of postern to its end.
func (r *posternRelay) run(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, r.bin, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("postern %s: %w\n%s", args[0], err, out)
	}
	return string(out), nil
}

func (r *posternRelay) config() bench.Config {
	return bench.Config{Addr: r.addr, TLS: bench.StartTLS, TLSConfig: r.trust, User: "apikey", Key: r.key, From: loadFrom, To: loadTo}
}

func (r *posternRelay) pids() ([]int, error) { return []int{r.cmd.Process.Pid}, nil }

func (r *posternRelay) storage() string { return r.dir }

func (r *posternRelay) log() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "postern.log"))
	return string(b)
}

// stop ends the process, by force if it does not go, and removes its folder.
func (r *posternRelay) stop() error {
	if r.cmd != nil && r.cmd.Process != nil {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.done:
		case <-time.After(40 * time.Second):
			_ = r.cmd.Process.Kill()
			<-r.done
		}
	}
	return os.RemoveAll(filepath.Dir(r.dir))
}

// Package postfix runs a Postfix of one's own: own configuration, queue, log and
// ports on loopback, nothing shared with one that the machine may run. It is for
// tests and for the benchmark; it needs Debian's package and root, since
// Postfix's master starts only as root.
package postfix

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrMissing: there is no Postfix on this machine.
var ErrMissing = errors.New("postfix is not installed")

// ErrRoot: Postfix can only be started by root.
var ErrRoot = errors.New("postfix is started by root only")

// Service is one SMTP listener.
type Service struct {
	Addr     string            // 127.0.0.1:port
	Implicit bool              // TLS from the first octet
	Main     map[string]string // settings of this listener alone
}

// Config says what to run.
type Config struct {
	Listen []Service
	Main   map[string]string // main.cf, on top of what every instance here has
	// Files are further files of the configuration folder, by relative path. @DIR@ in their
	// text becomes the instance's folder.
	Files map[string]string
	// Limits of daemon processes by service name (smtpd, smtp, cleanup …).
	MaxProc map[string]int
}

// Instance is a running Postfix.
type Instance struct {
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer // of master, read once done is closed
}

// available says why a Postfix cannot be run here.
func available() error {
	if _, err := os.Stat(program("postfix")); err != nil {
		return ErrMissing
	}
	if os.Geteuid() != 0 {
		return ErrRoot
	}
	return nil
}

// program finds a command of Postfix, which an ordinary PATH does not hold.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", name)
}

// Start runs an instance. Its folder is made anew and removed by Stop.
func Start(conf Config) (*Instance, error) {
	if err := available(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postfix-")
	if err != nil {
		return nil, err
	}
	i := &Instance{dir: dir, done: make(chan struct{})}
	if err := i.start(conf); err != nil {
		return nil, errors.Join(fmt.Errorf("postfix: %w\n%s", err, i.Log()), os.RemoveAll(dir))
	}
	return i, nil
}

func (i *Instance) start(conf Config) error {
	// Postfix's daemons work as another user and must reach their folders.
	if err := os.Chmod(i.dir, 0o755); err != nil {
		return err
	}
	for _, d := range []string{"etc", "queue", "data", "mail"} {
		if err := os.Mkdir(i.Path(d), 0o755); err != nil {
			return err
		}
	}
	// The delivery agent works as whoever the mailbox belongs to.
	if err := os.Chmod(i.Path("mail"), 0o777); err != nil {
		return err
	}
	if out, err := exec.Command("chown", "postfix", i.Path("data")).CombinedOutput(); err != nil {
		return fmt.Errorf("chown: %w: %s", err, out)
	}
	for name, text := range conf.files(i.dir) {
		if err := os.MkdirAll(filepath.Dir(i.Path("etc", name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(i.Path("etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	i.cmd = exec.Command(program("postfix"), "-c", i.Path("etc"), "start-fg")
	i.cmd.Stdout, i.cmd.Stderr = &i.out, &i.out
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := i.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = i.cmd.Wait()
		close(i.done)
	}()
	if err := i.await(conf.Listen); err != nil {
		return errors.Join(err, i.halt())
	}
	return nil
}

// await waits until all listeners answer.
func (i *Instance) await(listen []Service) error {
	deadline := time.Now().Add(20 * time.Second)
	for _, s := range listen {
		for {
			conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-i.done:
				return fmt.Errorf("ended at once: %s", i.out.String())
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s: %w", s.Addr, err)
			}
		}
	}
	return nil
}

// Path names a file below the instance's folder: etc, queue, data and mail are there.
func (i *Instance) Path(elem ...string) string {
	return filepath.Join(append([]string{i.dir}, elem...)...)
}

// Log returns what Postfix logged.
func (i *Instance) Log() string {
	b, _ := os.ReadFile(i.Path("mail.log"))
	return string(b)
}

// PID is master's, whose children all daemons are.
func (i *Instance) PID() (int, error) {
	b, err := os.ReadFile(i.Path("queue", "pid", "master.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// Run runs a command of Postfix (postqueue, postsuper …) on this instance.
func (i *Instance) Run(name string, args ...string) (string, error) {
	out, err := exec.Command(program(name), append([]string{"-c", i.Path("etc")}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

// Stop ends the instance and removes its folder.
func (i *Instance) Stop() error {
	return errors.Join(i.halt(), os.RemoveAll(i.dir))
}

// halt ends master and its children.
func (i *Instance) halt() error {
	select {
	case <-i.done:
		return nil
	default:
	}
	// Not `postfix stop`, which sleeps for seconds between its looks.
	pid, err := i.PID()
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGTERM)
	}
	select {
	case <-i.done:
		return nil
	case <-time.After(10 * time.Second):
	}
	// Only the group that Start made.
	return errors.Join(err, syscall.Kill(-i.cmd.Process.Pid, syscall.SIGKILL))
}

// files returns the configuration folder's files.
func (c Config) files(dir string) map[string]string {
	all := map[string]string{"main.cf": c.mainCF(dir), "master.cf": c.masterCF()}
	for name, text := range c.Files {
		all[name] = strings.ReplaceAll(text, "@DIR@", dir)
	}
	return all
}

// mainCF is main.cf: what every instance has, then what this one asks for.
func (c Config) mainCF(dir string) string {
	settings := map[string]string{
		"compatibility_level":   "3.6",
		"queue_directory":       dir + "/queue",
		"data_directory":        dir + "/data",
		"maillog_file":          dir + "/mail.log",
		"maillog_file_prefixes": dir,
		"myhostname":            "postfix.example",
		"mydestination":         "",
		"mynetworks":            "127.0.0.0/8",
		"inet_interfaces":       "127.0.0.1",
		"inet_protocols":        "ipv4",
		"alias_maps":            "",
		"alias_database":        "",
		"local_recipient_maps":  "",
		"smtp_tls_CApath":       "",
		"smtp_host_lookup":      "native",
		"smtputf8_enable":       "yes",
		"notify_classes":        "",
		"smtpd_relay_before_recipient_restrictions": "yes",
	}
	for k, v := range c.Main {
		settings[k] = v
	}
	var lines []string
	for k, v := range settings {
		lines = append(lines, k+" = "+v)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// daemons are the services that every instance has:
// name, type, private, unprivileged, chroot, wakeup, processes, program.
var daemons = []string{
	"cleanup unix n - n - 0 cleanup",
	"qmgr unix n - n 300 1 qmgr",
	"tlsmgr unix - - n 1000? 1 tlsmgr",
	"rewrite unix - - n - - trivial-rewrite",
	"bounce unix - - n - 0 bounce",
	"defer unix - - n - 0 bounce",
	"trace unix - - n - 0 bounce",
	"verify unix - - n - 1 verify",
	"flush unix n - n 1000? 0 flush",
	"proxymap unix - - n - - proxymap",
	"proxywrite unix - - n - 1 proxymap",
	"smtp unix - - n - - smtp",
	"relay unix - - n - - smtp",
	"showq unix n - n - - showq",
	"error unix - - n - - error",
	"retry unix - - n - - error",
	"discard unix - - n - - discard",
	"local unix - n n - - local",
	"virtual unix - n n - - virtual",
	"anvil unix - - n - 1 anvil",
	"scache unix - - n - 1 scache",
	"postlog unix-dgram n - n - 1 postlogd",
}

// masterCF is master.cf: the daemons and the listeners.
func (c Config) masterCF() string {
	var b strings.Builder
	for _, d := range daemons {
		f := strings.Fields(d)
		if n, ok := c.MaxProc[f[0]]; ok {
			f[6] = strconv.Itoa(n)
		}
		b.WriteString(strings.Join(f, " ") + "\n")
	}
	for _, s := range c.Listen {
		procs := "-"
		if n, ok := c.MaxProc["smtpd"]; ok {
			procs = strconv.Itoa(n)
		}
		fmt.Fprintf(&b, "%s inet n - n - %s smtpd\n", s.Addr, procs)
		if s.Implicit {
			b.WriteString("  -o smtpd_tls_wrappermode=yes\n")
		}
		for k, v := range s.Main {
			fmt.Fprintf(&b, "  -o {%s=%s}\n", k, v)
		}
	}
	return b.String()
}

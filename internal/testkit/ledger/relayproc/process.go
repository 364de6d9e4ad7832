package relayproc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one run of the relay, perhaps behind another program.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; valid once done is closed
}

func launch(log string, env, line []string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Env = append(os.Environ(), env...)
	// A group of its own: what stands before the relay can be ended with it, and
	// an interrupt of the test's terminal does not reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode is the process's exit code once it has ended, -1 after a signal.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// PID is the relay's own process: behind strace or another wrapper it is the
// wrapper's child.
func (p *Process) PID() (int, error) {
	pid := p.cmd.Process.Pid
	for {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			return 0, err
		}
		if strings.HasPrefix(string(comm), "postern") {
			return pid, nil
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return 0, err
		}
		fields := bytes.Fields(children)
		if len(fields) == 0 {
			return 0, errors.New("the wrapper has no child")
		}
		if pid, err = strconv.Atoi(string(fields[0])); err != nil {
			return 0, err
		}
	}
}

// Signal sends a signal to the relay itself.
func (p *Process) Signal(sig syscall.Signal) error {
	pid, err := p.PID()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, sig)
}

// kill ends the process and its wrapper with SIGKILL and waits.
func (p *Process) kill() {
	select {
	case <-p.done:
		return
	default:
	}
	if pid, err := p.PID(); err == nil {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// terminate asks the relay to end and waits for at most limit; then it kills.
func (p *Process) terminate(limit time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("the relay ended with %d after SIGTERM", code)
		}
		return nil
	case <-time.After(limit):
		p.kill()
		return fmt.Errorf("the relay did not end within %v of SIGTERM", limit)
	}
}

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a process and its children have spent and take.
type Usage struct {
	CPU time.Duration // user and system, children that have ended included
	RSS int64         // octets resident, of all that live
}

// clockTick is the unit of CPU time in /proc on Linux.
const clockTick = 10 * time.Millisecond

// ReadUsage reads a process and its children from /proc. A pid of 0 is nobody.
func ReadUsage(pid int) (Usage, error) {
	if pid == 0 {
		return Usage{}, nil
	}
	u, err := readStat(pid)
	if err != nil {
		return Usage{}, err
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return Usage{}, err
	}
	for _, task := range tasks {
		// A thread that has just ended has no children any more.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue
		}
		for child := range strings.FieldsSeq(string(b)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				continue
			}
			// A child that ends just now is counted by its parent next time.
			if c, err := ReadUsage(n); err == nil {
				u.CPU += c.CPU
				u.RSS += c.RSS
			}
		}
	}
	return u, nil
}

// readStat reads one process: proc(5), /proc/pid/stat.
func readStat(pid int) (Usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	return parseStat(b)
}

// parseStat reads fields 14 to 17 (CPU of the process and of its ended
// children, in ticks) and 24 (resident pages). The name in field 2 may hold
// anything, so that counting starts after its closing bracket.
func parseStat(b []byte) (Usage, error) {
	_, rest, ok := bytes.Cut(b, []byte(") "))
	if i := bytes.LastIndex(b, []byte(") ")); ok && i >= 0 {
		rest = b[i+2:]
	}
	f := strings.Fields(string(rest))
	if !ok || len(f) < 22 {
		return Usage{}, errors.New("unreadable stat")
	}
	var ticks int64
	for _, s := range f[11:15] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("unreadable stat: %w", err)
		}
		ticks += n
	}
	pages, err := strconv.ParseInt(f[21], 10, 64)
	if err != nil {
		return Usage{}, fmt.Errorf("unreadable stat: %w", err)
	}
	return Usage{CPU: time.Duration(ticks) * clockTick, RSS: pages * int64(os.Getpagesize())}, nil
}

// selfCPU is the CPU time of this process.
func selfCPU() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

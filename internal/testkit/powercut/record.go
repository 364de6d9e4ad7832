package powercut

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// calls are those that change files or talk on sockets; the model refuses what
// it cannot follow among them, so the list errs on the long side.
const calls = "open,openat,openat2,creat,close,dup,dup2,dup3,lseek,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg," +
	"ftruncate,truncate,fallocate,fsync,fdatasync,sync,syncfs,msync,sync_file_range,rename,renameat,renameat2,link,linkat," +
	"symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,mmap,copy_file_range,sendfile,splice,io_uring_setup"

// Command returns the command line that runs a program under strace and writes
// its record to a file. extra are further options of strace, such as a fault to
// inject.
func Command(record string, extra []string, program ...string) []string {
	args := []string{"strace", "-f", "--seccomp-bpf", "-yy", "-xx", "-s", "4194304",
		"--absolute-timestamps=format:unix,precision:ns", "-e", "signal=none", "-e", "trace=" + calls, "-o", record}
	return append(append(args, extra...), program...)
}

// Call is one system call. Entry and Exit are positions in the record: its
// effect lies somewhere between them. What happened because of a call has its
// entry after that call's exit, since the tracer holds the caller until it has
// written the line.
type Call struct {
	PID         int
	Name        string
	Args        []string // as written by strace, strings still in quotes
	Ret         int64
	Errno       string // "EIO", or "" where the call succeeded
	Tail        string // what followed the number, such as the path of a new descriptor
	Entry, Exit int
	At          time.Time // of the entry, by the system's wall clock
}

// Record is a process's system calls, ordered by entry.
type Record struct {
	Calls []*Call
	End   int // one past the last position
}

// Parse reads what strace wrote. A call that never returned (the process was
// killed inside it) has the record's end as its exit and "?" as its error.
func Parse(r io.Reader) (*Record, error) {
	p := parser{open: map[int]*pending{}}
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			p.pos++
			if lineErr := p.line(strings.TrimRight(line, "\n")); lineErr != nil {
				return nil, fmt.Errorf("parse record, line %d: %w", p.pos, lineErr)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read record: %w", err)
		}
	}
	end := p.pos + 1
	for _, c := range p.open {
		if err := c.finish(strings.TrimSuffix(c.text, " ") + ") = ?"); err != nil {
			return nil, fmt.Errorf("parse record, unfinished call: %w", err)
		}
		c.call.Exit = end
	}
	return &Record{Calls: p.calls, End: end}, nil
}

type parser struct {
	pos   int
	calls []*Call
	open  map[int]*pending
}

type pending struct {
	call *Call
	text string
}

// line takes one line: a whole call, the first or the second half of one, or
// something that is none (a signal, the end of a thread).
func (p *parser) line(s string) error {
	pidText, rest, ok := strings.Cut(s, " ")
	if !ok {
		return fmt.Errorf("no process id in %.80q", s)
	}
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return fmt.Errorf("process id: %w", err)
	}
	stamp, text, ok := strings.Cut(strings.TrimLeft(rest, " "), " ")
	if !ok {
		return fmt.Errorf("no time in %.80q", s)
	}
	at, err := parseStamp(stamp)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "---"):
		return nil
	case strings.HasPrefix(text, "<... "):
		return p.resume(pid, text)
	}
	c := &pending{call: &Call{PID: pid, At: at, Entry: p.pos, Exit: p.pos}}
	p.calls = append(p.calls, c.call)
	if head, ok := strings.CutSuffix(text, "<unfinished ...>"); ok {
		c.text = head
		p.open[pid] = c
		return nil
	}
	return c.finish(text)
}

func (p *parser) resume(pid int, text string) error {
	c := p.open[pid]
	_, tail, ok := strings.Cut(text, "resumed>")
	if c == nil || !ok {
		return fmt.Errorf("nothing to resume for process %d", pid)
	}
	delete(p.open, pid)
	c.call.Exit = p.pos
	return c.finish(c.text + tail)
}

// finish reads "name(args) = result".
func (c *pending) finish(text string) error {
	open, result := strings.IndexByte(text, '('), strings.LastIndex(text, ") = ")
	if open < 0 {
		return fmt.Errorf("no call in %.80q", text)
	}
	// strace aligns short results, so that there may be spaces before the "=".
	if result < 0 {
		end := strings.LastIndex(text, " = ")
		if end < 0 || !strings.HasSuffix(strings.TrimRight(text[:end], " "), ")") {
			return fmt.Errorf("no result in %.80q", text)
		}
		result = len(strings.TrimRight(text[:end], " ")) - 1
	}
	if result <= open {
		return fmt.Errorf("no arguments in %.80q", text)
	}
	args, err := splitArgs(text[open+1 : result])
	if err != nil {
		return err
	}
	c.call.Name, c.call.Args = text[:open], args
	_, value, _ := strings.Cut(text[result:], "= ")
	return c.call.result(value)
}

func (c *Call) result(s string) error {
	number, tail, _ := strings.Cut(s, " ")
	if number == "?" {
		c.Ret, c.Errno = -1, "?"
		return nil
	}
	if i := strings.IndexByte(number, '<'); i >= 0 {
		number, tail = number[:i], s[i:]
	}
	n, err := strconv.ParseInt(number, 0, 64)
	if err != nil {
		// An address may exceed an int64; nothing here needs it, so it stays clamped.
		if _, err := strconv.ParseUint(number, 0, 64); err != nil {
			return fmt.Errorf("result %.40q: %w", s, err)
		}
	}
	c.Ret, c.Tail = n, tail
	if n == -1 {
		c.Errno, _, _ = strings.Cut(tail, " ")
	}
	return nil
}

func parseStamp(s string) (time.Time, error) {
	sec, frac, ok := strings.Cut(s, ".")
	if !ok || len(frac) != 9 {
		return time.Time{}, fmt.Errorf("time %.40q: want seconds and nine digits", s)
	}
	a, errA := strconv.ParseInt(sec, 10, 64)
	b, errB := strconv.ParseInt(frac, 10, 64)
	if err := errors.Join(errA, errB); err != nil {
		return time.Time{}, fmt.Errorf("time: %w", err)
	}
	return time.Unix(a, b), nil
}

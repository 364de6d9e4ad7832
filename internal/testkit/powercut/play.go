package powercut

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// arity is how many arguments a call has at least.
var arity = map[string]int{
	"close": 1, "dup": 1, "dup2": 2, "dup3": 3, "fsync": 1, "fdatasync": 1, "syncfs": 1,
	"write": 3, "writev": 3, "pwrite64": 4, "pwritev": 4, "pwritev2": 4, "sendto": 3, "sendmsg": 2,
	"ftruncate": 2, "truncate": 2, "fallocate": 4, "lseek": 3, "mmap": 6,
	"open": 2, "openat": 3, "openat2": 3, "creat": 2,
	"rename": 2, "renameat": 4, "renameat2": 4, "link": 2, "linkat": 4, "symlink": 2, "symlinkat": 3,
	"unlink": 1, "rmdir": 1, "unlinkat": 2, "mkdir": 2, "mkdirat": 3,
}

// play follows one half of a call. A failed call changes nothing; one that never
// returned may have changed something, so that its effect stays possible and
// never becomes certain.
func (m *Model) play(s step) error {
	c := s.call
	if len(c.Args) < arity[c.Name] {
		return fmt.Errorf("%d arguments, want %d", len(c.Args), arity[c.Name])
	}
	if c.Errno != "" && c.Errno != "?" {
		return nil
	}
	if s.begin {
		switch c.Name {
		case "close":
			return m.close(c)
		case "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg":
			return m.write(c)
		case "ftruncate", "truncate", "fallocate":
			return m.resize(c)
		}
		return m.rewire(c)
	}
	if c.Errno == "?" {
		return nil
	}
	switch c.Name {
	case "open", "openat", "creat", "openat2":
		return m.openFile(c)
	case "dup", "dup2", "dup3":
		return m.dup(c)
	case "lseek":
		return m.seek(c)
	case "fsync", "fdatasync", "syncfs", "sync":
		return m.sync(c)
	case "mmap", "copy_file_range", "sendfile", "splice", "io_uring_setup", "msync":
		return m.forbidden(c)
	}
	return nil
}

// rewire follows the calls that change names. They are played at their entry:
// another thread may use the new name before the line of the call was complete.
func (m *Model) rewire(c *Call) error {
	a := c.Args
	arg := func(i int) string {
		if i < len(a) {
			return a[i]
		}
		return ""
	}
	switch c.Name {
	case "rename":
		return m.rename(c, "", arg(0), "", arg(1))
	case "renameat", "renameat2":
		if strings.Contains(arg(4), "RENAME_EXCHANGE") || strings.Contains(arg(4), "RENAME_WHITEOUT") {
			return fmt.Errorf("flags %s are not followed", arg(4))
		}
		return m.rename(c, arg(0), arg(1), arg(2), arg(3))
	case "link":
		return m.link(c, "", arg(0), "", arg(1))
	case "linkat":
		return m.link(c, arg(0), arg(1), arg(2), arg(3))
	case "unlink", "rmdir":
		return m.unlink(c, "", arg(0))
	case "unlinkat":
		return m.unlink(c, arg(0), arg(1))
	case "mkdir":
		return m.mkdir(c, "", arg(0), arg(1))
	case "mkdirat":
		return m.mkdir(c, arg(0), arg(1), arg(2))
	case "symlink":
		return m.symlink(c, arg(0), "", arg(1))
	case "symlinkat":
		return m.symlink(c, arg(0), arg(1), arg(2))
	}
	return nil
}

func (m *Model) close(c *Call) error {
	fd, _, err := descriptor(c.Args[0])
	delete(m.fds, fd)
	return err
}

func (m *Model) dup(c *Call) error {
	d, err := m.file(c.Args[0])
	if d != nil {
		m.fds[int(c.Ret)] = d
	}
	return err
}

func (m *Model) openFile(c *Call) error {
	dir, path, flags := "", c.Args[0], "O_CREAT|O_WRONLY|O_TRUNC"
	rest := c.Args[1:]
	if strings.HasPrefix(c.Name, "openat") {
		dir, path, rest = c.Args[0], c.Args[1], c.Args[2:]
	}
	mode := ""
	if c.Name != "creat" {
		flags, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		mode = rest[0]
	}
	name, ours, err := m.at(dir, path)
	if err != nil || !ours || m.volatile(name) {
		return err
	}
	if c.Name == "openat2" {
		return fmt.Errorf("not followed for %s", name)
	}
	has := func(flag string) bool { return slices.Contains(strings.Split(flags, "|"), flag) }
	n := m.names[name]
	if n == nil {
		if has("O_TMPFILE") || !has("O_CREAT") {
			return fmt.Errorf("opened unknown file %s with %s", name, flags)
		}
		n = &node{mode: fileMode(mode)}
		m.names[name] = n
		m.add(&op{kind: opLink, entry: c.Entry, exit: c.Exit, node: n, name: name})
	} else if has("O_TRUNC") && n.size > 0 {
		n.size = 0
		m.add(&op{kind: opTruncate, entry: c.Entry, exit: c.Exit, node: n})
	}
	n.dsync = n.dsync || has("O_SYNC") || has("O_DSYNC")
	m.fds[int(c.Ret)] = &descr{node: n, name: name, append: has("O_APPEND")}
	return nil
}

func fileMode(arg string) fs.FileMode {
	v, err := strconv.ParseUint(arg, 8, 12)
	if err != nil {
		return 0o600
	}
	return fs.FileMode(v)
}

func (m *Model) write(c *Call) error {
	if _, target, err := descriptor(c.Args[0]); err == nil && strings.Contains(target, "->") {
		m.sockets = append(m.sockets, newSocketWrite(c, target))
		return nil
	}
	d, err := m.file(c.Args[0])
	if err != nil || d == nil {
		return err
	}
	var data []byte
	if strings.Contains(c.Name, "writev") {
		data, err = vector(c.Args[1])
	} else {
		data, err = octets(c.Args[1])
	}
	if err != nil {
		return err
	}
	if c.Ret >= 0 {
		data = data[:min(int64(len(data)), c.Ret)]
	}
	off, err := m.offset(c, d, int64(len(data)))
	if err != nil {
		return err
	}
	d.node.size = max(d.node.size, off+int64(len(data)))
	m.add(&op{kind: opWrite, entry: c.Entry, exit: c.Exit, node: d.node, off: off, data: data})
	return nil
}

// offset says where a write goes, and moves the descriptor's place.
func (m *Model) offset(c *Call, d *descr, n int64) (int64, error) {
	if strings.HasPrefix(c.Name, "pwrite") {
		off, err := number(c.Args[3])
		if err != nil || off >= 0 {
			return off, err
		}
		if c.Name != "pwritev2" || off != -1 {
			return 0, fmt.Errorf("written at %d", off)
		}
	}
	if d.append {
		d.pos = d.node.size
	}
	off := d.pos
	d.pos += n
	return off, nil
}

func (m *Model) seek(c *Call) error {
	d, err := m.file(c.Args[0])
	if d != nil && c.Ret >= 0 {
		d.pos = c.Ret
	}
	return err
}

func (m *Model) resize(c *Call) error {
	var n *node
	if c.Name == "truncate" {
		name, ours, err := m.at("", c.Args[0])
		if err != nil || !ours || m.volatile(name) {
			return err
		}
		n = m.names[name]
	} else {
		d, err := m.file(c.Args[0])
		if err != nil || d == nil {
			return err
		}
		n = d.node
	}
	arg := c.Args[1]
	if c.Name == "fallocate" {
		return m.allocate(c, n)
	}
	size, err := number(arg)
	if err != nil || n == nil || size < 0 {
		return fmt.Errorf("truncate of unknown file: %w", err)
	}
	n.size = size
	m.add(&op{kind: opTruncate, entry: c.Entry, exit: c.Exit, node: n, size: size})
	return nil
}

// allocate follows fallocate: it can only make a file longer here.
func (m *Model) allocate(c *Call, n *node) error {
	if c.Args[1] != "0" && c.Args[1] != "FALLOC_FL_KEEP_SIZE" {
		return fmt.Errorf("mode %s is not followed", c.Args[1])
	}
	off, err := number(c.Args[2])
	if err != nil {
		return err
	}
	length, err := number(c.Args[3])
	if err == nil && (off < 0 || length < 0 || off+length < 0) {
		return fmt.Errorf("%d octets at %d", length, off)
	}
	if err != nil || c.Args[1] != "0" || off+length <= n.size {
		return err
	}
	n.size = off + length
	m.add(&op{kind: opTruncate, entry: c.Entry, exit: c.Exit, node: n, size: n.size})
	return nil
}

func (m *Model) sync(c *Call) error {
	if c.Name == "sync" {
		m.synced(nil, true, c.Entry, c.Exit)
		return nil
	}
	d, err := m.file(c.Args[0])
	if err != nil || d == nil {
		return err
	}
	m.synced(d, c.Name == "syncfs", c.Entry, c.Exit)
	return nil
}

// forbidden refuses what would change files behind the record's back.
func (m *Model) forbidden(c *Call) error {
	if c.Name == "io_uring_setup" {
		return fmt.Errorf("the program uses io_uring: its writes are not in the record")
	}
	if c.Name == "mmap" && (!strings.Contains(c.Args[3], "MAP_SHARED") || !strings.Contains(c.Args[2], "PROT_WRITE")) {
		return nil
	}
	for _, a := range c.Args {
		if !strings.Contains(a, "<") {
			continue
		}
		if d, err := m.file(a); err != nil || d != nil {
			return fmt.Errorf("changes a file in a way that is not in the record: %s", strings.Join(c.Args, ", "))
		}
	}
	return nil
}

func (m *Model) rename(c *Call, fromDir, from, toDir, to string) error {
	old, oursA, errA := m.at(fromDir, from)
	name, oursB, errB := m.at(toDir, to)
	if errA != nil || errB != nil {
		return errors.Join(errA, errB)
	}
	if !oursA && !oursB || m.volatile(old) && m.volatile(name) {
		return nil
	}
	n := m.names[old]
	if !oursA || !oursB || n == nil || n.dir {
		return fmt.Errorf("%s to %s is not followed", old, name)
	}
	delete(m.names, old)
	m.names[name] = n
	for _, d := range m.fds {
		if d.node == n {
			d.name = name
		}
	}
	m.add(&op{kind: opRename, entry: c.Entry, exit: c.Exit, node: n, name: name, from: old})
	return nil
}

func (m *Model) link(c *Call, fromDir, from, toDir, to string) error {
	old, oursA, errA := m.at(fromDir, from)
	name, oursB, errB := m.at(toDir, to)
	if err := errors.Join(errA, errB); err != nil || !oursA && !oursB {
		return err
	}
	n := m.names[old]
	if !oursA || !oursB || n == nil {
		return fmt.Errorf("%s to %s is not followed", old, name)
	}
	m.names[name] = n
	m.add(&op{kind: opLink, entry: c.Entry, exit: c.Exit, node: n, name: name})
	return nil
}

func (m *Model) unlink(c *Call, dir, path string) error {
	name, ours, err := m.at(dir, path)
	if err != nil || !ours || m.volatile(name) {
		return err
	}
	n := m.names[name]
	if n == nil {
		return nil // a socket or another file that is not on the disk
	}
	delete(m.names, name)
	m.add(&op{kind: opUnlink, entry: c.Entry, exit: c.Exit, node: n, name: name})
	return nil
}

func (m *Model) mkdir(c *Call, dir, path, mode string) error {
	name, ours, err := m.at(dir, path)
	if err != nil || !ours || name == "." {
		return err
	}
	n := &node{dir: true, mode: fs.ModeDir | fileMode(mode)}
	m.names[name] = n
	m.add(&op{kind: opLink, entry: c.Entry, exit: c.Exit, node: n, name: name})
	return nil
}

func (m *Model) symlink(c *Call, target, dir, path string) error {
	name, ours, err := m.at(dir, path)
	if err != nil || !ours {
		return err
	}
	raw, err := octets(target)
	if err != nil {
		return err
	}
	n := &node{mode: fs.ModeSymlink, target: filepath.Clean(string(raw))}
	m.names[name] = n
	m.add(&op{kind: opLink, entry: c.Entry, exit: c.Exit, node: n, name: name})
	return nil
}

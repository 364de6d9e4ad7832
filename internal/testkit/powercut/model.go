package powercut

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// never is the position of a sync that did not happen.
const never = int(^uint(0) >> 1)

type opKind int

const (
	opWrite opKind = iota
	opTruncate
	opLink   // a name appears: create, mkdir, link, symlink
	opUnlink // a name goes: unlink, rmdir
	opRename // both at once
)

// op is one change that may or may not have reached the disk.
type op struct {
	kind        opKind
	entry, exit int
	durable     int // from this position on it is certain to be there

	node *node  // what is written, truncated or named
	off  int64  // opWrite
	data []byte // opWrite
	size int64  // opTruncate

	name, from string // relative to the directory; opRename: from → name
}

// node is a file or a directory. Its base is what the disk held before the
// record began.
type node struct {
	dir    bool
	mode   fs.FileMode
	base   []byte
	target string // of a symbolic link
	size   int64  // as the program sees it, to place appended octets
	dsync  bool   // opened with O_SYNC or O_DSYNC
}

// Model is a record's effect on the files below one directory.
type Model struct {
	Record *Record

	root     string
	volatile func(name string) bool
	base     map[string]*node // names before the record began
	names    map[string]*node // names as the program sees them
	fds      map[int]*descr
	ops      []*op
	syncs    []int // positions at which a sync ended
	sockets  []socketWrite
}

// descr is an open file: where its next write goes.
type descr struct {
	node   *node
	name   string
	pos    int64
	append bool
}

// Volatile names the files that a program rebuilds after a crash, so that they
// are left out of images: SQLite's shared-memory index of its log.
func Volatile(name string) bool { return strings.HasSuffix(name, "-shm") }

// NewModel reads the directory as it was before the record began from base (a
// copy of it) and plays the record's calls on root, the path that the program
// used. volatile may be nil.
func NewModel(r *Record, root, base string, volatile func(string) bool) (*Model, error) {
	if volatile == nil {
		volatile = func(string) bool { return false }
	}
	m := &Model{Record: r, root: filepath.Clean(root), volatile: volatile, base: map[string]*node{}, names: map[string]*node{}, fds: map[int]*descr{}}
	if err := m.load(base); err != nil {
		return nil, fmt.Errorf("read the directory before the record: %w", err)
	}
	for _, step := range r.steps() {
		if err := m.play(step); err != nil {
			return nil, fmt.Errorf("follow the record, line %d, %s: %w", step.call.Entry, step.call.Name, err)
		}
	}
	return m, nil
}

// load takes over the files of a directory. Sockets and pipes are left out, as
// nothing of them is on the disk.
func (m *Model) load(base string) error {
	m.base["."] = &node{dir: true, mode: fs.ModeDir | 0o700}
	err := filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(base, path)
		if err != nil || name == "." || m.volatile(name) {
			return err
		}
		stat, err := e.Info()
		if err != nil {
			return err
		}
		n := &node{dir: e.IsDir(), mode: stat.Mode()}
		switch {
		case stat.Mode().IsRegular():
			if n.base, err = os.ReadFile(path); err != nil {
				return err
			}
			n.size = int64(len(n.base))
		case stat.Mode()&fs.ModeSymlink != 0:
			if n.target, err = os.Readlink(path); err != nil {
				return err
			}
		case !e.IsDir():
			return nil
		}
		m.base[name] = n
		return nil
	})
	for name, n := range m.base {
		m.names[name] = n
	}
	return err
}

// step is one half of a call. A close frees its number before it returns, and
// an open has its number only when it has returned.
type step struct {
	call  *Call
	begin bool
	pos   int
}

func (r *Record) steps() []step {
	out := make([]step, 0, 2*len(r.Calls))
	for _, c := range r.Calls {
		out = append(out, step{c, true, c.Entry}, step{c, false, c.Exit})
	}
	slices.SortStableFunc(out, func(a, b step) int { return a.pos - b.pos })
	return out
}

// rel returns a path's name below the root, and whether it is there at all.
func (m *Model) rel(path string) (string, bool) {
	path = strings.TrimSuffix(path, deletedMark)
	if path == m.root {
		return ".", true
	}
	name, ok := strings.CutPrefix(filepath.Clean(path), m.root+"/")
	return name, ok
}

// at resolves a path argument against the directory descriptor before it.
func (m *Model) at(dir, arg string) (string, bool, error) {
	raw, err := octets(arg)
	if err != nil {
		return "", false, err
	}
	path := string(raw)
	if !filepath.IsAbs(path) {
		if dir == "" {
			return "", false, nil // a relative path of a call without a directory: the program's own, not the root's
		}
		_, base, err := descriptor(dir)
		if err != nil {
			return "", false, err
		}
		path = filepath.Join(base, path)
	}
	name, ok := m.rel(path)
	return name, ok, nil
}

// file finds the node behind a descriptor; nil: it is none of ours.
func (m *Model) file(arg string) (*descr, error) {
	fd, path, err := descriptor(arg)
	if err != nil {
		return nil, err
	}
	name, ok := m.rel(path)
	if !ok || m.volatile(name) {
		return nil, nil
	}
	// The kernel's word on the path comes first: a descriptor may have been
	// inherited, or copied in a way that the record lacks.
	d, n := m.fds[fd], m.names[name]
	if d != nil && (n == nil || n == d.node || strings.HasSuffix(path, deletedMark)) {
		return d, nil
	}
	if n != nil {
		return &descr{node: n, name: name}, nil
	}
	return nil, fmt.Errorf("descriptor %d of unknown file %s", fd, path)
}

func (m *Model) add(o *op) {
	o.durable = never
	if o.node != nil && o.node.dsync && (o.kind == opWrite || o.kind == opTruncate) {
		o.durable = o.exit
	}
	m.ops = append(m.ops, o)
}

// synced marks what a sync that began at entry and ended at exit made certain.
// all: every file (sync, syncfs).
func (m *Model) synced(d *descr, all bool, entry, exit int) {
	m.syncs = append(m.syncs, exit)
	for _, o := range m.ops {
		if o.exit >= entry || o.durable <= exit {
			continue
		}
		switch o.kind {
		case opWrite, opTruncate:
			if all || o.node == d.node {
				o.durable = exit
			}
		default:
			// A name is certain when its directory was synced. A rename between two
			// directories counts from its new one; that of the old is the weaker half.
			if all || d.node.dir && filepath.Dir(o.name) == d.name {
				o.durable = exit
			}
		}
	}
}

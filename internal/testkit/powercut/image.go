package powercut

import (
	"bytes"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
)

// Mode says what an image makes of the operations that no sync had covered.
type Mode string

// The modes.
const (
	Dropped   Mode = "dropped"        // none of them is there
	Kept      Mode = "kept"           // all are: a crash of the program alone
	Reordered Mode = "reordered"      // a random choice of whole operations
	Blocks    Mode = "blocks-4096"    // a random choice of 4,096-octet blocks of each write
	Sectors   Mode = "sectors-512"    // a random choice of 512-octet sectors of each write
	Torn4096  Mode = "torn-4096"      // all, but of the last write only the first blocks
	Torn512   Mode = "torn-512"       // all, but of the last write only the first sectors
	TornTail  Mode = "torn-tail-512"  // all, but of the last write only the last sectors
	NoNames   Mode = "names-dropped"  // all data, no unsynced name
	OnlyNames Mode = "names-only"     // all names, no unsynced data
	Zeroed    Mode = "data-zeroed"    // sizes grew, the octets did not come: zeros
	Prefix    Mode = "prefix-ordered" // the first of them up to a random one
)

// Modes are all modes, in the order in which [Model.Images] uses them.
var Modes = []Mode{Dropped, Kept, Reordered, Blocks, Sectors, Torn4096, Torn512, TornTail, NoNames, OnlyNames, Zeroed, Prefix}

// Image is what the disk may hold after a power cut right before the position
// Cut of the record.
type Image struct {
	Cut  int
	Mode Mode
	Seed uint64

	model *Model
	parts []part
}

// part is an operation, or a piece of a write, that reached the disk.
type part struct {
	op     *op
	lo, hi int64 // of a write: octets of its data
	zero   bool  // zeros in place of the data
}

func (i *Image) String() string {
	return fmt.Sprintf("power cut before line %d, %s, seed %d", i.Cut, i.Mode, i.Seed)
}

// Image makes one image.
func (m *Model) Image(cut int, mode Mode, seed uint64) *Image {
	i := &Image{Cut: cut, Mode: mode, Seed: seed, model: m}
	rng := rand.New(rand.NewPCG(seed, uint64(cut)))
	last := m.lastPending(cut)
	keep := rng.IntN(1 + m.pendingCount(cut))
	n := 0
	for _, o := range m.ops {
		switch {
		case o.durable < cut:
			i.parts = append(i.parts, part{op: o, hi: int64(len(o.data))})
		case o.entry < cut:
			i.choose(o, rng, o == last, n < keep)
			n++
		}
	}
	return i
}

// lastPending is the last write before the cut that no sync covers.
func (m *Model) lastPending(cut int) *op {
	for _, o := range slices.Backward(m.ops) {
		if o.kind == opWrite && o.entry < cut && o.durable >= cut {
			return o
		}
	}
	return nil
}

func (m *Model) pendingCount(cut int) int {
	n := 0
	for _, o := range m.ops {
		if o.entry < cut && o.durable >= cut {
			n++
		}
	}
	return n
}

// choose decides what of one uncertain operation reached the disk.
func (i *Image) choose(o *op, rng *rand.Rand, last, inPrefix bool) {
	whole := part{op: o, hi: int64(len(o.data))}
	data := o.kind == opWrite || o.kind == opTruncate
	coin := rng.IntN(2) == 0
	switch i.Mode {
	case Dropped:
	case Kept:
		i.parts = append(i.parts, whole)
	case Reordered:
		if coin {
			i.parts = append(i.parts, whole)
		}
	case Prefix:
		if inPrefix {
			i.parts = append(i.parts, whole)
		}
	case NoNames:
		if data {
			i.parts = append(i.parts, whole)
		}
	case OnlyNames:
		if !data {
			i.parts = append(i.parts, whole)
		}
	case Zeroed:
		whole.zero = o.kind == opWrite
		i.parts = append(i.parts, whole)
	case Blocks, Sectors:
		unit := int64(4096)
		if i.Mode == Sectors {
			unit = 512
		}
		i.pieces(whole, unit, rng)
	case Torn4096, Torn512, TornTail:
		i.torn(whole, last, rng)
	}
}

// pieces keeps a random choice of a write's aligned units.
func (i *Image) pieces(w part, unit int64, rng *rand.Rand) {
	if w.op.kind != opWrite {
		if rng.IntN(2) == 0 {
			i.parts = append(i.parts, w)
		}
		return
	}
	for lo := int64(0); lo < w.hi; {
		hi := min(w.hi, (w.op.off+lo)/unit*unit+unit-w.op.off)
		if rng.IntN(2) == 0 {
			i.parts = append(i.parts, part{op: w.op, lo: lo, hi: hi})
		}
		lo = hi
	}
}

// torn keeps everything but a part of the last write, cut where a unit of the
// device ends.
func (i *Image) torn(w part, last bool, rng *rand.Rand) {
	if !last {
		i.parts = append(i.parts, w)
		return
	}
	unit := int64(512)
	if i.Mode == Torn4096 {
		unit = 4096
	}
	first := (w.op.off+unit)/unit*unit - w.op.off // the first boundary inside
	if first >= w.hi {
		return // it fits one unit: torn means gone
	}
	at := first + unit*rng.Int64N((w.hi-first+unit-1)/unit)
	if i.Mode == TornTail {
		i.parts = append(i.parts, part{op: w.op, lo: at, hi: w.hi})
		return
	}
	i.parts = append(i.parts, part{op: w.op, hi: at})
}

// Write makes the image's files below dir, which must be empty or absent.
func (i *Image) Write(dir string) error {
	names, content := i.replay()
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	sort.Strings(order) // a directory before what is in it
	for _, name := range order {
		n, path := names[name], filepath.Join(dir, name)
		if parent := names[filepath.Dir(name)]; name != "." && (parent == nil || !parent.dir) {
			continue // its directory never reached the disk
		}
		var err error
		switch {
		case n.dir:
			err = os.MkdirAll(path, 0o700|n.mode.Perm())
		case n.mode&fs.ModeSymlink != 0:
			err = os.Symlink(n.target, path)
		default:
			err = os.WriteFile(path, content[n], n.mode.Perm())
		}
		if err != nil {
			return fmt.Errorf("write image: %w", err)
		}
	}
	return nil
}

// replay plays the parts on what the disk held at first.
func (i *Image) replay() (map[string]*node, map[*node][]byte) {
	names, content := map[string]*node{}, map[*node][]byte{}
	for name, n := range i.model.base {
		names[name] = n
		content[n] = n.base
	}
	owned := map[*node]bool{}
	for _, p := range i.parts {
		o := p.op
		switch o.kind {
		case opLink:
			names[o.name] = o.node
		case opUnlink:
			if names[o.name] == o.node {
				delete(names, o.name)
			}
		case opRename:
			if names[o.from] == o.node {
				delete(names, o.from)
			}
			names[o.name] = o.node
		default:
			if !owned[o.node] {
				content[o.node] = bytes.Clone(content[o.node])
				owned[o.node] = true
			}
			content[o.node] = p.apply(content[o.node])
		}
	}
	return names, content
}

// apply changes a file's octets as the part says.
func (p *part) apply(b []byte) []byte {
	if p.op.kind == opTruncate {
		if p.op.size <= int64(len(b)) {
			return b[:p.op.size]
		}
		return grow(b, p.op.size)
	}
	lo, hi := p.op.off+p.lo, p.op.off+p.hi
	b = grow(b, hi)
	if p.zero {
		clear(b[lo:hi])
		return b
	}
	copy(b[lo:hi], p.op.data[p.lo:p.hi])
	return b
}

// grow makes b at least n octets long; what is new is zero.
func grow(b []byte, n int64) []byte {
	if have := int64(len(b)); have < n {
		b = slices.Grow(b, int(n-have))
		clear(b[have:n])
		b = b[:n]
	}
	return b
}

// Images draws images for the whole record: right before the end of each sync,
// where most is uncertain, and at a random position since the sync before, one
// image of each mode in modes. Images in which nothing is uncertain are drawn
// once, not once per mode.
func (m *Model) Images(seed uint64, modes []Mode) iter.Seq[*Image] {
	cuts := m.Cuts(seed)
	return func(yield func(*Image) bool) {
		for _, cut := range cuts {
			if m.pendingCount(cut) == 0 {
				if !yield(m.Image(cut, Dropped, seed)) {
					return
				}
				continue
			}
			for _, mode := range modes {
				if !yield(m.Image(cut, mode, seed)) {
					return
				}
			}
		}
	}
}

// Cuts are the positions that [Model.Images] uses, in order.
func (m *Model) Cuts(seed uint64) []int {
	rng := rand.New(rand.NewPCG(seed, 1))
	ends := append(slices.Sorted(slices.Values(m.syncs)), m.Record.End)
	cuts := make([]int, 0, 2*len(ends))
	before := 1
	for _, end := range ends {
		if end > before+1 {
			cuts = append(cuts, before+1+rng.IntN(end-before-1))
		}
		// Right before its end the sync has not returned, so that it covers nothing yet.
		cuts = append(cuts, end)
		before = end
	}
	return slices.Compact(cuts)
}

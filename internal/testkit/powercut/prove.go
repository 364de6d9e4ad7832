package powercut

import (
	"bytes"
	"fmt"
)

// Promise is something that must be on the disk from a position on: the program
// began to say so to the outside at Pos.
type Promise struct {
	Pos  int    // the entry of the write that carried the word
	ID   string // what the caller's check of an image calls it
	Want any    // what the caller's check needs to know of it
}

// Due returns the promises that had been made before a cut.
func Due(promises []Promise, cut int) []Promise {
	var out []Promise
	for _, p := range promises {
		if p.Pos < cut {
			out = append(out, p)
		}
	}
	return out
}

// SyncedBefore proves from the record alone that octets which identify a change
// were written and synced before a position: the first write that carries them,
// whatever the file, was covered by a sync that had returned. It names the file.
func (m *Model) SyncedBefore(needle []byte, pos int) (file string, err error) {
	for _, o := range m.ops {
		if o.kind != opWrite || !bytes.Contains(o.data, needle) {
			continue
		}
		name := m.nameOf(o.node)
		if o.durable >= pos {
			return name, fmt.Errorf("written to %s at line %d, certain only from line %s, promised at line %d", name, o.entry, position(o.durable), pos)
		}
		return name, nil
	}
	return "", fmt.Errorf("never written")
}

func position(p int) string {
	if p == never {
		return "never"
	}
	return fmt.Sprint(p)
}

// nameOf finds a node's last name.
func (m *Model) nameOf(n *node) string {
	for name, have := range m.names {
		if have == n {
			return name
		}
	}
	for _, o := range m.ops {
		if o.node == n && o.name != "" {
			return o.name
		}
	}
	for name, have := range m.base {
		if have == n {
			return name
		}
	}
	return "?"
}

// Syncs is the number of successful syncs of files below the directory.
func (m *Model) Syncs() int { return len(m.syncs) }

// Writes is the number of changes of files below the directory.
func (m *Model) Writes() int { return len(m.ops) }

// Unsynced is the number of changes that no sync ever covered.
func (m *Model) Unsynced() int { return m.pendingCount(m.Record.End) }

// WritesBefore counts the changes of a file, by its present name, that began
// before a position.
func (m *Model) WritesBefore(name string, pos int) int {
	n := 0
	for _, o := range m.ops {
		if o.kind == opWrite && o.entry < pos && m.names[name] == o.node {
			n++
		}
	}
	return n
}

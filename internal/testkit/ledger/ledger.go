package ledger

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Phase says how far a client came with one message.
type Phase int

// The phases. A message is in exactly one when its client is done with it.
const (
	Cut     Phase = iota // the end of data was never written: must not be delivered
	Sent                 // the end of data was written, no answer was read: zero or one copy
	Refused              // a 4yz or 5yz was read: must not be delivered
	Acked                // a 250 was read: must be delivered
)

var phaseNames = [...]string{"cut", "sent", "refused", "acked"}

func (p Phase) String() string { return phaseNames[p] }

// Entry is one message as its client knows it.
type Entry struct {
	ID         string // unique; in the Subject and in X-Ledger-Id
	Phase      Phase
	Recipients []string
	Sum        [sha256.Size]byte // of the body, after the empty line
	Size       int               // octets of the body
	QueueID    string            // from "queued as", if acked
	Reply      string            // the last reply that was read
	EndAt      time.Time         // when the end of data was about to be written
	ReplyAt    time.Time         // when the reply to it had been read
	Conn       string            // the client's address, to find its socket in a system-call record
}

// Take is one copy for one recipient that the sink took.
type Take struct {
	ID        string
	Recipient string
	At        time.Time // when the end of data had been read
	Conn      string    // the relay's address
	Answered  bool      // the 250 was written without an error
	Intact    bool      // the body is the one that was sent
}

// Mark says that the relay recorded a recipient as "possibly delivered".
type Mark struct {
	ID        string // the ledger's id, from the subject of the relay's record
	Recipient string
	At        time.Time
}

// Ledger holds both sides of the books. Its methods may be called from any
// goroutine.
type Ledger struct {
	Seed int64 // printed with every finding

	mu      sync.Mutex
	entries map[string]*Entry
	order   []string
	takes   []Take
	kills   []Kill
	strays  []string
}

// New returns an empty ledger. The seed is only remembered.
func New(seed int64) *Ledger {
	return &Ledger{Seed: seed, entries: map[string]*Entry{}}
}

// open notes that a client is about to offer a message.
func (l *Ledger) open(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[e.ID] = &e
	l.order = append(l.order, e.ID)
}

// update changes an entry under the ledger's lock.
func (l *Ledger) update(id string, f func(*Entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.entries[id])
}

// Kill is one death of the relay: at some moment between From, before the signal,
// and To, after the process was gone. Up to To it may still have taken mail and
// sent it on.
type Kill struct{ From, To time.Time }

// Kill notes that the relay died.
func (l *Ledger) Kill(k Kill) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kills = append(l.kills, k)
}

// take notes a copy. The body's sum tells whether it is the one that was sent.
func (l *Ledger) take(t Take, sum [sha256.Size]byte) (index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[t.ID]; e != nil {
		t.Intact = e.Sum == sum
	}
	l.takes = append(l.takes, t)
	return len(l.takes) - 1
}

// answered notes that the 250 for a copy left the sink.
func (l *Ledger) answered(index int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takes[index].Answered = true
}

// stray notes a message at the sink that no client of this ledger sent, such as
// a DSN.
func (l *Ledger) stray(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strays = append(l.strays, what)
}

// Entries returns copies of all entries in the order in which they were opened.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Entry, 0, len(l.order))
	for _, id := range l.order {
		out = append(out, *l.entries[id])
	}
	return out
}

// Takes returns copies of all takes in the order in which the sink made them.
func (l *Ledger) Takes() []Take {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.takes)
}

// Strays returns what the sink took that is in no entry.
func (l *Ledger) Strays() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.strays)
}

// Acked returns the number of messages whose 250 was read.
func (l *Ledger) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for e := range maps.Values(l.entries) {
		if e.Phase == Acked {
			n++
		}
	}
	return n
}

// Missing returns "id recipient" for every acked recipient of which no copy
// came yet. It is what a test waits on.
func (l *Ledger) Missing() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := map[string]bool{}
	for _, t := range l.takes {
		have[t.ID+" "+t.Recipient] = true
	}
	var out []string
	for _, id := range l.order {
		e := l.entries[id]
		if e.Phase != Acked {
			continue
		}
		for _, r := range e.Recipients {
			if k := id + " " + r; !have[k] {
				out = append(out, k)
			}
		}
	}
	return out
}

// String sums the ledger up in a line.
func (l *Ledger) String() string {
	var n [len(phaseNames)]int
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		n[e.Phase]++
	}
	return fmt.Sprintf("seed %d: %d offered (%d acked, %d sent without answer, %d refused, %d cut), %d copies taken, %d kills",
		l.Seed, len(l.entries), n[Acked], n[Sent], n[Refused], n[Cut], len(l.takes), len(l.kills))
}

// Doubt turns temporary refusals that were read between two moments into messages
// without an answer: the relay could not know itself whether it had stored them.
func (l *Ledger) Doubt(from, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Phase == Refused && strings.HasPrefix(e.Reply, endStage+": 4") && e.ReplyAt.After(from) && e.ReplyAt.Before(to) {
			e.Phase = Sent
		}
	}
}

// Adopt takes over the entries of an earlier ledger, whose promises this one is
// to see kept.
func (l *Ledger) Adopt(entries []Entry) {
	for _, e := range entries {
		l.open(e)
	}
}

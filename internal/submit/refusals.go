package submit

import (
	"encoding/json"
	"sync"
	"time"

	"postern/internal/relay"
)

const (
	// refusedFor is the span in which refusals that are alike are one event.
	refusedFor = time.Minute
	// refusedAddresses are how many addresses of one key have events of their own in
	// that span. What comes on top is counted together, without an address.
	refusedAddresses = 30
	// refusedRoom bounds the table.
	refusedRoom = 4096
)

// refusals records refused senders: the first of its kind at once, those that
// follow within a minute as one event with their number, as soon as anything is
// refused after that minute. So a client that tries for ever writes two lines a
// minute and not the disk full.
type refusals struct {
	record func(relay.Event)

	mu    sync.Mutex
	open  map[refusal]*refused
	of    map[refuser]int // how many of open
	swept time.Time
}

// refuser is whose message was refused.
type refuser struct {
	relay.Tenant
	key relay.KeyID
}

// refusal is what makes two refusals alike.
type refusal struct {
	refuser
	rule, field, address string
}

// refused is what has been refused since an event told of it.
type refused struct {
	since time.Time
	more  int64
	e     relay.Event // the last
	d     relay.EventData
}

func newRefusals(record func(relay.Event)) *refusals {
	return &refusals{record: record, open: map[refusal]*refused{}, of: map[refuser]int{}}
}

// note takes a refusal. e.At is now.
func (r *refusals) note(e relay.Event, d relay.EventData) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := e.At; now.Sub(r.swept) >= refusedFor || now.Before(r.swept) {
		r.sweep(now)
	}
	who := refuser{e.Tenant, e.Key}
	k := refusal{who, d.Rule, d.Field, d.Address}
	if r.open[k] == nil && (r.of[who] >= refusedAddresses || len(r.open) >= refusedRoom) {
		k.address, d.Address, d.From = "", "", "" // many of them
	}
	if x := r.open[k]; x != nil {
		x.more++
		x.e, x.d = e, d
		return
	}
	if len(r.open) >= 2*refusedRoom {
		return
	}
	r.open[k] = &refused{since: e.At}
	r.of[who]++
	r.write(e, d, 1)
}

// sweep writes the numbers that are due and forgets what is old.
func (r *refusals) sweep(now time.Time) {
	r.swept = now
	for k, x := range r.open {
		if age := now.Sub(x.since); age >= 0 && age < refusedFor {
			continue
		}
		if x.more > 0 {
			r.write(x.e, x.d, x.more)
		}
		delete(r.open, k)
		if r.of[k.refuser]--; r.of[k.refuser] <= 0 {
			delete(r.of, k.refuser)
		}
	}
}

func (r *refusals) write(e relay.Event, d relay.EventData, n int64) {
	d.Count = n
	b, err := json.Marshal(d)
	if err != nil { // strings, numbers and times only: cannot happen
		return
	}
	e.Data = b
	r.record(e)
}

package v3

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// MailBudget bounds what requests that hand in mail hold in memory at once, over
// all of them: the octets of their bodies, and those of the messages that are made
// of them until they are committed. A request takes its share as octets arrive and
// are written, not when it says how many will come, and gives it back when it is
// answered. Reading and writing takes up to four times a body's octets on top.
//
// One account with all its subusers gets at most half: its large requests, or its
// slow ones, never keep out another's small one. Nobody waits: 429, which clients
// repeat by themselves.
type MailBudget struct{ bodies, messages share }

// DefaultMailBudget is the octets of bodies at once; messages get twice that.
const DefaultMailBudget = 64 << 20

// NewMailBudget makes a budget of so many octets; 0: 64 MiB. Less than two of the
// largest bodies would keep such bodies out for good, and is raised to that.
func NewMailBudget(octets int64) *MailBudget {
	if octets == 0 {
		octets = DefaultMailBudget
	}
	octets = max(octets, 2*(maxMailBody+readAhead))
	return &MailBudget{bodies: newShare(octets), messages: newShare(2 * octets)}
}

// share is a number of octets that accounts take from.
type share struct {
	limit int64

	mu       sync.Mutex
	held     int64                     // guarded by mu, as all below
	accounts map[relay.AccountID]int64 // those that hold anything
}

func newShare(limit int64) share { return share{limit: limit, accounts: map[relay.AccountID]int64{}} }

// take reports whether an account gets n more octets.
func (b *share) take(a relay.AccountID, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+n > b.limit || b.accounts[a]+n > b.limit/2 {
		return false
	}
	b.held += n
	b.accounts[a] += n
	return true
}

func (b *share) give(a relay.AccountID, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.accounts[a] -= n; b.accounts[a] == 0 {
		delete(b.accounts, a)
	}
}

// readAhead is what is taken at a time.
const readAhead = 32 << 10

// holdBody reads the body of a request, unpacked, within the budget. release
// gives the octets back.
func (a *API) holdBody(c *Call) (release func(), err error) {
	if err := httpx.WantJSON(c.R); err != nil {
		return nil, err
	}
	if a.Budget == nil {
		return func() {}, nil
	}
	b := &budgeted{budget: &a.Budget.bodies, account: c.Tenant.Account}
	if b.from, err = c.unpacked(); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if n := c.R.ContentLength; n > 0 && n <= readAhead {
		text.Grow(int(n) + bytes.MinRead)
	}
	_, err = text.ReadFrom(io.LimitReader(b, c.route.MaxBody+1))
	switch {
	case err == nil && int64(text.Len()) > c.route.MaxBody:
		err = &http.MaxBytesError{Limit: c.route.MaxBody}
	case b.refused:
		err = noRoom(c)
	case err != nil:
		err = unreadable(err)
	}
	if err != nil {
		b.giveBack()
		return nil, err
	}
	c.body, c.read = text.Bytes(), true
	return b.giveBack, nil
}

// noRoom is the answer of a full budget.
func noRoom(c *Call) error {
	c.W.Header().Set("Retry-After", "1")
	return relay.E(relay.RateLimited, "too many requests")
}

// unpacked is the body as it is read, without its Content-Encoding.
func (c *Call) unpacked() (io.Reader, error) {
	switch strings.ToLower(c.R.Header.Get("Content-Encoding")) {
	case "", "identity":
		return c.R.Body, nil
	case "gzip":
		unpacked, err := gzip.NewReader(c.R.Body)
		if err != nil {
			return nil, badGzip(err)
		}
		return unpacked, nil
	}
	return nil, httpx.Refuse(http.StatusUnsupportedMediaType, "Content-Encoding should be gzip, or none.")
}

func unreadable(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return &relay.Error{Kind: relay.Invalid, Public: "The request body did not arrive in full, or is not what its Content-Encoding says.", Err: err}
}

// budgeted is a body whose octets are taken from a budget as they are read.
type budgeted struct {
	from    io.Reader
	budget  *share
	account relay.AccountID
	taken   int64
	read    int64
	refused bool
}

var errBudget = errors.New("no room for request bodies")

// Read implements io.Reader.
func (b *budgeted) Read(p []byte) (int, error) {
	if b.read == b.taken {
		if b.refused = !b.budget.take(b.account, readAhead); b.refused {
			return 0, errBudget
		}
		b.taken += readAhead
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.taken-b.read)])
	b.read += int64(n)
	return n, err
}

func (b *budgeted) giveBack() {
	b.budget.give(b.account, b.taken)
	b.taken, b.read = 0, 0
}

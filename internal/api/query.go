package api

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"postern/internal/relay"
)

// params reads a query string strictly: what is not asked for, is there twice or
// cannot be read is an error that names it. The first error is kept.
type params struct {
	values url.Values
	used   map[string]bool
	err    error
}

func query(r *http.Request) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	p := &params{values: values, used: map[string]bool{}}
	if err != nil {
		p.err = relay.E(relay.Invalid, "The query string cannot be read.")
	}
	return p
}

// end returns the first error, or one about a parameter that nobody asked for.
func (p *params) end() error {
	if p.err != nil {
		return p.err
	}
	for name := range p.values {
		if !p.used[name] {
			return invalid(name, "There is no such parameter.")
		}
	}
	return nil
}

func (p *params) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = invalid(name, format, args...)
	}
}

func (p *params) text(name string) string {
	p.used[name] = true
	switch v := p.values[name]; len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	default:
		p.fail(name, "This parameter is there twice.")
		return ""
	}
}

// texts reads a parameter that may be there several times.
func (p *params) texts(name string) []string {
	p.used[name] = true
	return p.values[name]
}

// number reads a whole number from 0 to most.
func (p *params) number(name string, most int64) int64 {
	s := p.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > most {
		p.fail(name, "Not a number from 0 to %d.", most)
		return 0
	}
	return n
}

func (p *params) flag(name string) bool {
	switch p.text(name) {
	case "", "false":
		return false
	case "true":
		return true
	}
	p.fail(name, "Write true or false.")
	return false
}

func (p *params) time(name string) time.Time {
	s := p.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		p.fail(name, "Not a time such as 2006-01-02T15:04:05Z.")
	}
	return t
}

// id reads an id into one of relay's id types.
func (p *params) id(name string) relay.ID {
	s := p.text(name)
	if s == "" {
		return relay.ID{}
	}
	id, err := relay.ParseID(s)
	if err != nil {
		p.fail(name, "Not an id of 22 characters.")
	}
	return id
}

// errNoSuchID is for ids that cannot be: they are absent like any other.
var errNoSuchID = errors.New("not an id")

// messageID reads the id in the path. A malformed one is as absent as an unknown.
func messageID(r *http.Request) (relay.MessageID, error) {
	id, err := relay.ParseID(r.PathValue("message"))
	if err != nil {
		return relay.MessageID{}, &relay.Error{Kind: relay.NotFound, Public: "There is no such message in the queue.", Err: errNoSuchID}
	}
	return relay.MessageID{ID: id}, nil
}

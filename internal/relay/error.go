package relay

import "errors"

// Kind classes an error by what the caller can do about it.
type Kind int

// The kinds. An error that carries none is Internal.
const (
	Internal        Kind = iota // a fault of ours; nothing of it is shown
	Invalid                     // the input is wrong
	Unauthenticated             // who are you?
	Forbidden                   // known, and not allowed
	NotFound                    // no such thing, or not yours
	Conflict                    // it clashes with what is there
	RateLimited                 // too much, too fast
	TooLarge                    // over a size limit
	Unavailable                 // cannot now; try again
)

var kindNames = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "not found", "conflict", "rate limited", "too large", "unavailable"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return "internal"
	}
	return kindNames[k]
}

// Error is a classed error. Public is safe to show to the person who caused it
// and says what to do; Err stays inside the process.
type Error struct {
	Kind   Kind
	Public string
	Field  string // the input member at fault, if one is
	Err    error
}

func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Public
	case e.Public == "":
		return e.Err.Error()
	}
	return e.Public + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost *Error in err's chain, Internal
// where there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// E makes a classed error with a public text.
func E(kind Kind, public string) error { return &Error{Kind: kind, Public: public} }

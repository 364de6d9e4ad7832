package store

import (
	"errors"
	"reflect"

	"postern/internal/relay"
)

// What two people may edit at once is swapped: whoever edits says what they have
// read, and nothing is stored unless it still stands so. Fields that have methods of
// their own (being switched off, being proven, what is known of use) are not compared
// and not written.

// ErrMeanwhile is in the error of a swap that came too late.
var ErrMeanwhile = errors.New("store: changed since it was read")

// meanwhile is a swap's relay.Conflict. what begins a sentence: "The key".
func meanwhile(what string) error {
	return &relay.Error{Kind: relay.Conflict, Public: what + " was changed at the same moment. Look at it again.", Err: ErrMeanwhile}
}

// unmoved is an error unless what is stored is what was read.
func unmoved[T any](what string, was, now T) error {
	if reflect.DeepEqual(was, now) {
		return nil
	}
	return meanwhile(what)
}

// maxAgain bounds how often an edit begins anew. Each time somebody else's edit has
// come through.
const maxAgain = 20

// Again does an edit that reads, judges and swaps, and does it anew where its swap
// comes too late: nobody who edits one setting has to hear that somebody else has
// edited another. After 20 times the error is the last one's.
func Again(edit func() error) error {
	var err error
	for range maxAgain {
		if err = edit(); !errors.Is(err, ErrMeanwhile) {
			return err
		}
	}
	return err
}

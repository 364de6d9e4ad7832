package export

import (
	"fmt"
	"net/http"
	"time"
)

// Refusal is a target's answer that it will not take the records of one request,
// however often it is asked.
type Refusal struct {
	// Records is how many the request had, from the first that was not taken on.
	Records int
	// Status is that of HTTP. 200: some of the records were rejected, others not.
	Status int
	// Judged: the answer is about what the records are, not about who sends them, or
	// where to, or how the target is.
	Judged bool
}

func (r *Refusal) Error() string {
	if r.Status == http.StatusOK {
		return "the target rejected some of the records"
	}
	return fmt.Sprintf("the target refused the records (HTTP %d)", r.Status)
}

// Later is a target's answer that it takes nothing now.
type Later struct {
	After time.Duration // from now on; 0: it did not say
	Err   error
}

func (l *Later) Error() string { return l.Err.Error() }
func (l *Later) Unwrap() error { return l.Err }

// judged reports whether a status of HTTP says something about the content of a
// request, and nothing else.
func judged(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity
}

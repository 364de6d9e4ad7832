package console

import "testing"

// Judging a password costs, and anybody may ask for it: no more than two are judged
// at once, and the rest is refused without any work (AC-02, AC-01).
func TestHintsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cookies = map[string]string{}
	for range hintsAtOnce {
		w.console.hints <- struct{}{}
	}
	const body = `{"password":"a password that is tried"}`
	if r := w.json("/password/hints", body); r.status != 429 {
		t.Errorf("one too many is answered %d %s", r.status, r.body)
	}
	<-w.console.hints
	for range 3 { // each gives its place back
		if r := w.json("/password/hints", body); r.status != 200 {
			t.Errorf("with a place free: %d %s", r.status, r.body)
		}
	}
}

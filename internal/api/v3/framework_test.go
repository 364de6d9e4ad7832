package v3

import "testing"

func TestUnknownPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.as(w.acme).refused("GET", "/v3/nothing", "", 404, "not found", "")
}

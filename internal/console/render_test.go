package console

import "testing"

// Pages are parsed when they are first shown: a fault in one must be found here.
func TestEveryPageParses(t *testing.T) {
	t.Parallel()
	views, err := parsed()
	if err != nil || len(views) < 40 {
		t.Fatalf("%d pages: %v", len(views), err)
	}
	for name, page := range views {
		if _, err := page(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

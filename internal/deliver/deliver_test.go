package deliver

import (
	"testing"

	"postern/internal/testkit/fakemx"
)

func TestDeliver(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{})
	r := w.request("example.test", "b", "c")
	r.Prefix = []byte("DKIM-Signature: v=1\r\n")
	want(t, w.deliver(r), "delivered 250 2.0.0 end", "delivered 250 2.0.0 end")
	got := mx.Complete()
	if len(got) != 1 || string(got[0].Body) != string(r.Prefix)+testMessage {
		t.Fatalf("the host took %+v", got)
	}
	if n := w.idle.len(); n != 1 {
		t.Errorf("%d idle sessions, want 1", n)
	}
}

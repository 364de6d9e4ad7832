package smtpclient

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/testkit/fakemx"
)

func TestSendDelivers(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{})
	s := open(t, mx)
	want(t, s.Send(t.Context(), message(testMessage, "b@example.test", "c@example.test")), "250 2.0.0 end", "250 2.0.0 end")
	s.Quit(t.Context())
	got := mx.Complete()
	if len(got) != 1 || string(got[0].Body) != testMessage {
		t.Fatalf("the host took %+v", got)
	}
	wantLines := []string{"EHLO client.example.test", "MAIL FROM:<a@example.test> SIZE=82", "RCPT TO:<b@example.test>", "RCPT TO:<c@example.test>", "DATA", "QUIT"}
	if diff := cmp.Diff(wantLines, mx.Lines(0)); diff != "" {
		t.Error(diff)
	}
}

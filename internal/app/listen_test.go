package app

import (
	"strings"
	"testing"
)

// Who cannot have a port is told how to find out why.
func TestTakenPortSaysHowToFindTheOther(t *testing.T) {
	t.Parallel()
	first, err := listenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := listenTCP(first.Addr().String()); err == nil || !strings.Contains(err.Error(), `"ss -ltnp" says which program has it`) {
		t.Errorf("got %v", err)
	}
}

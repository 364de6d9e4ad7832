package v3

import (
	"encoding/json"
	"strconv"
	"testing"

	"postern/internal/store"
)

// by is somebody for changes that tests make past the API.
func by(who string) store.By { return store.By{Who: who, From: "test"} }

// decode reads an answer's body.
func decode[T any](t testing.TB, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return v
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

package v3

import (
	"encoding/json"
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

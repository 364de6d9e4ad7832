package v3

import "postern/internal/store"

// by is somebody for changes that tests make past the API.
func by(who string) store.By { return store.By{Who: who, From: "test"} }

package v3

// CoreServices is what keys, scopes and the user's own settings need.
type CoreServices struct{}

var coreRoutes []Route

package v3

// MailServices is what handing in mail needs.
type MailServices struct{}

var mailRoutes []Route

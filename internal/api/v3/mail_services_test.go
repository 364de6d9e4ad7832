package v3

import (
	"postern/internal/auth"
	"postern/internal/identity"
	"postern/internal/submit"
)

// The services themselves are what handing in mail needs.
var (
	_ Submission      = (*submit.Service)(nil)
	_ SenderDirectory = (*identity.Directory)(nil)
	_ Rechecker       = (*auth.Authenticator)(nil)
)

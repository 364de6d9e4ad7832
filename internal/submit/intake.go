package submit

import (
	"context"

	"postern/internal/relay"
	"postern/internal/smtp"
)

// IntakeConfig sets an Intake up.
type IntakeConfig struct {
	Service    *Service
	Notifier   *Notifier
	History    History
	Contact    string
	MaxMessage int64
	PerMinute  int
}

// History finds what is recorded of messages.
type History interface {
	MessageHistory(ctx context.Context, id relay.MessageID) ([]relay.Event, error)
}

// Intake takes mail without login.
type Intake struct{ cfg IntakeConfig }

// NewIntake makes an Intake.
func NewIntake(c IntakeConfig) *Intake { return &Intake{cfg: c} }

// Route is where a recipient of intake leads.
type Route struct{}

// Mail judges a sender.
func (i *Intake) Mail(from smtp.Address) error { return nil }

// Route judges a recipient.
func (i *Intake) Route(to smtp.Address) (Route, error) {
	return Route{}, smtp.R(550, 5, 7, 1, "Unauthenticated senders not allowed")
}

// Returned is mail being taken in.
type Returned struct{}

// Begin starts one.
func (i *Intake) Begin(env Envelope, routes []Route) (*Returned, error) {
	return nil, smtp.R(550, 5, 7, 1, "Unauthenticated senders not allowed")
}

// Write implements smtpserver.Body.
func (r *Returned) Write(p []byte) (int, error) { return len(p), nil }

// Commit implements smtpserver.Body.
func (r *Returned) Commit(context.Context) (smtp.Reply, error) { return smtp.Reply{}, nil }

// Abort implements smtpserver.Body.
func (r *Returned) Abort() {}

package v3

import (
	"context"
	"net/http"
	"slices"
	"time"

	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// PeopleServices is what the routes about people need.
type PeopleServices struct {
	People People
	Users  Users
	// LinkWarning says what is wrong with where the links lead that are mailed or
	// shown; nil or "": nothing is.
	LinkWarning func() string
}

// People invites, and keeps what people have at issuers; *people.Service is one.
type People interface {
	// Invite makes a link of the person to be and mails it.
	Invite(ctx context.Context, by store.By, l relay.Link) (relay.Link, secret.Redacted, error)
	// Resend mails a new link for an invitation; the old one ends.
	Resend(ctx context.Context, by store.By, l relay.Link) (relay.Link, secret.Redacted, error)
	Withdraw(ctx context.Context, by store.By, l relay.Link) error
	// Setup makes a link by which the first owner of an account sets themselves up.
	// The URL has its token.
	Setup(ctx context.Context, by store.By, account relay.AccountID, email string) (url string, err error)
	// SignOns are a person's identities at issuers of single sign-on; those without an
	// ID could be linked, and are not.
	SignOns(ctx context.Context, u *relay.User) ([]people.SignOn, error)
	// RemoveSignOnOf takes one away from somebody who has been judged as they were
	// read. relay.Conflict: it stays, or they have another grant now.
	RemoveSignOnOf(ctx context.Context, by store.By, u *relay.User, id string) error
	// SendReset mails a person a link to a new password. relay.Conflict says why it
	// does not.
	SendReset(ctx context.Context, by store.By, email string) error
	// Invited is who invited somebody, in words.
	Invited(u *relay.User) string
	// SignsOn reports whether an issuer of single sign-on is set up for the account of a
	// name, whichever that is.
	SignsOn(account string) bool
}

// Users keeps people; *store.Store is one. Absent ones are relay.NotFound; what
// would leave an account without an owner is relay.Conflict, and so is what was
// decided on a grant that the person does not have any more.
type Users interface {
	// Users are those of an account and of its subusers.
	Users(ctx context.Context, account relay.AccountID) ([]relay.User, error)
	// UserNamed finds a person by username or email.
	UserNamed(ctx context.Context, name string) (relay.User, error)
	SetGrant(ctx context.Context, by store.By, id relay.UserID, was, to store.Grant) error
	SetUserName(ctx context.Context, by store.By, id relay.UserID, first, last string) error
	SetUserDisabled(ctx context.Context, by store.By, id relay.UserID, at time.Time, seen ...store.Grant) error
	DeleteUser(ctx context.Context, by store.By, id relay.UserID, at time.Time, seen ...store.Grant) error
	ResetFactors(ctx context.Context, by store.By, id relay.UserID, seen ...store.Grant) error
	Sessions(ctx context.Context, user relay.UserID) ([]relay.Session, error)
	EndSession(ctx context.Context, by store.By, user relay.UserID, id relay.SessionID) error
	EndSessions(ctx context.Context, by store.By, user relay.UserID, keep relay.SessionID) (int, error)
	// Links are an account's that were not used, its subusers' too.
	Links(ctx context.Context, account relay.AccountID, kinds ...relay.LinkKind) ([]relay.Link, error)
}

const (
	pathTeammates = "/v3/teammates"
	pathTeammate  = pathTeammates + "/{username}"
	pathPending   = pathTeammates + "/pending"
	pathInvite    = pathPending + "/{token}"

	scopePeopleRead   = "teammates.read"
	scopePeopleMake   = "teammates.create"
	scopePeopleChange = "teammates.update"
	scopePeopleDelete = "teammates.delete"
)

// peopleRoutes are all routes about people.
var peopleRoutes = slices.Concat(teammateRoutes, ssoRoutes, setupRoutes)

// teammateRoutes are SendGrid's, with roles, factors, sessions and the switch.
// Every person belongs to one tenant: the routes are about those of the caller's,
// or of the subuser that is acted for.
var teammateRoutes = []Route{
	{
		Method: http.MethodGet, Pattern: pathTeammates, Scope: scopePeopleRead, Summary: "List the people, by username",
		Query:   append([]Param{{Name: "subusers", Type: "boolean", Doc: "those of all subusers too; needs the scope " + scopeBehalf}}, paging...),
		Answers: map[int]any{200: teammateList{}}, Handler: (*API).listTeammates,
	},
	{
		Method: http.MethodPost, Pattern: pathTeammates, Scope: scopePeopleMake, StepUp: true,
		Summary: "Invite a person; nobody can give more than they have, and only an owner makes owners",
		Body:    invitation{}, Answers: map[int]any{201: invited{}}, Handler: (*API).inviteTeammate,
	},
	{
		Method: http.MethodGet, Pattern: pathPending, Scope: scopePeopleRead, Summary: "List the invitations that wait",
		Answers: map[int]any{200: pendingList{}}, Handler: (*API).listPending,
	},
	{
		Method: http.MethodDelete, Pattern: pathInvite, Scope: scopePeopleDelete, StepUp: true, Summary: "Withdraw an invitation",
		Answers: map[int]any{204: nil}, Handler: (*API).withdrawInvite,
	},
	{
		Method: http.MethodPost, Pattern: pathInvite + "/resend", Scope: scopePeopleMake, StepUp: true, Summary: "Mail a new link for an invitation; the old one ends",
		Answers: map[int]any{200: invited{}}, Handler: (*API).resendInvite,
	},
	{
		Method: http.MethodGet, Pattern: pathTeammate, Scope: scopePeopleRead, Summary: "Show a person, by username or email",
		Answers: map[int]any{200: teammateWhole{}}, Handler: (*API).showTeammate,
	},
	{
		Method: http.MethodPatch, Pattern: pathTeammate, Scope: scopePeopleChange, StepUp: true, Summary: "Change what a person may do; nobody changes that of their own",
		Body: teammatePatch{}, Answers: map[int]any{200: teammateView{}}, Handler: (*API).patchTeammate,
	},
	{
		Method: http.MethodDelete, Pattern: pathTeammate, Scope: scopePeopleDelete, StepUp: true, Summary: "Delete a person; their sessions end",
		Answers: map[int]any{204: nil}, Handler: (*API).deleteTeammate,
	},
	{
		Method: http.MethodPost, Pattern: pathTeammate + "/disable", Scope: scopePeopleChange, StepUp: true, Summary: "Shut a person out; their sessions end",
		Answers: map[int]any{200: teammateView{}}, Handler: (*API).disableTeammate,
	},
	{
		Method: http.MethodPost, Pattern: pathTeammate + "/enable", Scope: scopePeopleChange, StepUp: true, Summary: "Let a person in again",
		Answers: map[int]any{200: teammateView{}}, Handler: (*API).enableTeammate,
	},
	{
		Method: http.MethodPost, Pattern: pathTeammate + "/reset_factors", Scope: scopePeopleChange, StepUp: true,
		Summary: "Take a person's second factors and recovery codes away, because they are lost; sessions end, and the next login sets up new ones",
		Answers: map[int]any{200: teammateView{}}, Handler: (*API).resetTeammateFactors,
	},
	{
		Method: http.MethodPost, Pattern: pathTeammate + "/reset_password", Scope: scopePeopleChange, StepUp: true,
		Summary: "Mail a person a link to a new password; the second factor stays",
		Answers: map[int]any{202: nil}, Handler: (*API).resetTeammatePassword,
	},
	{
		Method: http.MethodGet, Pattern: pathTeammate + "/sessions", Scope: scopePeopleRead, Summary: "List where a person is logged in",
		Answers: map[int]any{200: sessionList{}}, Handler: (*API).listTeammateSessions,
	},
	{
		Method: http.MethodPost, Pattern: pathTeammate + "/end_sessions", Scope: scopePeopleChange, StepUp: true, Summary: "End a person's sessions, but not the one that asks",
		Answers: map[int]any{204: nil}, Handler: (*API).endTeammateSessions,
	},
	{
		Method: http.MethodDelete, Pattern: pathTeammate + "/sessions/{id}", Scope: scopePeopleChange, StepUp: true, Summary: "End one session of a person",
		Answers: map[int]any{204: nil}, Handler: (*API).endTeammateSession,
	},
	{
		Method: http.MethodDelete, Pattern: pathTeammate + "/single_sign_on/{id}", Scope: scopePeopleChange, StepUp: true,
		Summary: "Unlink single sign-on from a person; their sessions end. What brought them, or is their last way in, stays",
		Answers: map[int]any{204: nil}, Handler: (*API).removeTeammateSignOn,
	},
	{
		Method: http.MethodGet, Pattern: pathTeammates + "/{teammate_name}/subuser_access", Scope: scopePeopleRead, ParentOnly: true,
		Summary: "List the subusers that a person may act for",
		Query: []Param{
			{Name: "limit", Type: "integer", Doc: "1 to 100, which is usual"},
			{Name: "after_subuser_id", Type: "integer", Doc: "pass over those up to this id"},
			{Name: "username", Type: "string", Doc: "only subusers whose name begins so"},
		},
		Answers: map[int]any{200: accessOfTeammate{}}, Handler: (*API).listTeammateAccess,
	},
}

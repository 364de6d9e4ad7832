package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// personView is what the API says of a person, or of one who was invited.
type personView struct {
	Username     string    `json:"username"`
	Email        string    `json:"email"`
	FirstName    string    `json:"first_name"`
	LastName     string    `json:"last_name"`
	Role         string    `json:"role"`
	Scopes       []string  `json:"scopes"`
	SecondFactor bool      `json:"second_factor"`
	TOTP         bool      `json:"totp"`
	Passkeys     int       `json:"passkeys"`
	Codes        int       `json:"recovery_codes"`
	LastSeenAt   time.Time `json:"last_seen_at"`
	LastSeenFrom string    `json:"last_seen_from"`
	Disabled     bool      `json:"disabled"`
	Restricted   bool      `json:"restricted"`
	Subusers     []string  `json:"subusers"`

	SignOns []signOnView `json:"single_sign_on"` // of one person only
}

// signOnView is single sign-on that is linked to a person.
type signOnView struct {
	ID     string `json:"id"`
	Issuer string `json:"issuer"`
	Live   bool   `json:"live"`
}

// linkMade is what the API says besides, where it made or mailed a link.
type linkMade struct {
	Warnings []string `json:"warnings"`
}

func (p *personView) factors() string {
	var all []string
	if p.TOTP {
		all = append(all, "app")
	}
	if p.Passkeys > 0 {
		all = append(all, counted(p.Passkeys, "passkey", "passkeys"))
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// signOns are what is linked to the person, with the ids that unlink it.
func (p *personView) signOns() string {
	var all []string
	for _, s := range p.SignOns {
		text := s.Issuer + " (" + s.ID + ")"
		if !s.Live {
			text += ", which lets nobody in any more"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// scopes are those of a custom role. Another role's are in docs/people.md, and
// too many to read; --json has them.
func (p *personView) scopes() string {
	if p.Role != "custom" {
		return ""
	}
	return strings.Join(p.Scopes, " ")
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// pendingView is an invitation that was not accepted yet.
type pendingView struct {
	Email   string `json:"email"`
	Token   string `json:"token"`
	Role    string `json:"role"`
	Expires int64  `json:"expiration_date"`
}

func (c *cli) userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "People: who logs in to the console, and as what"}
	w := &whose{}
	w.flags(cmd)
	person := func(name string) string { return "/v3/teammates" + segment(name) }
	do := func(use, short, method, verb, done string) *cobra.Command {
		return c.tenantCommand(w, use+" NAME", short, cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
			if _, _, err := call[json.RawMessage](ctx, cl, method, person(args[0])+verb, nil, nil); err != nil {
				return noPerson(err, args[0])
			}
			return c.say(fmt.Sprintf(done, args[0]))
		})
	}
	cmd.AddCommand(
		c.userList(w), c.userShow(w), c.userInvite(w), c.userRole(w), c.userSetup(w), c.userSessions(w), c.userUnlink(w),
		c.tenantCommand(w, "withdraw EMAIL", "Take an invitation back", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
			return c.invitation(ctx, cl, args[0], http.MethodDelete, "", "The invitation of %s is void.")
		}),
		c.tenantCommand(w, "resend EMAIL", "Mail an invitation again with a new link; the old one ends", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
			return c.invitation(ctx, cl, args[0], http.MethodPost, "/resend", "A new invitation was mailed to %s.")
		}),
		do("disable", "Let a person in no more; their sessions end", http.MethodPost, "/disable", "%s cannot log in any more."),
		do("enable", "Let a person in again", http.MethodPost, "/enable", "%s can log in again."),
		do("remove", "Delete a person; their records stay", http.MethodDelete, "", "%s is deleted."),
		do("reset-factors", "Take away a person's second factors and sessions: they set up new ones at their next login", http.MethodPost, "/reset_factors",
			"%s has no second factor any more and sets one up at the next login."),
		do("reset-password", "Mail a person a link to a new password", http.MethodPost, "/reset_password", "A link was mailed to %s."),
	)
	group(cmd)
	return cmd
}

// noPerson names whom the server does not know.
func noPerson(err error, name string) error {
	if statusOf(err) == http.StatusNotFound {
		return &apiError{http.StatusNotFound, "there is nobody called " + strconv.Quote(name) + " (postern user list)"}
	}
	return err
}

func (c *cli) userList(w *whose) *cobra.Command {
	return c.tenantCommand(w, "list", "List people and open invitations", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		type all struct {
			People  []json.RawMessage `json:"people"`
			Invited []json.RawMessage `json:"invited"`
		}
		var out all
		err := c.atEveryAccount(ctx, cl, func(string) error {
			people, err := peoplePages(ctx, cl)
			if err != nil {
				return err
			}
			pending, _, err := call[results[json.RawMessage]](ctx, cl, http.MethodGet, "/v3/teammates/pending", nil, nil)
			out.People, out.Invited = append(out.People, people...), append(out.Invited, pending.Result...)
			return err
		})
		if err != nil {
			return err
		}
		if c.json {
			return c.printValue(out)
		}
		t := newTable(c.out, "NAME", "EMAIL", "ROLE", "SECOND FACTOR", "LAST SEEN", "STATE")
		for _, text := range out.People {
			var p personView
			if err := json.Unmarshal(text, &p); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
			state := "active"
			if p.Disabled {
				state = "disabled"
			}
			t.row(p.Username, p.Email, p.Role, p.factors(), p.LastSeenAt, state)
		}
		for _, text := range out.Invited {
			var p pendingView
			if err := json.Unmarshal(text, &p); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
			t.row("", p.Email, p.Role, "", "", "invited until "+time.Unix(p.Expires, 0).UTC().Format(time.DateOnly))
		}
		return t.end()
	})
}

// peoplePages reads all people of a tenant.
func peoplePages(ctx context.Context, cl *client) (all []json.RawMessage, err error) {
	const most = 500
	for {
		page, _, err := call[results[json.RawMessage]](ctx, cl, http.MethodGet, "/v3/teammates",
			url.Values{"limit": {strconv.Itoa(most)}, "offset": {strconv.Itoa(len(all))}}, nil)
		if err != nil {
			return nil, err
		}
		if all = append(all, page.Result...); len(page.Result) < most {
			return all, nil
		}
	}
}

func (c *cli) userShow(w *whose) *cobra.Command {
	return c.tenantCommand(w, "show NAME", "Show a person", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		p, text, err := call[personView](ctx, cl, http.MethodGet, "/v3/teammates"+segment(args[0]), nil, nil)
		if err != nil {
			return noPerson(err, args[0])
		}
		return answer(c, p, text, func(p personView) error {
			return pairs(c.out, "name", p.Username, "email", p.Email, "first name", p.FirstName, "last name", p.LastName, "role", p.Role, "scopes", p.scopes(),
				"subusers", strings.Join(p.Subusers, " "), "second factor", p.factors(), "recovery codes left", p.Codes, "single sign-on", p.signOns(), "last seen", p.LastSeenAt, "from", p.LastSeenFrom, "disabled", p.Disabled)
		})
	})
}

func (c *cli) userInvite(w *whose) *cobra.Command {
	var role string
	var scopes, subusers []string
	cmd := c.tenantCommand(w, "invite EMAIL", "Mail somebody a link to become a person of the account", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		in := patch{"email": args[0], "role": role, "is_admin": role == "admin" || role == "owner", "scopes": scopes}
		if len(scopes) > 0 {
			in["role"] = "custom"
		}
		if len(subusers) > 0 {
			in["restricted"], in["subusers"] = true, subusers
		}
		made, _, err := call[linkMade](ctx, cl, http.MethodPost, "/v3/teammates", nil, in)
		if err != nil {
			return err
		}
		c.warn(made.Warnings)
		return c.say("An invitation was mailed to " + args[0] + ". It is good for 7 days.")
	})
	cmd.Flags().StringVar(&role, "role", "developer", "owner, admin, developer or auditor")
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "scopes, in place of a role's")
	cmd.Flags().StringSliceVar(&subusers, "only-subuser", nil, "sees these subusers only, and nothing of the account itself")
	return cmd
}

func (c *cli) userRole(w *whose) *cobra.Command {
	var scopes []string
	cmd := c.tenantCommand(w, "role NAME [ROLE]", "Give a person another role; their sessions end", cobra.RangeArgs(1, 2), func(ctx context.Context, cl *client, args []string) error {
		in := patch{"scopes": scopes, "is_admin": false}
		switch {
		case len(args) == 2 && len(scopes) == 0:
			in["role"], in["is_admin"] = args[1], args[1] == "admin" || args[1] == "owner"
		case len(args) == 1 && len(scopes) > 0:
			in["role"] = "custom"
		default:
			return usageError("role: name a role, or scopes with --scope")
		}
		p, _, err := call[personView](ctx, cl, http.MethodPatch, "/v3/teammates"+segment(args[0]), nil, in)
		if err != nil {
			return noPerson(err, args[0])
		}
		return c.say(p.Username + " is " + p.Role + " now.")
	})
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "scopes, in place of a role's")
	return cmd
}

// userSetup makes the way in for the first owner, or for one who has lost all.
func (c *cli) userSetup(w *whose) *cobra.Command {
	return c.tenantCommand(w, "setup EMAIL", "Make a one-time link by which a new owner sets up their login (on the host only)", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		link, text, err := call[struct {
			URL       string    `json:"url"`
			ExpiresAt time.Time `json:"expires_at"`
			linkMade
		}](ctx, cl, http.MethodPost, "/v3/teammates/setup", nil, patch{"email": args[0]})
		if statusOf(err) != 0 && strings.Contains(err.Error(), "already") {
			return fmt.Errorf("%w (the link is for somebody new; who is there already: postern user list, reset-password, reset-factors)", err)
		}
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(text) // the warnings are in it
		}
		c.warn(link.Warnings)
		return pairs(c.out, "link", link.URL, "good until", link.ExpiresAt)
	})
}

func (c *cli) userSessions(w *whose) *cobra.Command {
	var end string
	var all bool
	cmd := c.tenantCommand(w, "sessions NAME", "Show where a person is logged in, or end that", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		person := "/v3/teammates" + segment(args[0])
		if all || end != "" {
			method, path := http.MethodPost, person+"/end_sessions"
			if !all {
				method, path = http.MethodDelete, person+"/sessions"+segment(end)
			}
			if _, _, err := call[json.RawMessage](ctx, cl, method, path, nil, nil); err != nil {
				return err
			}
			return c.say("Ended.")
		}
		type sessionView struct {
			ID     string    `json:"id"`
			Method string    `json:"method"`
			Addr   string    `json:"addr"`
			Agent  string    `json:"user_agent"`
			SeenAt time.Time `json:"last_seen_at"`
		}
		list, text, err := call[results[sessionView]](ctx, cl, http.MethodGet, person+"/sessions", nil, nil)
		if err != nil {
			return noPerson(err, args[0])
		}
		if c.json {
			return c.printJSON(text)
		}
		t := newTable(c.out, "ID", "FROM", "LAST SEEN", "BY", "BROWSER")
		for _, s := range list.Result {
			t.row(s.ID, s.Addr, s.SeenAt, s.Method, s.Agent)
		}
		return t.end()
	})
	cmd.Flags().StringVar(&end, "end", "", "end the session of this id")
	cmd.Flags().BoolVar(&all, "end-all", false, "end all of them")
	return cmd
}

// userUnlink takes single sign-on away by its id, as "show" has it.
func (c *cli) userUnlink(w *whose) *cobra.Command {
	return c.tenantCommand(w, "unlink NAME ID", "Unlink single sign-on from a person, by the id that show tells; their sessions end", cobra.ExactArgs(2), func(ctx context.Context, cl *client, args []string) error {
		path := "/v3/teammates" + segment(args[0]) + "/single_sign_on" + segment(args[1])
		_, _, err := call[json.RawMessage](ctx, cl, http.MethodDelete, path, nil, nil)
		if statusOf(err) == http.StatusNotFound {
			return &apiError{http.StatusNotFound, "nobody called " + strconv.Quote(args[0]) + " has single sign-on with the id " + strconv.Quote(args[1]) + " (postern user show " + args[0] + ")"}
		}
		if err != nil {
			return err
		}
		return c.say("Unlinked from " + args[0] + ", who is logged out everywhere.")
	})
}

// invitation does something to the open invitation of an address.
func (c *cli) invitation(ctx context.Context, cl *client, email, method, verb, done string) error {
	pending, _, err := call[results[pendingView]](ctx, cl, http.MethodGet, "/v3/teammates/pending", nil, nil)
	if err != nil {
		return err
	}
	for _, p := range pending.Result {
		if strings.EqualFold(p.Email, email) {
			made, _, err := call[linkMade](ctx, cl, method, "/v3/teammates/pending"+segment(p.Token)+verb, nil, nil)
			if err != nil {
				return err
			}
			c.warn(made.Warnings)
			return c.say(fmt.Sprintf(done, email))
		}
	}
	return &apiError{http.StatusNotFound, "there is no open invitation of " + strconv.Quote(email)}
}

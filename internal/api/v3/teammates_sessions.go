package v3

import (
	"net/http"
	"net/netip"
	"time"

	"postern/internal/relay"
)

type sessionList struct {
	Result []sessionView `json:"result"`
}

type sessionView struct {
	ID        relay.SessionID    `json:"id"`
	Level     relay.SessionLevel `json:"level" doc:"full, or how far the login has come"`
	Method    string             `json:"method"`
	Addr      netip.Addr         `json:"addr"`
	Agent     string             `json:"user_agent"`
	CreatedAt time.Time          `json:"created_at"`
	SeenAt    time.Time          `json:"last_seen_at"`
	ExpiresAt time.Time          `json:"expires_at"`
	Current   bool               `json:"current" doc:"it is the one that asks"`
}

func (a *API) listTeammateSessions(c *Call) error {
	u, err := a.teammate(c, c.R.PathValue("username"))
	if err != nil {
		return err
	}
	sessions, err := a.Users.Sessions(c.R.Context(), u.ID)
	if err != nil {
		return err
	}
	out := sessionList{Result: []sessionView{}}
	for _, s := range sessions {
		if !c.Now.Before(s.ExpiresAt) {
			continue
		}
		out.Result = append(out.Result, sessionView{
			ID: s.ID, Level: s.Level, Method: s.Method, Addr: s.Addr, Agent: printable(s.Agent, 255), CreatedAt: s.CreatedAt,
			SeenAt: s.SeenAt, ExpiresAt: s.ExpiresAt, Current: c.isSelf(&u) && c.Principal.Session == s.ID,
		})
	}
	return c.JSON(http.StatusOK, out)
}

// endTeammateSessions ends all of them; of one's own the one that asks stays.
func (a *API) endTeammateSessions(c *Call) error {
	u, err := a.teammate(c, c.R.PathValue("username"))
	if err != nil {
		return err
	}
	if err := c.mayTouch(&u); err != nil {
		return err
	}
	var keep relay.SessionID
	if c.isSelf(&u) {
		keep = c.Principal.Session
	}
	if _, err := a.Users.EndSessions(c.R.Context(), c.By, u.ID, keep); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) endTeammateSession(c *Call) error {
	u, err := a.teammate(c, c.R.PathValue("username"))
	if err != nil {
		return err
	}
	if err := c.mayTouch(&u); err != nil {
		return err
	}
	id, err := relay.ParseID(c.R.PathValue("id"))
	if err != nil {
		return notFound()
	}
	if err := a.Users.EndSession(c.R.Context(), c.By, u.ID, relay.SessionID{ID: id}); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

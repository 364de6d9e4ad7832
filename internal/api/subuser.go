package api

import (
	"context"
	"net/http"
	"slices"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// NewSubuser is a request for a subuser.
type NewSubuser struct {
	Account string `json:"account"` // id or name; "" where there is only one
	Name    string `json:"name"`
	Email   string `json:"email"`
	Pool    string `json:"default_pool"`
}

func (a *admin) listSubusers(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	ref := q.text("account")
	if err := q.end(); err != nil {
		return err
	}
	all, err := a.Subusers.Subusers(r.Context())
	if err != nil {
		return err
	}
	if ref != "" {
		account, err := a.account(r.Context(), "account", ref)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(s relay.Subuser) bool { return s.Account != account.ID })
	}
	return reply(w, listOf(all))
}

func (a *admin) addSubuser(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in NewSubuser
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	account, err := a.account(r.Context(), "account", in.Account)
	if err != nil {
		return err
	}
	if err := checkName("name", in.Name); err != nil {
		return err
	}
	if in.Email != "" {
		if err := checkEmail("email", in.Email); err != nil {
			return err
		}
	}
	now := a.Now().UTC()
	s := relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(now)}, Account: account.ID, Name: in.Name, Email: in.Email, CreatedAt: now}
	if in.Pool != "" {
		pool, err := a.pool(r.Context(), "default_pool", in.Pool, account.ID)
		if err != nil {
			return err
		}
		s.DefaultPool = pool.ID
	}
	if err := a.Subusers.CreateSubuser(r.Context(), who, s); err != nil {
		return err
	}
	return created(w, s)
}

func (a *admin) showSubuser(w http.ResponseWriter, r *http.Request) error {
	s, err := a.subuser(r.Context(), "subuser", r.PathValue("subuser"))
	if err != nil {
		return err
	}
	return reply(w, s)
}

func (a *admin) switchSubuser(w http.ResponseWriter, r *http.Request) error {
	disabled, err := onOff(r)
	if err != nil {
		return err
	}
	who, err := by(r)
	if err != nil {
		return err
	}
	s, err := a.subuser(r.Context(), "subuser", r.PathValue("subuser"))
	if err != nil {
		return err
	}
	if err := a.Subusers.SetSubuserDisabled(r.Context(), who, s.ID, disabled); err != nil {
		return err
	}
	return a.showSubuser(w, r)
}

// subuser finds a subuser by id or name; names are unique in the installation.
func (a *admin) subuser(ctx context.Context, field, ref string) (relay.Subuser, error) {
	all, err := a.Subusers.Subusers(ctx)
	if err != nil {
		return relay.Subuser{}, err
	}
	for _, x := range all {
		if x.ID.String() == ref || x.Name == ref {
			return x, nil
		}
	}
	return relay.Subuser{}, notFound(field, "subuser", ref)
}

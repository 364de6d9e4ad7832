package api

import (
	"context"
	"net/http"
	"slices"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// NewAccount is a request for an account.
type NewAccount struct {
	Name       string `json:"name"`
	OwnerEmail string `json:"owner_email"`
	TimeZone   string `json:"time_zone"` // IANA name; "" is UTC
	TLS        string `json:"tls"`
	Pool       string `json:"default_pool"` // id or name of a pool; "" is the shared one
}

// Check says what is wrong with the request's own members; the pool is looked up
// when the account is made.
func (in *NewAccount) Check() error {
	if err := checkName("name", in.Name); err != nil {
		return err
	}
	if err := checkEmail("owner_email", in.OwnerEmail); err != nil {
		return err
	}
	if in.TimeZone != "" {
		if err := timeZone("time_zone", in.TimeZone); err != nil {
			return err
		}
	}
	_, err := tlsLevel("tls", in.TLS)
	return err
}

func (a *admin) listAccounts(w http.ResponseWriter, r *http.Request) error {
	accounts, err := a.Accounts.Accounts(r.Context())
	if err != nil {
		return err
	}
	return reply(w, listOf(accounts))
}

func (a *admin) addAccount(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in NewAccount
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	if err := in.Check(); err != nil {
		return err
	}
	now := a.Now().UTC()
	account := relay.Account{
		ID: relay.AccountID{ID: relay.NewID(now)}, Name: in.Name, OwnerEmail: in.OwnerEmail, TimeZone: in.TimeZone, CreatedAt: now,
	}
	if account.TimeZone == "" {
		account.TimeZone = "UTC"
	}
	account.TLS, _ = tlsLevel("tls", in.TLS) // checked above
	if in.Pool != "" {
		pool, err := a.pool(r.Context(), "default_pool", in.Pool, relay.AccountID{})
		if err != nil {
			return err
		}
		account.DefaultPool = pool.ID
	}
	if err := a.Accounts.CreateAccount(r.Context(), who, account); err != nil {
		return err
	}
	return created(w, account)
}

func (a *admin) showAccount(w http.ResponseWriter, r *http.Request) error {
	account, err := a.account(r.Context(), "account", r.PathValue("account"))
	if err != nil {
		return err
	}
	return reply(w, account)
}

func (a *admin) switchAccount(w http.ResponseWriter, r *http.Request) error {
	disabled, err := onOff(r)
	if err != nil {
		return err
	}
	who, err := by(r)
	if err != nil {
		return err
	}
	account, err := a.account(r.Context(), "account", r.PathValue("account"))
	if err != nil {
		return err
	}
	if account.System {
		return relay.E(relay.Conflict, "This account sends postern's own mail; it cannot be switched off.")
	}
	if err := a.Accounts.SetAccountDisabled(r.Context(), who, account.ID, disabled); err != nil {
		return err
	}
	return a.showAccount(w, r)
}

// account finds an account by id or name. An empty name means the only account
// that there is besides the system's.
func (a *admin) account(ctx context.Context, field, ref string) (relay.Account, error) {
	all, err := a.Accounts.Accounts(ctx)
	if err != nil {
		return relay.Account{}, err
	}
	if ref == "" {
		all = slices.DeleteFunc(all, func(x relay.Account) bool { return x.System })
		if len(all) == 1 {
			return all[0], nil
		}
		return relay.Account{}, invalid(field, "There are %d accounts; name one.", len(all))
	}
	for _, x := range all {
		if x.ID.String() == ref || x.Name == ref {
			return x, nil
		}
	}
	return relay.Account{}, notFound(field, "account", ref)
}

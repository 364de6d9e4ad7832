package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

// NewKey is a request for a key. Everything but Name narrows what it may do.
type NewKey struct {
	Account          string   `json:"account"` // id or name; "" where there is only one, or the subuser's
	Subuser          string   `json:"subuser"` // id or name; "": the account itself
	Name             string   `json:"name"`
	Scopes           []string `json:"scopes"` // empty: mail.send
	Mode             string   `json:"mode"`   // live (also ""), test or hold
	Networks         []string `json:"networks"`
	Senders          []string `json:"senders"`
	RecipientDomains []string `json:"recipient_domains"`
	Canary           bool     `json:"canary"`
	ExpiresAt        string   `json:"expires_at"` // RFC 3339; "": never
}

// CreatedKey is the one answer that has the key itself.
type CreatedKey struct {
	relay.Key
	APIKey string `json:"api_key"`
}

// The most that a key's lists and counts hold.
const (
	maxEntries = 1000
	maxCount   = 1_000_000_000
)

// servedScopes are the scopes that this version acts on. One that does nothing
// is refused: it would be a typing error that looks like a permission.
var servedScopes = []string{relay.ScopeMailSend}

// GenerateKey makes a key of an account or one of its subusers as a request
// describes it. Who it belongs to is in t; the request's Account and Subuser are
// not looked at.
func GenerateKey(in NewKey, t relay.Tenant, prefix string, now time.Time) (CreatedKey, error) {
	key, err := in.key(now)
	if err != nil {
		return CreatedKey{}, err
	}
	generated, err := secret.GenerateKey(prefix)
	if err != nil {
		return CreatedKey{}, fmt.Errorf("generate key: %w", err)
	}
	verifier, err := secret.NewVerifier(generated)
	if err != nil {
		return CreatedKey{}, fmt.Errorf("generate key: %w", err)
	}
	key.ID, key.Verifier = relay.KeyID{ID: generated.ID}, relay.Verifier(verifier)
	key.Account, key.Subuser, key.CreatedAt = t.Account, t.Subuser, now
	return CreatedKey{Key: key, APIKey: generated.Text().Reveal()}, nil
}

// key checks the request and brings it into the stored form.
func (in *NewKey) key(now time.Time) (relay.Key, error) {
	k := relay.Key{
		Name: in.Name, Scopes: in.Scopes, Mode: relay.KeyMode(in.Mode), Canary: in.Canary,
	}
	if err := checkName("name", in.Name); err != nil {
		return k, err
	}
	if len(k.Scopes) == 0 {
		k.Scopes = []string{relay.ScopeMailSend}
	}
	for i, s := range k.Scopes {
		if !slices.Contains(servedScopes, s) {
			return k, invalid("scopes."+strconv.Itoa(i), "There is no scope %q; this version has %v.", s, servedScopes)
		}
	}
	switch k.Mode {
	case "":
		k.Mode = relay.KeyLive
	case relay.KeyLive, relay.KeyTest, relay.KeyHold:
	default:
		return k, invalid("mode", "The mode must be live, test or hold.")
	}
	if in.ExpiresAt != "" {
		t, err := time.Parse(time.RFC3339, in.ExpiresAt)
		if err != nil || !t.After(now) {
			return k, invalid("expires_at", "Give a time to come, such as %s.", now.AddDate(1, 0, 0).Format(time.RFC3339))
		}
		k.ExpiresAt = t.UTC()
	}
	return k, in.lists(&k)
}

func (in *NewKey) lists(k *relay.Key) (err error) {
	if k.Networks, err = each("networks", in.Networks, network); err != nil {
		return err
	}
	if k.Senders, err = each("senders", in.Senders, senderEntry); err != nil {
		return err
	}
	k.RecipientDomains, err = each("recipient_domains", in.RecipientDomains, domainName)
	return err
}

// each checks a list's elements, naming the one at fault.
func each[T any](field string, in []string, check func(field, s string) (T, error)) ([]T, error) {
	if len(in) > maxEntries {
		return nil, invalid(field, "More than %d entries.", maxEntries)
	}
	var out []T
	for i, s := range in {
		v, err := check(field+"."+strconv.Itoa(i), s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (a *admin) listKeys(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	accountRef, subuserRef, all := q.text("account"), q.text("subuser"), q.flag("all")
	if err := q.end(); err != nil {
		return err
	}
	keys, err := a.Keys.Keys(r.Context())
	if err != nil {
		return err
	}
	if !all {
		keys = slices.DeleteFunc(keys, func(k relay.Key) bool { return !k.RevokedAt.IsZero() })
	}
	if accountRef != "" {
		account, err := a.account(r.Context(), "account", accountRef)
		if err != nil {
			return err
		}
		keys = slices.DeleteFunc(keys, func(k relay.Key) bool { return k.Account != account.ID })
	}
	if subuserRef != "" {
		s, err := a.subuser(r.Context(), "subuser", subuserRef)
		if err != nil {
			return err
		}
		keys = slices.DeleteFunc(keys, func(k relay.Key) bool { return k.Subuser != s.ID })
	}
	return reply(w, listOf(keys))
}

func (a *admin) addKey(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in NewKey
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	tenant, err := a.tenant(r.Context(), in.Account, in.Subuser)
	if err != nil {
		return err
	}
	key, err := GenerateKey(in, tenant, a.KeyPrefix, a.Now().UTC())
	if err != nil {
		return err
	}
	if err := a.Keys.CreateKey(r.Context(), who, key.Key); err != nil {
		return err
	}
	return created(w, key)
}

// tenant finds whose a new thing is to be.
func (a *admin) tenant(ctx context.Context, accountRef, subuserRef string) (relay.Tenant, error) {
	if subuserRef == "" {
		account, err := a.account(ctx, "account", accountRef)
		if err == nil && account.System {
			err = invalid("account", "This account sends postern's own mail; it has no keys.")
		}
		return relay.Tenant{Account: account.ID}, err
	}
	s, err := a.subuser(ctx, "subuser", subuserRef)
	if err != nil {
		return relay.Tenant{}, err
	}
	if accountRef != "" {
		account, err := a.account(ctx, "account", accountRef)
		if err != nil {
			return relay.Tenant{}, err
		}
		if account.ID != s.Account { // not "yours": a subuser of another account does not exist
			return relay.Tenant{}, notFound("subuser", "subuser", subuserRef)
		}
	}
	return relay.Tenant{Account: s.Account, Subuser: s.ID}, nil
}

func (a *admin) showKey(w http.ResponseWriter, r *http.Request) error {
	k, err := a.key(r.Context(), r.PathValue("key"))
	if err != nil {
		return err
	}
	return reply(w, k)
}

func (a *admin) switchKey(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	k, err := a.key(r.Context(), r.PathValue("key"))
	if err != nil {
		return err
	}
	if r.PathValue("verb") == "revoke" {
		if err := a.Keys.RevokeKey(r.Context(), who, k.ID); err != nil {
			return err
		}
		return a.showKey(w, r)
	}
	disabled, err := onOff(r)
	if err != nil {
		return err
	}
	if !k.RevokedAt.IsZero() {
		return relay.E(relay.Conflict, "This key is revoked, for ever. Make a new one.")
	}
	if err := a.Keys.SetKeyDisabled(r.Context(), who, k.ID, disabled); err != nil {
		return err
	}
	return a.showKey(w, r)
}

// key finds a key by its id, or by its name where only one has it.
func (a *admin) key(ctx context.Context, ref string) (relay.Key, error) {
	all, err := a.Keys.Keys(ctx)
	if err != nil {
		return relay.Key{}, err
	}
	var named []relay.Key
	for _, k := range all {
		if k.ID.String() == ref {
			return k, nil
		}
		if k.Name == ref {
			named = append(named, k)
		}
	}
	switch len(named) {
	case 0:
		return relay.Key{}, notFound("key", "key", ref)
	case 1:
		return named[0], nil
	}
	return relay.Key{}, &relay.Error{Kind: relay.Conflict, Field: "key", Public: fmt.Sprintf("%d keys have the name %s; use the id.", len(named), quoteRef(ref))}
}

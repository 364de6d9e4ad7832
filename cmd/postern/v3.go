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

	"postern/internal/relay"
)

// whose are the flags that say which tenant a command is about.
type whose struct{ account, subuser string }

func (w *whose) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&w.account, "account", "", "the account, if there are several")
	cmd.PersistentFlags().StringVar(&w.subuser, "subuser", "", "a subuser of the account")
}

// tenantCommand makes a command that talks to the API for one tenant.
func (c *cli) tenantCommand(w *whose, use, short string, args cobra.PositionalArgs, run func(context.Context, *client, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.tenantClient(cmd.Context(), w.account, w.subuser)
			if err != nil {
				return err
			}
			return run(cmd.Context(), cl, args)
		},
	}
}

// patch is a request of members that were given on the command line.
type patch map[string]any

// set adds a member if its flag was given.
func (p patch) set(cmd *cobra.Command, flag, member string, v any) {
	if cmd.Flags().Changed(flag) {
		p[member] = v
	}
}

// keyView is what the API says of a key.
type keyView struct {
	relay.Key
	APIKey   string `json:"api_key,omitempty"`
	Password string `json:"password,omitempty"`
	CRAM     bool   `json:"cram_md5,omitempty"`
	Owner    string `json:"username,omitempty"` // subuser, where a list has several tenants
	Of       string `json:"account,omitempty"`  // account, where a list may have several
}

// findKey finds a key by id, or by name where only one has it, and makes the
// client speak for its owner from then on.
func (c *cli) findKey(ctx context.Context, cl *client, ref string) (keyView, json.RawMessage, error) {
	type place struct {
		key     keyView
		account string
	}
	var found []place
	err := c.atEveryAccount(ctx, cl, func(account string) error {
		keys, err := keysNamed(ctx, cl, ref)
		for _, k := range keys {
			found = append(found, place{k, account})
		}
		return err
	})
	switch {
	case err != nil:
		return keyView{}, nil, err
	case len(found) == 0:
		return keyView{}, nil, &apiError{http.StatusNotFound, "there is no key " + strconv.Quote(ref)}
	case len(found) > 1:
		return keyView{}, nil, &apiError{http.StatusConflict, strconv.Itoa(len(found)) + " keys have the name " + strconv.Quote(ref) + "; use the id"}
	}
	if found[0].account != "" {
		cl.header.Set("account-id", found[0].account)
	}
	if found[0].key.Owner != "" {
		cl.header.Set("on-behalf-of", found[0].key.Owner)
	}
	return showKeyID(ctx, cl, found[0].key.ID.String())
}

// atEveryAccount runs ask for one account, or on the host, where none was named,
// for all of them. account is what the client was made to name.
func (c *cli) atEveryAccount(ctx context.Context, cl *client, ask func(account string) error) error {
	if cl.socket == "" || cl.header.Get("account-id") != "" || cl.header.Get("on-behalf-of") != "" {
		return ask(cl.header.Get("account-id"))
	}
	accounts, _, err := get[results[relay.Account]](ctx, cl, "/accounts", nil)
	if err != nil {
		return err
	}
	defer cl.header.Del("account-id")
	for _, a := range accounts.Result {
		if a.System {
			continue
		}
		cl.header.Set("account-id", a.ID.String())
		if err := ask(a.Name); err != nil {
			return err
		}
	}
	return nil
}

// withMember puts a member of ours in front of an object of the server's, unless
// it is empty.
func withMember(object json.RawMessage, name, value string) (json.RawMessage, error) {
	rest, ok := strings.CutPrefix(string(object), "{")
	text, err := json.Marshal(map[string]string{name: value})
	if err != nil || value == "" || !ok || rest == "}" {
		return object, err
	}
	return json.RawMessage(strings.TrimSuffix(string(text), "}") + "," + rest), nil
}

func showKeyID(ctx context.Context, cl *client, id string) (keyView, json.RawMessage, error) {
	return call[keyView](ctx, cl, http.MethodGet, "/v3/api_keys"+segment(id), url.Values{"revoked": {"true"}}, nil)
}

// keysNamed are the keys of a name, revoked ones where none is alive, or the one
// of an id.
func keysNamed(ctx context.Context, cl *client, ref string) ([]keyView, error) {
	texts, err := keysOf(ctx, cl, url.Values{"revoked": {"true"}})
	if err != nil {
		return nil, err
	}
	var live, dead []keyView
	for _, text := range texts {
		var k keyView
		if err := json.Unmarshal(text, &k); err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		switch {
		case k.ID.String() == ref:
			return []keyView{k}, nil
		case k.Name != ref:
		case k.RevokedAt.IsZero():
			live = append(live, k)
		default:
			dead = append(dead, k)
		}
	}
	if len(live) == 0 {
		return dead, nil
	}
	return live, nil
}

// keysOf lists a tenant's keys, and those of its subusers if the client may see
// them: the key of a subuser, or one without subusers.read, has its own only.
func keysOf(ctx context.Context, cl *client, q url.Values) ([]json.RawMessage, error) {
	wide := cl.header.Get("on-behalf-of") == ""
	if wide {
		q.Set("subusers", "true")
	}
	texts, err := pages(ctx, cl, "/v3/api_keys", q)
	if wide && statusOf(err) == http.StatusForbidden {
		q.Del("subusers")
		return pages(ctx, cl, "/v3/api_keys", q)
	}
	return texts, err
}

// pageSize is how many items are asked for at once.
const pageSize = 500

// pages reads a list that is answered in pages, as {"result":[…]} or as an array.
func pages(ctx context.Context, cl *client, path string, q url.Values) ([]json.RawMessage, error) {
	all := []json.RawMessage{}
	for {
		q.Set("limit", strconv.Itoa(pageSize))
		q.Set("offset", strconv.Itoa(len(all)))
		text, err := cl.do(ctx, http.MethodGet, path, q, nil)
		if err != nil {
			return nil, err
		}
		var page results[json.RawMessage]
		if err := json.Unmarshal(text, &page.Result); err != nil {
			if err := json.Unmarshal(text, &page); err != nil {
				return nil, fmt.Errorf("read the server's answer: %w", err)
			}
		}
		all = append(all, page.Result...)
		if len(page.Result) < pageSize {
			return all, nil
		}
	}
}

// seconds is how a span is sent.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// claims reads "name=value" pairs.
func claims(pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" || value == "" {
			return nil, usageError("--claim: write it as name=value, such as sub=repo:acme/shop:ref:refs/heads/main")
		}
		out[name] = value
	}
	return out, nil
}

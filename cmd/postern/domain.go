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
	"golang.org/x/net/idna"

	"postern/internal/finding"
	"postern/internal/relay"
)

// domainView is what the API says of a domain.
type domainView struct {
	Number       int64             `json:"id"`
	Name         string            `json:"domain"`
	Unicode      string            `json:"domain_unicode"`
	Owner        string            `json:"username"`
	Of           string            `json:"account"` // where a list may have several
	State        relay.DomainState `json:"state"`
	Reason       string            `json:"reason"`
	Disputed     bool              `json:"disputed"`
	AssertedBy   string            `json:"asserted_by"`
	Automatic    bool              `json:"automatic_security"`
	Valid        bool              `json:"valid"`
	ReturnPath   string            `json:"return_path"`
	Selectors    []string          `json:"selectors"`
	Subdomains   bool              `json:"subdomains"`
	AllShared    bool              `json:"all_subusers"`
	Subusers     []sharedWith      `json:"subusers"`
	Default      bool              `json:"default"`
	System       bool              `json:"system"`
	Checked      int64             `json:"last_validation_attempt_at"`
	Unknown      bool              `json:"unknown"`
	FailingSince time.Time         `json:"failing_since"`
	CreatedAt    time.Time         `json:"created_at"`
	DisabledAt   time.Time         `json:"disabled_at"`
	Keys         []domainKey       `json:"dkim"`
	Records      []domainRecord    `json:"records"`
	Findings     []finding.Finding `json:"findings"`
	DMARC        domainDMARC       `json:"dmarc"`
}

type sharedWith struct {
	Name string `json:"username"`
}

type domainRecord struct {
	Key      string `json:"key"`
	For      string `json:"for"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Value    string `json:"value"`
	Required bool   `json:"required"`
	Valid    bool   `json:"valid"`
	Reason   string `json:"reason"`
}

type domainDMARC struct {
	Policy      string `json:"policy"`
	SPF         string `json:"spf_aligned"`
	DKIM        string `json:"dkim_aligned"`
	Recommended string `json:"recommended"`
	Why         string `json:"recommended_because"`
}

// pathDomains is the collection in the API.
const pathDomains = "/v3/whitelabel/domains"

func (d *domainView) path(rest string) string {
	return pathDomains + segment(strconv.FormatInt(d.Number, 10)) + rest
}

// state is one word.
func (d *domainView) state() string {
	switch {
	case !d.DisabledAt.IsZero():
		return "disabled"
	case d.System:
		return "system"
	case d.Disputed:
		return "disputed"
	case d.State == relay.DomainVerified && !d.FailingSince.IsZero():
		return "failing"
	}
	return string(d.State)
}

// sharers are those whom a domain is shared with.
func (d *domainView) sharers() string {
	if d.AllShared {
		return "all subusers"
	}
	var names []string
	for _, s := range d.Subusers {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func (c *cli) domainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "domain", Short: "Domains that mail is sent as"}
	cmd.AddCommand(
		c.domainAdd(), c.domainList(), c.domainShow(), c.domainValidate(), c.domainUpdate(), c.domainShare(), c.domainUnshare(),
		c.domainKeys(), c.domainRotate(), c.domainImport(), c.domainExport(), c.domainSelector(), c.domainEmail(),
		c.domainSwitch("disable", "Switch one domain off: mail as it is refused"),
		c.domainSwitch("enable", "Switch one domain on again"),
		c.domainRemove(), c.domainCheckCommand(),
	)
	group(cmd)
	return cmd
}

// domainDo makes "VERB NAME|ID …" about one domain. The client speaks for its
// account by then.
func (c *cli) domainDo(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, cl *client, d domainView, args []string) error) *cobra.Command {
	w := &whose{}
	cmd := c.tenantCommand(w, use, short, args, func(ctx context.Context, cl *client, args []string) error {
		d, _, err := c.findDomain(ctx, cl, args[0])
		if err != nil {
			return err
		}
		return run(ctx, cl, d, args[1:])
	})
	cmd.Flags().StringVar(&w.account, "account", "", "the account, if there are several")
	return cmd
}

// findDomain finds a domain by its number or name, and makes the client speak for
// its account from then on. Of several of one name the one that mail can be sent
// as is meant, or the only one that is not disabled.
func (c *cli) findDomain(ctx context.Context, cl *client, ref string) (domainView, json.RawMessage, error) {
	var found []place
	err := c.atEveryAccount(ctx, cl, func(account string) error {
		some, err := domainsNamed(ctx, cl, ref, account)
		found = append(found, some...)
		return err
	})
	if err == nil && len(found) == 0 && cl.socket != "" && cl.header.Get("account-id") == "" {
		found, err = c.systemDomains(ctx, cl, ref)
	}
	if err != nil {
		return domainView{}, nil, err
	}
	switch found = likeliest(found); len(found) {
	case 0:
		return domainView{}, nil, &apiError{http.StatusNotFound, "there is no domain " + strconv.Quote(ref)}
	case 1:
	default:
		return domainView{}, nil, &apiError{http.StatusConflict, strconv.Itoa(len(found)) + " domains have the name " + strconv.Quote(ref) + "; use the id, or --account"}
	}
	if found[0].account != "" {
		cl.header.Set("account-id", found[0].account)
	}
	return found[0].domain, found[0].text, nil
}

// place is a domain and the account that it was found in.
type place struct {
	domain  domainView
	text    json.RawMessage
	account string
}

// likeliest drops those of a name that nobody means.
func likeliest(found []place) []place {
	for _, better := range []func(d *domainView) bool{
		func(d *domainView) bool {
			return d.DisabledAt.IsZero() && (d.State == relay.DomainVerified || d.State == relay.DomainAsserted)
		},
		func(d *domainView) bool { return d.DisabledAt.IsZero() },
	} {
		var some []place
		for i := range found {
			if better(&found[i].domain) {
				some = append(some, found[i])
			}
		}
		if len(some) > 0 {
			return some
		}
	}
	return found
}

// domainsNamed asks for the domains of a name, or the one of a number.
func domainsNamed(ctx context.Context, cl *client, ref, account string) ([]place, error) {
	if _, err := strconv.ParseUint(ref, 10, 63); err == nil {
		d, text, err := call[domainView](ctx, cl, http.MethodGet, pathDomains+segment(ref), nil, nil)
		if statusOf(err) == http.StatusNotFound {
			return nil, nil
		}
		return []place{{d, text, account}}, err
	}
	name := strings.ToLower(strings.TrimSuffix(ref, "."))
	if ascii, err := idna.Lookup.ToASCII(name); err == nil {
		name = ascii
	}
	texts, err := pages(ctx, cl, pathDomains, url.Values{"domain": {name}})
	if err != nil {
		return nil, err
	}
	var out []place
	for _, text := range texts {
		var d domainView
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		if d.Name == name {
			out = append(out, place{d, text, account})
		}
	}
	return out, nil
}

// systemDomains looks at postern's own account, which is no tenant.
func (c *cli) systemDomains(ctx context.Context, cl *client, ref string) (found []place, err error) {
	accounts, _, err := get[results[relay.Account]](ctx, cl, "/accounts", nil)
	if err != nil {
		return nil, err
	}
	defer cl.header.Del("account-id")
	for _, a := range accounts.Result {
		if !a.System {
			continue
		}
		cl.header.Set("account-id", a.ID.String())
		some, err := domainsNamed(ctx, cl, ref, a.Name)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

func (c *cli) domainList() *cobra.Command {
	w := &whose{}
	cmd := c.tenantCommand(w, "list", "List domains", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		ask := func() ([]json.RawMessage, error) { return pages(ctx, cl, pathDomains, url.Values{}) }
		all, err := c.everyAccount(ctx, cl, ask)
		if err != nil {
			return err
		}
		if c.json {
			return c.printValue(results[json.RawMessage]{Result: all})
		}
		t := newTable(c.out, "NAME", "ID", "OWNER", "STATE", "SHARED WITH", "RETURN PATH", "DKIM", "WHY")
		for _, text := range all {
			var d domainView
			if err := json.Unmarshal(text, &d); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
			t.row(d.Name, d.Number, d.Owner, d.state(), d.sharers(), d.ReturnPath, d.Selectors, d.Reason)
		}
		return t.end()
	})
	w.flags(cmd)
	return cmd
}

func (c *cli) domainRemove() *cobra.Command {
	return c.domainDo("remove NAME|ID", "Delete one domain: nobody sends as it from now on", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			if _, err := cl.do(ctx, http.MethodDelete, d.path(""), nil, nil); err != nil {
				return err
			}
			if c.json {
				return c.printValue(struct{}{})
			}
			_, err := fmt.Fprintf(c.out, "%s is removed. Its DNS records can go once the mail that it signed has arrived.\n", clean(d.Name))
			return err
		})
}

func (c *cli) domainSwitch(verb, short string) *cobra.Command {
	return c.domainDo(verb+" NAME|ID", short, cobra.ExactArgs(1), func(ctx context.Context, cl *client, d domainView, _ []string) error {
		d, text, err := call[domainView](ctx, cl, http.MethodPost, d.path("/"+verb), nil, nil)
		if err != nil {
			return err
		}
		return answer(c, d, text, c.describeDomain)
	})
}

func (c *cli) domainShare() *cobra.Command {
	var subusers []string
	var all bool
	cmd := c.domainDo("share NAME|ID", "Let subusers send as a domain of the account", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			return c.changeSharing(ctx, cl, d, subusers, all, true)
		})
	cmd.Flags().StringSliceVar(&subusers, "subuser", nil, "a subuser that may use it")
	cmd.Flags().BoolVar(&all, "all", false, "all subusers may use it, those too that will be made")
	return cmd
}

func (c *cli) domainUnshare() *cobra.Command {
	var subusers []string
	var all bool
	cmd := c.domainDo("unshare NAME|ID", "Let subusers send as a domain no more", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			return c.changeSharing(ctx, cl, d, subusers, all, false)
		})
	cmd.Flags().StringSliceVar(&subusers, "subuser", nil, "a subuser that may use it no more")
	cmd.Flags().BoolVar(&all, "all", false, "it is not for all subusers any more; those that were named keep it")
	return cmd
}

func (c *cli) changeSharing(ctx context.Context, cl *client, d domainView, subusers []string, all, share bool) error {
	if len(subusers) == 0 && !all {
		return usageError("with whom? --subuser NAME, or --all")
	}
	for _, name := range subusers {
		var err error
		if share {
			_, err = cl.do(ctx, http.MethodPost, d.path("/subuser"), nil, patch{"username": name})
		} else {
			_, err = cl.do(ctx, http.MethodDelete, d.path("/subuser"), url.Values{"username": {name}}, nil)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if all {
		if _, err := cl.do(ctx, http.MethodPatch, d.path(""), nil, patch{"all_subusers": share}); err != nil {
			return err
		}
	}
	d, text, err := call[domainView](ctx, cl, http.MethodGet, d.path(""), nil, nil)
	if err != nil {
		return err
	}
	return answer(c, d, text, c.describeDomain)
}

func (c *cli) domainEmail() *cobra.Command {
	var message string
	cmd := c.domainDo("email NAME|ID ADDRESS", "Mail a domain's records to whoever publishes them", cobra.ExactArgs(2),
		func(ctx context.Context, cl *client, d domainView, args []string) error {
			in := patch{"domain_id": d.Number, "email": args[0], "message": message}
			if _, err := cl.do(ctx, http.MethodPost, "/v3/whitelabel/dns/email", nil, in); err != nil {
				return err
			}
			if c.json {
				return c.printValue(struct{}{})
			}
			_, err := fmt.Fprintf(c.out, "The records of %s are on their way to %s.\n", clean(d.Name), clean(args[0]))
			return err
		})
	cmd.Flags().StringVar(&message, "message", "", "a few words to go with it, without links")
	return cmd
}

package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/relay"
)

func (c *cli) keyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "What programs log in with: keys, app passwords, certificates, tokens of others"}
	w := &whose{}
	w.flags(cmd)
	cmd.AddCommand(c.keyAdd(w), c.keyList(w), c.keyUpdate(w), c.keyRotate(w), c.keyUsers(w), c.keyRevoke(w),
		c.tenantCommand(w, "show NAME|ID", "Show one key", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
			k, text, err := c.findKey(ctx, cl, args[0])
			if err != nil {
				return err
			}
			return answer(c, k, text, c.showKey)
		}),
		c.keySwitch(w, "disable", "Switch one key off"), c.keySwitch(w, "enable", "Switch one key on again"),
	)
	group(cmd)
	return cmd
}

// credentialFlags are the members of a key that can be given at any time.
type credentialFlags struct {
	scopes, networks, hosts, senders, domains, claims []string
	mode, hours, kind, issuer, audience               string
	fingerprint, certificate, ca, certName            string
	perMinute, perHour, perDay, perMonth              int64
	expires                                           time.Duration
	canary, cram, full                                bool
}

func (k *credentialFlags) register(cmd *cobra.Command, creating bool) {
	f := cmd.Flags()
	f.StringSliceVar(&k.scopes, "scope", nil, "what it may do, such as mail.send; \"postern scope\" lists them")
	f.BoolVar(&k.full, "full-access", false, "it may do everything that its account may, instead of --scope")
	f.StringSliceVar(&k.networks, "network", nil, "networks and addresses that it works from")
	f.StringSliceVar(&k.hosts, "host", nil, "host names whose addresses it works from")
	f.StringSliceVar(&k.senders, "sender", nil, "addresses and domains that it may send as; none: all of the account's")
	f.StringSliceVar(&k.domains, "recipient-domain", nil, "domains that it may send to; none: all")
	f.Int64Var(&k.perMinute, "per-minute", 0, "recipients in any 60 seconds; 0: no limit of its own")
	f.Int64Var(&k.perHour, "per-hour", 0, "recipients in any 60 minutes")
	f.Int64Var(&k.perDay, "per-day", 0, "recipients in a day of the account's time zone")
	f.Int64Var(&k.perMonth, "per-month", 0, "recipients in a month")
	f.StringVar(&k.hours, "hours", "", "hours of the week, such as \"mon-fri 08-18\"; none: always")
	f.StringVar(&k.mode, "mode", "", "live, test (accepted, never delivered) or hold (waits for release)")
	spanVar(f, &k.expires, "expires-in", 0, "how long it lives, such as 30d; 0: for ever")
	if !creating {
		return
	}
	f.StringVar(&k.kind, "kind", "", "api_key (also none), app_password, certificate or federated")
	f.BoolVar(&k.canary, "canary", false, "never valid; a try with it raises an alert")
	f.BoolVar(&k.cram, "cram-md5", false, "let it log in with CRAM-MD5, too (weak; the secret is kept, sealed)")
	f.StringVar(&k.certificate, "certificate", "", "client certificate (PEM file) that is this key")
	f.StringVar(&k.fingerprint, "fingerprint", "", "SHA-256 of that certificate, instead of the file")
	f.StringVar(&k.ca, "ca", "", "certificate authority (PEM file) of client certificates; with --certificate-name")
	f.StringVar(&k.certName, "certificate-name", "", "DNS name, e-mail address or URI in certificates of --ca")
	f.StringVar(&k.issuer, "issuer", "", "issuer of the tokens that are this key (one of the configuration's)")
	f.StringVar(&k.audience, "audience", "", "audience that those tokens must have")
	f.StringArrayVar(&k.claims, "claim", nil, "claim=value that those tokens must have; * at the end matches any rest")
}

// request makes the API's request of the flags that were given.
func (k *credentialFlags) request(cmd *cobra.Command) (patch, error) {
	p := patch{}
	p.set(cmd, "scope", "scopes", k.scopes)
	if k.full {
		if len(k.scopes) > 0 {
			return nil, usageError("key: --full-access or --scope, not both")
		}
		p["scopes"] = relay.FullAccess()
	}
	p.set(cmd, "network", "networks", k.networks)
	p.set(cmd, "host", "hosts", k.hosts)
	p.set(cmd, "sender", "senders", k.senders)
	p.set(cmd, "recipient-domain", "recipient_domains", k.domains)
	p.set(cmd, "per-minute", "per_minute", k.perMinute)
	p.set(cmd, "per-hour", "per_hour", k.perHour)
	p.set(cmd, "per-day", "per_day", k.perDay)
	p.set(cmd, "per-month", "per_month", k.perMonth)
	p.set(cmd, "hours", "hours", k.hours)
	p.set(cmd, "mode", "mode", k.mode)
	if cmd.Flags().Changed("expires-in") {
		p["expires_at"] = ""
		if k.expires != 0 {
			p["expires_at"] = time.Now().Add(k.expires).UTC().Format(time.RFC3339)
		}
	}
	if cmd.Flags().Lookup("kind") == nil {
		return p, nil
	}
	p.set(cmd, "kind", "kind", k.kind)
	p.set(cmd, "canary", "canary", k.canary)
	p.set(cmd, "cram-md5", "cram_md5", k.cram)
	m, err := k.match()
	if m != nil {
		p["match"] = m
	}
	return p, err
}

func (k *credentialFlags) match() (*relay.KeyMatch, error) {
	m := relay.KeyMatch{Fingerprint: k.fingerprint, Name: k.certName, Issuer: k.issuer, Audience: k.audience}
	if k.certificate != "" {
		sum, err := fingerprintOf(k.certificate)
		if err != nil {
			return nil, err
		}
		m.Fingerprint = sum
	}
	if k.ca != "" {
		text, err := os.ReadFile(k.ca)
		if err != nil {
			return nil, fmt.Errorf("read certificate authority: %w", err)
		}
		m.CA = string(text)
	}
	if len(k.claims) > 0 {
		var err error
		if m.Claims, err = claims(k.claims); err != nil {
			return nil, err
		}
	}
	if m.Fingerprint == "" && m.CA == "" && m.Name == "" && m.Issuer == "" && m.Audience == "" && m.Claims == nil {
		return nil, nil
	}
	return &m, nil
}

// fingerprintOf is the SHA-256 of the first certificate of a PEM file.
func fingerprintOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read certificate: %w", err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		sum := sha256.Sum256(block.Bytes)
		return hex.EncodeToString(sum[:]), nil
	}
	return "", fmt.Errorf("%s holds no certificate", file)
}

func (c *cli) keyAdd(w *whose) *cobra.Command {
	var flags credentialFlags
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a key; its secret is shown once", Args: cobra.ExactArgs(1),
		Long: "add makes a key that may send mail, and nothing else unless --scope says so. Every flag narrows\n" +
			"what it may do. A key of kind certificate or federated has no secret: the client's certificate, or\n" +
			"the token that its platform gives it, is its proof.",
		Example: "  postern key add web --subuser shop --network 192.0.2.0/24 --sender shop.example --expires-in 90d\n" +
			"  postern key add ci --kind federated --issuer https://token.actions.githubusercontent.com \\\n" +
			"      --audience postern --claim sub=repo:acme/shop:ref:refs/heads/main",
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := flags.request(cmd)
			if err != nil {
				return err
			}
			in["name"] = args[0]
			if len(flags.scopes) == 0 && !flags.full {
				in["scopes"] = []string{relay.ScopeMailSend}
			}
			cl, err := c.tenantClient(cmd.Context(), w.account, w.subuser)
			if err != nil {
				return err
			}
			k, text, err := call[keyView](cmd.Context(), cl, http.MethodPost, "/v3/api_keys", nil, in)
			if err != nil {
				return err
			}
			return answer(c, k, text, c.showNewKey)
		},
	}
	flags.register(cmd, true)
	return cmd
}

// showNewKey shows a key with its secret, and how to log in with it.
func (c *cli) showNewKey(k keyView) error {
	switch {
	case k.Password != "":
		fmt.Fprintf(c.out, "%s\n\nThis is the only time that the password is shown. User name: %s\n\n", k.Password, k.Login)
	case k.APIKey != "":
		fmt.Fprintf(c.out, "%s\n\nThis is the only time that the key is shown. User name: apikey (with SCRAM: %s)\n\n", k.APIKey, k.ID)
	case k.Kind == relay.KeyFederated:
		fmt.Fprintf(c.out, "It has no secret. Log in with OAUTHBEARER or XOAUTH2, user name %s, and the platform's token.\n\n", k.ID)
	case k.Kind == relay.KeyCertificate:
		fmt.Fprint(c.out, "It has no secret. Log in with EXTERNAL and the client certificate.\n\n")
	}
	return c.showKey(k)
}

func (c *cli) keyList(w *whose) *cobra.Command {
	var all bool
	cmd := c.tenantCommand(w, "list", "List keys", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		q := url.Values{}
		if all {
			q.Set("revoked", "true")
		}
		texts, err := c.everyAccount(ctx, cl, func() ([]json.RawMessage, error) { return keysOf(ctx, cl, q) })
		if err != nil {
			return err
		}
		if c.json {
			return c.printValue(results[json.RawMessage]{Result: texts})
		}
		t := newTable(c.out, "NAME", "ID", "ACCOUNT", "SUBUSER", "KIND", "SCOPES", "STATE", "EXPIRES", "LAST USED", "FROM")
		for _, text := range texts {
			var k keyView
			if err := json.Unmarshal(text, &k); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
			t.row(k.Name, k.ID, k.Of, k.Owner, string(k.Kind), scopesText(k.Scopes), keyState(k.Key), k.ExpiresAt, k.LastUsedAt, k.LastUsedFrom)
		}
		return t.end()
	})
	cmd.Flags().BoolVar(&all, "all", false, "revoked ones too")
	return cmd
}

// everyAccount collects what ask returns for one account, or on the host for
// all; there, each item says which account's it is.
func (c *cli) everyAccount(ctx context.Context, cl *client, ask func() ([]json.RawMessage, error)) ([]json.RawMessage, error) {
	all := []json.RawMessage{}
	err := c.atEveryAccount(ctx, cl, func(account string) error {
		texts, err := ask()
		if err != nil {
			return err
		}
		for _, text := range texts {
			if text, err = withMember(text, "account", account); err != nil {
				return err
			}
			all = append(all, text)
		}
		return nil
	})
	return all, err
}

// scopesText is short where a key may do everything.
func scopesText(scopes []string) string {
	switch {
	case relay.Full(scopes):
		return "full access"
	case len(scopes) > 3:
		return fmt.Sprintf("%s, %s and %d more", scopes[0], scopes[1], len(scopes)-2)
	}
	return show(scopes)
}

func (c *cli) keyUpdate(w *whose) *cobra.Command {
	var flags credentialFlags
	var name string
	cmd := &cobra.Command{
		Use: "update NAME|ID", Short: "Change what one key may do", Args: cobra.ExactArgs(1),
		Long:    "update changes the members that are given and leaves the others; a list is replaced as a whole.\nOpen sessions follow within a second.",
		Example: "  postern key update web --scope mail.send --network 192.0.2.0/24 --per-day 5000",
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := flags.request(cmd)
			if err != nil {
				return err
			}
			in.set(cmd, "name", "name", name)
			if len(in) == 0 {
				return usageError("key: update: say what to change")
			}
			cl, err := c.tenantClient(cmd.Context(), w.account, w.subuser)
			if err != nil {
				return err
			}
			k, _, err := c.findKey(cmd.Context(), cl, args[0])
			if err != nil {
				return err
			}
			if !k.RevokedAt.IsZero() {
				return revoked()
			}
			k, text, err := call[keyView](cmd.Context(), cl, http.MethodPatch, "/v3/api_keys"+segment(k.ID.String()), nil, in)
			if err != nil {
				return err
			}
			return answer(c, k, text, c.showKey)
		},
	}
	flags.register(cmd, false)
	cmd.Flags().StringVar(&name, "name", "", "its new name")
	return cmd
}

func (c *cli) keyRotate(w *whose) *cobra.Command {
	var overlap time.Duration
	cmd := c.tenantCommand(w, "rotate NAME|ID", "Give one key a new secret; the old one works for a while longer", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, args []string) error {
			k, _, err := c.findKey(ctx, cl, args[0])
			if err != nil {
				return err
			}
			if !k.RevokedAt.IsZero() {
				return revoked()
			}
			in := patch{"overlap_seconds": seconds(overlap)}
			k, text, err := call[keyView](ctx, cl, http.MethodPost, "/v3/api_keys"+segment(k.ID.String())+"/rotate", nil, in)
			if err != nil {
				return err
			}
			return answer(c, k, text, func(k keyView) error {
				fmt.Fprintf(c.out, "%s%s\n\nThis is the only time that it is shown.\n", k.APIKey, k.Password) // a key has one of them
				if k.PreviousUntil.IsZero() {
					_, err := fmt.Fprintln(c.out, "The old one is dead.")
					return err
				}
				_, err := fmt.Fprintf(c.out, "The old one works until %s. Who still uses it: postern key show %s\n", show(k.PreviousUntil), k.ID)
				return err
			})
		})
	spanVar(cmd.Flags(), &overlap, "overlap", 24*time.Hour, "how long the old secret still works; 0: not at all")
	return cmd
}

// usersReport is who used a key.
type usersReport struct {
	Users []struct {
		Addr      string    `json:"addr"`
		Helo      string    `json:"helo"`
		Mechanism string    `json:"mechanism"`
		TLS       string    `json:"tls"`
		FirstAt   time.Time `json:"first_at"`
		LastAt    time.Time `json:"last_at"`
		Logins    int64     `json:"logins"`
	} `json:"users"`
	Messages   int64     `json:"messages"`
	LastUsedAt time.Time `json:"last_used_at"`
}

func (c *cli) showUsers(days int) func(usersReport) error {
	return func(r usersReport) error {
		t := newTable(c.out, "ADDRESS", "EHLO", "MECHANISM", "TLS", "FIRST", "LAST", "LOGINS")
		for _, u := range r.Users {
			t.row(u.Addr, u.Helo, u.Mechanism, u.TLS, u.FirstAt, u.LastAt, u.Logins)
		}
		if err := t.end(); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.out, "In the last %d days: %s, %s sent to. Last used: %s\n", days, counted(len(r.Users), "place", "places"),
			counted(int(r.Messages), "recipient", "recipients"), show(r.LastUsedAt))
		return err
	}
}

func (c *cli) keyUsers(w *whose) *cobra.Command {
	var days int
	cmd := c.tenantCommand(w, "users NAME|ID", "Who used one key lately, and from where", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		k, _, err := c.findKey(ctx, cl, args[0])
		if err != nil {
			return err
		}
		r, text, err := call[usersReport](ctx, cl, http.MethodGet, "/v3/api_keys"+segment(k.ID.String())+"/users", url.Values{"days": {strconv.Itoa(days)}}, nil)
		if err != nil {
			return err
		}
		return answer(c, r, text, c.showUsers(days))
	})
	cmd.Flags().IntVar(&days, "days", 30, "how far to look back")
	return cmd
}

func (c *cli) keyRevoke(w *whose) *cobra.Command {
	var days int
	var dry bool
	cmd := c.tenantCommand(w, "revoke NAME|ID", "End one key for ever", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		k, _, err := c.findKey(ctx, cl, args[0])
		if err != nil {
			return err
		}
		if !k.RevokedAt.IsZero() {
			return revoked()
		}
		path := "/v3/api_keys" + segment(k.ID.String())
		if dry {
			r, text, err := call[usersReport](ctx, cl, http.MethodDelete, path, url.Values{"dry_run": {"true"}, "days": {strconv.Itoa(days)}}, nil)
			if err != nil {
				return err
			}
			return answer(c, r, text, c.showUsers(days))
		}
		if _, _, err := call[json.RawMessage](ctx, cl, http.MethodDelete, path, nil, nil); err != nil {
			return err
		}
		k, text, err := showKeyID(ctx, cl, k.ID.String())
		if err != nil {
			return err
		}
		return answer(c, k, text, c.showKey)
	})
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell who used it lately and would be cut off")
	cmd.Flags().IntVar(&days, "days", 30, "how far --dry-run looks back")
	return cmd
}

// revoked is what every change of a revoked key ends with.
func revoked() error {
	return &apiError{http.StatusConflict, "this key is revoked, for ever; make a new one"}
}

func (c *cli) keySwitch(w *whose, verb, short string) *cobra.Command {
	return c.tenantCommand(w, verb+" NAME|ID", short, cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		k, _, err := c.findKey(ctx, cl, args[0])
		if err != nil {
			return err
		}
		if !k.RevokedAt.IsZero() {
			return revoked()
		}
		k, text, err := call[keyView](ctx, cl, http.MethodPost, "/v3/api_keys"+segment(k.ID.String())+"/"+verb, nil, patch{})
		if err != nil {
			return err
		}
		return answer(c, k, text, c.showKey)
	})
}

func keyState(k relay.Key) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case !k.DisabledAt.IsZero():
		return "disabled"
	case !k.ExpiresAt.IsZero() && time.Now().After(k.ExpiresAt):
		return "expired"
	case k.Canary:
		return "canary"
	}
	return string(k.Mode)
}

func (c *cli) showKey(k keyView) error {
	networks := append([]string{}, k.Hosts...)
	for _, n := range k.Networks {
		networks = append(networks, n.String())
	}
	var match string
	var limits []string
	if m := k.Match; m != nil {
		match = show(m.Issuer) + " " + m.Audience
		if m.Issuer == "" {
			match = "certificate " + m.Fingerprint + m.Name
		}
		for name, value := range m.Claims {
			match += " " + name + "=" + value
		}
	}
	for _, l := range []struct {
		n    int64
		unit string
	}{{k.PerMinute, "a minute"}, {k.PerHour, "an hour"}, {k.PerDay, "a day"}, {k.PerMonth, "a month"}} {
		if l.n > 0 {
			limits = append(limits, fmt.Sprintf("%d %s", l.n, l.unit))
		}
	}
	return pairs(c.out, "name", k.Name, "id", k.ID, "kind", string(k.Kind), "login", k.Login, "is", match,
		"subuser", k.Owner, "state", keyState(k.Key), "scopes", scopesText(k.Scopes),
		"networks", networks, "senders", k.Senders, "recipient domains", k.RecipientDomains,
		"limits", limits, "hours", k.Hours, "canary", k.Canary, "CRAM-MD5 (weak)", k.CRAM,
		"created", k.CreatedAt, "by", k.CreatedBy, "expires", k.ExpiresAt, "rotated", k.RotatedAt, "disabled", k.DisabledAt, "revoked", k.RevokedAt,
		"last used", k.LastUsedAt, "last used from", k.LastUsedFrom, "with", k.LastUsedMechanism, "as", k.LastUsedHelo, "uses", k.UseCount,
		"old secret works until", k.PreviousUntil, "old secret last used", k.PreviousUsedAt, "old secret used from", k.PreviousUsedFrom,
		"old secret used as", k.PreviousUsedHelo, "old secret uses", k.PreviousUseCount)
}

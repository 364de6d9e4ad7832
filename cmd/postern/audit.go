package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/relay"
)

// proofView is the result of a check of the change record.
type proofView struct {
	Account     relay.AccountID `json:"account_id"`
	Name        string          `json:"username"`
	Records     int64           `json:"records"`
	From        int64           `json:"from"`
	To          int64           `json:"to"`
	Head        []byte          `json:"head"`
	Checkpoints json.RawMessage `json:"checkpoints"`
	Valid       bool            `json:"valid"`
	Problem     string          `json:"problem"`
}

func (c *cli) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "The audit report, and the proof that no record of changes was altered or removed",
		Long: "report says who can send, as whom, with what and from where, and what is wrong with that; who asks it of\n" +
			"one address.\n\n" +
			"Each account's changes form a chain: every record holds the hash of the one before. verify checks all\n" +
			"of it; head prints its end, signed, to be kept elsewhere: a later chain that does not contain it was\n" +
			"rewritten. prune removes old records and leaves a signed checkpoint in their place.",
	}
	w := &whose{}
	cmd.PersistentFlags().StringVar(&w.account, "account", "", "the account; none: all, on the host")
	cmd.AddCommand(c.auditReport(w), c.auditWho(w), c.auditReports(w), c.auditSchedule(w), c.auditVerify(w), c.auditHead(w), c.auditPrune(w), c.auditExport(w))
	group(cmd)
	return cmd
}

func (c *cli) auditVerify(w *whose) *cobra.Command {
	return c.tenantCommand(w, "verify", "Check the chain of changes", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		r, text, err := call[results[proofView]](ctx, cl, http.MethodGet, "/v3/changes/verify", nil, nil)
		if err != nil {
			return err
		}
		bad := 0
		err = answer(c, r, text, func(results[proofView]) error {
			t := newTable(c.out, "ACCOUNT", "RECORDS", "FROM", "TO", "RESULT")
			for _, p := range r.Result {
				verdict := "sound"
				if !p.Valid {
					verdict = p.Problem
				}
				name := p.Name
				if p.Account.IsZero() {
					name = "(installation)"
				} else if name == "" {
					name = p.Account.String()
				}
				t.row(name, count(p.Records), p.From, p.To, verdict)
			}
			return t.end()
		})
		for _, p := range r.Result {
			if !p.Valid {
				bad++
			}
		}
		if err == nil && bad > 0 {
			return fmt.Errorf("%d chains of changes are broken: records were altered or removed", bad)
		}
		return err
	})
}

func (c *cli) auditHead(w *whose) *cobra.Command {
	return c.tenantCommand(w, "head", "The signed end of each chain, to be kept elsewhere", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		_, text, err := call[json.RawMessage](ctx, cl, http.MethodGet, "/v3/changes/head", nil, nil)
		if err != nil {
			return err
		}
		return c.printJSON(text)
	})
}

func (c *cli) auditPrune(w *whose) *cobra.Command {
	var before string
	var installation bool
	var unexported []string
	cmd := c.tenantCommand(w, "prune --before TIME", "Remove old records; a signed checkpoint stays", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		t, err := parseSince(before, time.Now())
		if err != nil {
			return usageError("--before: " + err.Error())
		}
		if err := cl.onHost(); err != nil {
			return err
		}
		in := patch{"before": t.UTC().Format(time.RFC3339Nano)}
		if installation {
			in["installation"] = true
		}
		if len(unexported) > 0 {
			in["unexported"] = unexported
		}
		_, text, err := call[json.RawMessage](ctx, cl, http.MethodPost, "/v3/changes/prune", nil, in)
		if err != nil {
			return err
		}
		return c.printJSON(text)
	})
	cmd.Flags().StringVar(&before, "before", "", "a time (RFC 3339), a date, or so long ago, such as 400d")
	cmd.Flags().BoolVar(&installation, "installation", false, "of the installation's own chain instead of an account's")
	cmd.Flags().StringSliceVar(&unexported, "unexported", nil, "`NAME`s of [[export]]s that are given up: also what they have not taken yet; they never get that")
	must(cmd.MarkFlagRequired("before"))
	return cmd
}

func (c *cli) auditExport(w *whose) *cobra.Command {
	var format, since, until, by, subject string
	cmd := c.tenantCommand(w, "export logins|changes", "Write all records as JSON or CSV to standard output", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		if args[0] != "logins" && args[0] != "changes" {
			return usageError("audit: export: logins or changes")
		}
		if format != "json" && format != "csv" {
			return usageError("audit: export: --format is json or csv")
		}
		if args[0] == "logins" && (by != "" || subject != "") {
			return usageError("audit: export: --by and --subject are for changes")
		}
		q := url.Values{"format": {format}}
		for name, text := range map[string]string{"by": by, "subject": subject} {
			if text != "" {
				q.Set(name, text)
			}
		}
		for name, text := range map[string]string{"since": since, "until": until} {
			if text == "" {
				continue
			}
			t, err := parseSince(text, time.Now())
			if err != nil {
				return usageError("--" + name + ": " + err.Error())
			}
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
		return cl.stream(ctx, "/v3/"+args[0]+"/export", q, c.out)
	})
	cmd.Flags().StringVar(&format, "format", "json", "json or csv")
	cmd.Flags().StringVar(&since, "since", "", "not before: a time (RFC 3339), a date, or so long ago")
	cmd.Flags().StringVar(&until, "until", "", "not after")
	cmd.Flags().StringVar(&by, "by", "", "changes by these: \"user anna\", \"key ID\", or a name alone")
	cmd.Flags().StringVar(&subject, "subject", "", "changes of what begins with these words, such as \"key ID\" or \"domain example.com\"")
	return cmd
}

// stream copies an answer as it comes.
func (c *client) stream(ctx context.Context, path string, query url.Values, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	patient := *c.http
	patient.Timeout = 0 // years of records take their time; the server cuts what stalls
	resp, err := patient.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		return c.readError(resp.StatusCode, text)
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("the answer ended early: %w", err)
	}
	return nil
}

// tokenCommand asks for an access token, as a program would.
func (c *cli) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Short-lived access tokens of a key"}
	var scopes []string
	mint := &cobra.Command{
		Use: "new", Short: "Get an access token for the key in " + keyVariable, Args: cobra.NoArgs,
		Long: "new asks /oauth/token for a short-lived token that may do what the key may, or less. Log in with it\n" +
			"by OAUTHBEARER or XOAUTH2 (user name: the key's id), or as a Bearer token of the HTTP API. Needs --url.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			form := url.Values{"grant_type": {"client_credentials"}}
			if len(scopes) > 0 {
				form.Set("scope", strings.Join(scopes, " "))
			}
			return c.oauth(cmd.Context(), "/oauth/token", form)
		},
	}
	mint.Flags().StringSliceVar(&scopes, "scope", nil, "what it may do; none: all that the key may")
	var token string
	revoke := &cobra.Command{
		Use: "revoke", Short: "End the access token on standard input", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := io.ReadAll(io.LimitReader(c.in, 8192))
			if err != nil {
				return fmt.Errorf("read the token: %w", err)
			}
			if token = strings.TrimSpace(string(text)); token == "" {
				return usageError("token: revoke: give the token on standard input")
			}
			return c.oauth(cmd.Context(), "/oauth/revoke", url.Values{"token": {token}})
		},
	}
	cmd.AddCommand(mint, revoke)
	group(cmd)
	return cmd
}

// oauth posts a form as the key in the environment.
func (c *cli) oauth(ctx context.Context, path string, form url.Values) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	if cl.socket != "" {
		return usageError("token: --url says which server's HTTP API to ask")
	}
	key := os.Getenv(keyVariable)
	parts := strings.Split(key, ".")
	if len(parts) != 3 {
		return usageError("token: " + keyVariable + " is not a key")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cl.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(parts[1], key)
	resp, err := cl.http.Do(req)
	if err != nil {
		return cl.explain(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	var a struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
		Words string `json:"error_description"`
	}
	if len(text) > 0 && json.Unmarshal(text, &a) != nil {
		return fmt.Errorf("the server answered %d", resp.StatusCode)
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", a.Error, a.Words)
	case c.json && len(text) > 0:
		return c.printJSON(text)
	case a.Token != "":
		_, err = fmt.Fprintln(c.out, a.Token)
	}
	return err
}

// scopeCommand lists the permissions that keys can have.
func (c *cli) scopeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "scope", Short: "List what keys can be allowed to do", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if c.json {
				return c.printValue(map[string][]string{"scopes": relay.Scopes})
			}
			_, err := fmt.Fprintln(c.out, strings.Join(relay.Scopes, "\n"))
			return err
		},
	}
}

// policyCommand shows or sets what an account demands of its keys.
func (c *cli) policyCommand() *cobra.Command {
	w := &whose{}
	var life time.Duration
	var noFull, networks, bindReply, foreignNames, noFactor, preview bool
	var mechanisms []string
	type view struct {
		MaxKeyLife       int64    `json:"max_key_life_seconds"`
		ForbidFullAccess bool     `json:"forbid_full_access"`
		RequireNetworks  bool     `json:"require_networks"`
		Mechanisms       []string `json:"mechanisms"`
		BindReplyTo      bool     `json:"bind_reply_to"`
		ForeignNames     bool     `json:"foreign_names"`
		NoFactor         bool     `json:"second_factor_optional"`
		PreviewBodies    bool     `json:"preview_bodies"`
	}
	cmd := &cobra.Command{
		Use: "policy", Short: "What an account demands of its keys, its people and its mail", Args: cobra.NoArgs,
		Example: "  postern policy --max-key-life 90d --forbid-full-access --require-networks --mechanisms SCRAM-SHA-256,PLAIN",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.tenantClient(cmd.Context(), w.account, "")
			if err != nil {
				return err
			}
			in := patch{}
			in.set(cmd, "max-key-life", "max_key_life_seconds", seconds(life))
			in.set(cmd, "forbid-full-access", "forbid_full_access", noFull)
			in.set(cmd, "require-networks", "require_networks", networks)
			in.set(cmd, "mechanisms", "mechanisms", mechanisms)
			in.set(cmd, "bind-reply-to", "bind_reply_to", bindReply)
			in.set(cmd, "foreign-names", "foreign_names", foreignNames)
			in.set(cmd, "second-factor-optional", "second_factor_optional", noFactor)
			in.set(cmd, "preview-bodies", "preview_bodies", preview)
			method, body := http.MethodGet, any(nil)
			if len(in) > 0 {
				method, body = http.MethodPatch, in
			}
			p, text, err := call[view](cmd.Context(), cl, method, "/v3/user/policy", nil, body)
			if err != nil {
				return err
			}
			return answer(c, p, text, func(p view) error {
				longest := "no limit (30 to 90 days are recommended)"
				if p.MaxKeyLife > 0 {
					longest = (time.Duration(p.MaxKeyLife) * time.Second).String()
				}
				return pairs(c.out, "longest life of a key", longest, "keys with full access forbidden", p.ForbidFullAccess,
					"keys must have networks", p.RequireNetworks, "mechanisms", p.Mechanisms,
					"Reply-To bound to own addresses", p.BindReplyTo, "names may show foreign addresses", p.ForeignNames,
					"people may log in with a password alone", p.NoFactor, "people may read stored mail", p.PreviewBodies)
			})
		},
	}
	cmd.Flags().StringVar(&w.account, "account", "", "the account, if there are several")
	f := cmd.Flags()
	spanVar(f, &life, "max-key-life", 0, "longest life of a new key, such as 90d; 0: no limit")
	f.BoolVar(&noFull, "forbid-full-access", false, "no key may have every scope")
	f.BoolVar(&networks, "require-networks", false, "every key says from where it works")
	f.StringSliceVar(&mechanisms, "mechanisms", nil, "mechanisms that its keys may log in with; none: all that are offered")
	f.BoolVar(&bindReply, "bind-reply-to", false, "Reply-To names only addresses that the sender may use")
	f.BoolVar(&noFactor, "second-factor-optional", false, "people may log in with a password alone")
	f.BoolVar(&preview, "preview-bodies", false, "people who may read messages may see what is still stored of them")
	f.BoolVar(&foreignNames, "foreign-names", false, "display names may show addresses of others, as mailing lists write them")
	return cmd
}

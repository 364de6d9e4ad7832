package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/internal/config"
	"postern/internal/relay"
)

// subuserView is what the API says of a subuser.
type subuserView struct {
	Number     int64     `json:"id"`
	ID         string    `json:"subuser_id"`
	Name       string    `json:"username"`
	Email      string    `json:"email"`
	Disabled   bool      `json:"disabled"`
	Keys       int64     `json:"keys"`
	Pool       string    `json:"pool"`
	CreatedAt  time.Time `json:"created_at"`
	DisabledAt time.Time `json:"disabled_at"`
	Of         string    `json:"account"` // where a list may have several
}

func (s *subuserView) state() string {
	if s.Disabled {
		return "disabled"
	}
	return "enabled"
}

// byAccount is the filter of lists that belong to accounts.
func byAccount(f *pflag.FlagSet) { f.String("account", "", "only this account's") }

func (c *cli) subuserCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "subuser", Short: "Separate streams under an account"}
	w := &whose{} // the account only: a subuser has no subusers
	cmd.PersistentFlags().StringVar(&w.account, "account", "", "the account, if there are several")
	cmd.AddCommand(c.subuserAdd(w), c.subuserList(w), c.subuserDelete(w),
		c.tenantCommand(w, "show NAME", "Show one subuser", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
			return c.tellSubuser(ctx, cl, args[0])
		}),
		c.subuserSwitch(w, "disable", "Switch one subuser off: its keys do not work, its queued mail waits", true),
		c.subuserSwitch(w, "enable", "Switch one subuser on again", false),
	)
	group(cmd)
	return cmd
}

func (c *cli) tellSubuser(ctx context.Context, cl *client, name string) error {
	s, text, err := c.findSubuser(ctx, cl, name)
	if err != nil {
		return err
	}
	return answer(c, s, text, c.showSubuser)
}

// findSubuser finds a subuser by its name, and makes the client speak for its
// account from then on.
func (c *cli) findSubuser(ctx context.Context, cl *client, name string) (subuserView, json.RawMessage, error) {
	var found subuserView
	var text json.RawMessage
	owner := ""
	err := c.atEveryAccount(ctx, cl, func(account string) error {
		all, _, err := call[[]json.RawMessage](ctx, cl, http.MethodGet, "/v3/subusers", url.Values{"username": {name}}, nil)
		if err != nil {
			return err
		}
		for _, raw := range all {
			var s subuserView
			if err := json.Unmarshal(raw, &s); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
			if s.Name == name || s.ID == name {
				found, text, owner = s, raw, account
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return found, nil, err
	case text == nil:
		return found, nil, &apiError{http.StatusNotFound, fmt.Sprintf("there is no subuser %q", name)}
	}
	if owner != "" {
		cl.header.Set("account-id", owner)
	}
	return found, text, nil
}

func (c *cli) subuserAdd(w *whose) *cobra.Command {
	var email string
	var ips []string
	cmd := c.tenantCommand(w, "add NAME", "Make a subuser", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		in := patch{"username": args[0], "email": email, "ips": ips}
		if _, _, err := call[json.RawMessage](ctx, cl, http.MethodPost, "/v3/subusers", nil, in); err != nil {
			return err
		}
		return c.tellSubuser(ctx, cl, args[0])
	})
	cmd.Flags().StringVar(&email, "email", "", "who answers for it")
	cmd.Flags().StringSliceVar(&ips, "ip", nil, "source addresses that its mail leaves from: those of one pool")
	return cmd
}

func (c *cli) subuserList(w *whose) *cobra.Command {
	return c.tenantCommand(w, "list", "List subusers", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		all, err := c.everyAccount(ctx, cl, func() ([]json.RawMessage, error) { return pages(ctx, cl, "/v3/subusers", url.Values{}) })
		if err != nil {
			return err
		}
		if c.json {
			return c.printValue(results[json.RawMessage]{Result: all})
		}
		t := newTable(c.out, "NAME", "ACCOUNT", "NUMBER", "EMAIL", "KEYS", "STATE")
		for _, text := range all {
			var s subuserView
			if err := json.Unmarshal(text, &s); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
			t.row(s.Name, s.Of, s.Number, s.Email, s.Keys, s.state())
		}
		return t.end()
	})
}

func (c *cli) subuserSwitch(w *whose, verb, short string, disabled bool) *cobra.Command {
	return c.tenantCommand(w, verb+" NAME", short, cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		if _, _, err := c.findSubuser(ctx, cl, args[0]); err != nil {
			return err
		}
		if _, _, err := call[json.RawMessage](ctx, cl, http.MethodPatch, "/v3/subusers"+segment(args[0]), nil, patch{"disabled": disabled}); err != nil {
			return err
		}
		return c.tellSubuser(ctx, cl, args[0])
	})
}

func (c *cli) subuserDelete(w *whose) *cobra.Command {
	var dry bool
	cmd := c.tenantCommand(w, "delete NAME", "End one subuser: keys revoked, queued mail dropped, its domains and people deleted", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		if _, _, err := c.findSubuser(ctx, cl, args[0]); err != nil {
			return err
		}
		q := url.Values{}
		if dry {
			q.Set("dry_run", "true")
		}
		e, text, err := call[deletion](ctx, cl, http.MethodDelete, "/v3/subusers"+segment(args[0]), q, nil)
		switch {
		case err != nil:
			return err
		case !dry && c.json:
			return c.printValue(struct{}{})
		case !dry:
			_, err := fmt.Fprintf(c.out, "%s is deleted: its keys are revoked, and what it had queued is dropped (postern events --event dropped).\n", clean(args[0]))
			return err
		}
		return answer(c, e, text, func(e deletion) error { return c.showDeletion(&e) })
	})
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what it would end")
	return cmd
}

// deletion is what the end of a subuser takes along.
type deletion struct {
	Keys        int64       `json:"keys"`
	Queued      int64       `json:"queued_messages"`
	Domains     deletedPart `json:"domains"`
	Senders     deletedPart `json:"senders"`
	People      deletedPart `json:"people"`
	Invitations deletedPart `json:"invitations"`
}

type deletedPart struct {
	Count int      `json:"count"`
	Names []string `json:"names"`
}

func (c *cli) showDeletion(d *deletion) error {
	if _, err := fmt.Fprintf(c.out, "Would revoke %d keys and drop %d queued messages.\n", d.Keys, d.Queued); err != nil {
		return err
	}
	for _, kind := range []struct {
		words string
		deletedPart
	}{{"domains with their DKIM keys", d.Domains}, {"single senders", d.Senders}, {"people", d.People}, {"invitations", d.Invitations}} {
		if kind.Count == 0 {
			continue
		}
		names := make([]string, len(kind.Names))
		for i, name := range kind.Names {
			names[i] = clean(name)
		}
		if more := kind.Count - len(names); more > 0 {
			names = append(names, fmt.Sprintf("%d more", more))
		}
		if _, err := fmt.Fprintf(c.out, "Would delete %d %s: %s.\n", kind.Count, kind.words, strings.Join(names, ", ")); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) showSubuser(s subuserView) error {
	return pairs(c.out, "name", s.Name, "id", s.ID, "number", s.Number, "email", s.Email, "pool", s.Pool, "keys", s.Keys, "state", s.state(),
		"created", s.CreatedAt, "disabled", s.DisabledAt)
}

// planCommand shows or sets how much a tenant may send.
func (c *cli) planCommand() *cobra.Command {
	w := &whose{}
	var p relay.Plan
	var size, over string
	cmd := &cobra.Command{
		Use: "plan", Short: "How much an account or subuser may send", Args: cobra.NoArgs,
		Long:    "plan shows the plan, and with flags changes it: 0 is no limit. A subuser is bound by its own plan\nand by the account's. The account's own plan is the operator's to set.",
		Example: "  postern plan --subuser shop --per-day 20000 --over defer",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.tenantClient(cmd.Context(), w.account, "")
			if err != nil {
				return err
			}
			in := patch{}
			in.set(cmd, "per-hour", "hour", p.Hour)
			in.set(cmd, "per-day", "day", p.Day)
			in.set(cmd, "per-month", "month", p.Month)
			in.set(cmd, "recipients", "recipients", p.Recipients)
			in.set(cmd, "connections", "connections", p.Connections)
			in.set(cmd, "over", "over", over)
			if cmd.Flags().Changed("size") {
				n, err := config.ParseSize(size)
				if err != nil {
					return usageError("--size: " + err.Error())
				}
				in["size"] = int64(n)
			}
			if w.subuser != "" {
				if _, _, err := c.findSubuser(cmd.Context(), cl, w.subuser); err != nil {
					return err
				}
			}
			path, method, body := "/v3/user/plan", http.MethodGet, any(nil)
			if w.subuser != "" {
				path = "/v3/subusers" + segment(w.subuser) + "/plan"
			}
			if len(in) > 0 && w.subuser == "" {
				if err := cl.onHost(); err != nil {
					return err
				}
			}
			if len(in) > 0 {
				method, body = http.MethodPatch, in
			}
			plan, text, err := call[relay.Plan](cmd.Context(), cl, method, path, nil, body)
			if err != nil {
				return err
			}
			return answer(c, plan, text, c.showPlan)
		},
	}
	w.flags(cmd)
	f := cmd.Flags()
	f.Int64Var(&p.Hour, "per-hour", 0, "recipients in any 60 minutes")
	f.Int64Var(&p.Day, "per-day", 0, "recipients in a day of the account's time zone")
	f.Int64Var(&p.Month, "per-month", 0, "recipients in a month")
	f.IntVar(&p.Recipients, "recipients", 0, "recipients of one message")
	f.StringVar(&size, "size", "", "size of one message, such as 10MiB")
	f.IntVar(&p.Connections, "connections", 0, "SMTP connections at once")
	f.StringVar(&over, "over", "", "what becomes of mail over a limit: refuse (451) or defer (sent when there is room)")
	return cmd
}

func (c *cli) showPlan(p relay.Plan) error {
	over := "refused with 451"
	if p.Over == relay.OverDefer {
		over = "accepted, sent when there is room"
	}
	return pairs(c.out, "in any hour", p.Hour, "a day", p.Day, "a month", p.Month, "recipients a message", p.Recipients,
		"octets a message", p.Size, "connections", p.Connections, "over a limit", over,
		"credits", string(p.Credits.Type), "credits in all", p.Credits.Total, "filled", p.Credits.Reset)
}

// usageCommand shows what limits have left.
func (c *cli) usageCommand() *cobra.Command {
	w := &whose{}
	cmd := c.tenantCommand(w, "usage", "What was sent, and what the limits leave", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		u, text, err := call[results[relay.Usage]](ctx, cl, http.MethodGet, "/v3/user/usage", nil, nil)
		if err != nil {
			return err
		}
		return answer(c, u, text, func(results[relay.Usage]) error {
			t := newTable(c.out, "OF", "NAME", "IN", "USED", "LIMIT", "", "ROOM AGAIN")
			for _, x := range u.Result {
				t.row(x.Subject, x.Name, string(x.Window), count(x.Used), x.Limit, gauge(x.Used, x.Limit), x.ResetsAt)
			}
			return t.end()
		})
	})
	w.flags(cmd)
	return cmd
}

// gauge draws how much of a limit is used.
func gauge(used, limit int64) string {
	if limit <= 0 {
		return ""
	}
	const width = 20
	full := min(int(used*width/limit), width)
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = '.'
		if i < full {
			bar[i] = '#'
		}
	}
	return fmt.Sprintf("[%s] %d%%", bar, used*100/limit)
}

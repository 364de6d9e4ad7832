package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/relay"
)

// ruleView is one entry of an allow-list.
type ruleView struct {
	ID        int64  `json:"id"`
	IP        string `json:"ip"`
	Host      string `json:"host,omitempty"`
	Note      string `json:"note,omitempty"`
	CreatedAt int64  `json:"created_at"`
}

const rulesPath = "/v3/access_settings/whitelist"

// modeView is how an allow-list is applied.
type modeView struct {
	Monitor    bool      `json:"monitor"`
	TrialUntil time.Time `json:"trial_until"`
}

func (c *cli) accessCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "access", Short: "From where an account or subuser may log in, and who was shut out",
		Long: "An allow-list holds networks and host names; without entries everybody may try. It counts for SMTP\n" +
			"and HTTP alike. A change that would shut out the address it comes from is refused unless --confirm;\n" +
			"--trial 10m takes it back by itself unless \"postern access confirm\" comes first. admin.sock is never\n" +
			"shut out. A key can have networks of its own: \"postern key update --network\".",
	}
	w := &whose{}
	w.flags(cmd)
	cmd.AddCommand(c.accessList(w), c.accessAdd(w), c.accessRemove(w), c.accessMode(w),
		c.accessEnd(w, "confirm", "Keep a change that is on trial"), c.accessEnd(w, "revert", "Take back a change that is on trial"),
		c.accessActivity(w), c.banList(w), c.banAdd(w), c.banLift(w))
	group(cmd)
	return cmd
}

func (c *cli) accessList(w *whose) *cobra.Command {
	return c.tenantCommand(w, "list", "List the entries", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		list, text, err := call[results[ruleView]](ctx, cl, http.MethodGet, rulesPath, nil, nil)
		if err != nil {
			return err
		}
		return answer(c, list, text, func(results[ruleView]) error { return c.showRules(ctx, cl, list.Result) })
	})
}

func (c *cli) showRules(ctx context.Context, cl *client, rules []ruleView) error {
	t := newTable(c.out, "ID", "FROM", "NOTE", "SINCE")
	for _, r := range rules {
		from := r.IP
		if from == "" {
			from = r.Host
		}
		t.row(r.ID, from, r.Note, time.Unix(r.CreatedAt, 0))
	}
	if err := t.end(); err != nil {
		return err
	}
	m, _, err := call[modeView](ctx, cl, http.MethodGet, "/v3/access_settings/mode", nil, nil)
	if err != nil {
		return err
	}
	switch {
	case len(rules) == 0:
		fmt.Fprintln(c.out, "No entries: everybody may try.")
	case m.Monitor:
		fmt.Fprintln(c.out, "Monitor only: nobody is refused; \"postern log\" shows who would have been.")
	}
	if !m.TrialUntil.IsZero() {
		fmt.Fprintf(c.out, "On trial until %s; then the list before it counts again.\n", show(m.TrialUntil))
	}
	return nil
}

// guardFlags are those of changes that can lock somebody out.
type guardFlags struct {
	confirm bool
	trial   time.Duration
}

func (g *guardFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&g.confirm, "confirm", false, "even if it shuts out the address that it comes from")
	spanVar(cmd.Flags(), &g.trial, "trial", 0, "take it back after this time unless it is confirmed")
}

func (g *guardFlags) add(in patch) {
	if g.confirm {
		in["confirm"] = true
	}
	if g.trial > 0 {
		in["trial_seconds"] = seconds(g.trial)
	}
}

func (c *cli) accessAdd(w *whose) *cobra.Command {
	var g guardFlags
	var note string
	cmd := c.tenantCommand(w, "add NETWORK|ADDRESS|HOST...", "Let networks or host names in", cobra.MinimumNArgs(1), func(ctx context.Context, cl *client, args []string) error {
		var ips []patch
		for _, a := range args {
			e := patch{"ip": a}
			if note != "" {
				e["note"] = note
			}
			ips = append(ips, e)
		}
		in := patch{"ips": ips}
		g.add(in)
		list, text, err := call[results[ruleView]](ctx, cl, http.MethodPost, rulesPath, nil, in)
		if err != nil {
			return err
		}
		return answer(c, list, text, func(results[ruleView]) error { // of the new entries only
			list, _, err := call[results[ruleView]](ctx, cl, http.MethodGet, rulesPath, nil, nil)
			if err != nil {
				return err
			}
			return c.showRules(ctx, cl, list.Result)
		})
	})
	g.register(cmd)
	cmd.Flags().StringVar(&note, "note", "", "what it is for")
	return cmd
}

func (c *cli) accessRemove(w *whose) *cobra.Command {
	var g guardFlags
	cmd := c.tenantCommand(w, "remove ID|NETWORK|HOST...", "Remove entries", cobra.MinimumNArgs(1), func(ctx context.Context, cl *client, args []string) error {
		list, _, err := call[results[ruleView]](ctx, cl, http.MethodGet, rulesPath, nil, nil)
		if err != nil {
			return err
		}
		var ids []int64
		for _, a := range args {
			id, ok := ruleID(list.Result, a)
			if !ok {
				return usageError("access: remove: " + strconv.Quote(a) + " is neither the ID of an entry nor its network or host (postern access list)")
			}
			ids = append(ids, id)
		}
		in := patch{"ids": ids}
		g.add(in)
		if _, _, err := call[json.RawMessage](ctx, cl, http.MethodDelete, rulesPath, nil, in); err != nil {
			if statusOf(err) == http.StatusNotFound {
				return &apiError{http.StatusNotFound, "there is no such entry (postern access list); nothing was removed"}
			}
			return err
		}
		list, text, err := call[results[ruleView]](ctx, cl, http.MethodGet, rulesPath, nil, nil)
		if err != nil {
			return err
		}
		return answer(c, list, text, func(results[ruleView]) error { return c.showRules(ctx, cl, list.Result) })
	})
	g.register(cmd)
	return cmd
}

// ruleID finds an entry as it is listed, or as it was typed: an address for the
// network of that one address. What is a number is an ID, listed or not.
func ruleID(all []ruleView, ref string) (int64, bool) {
	if n, err := strconv.ParseInt(ref, 10, 64); err == nil {
		return n, true
	}
	for _, r := range all {
		if ref != "" && (strings.EqualFold(r.IP, ref) || strings.EqualFold(r.Host, ref)) {
			return r.ID, true
		}
		if a, err := netip.ParseAddr(ref); err == nil && r.IP == netip.PrefixFrom(a, a.BitLen()).String() {
			return r.ID, true
		}
	}
	return 0, false
}

func (c *cli) accessMode(w *whose) *cobra.Command {
	var g guardFlags
	cmd := c.tenantCommand(w, "mode enforce|monitor", "Refuse who is not on the list, or only report them", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		if args[0] != "enforce" && args[0] != "monitor" {
			return usageError("access: mode: enforce or monitor")
		}
		in := patch{"monitor": args[0] == "monitor"}
		g.add(in)
		m, text, err := call[modeView](ctx, cl, http.MethodPatch, "/v3/access_settings/mode", nil, in)
		if err != nil {
			return err
		}
		return answer(c, m, text, func(m modeView) error {
			return pairs(c.out, "mode", args[0], "on trial until", m.TrialUntil)
		})
	})
	g.register(cmd)
	return cmd
}

func (c *cli) accessEnd(w *whose, verb, short string) *cobra.Command {
	return c.tenantCommand(w, verb, short, cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		list, text, err := call[results[ruleView]](ctx, cl, http.MethodPost, "/v3/access_settings/"+verb, nil, patch{})
		if err != nil {
			return err
		}
		return answer(c, list, text, func(results[ruleView]) error { return c.showRules(ctx, cl, list.Result) })
	})
}

func (c *cli) accessActivity(w *whose) *cobra.Command {
	var limit int
	cmd := c.tenantCommand(w, "activity", "Which addresses tried, and whether they were let in", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		type seen struct {
			Allowed bool   `json:"allowed"`
			Method  string `json:"auth_method"`
			IP      string `json:"ip"`
			FirstAt int64  `json:"first_at"`
			LastAt  int64  `json:"last_at"`
			Count   int64  `json:"count"`
		}
		list, text, err := call[results[seen]](ctx, cl, http.MethodGet, "/v3/access_settings/activity", url.Values{"limit": {strconv.Itoa(limit)}}, nil)
		if err != nil {
			return err
		}
		return answer(c, list, text, func(results[seen]) error {
			t := newTable(c.out, "ADDRESS", "BY", "ALLOWED", "FIRST", "LAST", "TIMES")
			for _, s := range list.Result {
				t.row(s.IP, s.Method, s.Allowed, time.Unix(s.FirstAt, 0), time.Unix(s.LastAt, 0), s.Count)
			}
			return t.end()
		})
	})
	cmd.Flags().IntVar(&limit, "limit", 20, "how many of the newest")
	return cmd
}

func (c *cli) banList(w *whose) *cobra.Command {
	return c.tenantCommand(w, "bans", "Who is refused for a while after failed logins", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		list, text, err := call[results[relay.Ban]](ctx, cl, http.MethodGet, "/v3/access_settings/bans", nil, nil)
		if err != nil {
			return err
		}
		return answer(c, list, text, func(results[relay.Ban]) error {
			t := newTable(c.out, "SCOPE", "SUBJECT", "FAILURES", "SINCE", "UNTIL", "BY")
			for _, b := range list.Result {
				t.row(string(b.Scope), b.Subject, b.Failures, b.Since, b.Until, b.By)
			}
			return t.end()
		})
	})
}

func (c *cli) banAdd(w *whose) *cobra.Command {
	var span time.Duration
	cmd := c.tenantCommand(w, "ban address|network SUBJECT", "Refuse an address or network for a while", cobra.ExactArgs(2), func(ctx context.Context, cl *client, args []string) error {
		if err := cl.onHost(); err != nil {
			return err
		}
		in := patch{"scope": args[0], "subject": args[1], "seconds": seconds(span)}
		b, text, err := call[relay.Ban](ctx, cl, http.MethodPost, "/v3/access_settings/bans", nil, in)
		if err != nil {
			return err
		}
		return answer(c, b, text, func(b relay.Ban) error {
			return pairs(c.out, "scope", string(b.Scope), "subject", b.Subject, "until", b.Until)
		})
	})
	spanVar(cmd.Flags(), &span, "for", time.Hour, "how long")
	return cmd
}

func (c *cli) banLift(w *whose) *cobra.Command {
	return c.tenantCommand(w, "lift SCOPE SUBJECT", "Lift one ban", cobra.ExactArgs(2), func(ctx context.Context, cl *client, args []string) error {
		// The slash of a network stands in the path as it is: %2F is not read as one.
		address, bits, isNetwork := strings.Cut(args[1], "/")
		path := "/v3/access_settings/bans" + segment(args[0]) + segment(address)
		if isNetwork {
			path += segment(bits)
		}
		if _, _, err := call[json.RawMessage](ctx, cl, http.MethodDelete, path, nil, nil); err != nil {
			if statusOf(err) == http.StatusNotFound {
				return &apiError{http.StatusNotFound, "there is no such ban (postern access bans)"}
			}
			return err
		}
		if c.json {
			return c.printValue(struct{}{})
		}
		_, err := fmt.Fprintf(c.out, "The ban on %s is lifted.\n", clean(args[1]))
		return err
	})
}

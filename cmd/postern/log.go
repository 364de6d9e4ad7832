package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"postern/internal/store"
)

func (c *cli) logCommand() *cobra.Command {
	var follow, changes bool
	var limit int
	var since string
	cmd := &cobra.Command{
		Use: "log", Short: "Who logged in or tried to; with --changes, who changed what", Args: cobra.NoArgs,
		Long: "Login records, refused ones with their true reason, or with --changes administrative changes: oldest\n" +
			"first, the newest of them unless --since says otherwise.",
		Example: "  postern log --follow\n  postern log --result wrong --since 24h --json\n  postern log --changes --account acme",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := historyQuery(cmd, since, limit)
			if err != nil {
				return err
			}
			if !changes {
				if q.Has("action") {
					return usageError("log: --action is for --changes")
				}
				return c.history(cmd.Context(), follow, q, "/logins", c.printLogin)
			}
			for _, name := range []string{"key", "addr", "result"} {
				if q.Has(name) {
					return usageError("log: --" + name + " is not for --changes")
				}
			}
			return c.history(cmd.Context(), follow, q, "/changes", c.printChange)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&changes, "changes", false, "administrative changes")
	f.String("account", "", "of this account")
	f.String("key", "", "logins with this key")
	f.String("addr", "", "logins from this address")
	f.String("result", "", "logins with this result: ok, wrong, unknown, revoked, network, …")
	f.String("action", "", "changes of this kind, such as key.create")
	historyFlags(cmd, &follow, &limit, &since)
	return cmd
}

// printLogin prints one login record and moves the cursor.
func (c *cli) printLogin(raw json.RawMessage, q url.Values) error {
	var l store.StoredLogin
	if err := json.Unmarshal(raw, &l); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	q.Set("after", strconv.FormatInt(l.ID, 10))
	if c.json {
		return c.line(raw)
	}
	_, err := fmt.Fprintf(c.out, "%s  %-11s  %s  %s  key=%s  mechanism=%s  helo=%s  tls=%s  count=%d\n", show(l.At), l.Result,
		l.Addr, show(l.Listener), show(l.Tried), show(l.Mechanism), show(l.Helo), show(l.TLS), max(l.Count, 1))
	return err
}

// printChange prints one change and moves the cursor.
func (c *cli) printChange(raw json.RawMessage, q url.Values) error {
	var ch store.StoredChange
	if err := json.Unmarshal(raw, &ch); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	q.Set("after", strconv.FormatInt(ch.ID, 10))
	if c.json {
		return c.line(raw)
	}
	_, err := fmt.Fprintf(c.out, "%s  %s  %s  by %s (%s)\n", show(ch.At), ch.Action, show(ch.Subject), show(ch.By), show(ch.From))
	return err
}

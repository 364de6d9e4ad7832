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
	cmd := &cobra.Command{Use: "log", Short: "Logins and administrative changes"}
	cmd.AddCommand(c.logLogins(), c.logChanges())
	group(cmd)
	return cmd
}

func (c *cli) logLogins() *cobra.Command {
	var follow bool
	var limit int
	var since string
	cmd := &cobra.Command{
		Use: "logins", Short: "Who logged in, or tried to, oldest first", Args: cobra.NoArgs,
		Example: "  postern log logins --follow\n  postern log logins --result wrong --since 24h --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := historyQuery(cmd, since, limit)
			if err != nil {
				return err
			}
			return c.history(cmd.Context(), follow, q, "/logins", func(raw json.RawMessage, q url.Values) error {
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
			})
		},
	}
	f := cmd.Flags()
	f.String("account", "", "of this account")
	f.String("key", "", "with this key")
	f.String("addr", "", "from this address")
	f.String("result", "", "with this result: ok, wrong, unknown, revoked, network, …")
	historyFlags(cmd, &follow, &limit, &since)
	return cmd
}

func (c *cli) logChanges() *cobra.Command {
	var follow bool
	var limit int
	var since string
	cmd := &cobra.Command{
		Use: "changes", Short: "Who changed what, oldest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := historyQuery(cmd, since, limit)
			if err != nil {
				return err
			}
			return c.history(cmd.Context(), follow, q, "/changes", func(raw json.RawMessage, q url.Values) error {
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
			})
		},
	}
	cmd.Flags().String("account", "", "of this account")
	cmd.Flags().String("action", "", "of this kind, such as key.create")
	historyFlags(cmd, &follow, &limit, &since)
	return cmd
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/relay"
)

// mostRecords is how many of the newest records one answer has; more are had with
// "postern audit export".
const mostRecords = 1000

func (c *cli) logCommand() *cobra.Command {
	var follow, changes bool
	var limit int
	var since, until string
	w := &whose{}
	cmd := &cobra.Command{
		Use: "log", Short: "Who logged in or tried to; with --changes, who changed what", Args: cobra.NoArgs,
		Long: "Login records, refused ones with their true reason, or with --changes administrative changes and\n" +
			"what became of what: the newest --limit of them, oldest first. \"postern audit export\" writes all.\n\n" +
			"Actions are named THING.VERB, such as access.set, key.create, key.revoke, domain.create, user.update.",
		Example: "  postern log --follow\n  postern log --result wrong --since 24h --json\n" +
			"  postern log --changes --action access.set --since 2026-11-17 --until 2026-11-18\n" +
			"  postern log --changes --by anna --subject \"domain example.com\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := historyQuery(cmd, since, limit, mostRecords)
			if err != nil {
				return err
			}
			if until != "" {
				end, err := parseSince(until, time.Now())
				if err != nil {
					return usageError("--until: " + err.Error())
				}
				if follow {
					return usageError("log: --follow has no end, and --until has")
				}
				q.Set("until", end.UTC().Format(time.RFC3339Nano))
			}
			path, print, others := "/v3/logins", c.printLogin, []string{"action", "by", "subject"}
			if changes {
				path, print, others = "/v3/changes", c.printChange, []string{"key", "addr", "mechanism", "tls", "result", "subuser"}
			}
			for _, name := range others {
				if !cmd.Flags().Changed(name) {
					continue
				}
				if changes {
					return usageError("log: --" + name + " is not for --changes")
				}
				return usageError("log: --" + name + " is for --changes")
			}
			cl, err := c.tenantClient(cmd.Context(), w.account, w.subuser)
			if err != nil {
				return err
			}
			if err := c.keyFilter(cmd.Context(), cl, q); err != nil {
				return err
			}
			return c.history(cmd.Context(), cl, follow, q, path, print)
		},
	}
	w.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&changes, "changes", false, "administrative changes")
	f.String("key", "", "logins with this key")
	f.String("addr", "", "logins from this address")
	f.String("mechanism", "", "logins by this mechanism, such as PLAIN, or none")
	f.String("tls", "", "logins over this version of TLS: 1.2, 1.3, or none")
	f.String("result", "", "logins with this result: ok, wrong, unknown, revoked, network, …")
	f.String("action", "", "changes of this kind, such as key.create")
	f.String("by", "", "changes by these: \"user anna\", \"key ID\", a name alone, or user or key for all of them")
	f.String("subject", "", "changes of what begins with these words: \"key ID\", \"domain example.com\", \"subuser shop\"")
	f.StringVar(&until, "until", "", "before this time, written as that of --since")
	historyFlags(cmd, &follow, &limit, &since)
	return cmd
}

// keyFilter puts a key's id where its name may stand.
func (c *cli) keyFilter(ctx context.Context, cl *client, q url.Values) error {
	ref := q.Get("key")
	if ref == "" {
		return nil
	}
	if _, err := relay.ParseID(ref); err == nil {
		return nil
	}
	k, _, err := c.findKey(ctx, cl, ref)
	q.Set("key", k.ID.String())
	return err
}

// printLogin prints one login record and moves the cursor.
func (c *cli) printLogin(raw json.RawMessage, q url.Values) error {
	var l struct {
		Cursor string `json:"cursor"`
		relay.Login
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	q.Set("after", l.Cursor)
	if c.json {
		return c.line(raw)
	}
	detail := ""
	if l.Detail != "" {
		detail = "  (" + clean(l.Detail) + ")"
	}
	_, err := fmt.Fprintf(c.out, "%s  %-11s  %s  %s  key=%s  mechanism=%s  helo=%s  tls=%s  count=%d%s\n", show(l.At), l.Result,
		l.Addr, show(l.Listener), show(l.Tried), show(l.Mechanism), show(l.Helo), show(l.TLS), max(l.Count, 1), detail)
	return err
}

// printChange prints one change and moves the cursor.
func (c *cli) printChange(raw json.RawMessage, q url.Values) error {
	var ch struct {
		Cursor string `json:"cursor"`
		relay.Change
	}
	if err := json.Unmarshal(raw, &ch); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	q.Set("after", ch.Cursor)
	if c.json {
		return c.line(raw)
	}
	if _, err := fmt.Fprintf(c.out, "%s  %s  %s  by %s (%s)\n", show(ch.At), ch.Action, show(ch.Subject), show(ch.By), show(ch.From)); err != nil {
		return err
	}
	for _, line := range differences(ch.Before, ch.After) {
		if _, err := fmt.Fprintf(c.out, "    %s\n", clean(line)); err != nil {
			return err
		}
	}
	return nil
}

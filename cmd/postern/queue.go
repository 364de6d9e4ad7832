package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/relay"
	"postern/internal/store"
)

func (c *cli) queueCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "queue", Short: "Mail that waits"}
	cmd.AddCommand(c.queueList(), c.queueShow(), c.queueWhy(),
		c.queueAction("hold", "Keep messages from leaving", "held", true),
		c.queueAction("release", "Let held or quarantined messages go on", "released", false),
		c.queueAction("retry", "Try messages now", "due now", false),
		c.queueAction("bounce", "Return messages to their senders now", "returned", true),
		c.queueDrain(),
	)
	group(cmd)
	return cmd
}

// queueFilters adds the flags that select messages.
func queueFilters(cmd *cobra.Command, f *api.QueueFilter) {
	flags := cmd.Flags()
	flags.StringVar(&f.Account, "account", "", "of this account")
	flags.StringVar(&f.Subuser, "subuser", "", "of this subuser")
	flags.StringVar(&f.Key, "key", "", "handed in with this key")
	flags.StringVar(&f.Pool, "pool", "", "leaving from this pool")
	flags.StringVar(&f.Site, "site", "", "to this domain")
	flags.StringVar(&f.Recipient, "recipient", "", "to this address")
	flags.StringVar(&f.Sender, "sender", "", "from this address")
	flags.StringVar(&f.State, "state", "", "queued, held or quarantined")
}

type queuePage struct {
	Result []store.Queued  `json:"result"`
	Next   relay.MessageID `json:"next,omitzero"`
}

func (c *cli) queueList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List messages, oldest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError("queue list: --limit must be at least 1")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			q := flagQuery(cmd)
			var all queuePage
			for limit > 0 {
				q.Set("limit", strconv.Itoa(min(limit, 1000)))
				page, _, err := get[queuePage](cmd.Context(), cl, "/queue", q)
				if err != nil {
					return err
				}
				all.Result, all.Next = append(all.Result, page.Result...), page.Next
				if limit -= len(page.Result); page.Next.IsZero() {
					break
				}
				q.Set("after", page.Next.String())
			}
			return c.printQueue(all)
		},
	}
	queueFilters(cmd, &api.QueueFilter{})
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at most")
	cmd.Flags().String("after", "", "go on after this message")
	return cmd
}

func (c *cli) printQueue(page queuePage) error {
	if c.json {
		if page.Result == nil {
			page.Result = []store.Queued{}
		}
		return c.printValue(page)
	}
	t := newTable(c.out, "ID", "STATE", "ACCEPTED", "SIZE", "FROM", "WAITING", "NEXT ATTEMPT")
	for _, m := range page.Result {
		var next time.Time
		waiting := ""
		for i, r := range m.Recipients {
			if i == 0 {
				waiting = r.Address
			}
			if next.IsZero() || r.DueAt.Before(next) {
				next = r.DueAt
			}
		}
		if more := len(m.Recipients) - 1; more > 0 {
			waiting += fmt.Sprintf(" and %d more", more)
		}
		if m.Message.State != relay.MessageQueued {
			next = time.Time{}
		}
		t.row(m.Message.ID, string(m.Message.State), m.Message.AcceptedAt, m.Message.Size, m.Message.HeaderFrom, waiting, next)
	}
	if err := t.end(); err != nil {
		return err
	}
	if !page.Next.IsZero() {
		fmt.Fprintf(c.out, "There are more: --after %s\n", page.Next)
	}
	return nil
}

func (c *cli) queueShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one message with its recipients", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			m, text, err := get[store.Queued](cmd.Context(), cl, "/queue"+segment(args[0]), nil)
			if err != nil {
				return notQueued(err, args[0])
			}
			return answer(c, m, text, c.showMessage)
		},
	}
}

// notQueued says where a message that has left can be found.
func notQueued(err error, id string) error {
	if e, ok := errors.AsType[*apiError](err); ok && e.status == 404 {
		return &apiError{e.status, "message " + strconv.Quote(id) + " does not wait; what became of one that has left: postern events --message " + id}
	}
	return err
}

func (c *cli) showMessage(q store.Queued) error {
	m := q.Message
	if err := pairs(c.out, "id", m.ID, "state", string(m.State), "reason", m.Reason, "accepted", m.AcceptedAt, "expires", m.ExpiresAt,
		"envelope sender", m.EnvelopeFrom, "from", m.HeaderFrom, "subject", m.Subject, "message-id", m.HeaderID, "size", m.Size,
		"account", m.Account, "subuser", m.Subuser, "key", m.Key, "pool", m.Pool, "source", m.Source.Addr, "tls", m.Source.TLS,
		"categories", m.Categories, "signed with", m.SignedWith, "crashes", m.Crashes); err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	t := newTable(c.out, "RECIPIENT", "ATTEMPTS", "NEXT ATTEMPT", "LAST HOST", "LAST ANSWER")
	for _, r := range q.Recipients {
		t.row(r.Address, r.Attempts, r.DueAt, r.LastHost, r.LastReply)
	}
	return t.end()
}

func (c *cli) queueWhy() *cobra.Command {
	return &cobra.Command{
		Use: "why ID", Short: "Say in words why a message waits", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			type why struct {
				Text       []string `json:"text"`
				Recipients []struct {
					Text string `json:"text"`
				} `json:"recipients"`
			}
			w, text, err := get[why](cmd.Context(), cl, "/queue"+segment(args[0])+"/why", nil)
			if err != nil {
				return notQueued(err, args[0])
			}
			return answer(c, w, text, func(w why) error {
				for _, line := range w.Text {
					fmt.Fprintln(c.out, clean(line))
				}
				for _, r := range w.Recipients {
					fmt.Fprintln(c.out, "  "+clean(r.Text))
				}
				return nil
			})
		},
	}
}

func (c *cli) queueAction(verb, short, done string, reason bool) *cobra.Command {
	var in api.QueueAction
	var filter api.QueueFilter
	cmd := &cobra.Command{
		Use: verb + " [ID]...", Short: short, Args: cobra.ArbitraryArgs,
		Long: short + ": those whose ids are given, or all that the filters find (--all for every one).",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Messages = args
			filtered := filter != api.QueueFilter{}
			switch {
			case len(args) == 0 && !filtered:
				return usageError("queue " + verb + ": name messages, or filter them, or say --all")
			case len(args) > 0 && filtered:
				return usageError("queue " + verb + ": name messages or filter them, not both")
			case filtered:
				in.Filter = &filter
			}
			return create(cmd, c, "/queue/"+verb, in, func(n api.Affected) error {
				_, err := fmt.Fprintf(c.out, "%d messages %s\n", n.Messages, done)
				return err
			})
		},
	}
	queueFilters(cmd, &filter)
	cmd.Flags().BoolVar(&filter.All, "all", false, "every message")
	if reason {
		cmd.Flags().StringVar(&in.Reason, "reason", "", "why, in words; it is recorded")
	}
	return cmd
}

func (c *cli) queueDrain() *cobra.Command {
	var off bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "drain", Short: "Take no new mail and let what is queued leave", Args: cobra.NoArgs,
		Long: "Take no new mail (clients are told to come again later) while what is queued goes on leaving.\n" +
			"--wait shows what remains until the queue is empty; --off takes mail again.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if off && wait != 0 {
				return usageError("queue drain: --off and --wait exclude each other")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			_, text, err := post[struct{}](cmd.Context(), cl, "/queue/drain", api.QueueAction{Off: off})
			if err != nil {
				return err
			}
			switch {
			case wait != 0:
				return c.waitDrained(cmd, cl, wait)
			case c.json:
				return c.printJSON(text)
			case off:
				fmt.Fprintln(c.out, "New mail is taken again.")
			default:
				fmt.Fprintln(c.out, "No new mail is taken; \"postern status\" shows what remains, \"postern queue drain --off\" ends it.")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&off, "off", false, "take mail again")
	spanVar(cmd.Flags(), &wait, "wait", 0, "wait at most that long until the queue is empty")
	return cmd
}

// waitDrained polls until nothing is queued, and tells what remains.
func (c *cli) waitDrained(cmd *cobra.Command, cl *client, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := int64(-1)
	for {
		s, text, err := get[api.Status](cmd.Context(), cl, "/status", nil)
		if err != nil {
			return err
		}
		left := s.Queued + s.Held + s.Quarantined
		if left == 0 {
			if c.json {
				return c.printJSON(text)
			}
			fmt.Fprintln(c.out, "The queue is empty.")
			return nil
		}
		if left != last {
			fmt.Fprintf(c.err, "%d messages remain (%d held, %d quarantined)\n", left, s.Held, s.Quarantined)
			last = left
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("%d messages still remain after %s", left, wait)
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
	}
}

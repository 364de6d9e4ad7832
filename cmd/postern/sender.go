package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// senderView is what the API says of a single sender.
type senderView struct {
	ID        int64    `json:"id"`
	Nickname  string   `json:"nickname"`
	FromEmail string   `json:"from_email"`
	FromName  string   `json:"from_name"`
	ReplyTo   string   `json:"reply_to"`
	Verified  bool     `json:"verified"`
	Warnings  []string `json:"warnings"`
}

func (s *senderView) state() string {
	if s.Verified {
		return "verified"
	}
	return "waits for its link"
}

func (c *cli) senderCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sender", Short: "Single addresses that mail is sent as, proven by a mailed link"}
	w := &whose{}
	w.flags(cmd)
	cmd.AddCommand(c.senderAdd(w), c.senderList(w),
		c.senderDo(w, "show ID|ADDRESS", "Show one sender", func(_ context.Context, _ *client, s senderView, text json.RawMessage) error {
			return answer(c, s, text, c.showSender)
		}),
		c.senderDo(w, "resend ID|ADDRESS", "Mail a new link; the old one ends", func(ctx context.Context, cl *client, s senderView, _ json.RawMessage) error {
			if _, _, err := call[json.RawMessage](ctx, cl, http.MethodPost, "/v3/verified_senders/resend"+segment(strconv.FormatInt(s.ID, 10)), nil, nil); err != nil {
				return err
			}
			return c.say("A new link was mailed to " + s.FromEmail + ".")
		}),
		c.senderDo(w, "remove ID|ADDRESS", "Delete one sender", func(ctx context.Context, cl *client, s senderView, _ json.RawMessage) error {
			if _, _, err := call[json.RawMessage](ctx, cl, http.MethodDelete, "/v3/verified_senders"+segment(strconv.FormatInt(s.ID, 10)), nil, nil); err != nil {
				return err
			}
			return c.say(s.FromEmail + " is no sender any more.")
		}),
	)
	group(cmd)
	return cmd
}

// warn prints what the API warns of beside the answer, which stays as it is for
// programs.
func (c *cli) warn(warnings []string) {
	for _, text := range warnings {
		fmt.Fprintf(c.err, "postern: %s\n", clean(text))
	}
}

// say prints a sentence, or with --json an object with it.
func (c *cli) say(text string) error {
	if c.json {
		return c.printValue(map[string]string{"message": text})
	}
	_, err := fmt.Fprintln(c.out, clean(text))
	return err
}

func (c *cli) senderAdd(w *whose) *cobra.Command {
	var name, fromName, replyTo string
	cmd := c.tenantCommand(w, "add ADDRESS", "Make a sender; a link is mailed to its address", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		in := patch{"from_email": args[0], "nickname": cmp.Or(name, args[0]), "reply_to": cmp.Or(replyTo, args[0])}
		if fromName != "" {
			in["from_name"] = fromName
		}
		s, text, err := call[senderView](ctx, cl, http.MethodPost, "/v3/verified_senders", nil, in)
		if err != nil {
			return err
		}
		return answer(c, s, text, c.showSender)
	})
	cmd.Flags().StringVar(&name, "nickname", "", "what to call it; else the address")
	cmd.Flags().StringVar(&fromName, "from-name", "", "the name beside the address")
	cmd.Flags().StringVar(&replyTo, "reply-to", "", "where answers go; else the address itself")
	return cmd
}

func (c *cli) showSender(s senderView) error {
	if err := pairs(c.out, "sender", s.FromEmail, "id", s.ID, "nickname", s.Nickname, "name", s.FromName, "reply to", s.ReplyTo, "state", s.state()); err != nil {
		return err
	}
	for _, warning := range s.Warnings {
		if _, err := fmt.Fprintln(c.out, "\n! "+clean(warning)); err != nil {
			return err
		}
	}
	return nil
}

// senderPages reads all senders of a tenant.
func senderPages(ctx context.Context, cl *client) (all []json.RawMessage, err error) {
	for last := int64(0); ; {
		page, _, err := call[struct {
			Results []json.RawMessage `json:"results"`
		}](ctx, cl, http.MethodGet, "/v3/verified_senders", url.Values{"limit": {"1000"}, "lastSeenID": {strconv.FormatInt(last, 10)}}, nil)
		if err != nil || len(page.Results) == 0 {
			return all, err
		}
		all = append(all, page.Results...)
		var s senderView
		if err := json.Unmarshal(page.Results[len(page.Results)-1], &s); err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
		last = s.ID
	}
}

func (c *cli) senderList(w *whose) *cobra.Command {
	return c.tenantCommand(w, "list", "List senders", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		all, err := c.everyAccount(ctx, cl, func() ([]json.RawMessage, error) { return senderPages(ctx, cl) })
		if err != nil {
			return err
		}
		if c.json {
			return c.printValue(results[json.RawMessage]{Result: all})
		}
		t := newTable(c.out, "ADDRESS", "ID", "NICKNAME", "STATE")
		for _, text := range all {
			var s senderView
			if err := json.Unmarshal(text, &s); err != nil {
				return fmt.Errorf("read the server's answer: %w", err)
			}
			t.row(s.FromEmail, s.ID, s.Nickname, s.state())
		}
		return t.end()
	})
}

// senderDo makes a command about one sender, named by its id or its address.
func (c *cli) senderDo(w *whose, use, short string, do func(context.Context, *client, senderView, json.RawMessage) error) *cobra.Command {
	return c.tenantCommand(w, use, short, cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		var found senderView
		var raw json.RawMessage
		owner := ""
		err := c.atEveryAccount(ctx, cl, func(string) error {
			all, err := senderPages(ctx, cl)
			if err != nil {
				return err
			}
			for _, text := range all {
				var s senderView
				if err := json.Unmarshal(text, &s); err != nil {
					return fmt.Errorf("read the server's answer: %w", err)
				}
				if strconv.FormatInt(s.ID, 10) != args[0] && !strings.EqualFold(s.FromEmail, args[0]) {
					continue
				}
				if raw != nil {
					return &apiError{http.StatusConflict, "several senders are called " + strconv.Quote(args[0]) + "; use the id"}
				}
				found, raw, owner = s, text, cl.header.Get("account-id")
			}
			return nil
		})
		if err != nil {
			return err
		}
		if raw == nil {
			return &apiError{http.StatusNotFound, "there is no sender " + strconv.Quote(args[0])}
		}
		if owner != "" {
			cl.header.Set("account-id", owner)
		}
		return do(ctx, cl, found, raw)
	})
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/relay"
)

const (
	// pollEvery is how often --follow asks.
	pollEvery = 500 * time.Millisecond
	// followPage is how many records --follow asks for at a time.
	followPage = "1000"
	// mostEvents is how many events one answer has.
	mostEvents = 10_000
)

func (c *cli) eventsCommand() *cobra.Command {
	var follow bool
	var limit int
	var since string
	cmd := &cobra.Command{
		Use: "events", Short: "What happened to messages, oldest first", Args: cobra.NoArgs,
		Example: "  postern events --recipient someone@example.net --since 2h\n  postern events --message ID\n  postern events --follow --event bounced --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := historyQuery(cmd, since, limit, mostEvents)
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			print := c.eventPrinter()
			return c.history(cmd.Context(), cl, follow, q, "/events", func(raw json.RawMessage, q url.Values) error {
				var e relay.Event
				if err := json.Unmarshal(raw, &e); err != nil {
					return fmt.Errorf("read the server's answer: %w", err)
				}
				q.Set("after_epoch", strconv.FormatInt(e.Epoch, 10))
				q.Set("after_seq", strconv.FormatInt(e.Seq, 10))
				return print(raw, e)
			})
		},
	}
	f := cmd.Flags()
	f.String("message", "", "of this message")
	f.String("recipient", "", "of this recipient")
	f.String("account", "", "of this account")
	f.String("key", "", "of mail handed in with this key")
	f.StringSlice("event", nil, "of these kinds: received, deferred, delivered, bounced, dropped, …")
	historyFlags(cmd, &follow, &limit, &since)
	return cmd
}

func historyFlags(cmd *cobra.Command, follow *bool, limit *int, since *string) {
	cmd.Flags().BoolVarP(follow, "follow", "f", false, "go on as more happens")
	cmd.Flags().IntVar(limit, "limit", 100, "how many of the newest")
	cmd.Flags().StringVar(since, "since", "", "not before: a date, a time (RFC 3339) or so long ago, such as 2h or 7d")
}

// ownFlags are flags that the command turns into parameters itself.
var ownFlags = []string{"follow", "limit", "since", "until", "changes"}

func historyQuery(cmd *cobra.Command, since string, limit, most int) (url.Values, error) {
	q := flagQuery(cmd)
	for _, name := range ownFlags {
		q.Del(name)
	}
	if limit < 1 || limit > most {
		return nil, usageError("--limit must be 1 to " + strconv.Itoa(most))
	}
	q.Set("limit", strconv.Itoa(limit))
	q.Set("newest", "true")
	if since != "" {
		t, err := parseSince(since, time.Now())
		if err != nil {
			return nil, usageError("--since: " + err.Error())
		}
		q.Set("since", t.UTC().Format(time.RFC3339Nano))
	}
	return q, nil
}

func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := parseSpan(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time such as 2006-01-02T15:04:05Z nor so long ago, such as 2h or 7d", s)
}

// records are a page of records, and how far back was looked for the newest if not
// all the way.
type records struct {
	Result []json.RawMessage `json:"result"`
	Since  *time.Time        `json:"searched_since"`
}

// history asks for records and hands each to print, which moves the cursor in
// the query; with follow it goes on until ctx ends.
func (c *cli) history(ctx context.Context, cl *client, follow bool, q url.Values, path string, print func(json.RawMessage, url.Values) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		page, _, err := get[records](ctx, cl, path, q)
		if err != nil {
			if follow && ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, raw := range page.Result {
			if err := print(raw, q); err != nil {
				return err
			}
		}
		if page.Since != nil { // what is older was not looked at
			fmt.Fprintf(c.err, "That took long: looked back to %s. For older ones write --since and --until.\n", page.Since.UTC().Format(time.RFC3339))
			if q.Get("after") == "" {
				q.Set("since", page.Since.UTC().Format(time.RFC3339Nano))
			}
		}
		if !follow {
			if n := len(page.Result); strconv.Itoa(n) == q.Get("limit") {
				fmt.Fprintf(c.err, "These are the newest %d; there may be more (--limit).\n", n)
			}
			return nil
		}
		// From now on the cursor leads, oldest first, so that nothing is left out;
		// without one yet, all that comes is new.
		full := strconv.Itoa(len(page.Result)) == q.Get("limit")
		q.Del("newest")
		q.Set("limit", followPage)
		if full {
			continue // there may be more already
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// line prints one JSON object on one line.
func (c *cli) line(raw json.RawMessage) error {
	_, err := fmt.Fprintf(c.out, "%s\n", raw)
	return err
}

// eventPrinter prints events: JSON a line, or words.
func (c *cli) eventPrinter() func(json.RawMessage, relay.Event) error {
	return func(raw json.RawMessage, e relay.Event) error {
		if c.json {
			return c.line(raw)
		}
		var d relay.EventData
		_ = json.Unmarshal(e.Data, &d) // kinds with other details show what they share
		var parts []string
		for _, p := range []struct{ name, text string }{
			{"from", d.From}, {"attempt", number(d.Attempt)}, {"host", d.Host}, {"tls", d.TLS},
			{"key", refusedKey(e)}, {"answer", strings.TrimSpace(d.Reply)}, {"reason", d.Reason}, {"by", d.By}, {"next", timeText(d.NextAt)},
		} {
			if p.text != "" {
				parts = append(parts, p.name+"="+clean(p.text))
			}
		}
		if d.Duplicate {
			parts = append(parts, "possibly-delivered")
		}
		_, err := fmt.Fprintf(c.out, "%s  %-11s  %s  %s  %s\n", show(e.At), e.Kind, show(e.Message), show(e.Recipient), strings.Join(parts, "  "))
		return err
	}
}

// refusedKey is the key of mail that was refused: there is no message to ask.
func refusedKey(e relay.Event) string {
	if e.Kind != relay.EventRefused || e.Key.IsZero() {
		return ""
	}
	return e.Key.String()
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

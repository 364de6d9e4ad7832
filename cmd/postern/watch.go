package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/relay"
)

func (c *cli) watchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "watch", Short: "What the watch noticed about logins and mail"}
	w := &whose{}
	w.flags(cmd)
	cmd.AddCommand(c.watchList(w), c.watchShow(w), c.watchDismiss(w), c.watchConfirm(w), c.watchSettings(w), c.watchReplay(w))
	group(cmd)
	return cmd
}

// ownedFinding is a finding as the API shows it: with whose it is, for those who see
// those of several.
type ownedFinding struct {
	relay.WatchFinding
	Of    string `json:"account"`
	Owner string `json:"username"`
}

type findingPage struct {
	Result []ownedFinding `json:"result"`
	Next   string         `json:"next"`
}

func (c *cli) watchList(w *whose) *cobra.Command {
	state, key, rule, severity, since, after, limit := "open", "", "", "", "", "", 0
	cmd := c.tenantCommand(w, "list", "List findings, the newest first", cobra.NoArgs,
		func(ctx context.Context, cl *client, _ []string) error {
			query := url.Values{"state": {state}, "limit": {strconv.Itoa(limit)}}
			for name, v := range map[string]string{"rule": rule, "severity": severity, "after": after} {
				if v != "" {
					query.Set(name, v)
				}
			}
			if since != "" {
				t, err := parseSince(since, time.Now())
				if err != nil {
					return err
				}
				query.Set("since", t.UTC().Format(time.RFC3339))
			}
			if key != "" {
				k, _, err := c.findKey(ctx, cl, key)
				if err != nil {
					return err
				}
				query.Set("key", k.ID.String())
			}
			list, text, err := get[findingPage](ctx, cl, "/v3/watch/findings", query)
			if err != nil {
				return err
			}
			return answer(c, list, text, c.showFindings)
		})
	f := cmd.Flags()
	f.StringVar(&state, "state", "open", "open, dismissed, confirmed, ended, decided or all")
	f.StringVar(&key, "key", "", "only of this key, by id or name")
	f.StringVar(&rule, "rule", "", "only of this rule: canary, network, travel, places, burst, hours, recipients, bounces, unknown, spread, sweep, downgrade, domain")
	f.StringVar(&severity, "severity", "", "only of this severity: notice, warning, critical")
	f.StringVar(&since, "since", "", "only what was seen since: a date, a time (RFC 3339), or so long ago, such as 168h")
	f.IntVar(&limit, "limit", 100, "the most findings, up to 1000")
	f.StringVar(&after, "after", "", "go on after this finding")
	return cmd
}

// showFindings lists findings; whose they are is said where they are of several.
func (c *cli) showFindings(page findingPage) error {
	several := slices.ContainsFunc(page.Result, func(f ownedFinding) bool { return f.Of != "" || f.Owner != "" })
	head := []string{"LAST SEEN", "SEVERITY", "RULE", "TIMES", "STATE", "ANSWER"}
	if several {
		head = append(head, "ACCOUNT", "SUBUSER")
	}
	t := newTable(c.out, append(head, "ID", "")...)
	for i := range page.Result {
		f := &page.Result[i]
		cells := []any{f.LastAt, string(f.Severity), string(f.Rule), f.Count, string(f.State), string(f.Answer)}
		if several {
			cells = append(cells, f.Of, f.Owner)
		}
		t.row(append(cells, f.ID, f.Title)...)
	}
	if err := t.end(); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Fprintf(c.out, "There are more: --after %s\n", clean(page.Next))
	}
	return nil
}

func (c *cli) watchShow(w *whose) *cobra.Command {
	return c.tenantCommand(w, "show ID", "Show a finding with its evidence", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, args []string) error {
			f, text, err := get[ownedFinding](ctx, cl, "/v3/watch/findings"+segment(args[0]), nil)
			if err != nil {
				return err
			}
			return answer(c, f, text, c.showFinding)
		})
}

// showFinding prints one finding.
func (c *cli) showFinding(f ownedFinding) error {
	fmt.Fprintf(c.out, "%s\n\n%s\n\nWhat to do: %s\n\n", clean(f.Title), clean(f.Text), clean(f.Fix))
	e := &f.Evidence
	seen, expected := "", ""
	if e.Unit != "" {
		seen = fmt.Sprintf("%g %s", e.Seen, e.Unit)
		expected = fmt.Sprintf("at most %g", e.Expected)
	}
	var places []string
	for _, p := range e.Places {
		place := p.Addr
		for _, part := range []string{p.City, p.Country} {
			if part != "" {
				place += " " + part
			}
		}
		places = append(places, place)
	}
	key := f.KeyName
	if !f.Key.IsZero() {
		key = strings.TrimSpace(key + " " + f.Key.String())
	}
	failed := "not answered"
	if f.AnsweredAt.IsZero() && f.State == relay.WatchOpen {
		failed = "not answered yet"
	}
	return pairs(c.out, "id", f.ID, "rule", string(f.Rule), "severity", string(f.Severity), "state", string(f.State), "account", f.Of, "subuser", f.Owner, "key", key, "first seen", f.FirstAt, "last seen", f.LastAt,
		"times", f.Count, "seen", seen, "expected", expected, "was", e.Was, "is now", e.Now, "places", places, "samples", e.Samples,
		"answer", string(f.Answer), "answered", f.AnsweredAt, "answered anew", f.Raised, failed, f.AnswerError, "decided", f.DecidedAt, "by", f.DecidedBy, "teaches", f.Teach)
}

func (c *cli) watchDismiss(w *whose) *cobra.Command {
	teach := false
	cmd := c.tenantCommand(w, "dismiss ID...", "Say that nothing is wrong; what was done about it is undone", cobra.MinimumNArgs(1),
		func(ctx context.Context, cl *client, args []string) error {
			return c.decideFindings(ctx, cl, args, "dismiss", map[string]bool{"teach": teach})
		})
	cmd.Flags().BoolVar(&teach, "teach", false, "what was seen counts as normal from now on")
	return cmd
}

func (c *cli) watchConfirm(w *whose) *cobra.Command {
	return c.tenantCommand(w, "confirm ID...", "Say that a finding is real; what was done about it stays", cobra.MinimumNArgs(1),
		func(ctx context.Context, cl *client, args []string) error {
			return c.decideFindings(ctx, cl, args, "confirm", map[string]bool{})
		})
}

func (c *cli) decideFindings(ctx context.Context, cl *client, ids []string, verb string, in any) error {
	for _, id := range ids {
		f, text, err := post[relay.WatchFinding](ctx, cl, "/v3/watch/findings"+segment(id)+"/"+verb, in)
		if err != nil {
			return err
		}
		err = answer(c, f, text, func(f relay.WatchFinding) error {
			_, err := fmt.Fprintf(c.out, "%s: %s\n", f.State, clean(f.Title))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// watchRule is a rule's setting as the API shows it.
type watchRule struct {
	Rule   string  `json:"rule"`
	What   string  `json:"what"`
	Off    bool    `json:"off"`
	Answer string  `json:"answer"`
	Margin float64 `json:"margin"`
	Floor  int64   `json:"floor"`
}

// watchSettingsAnswer is how an account is watched, as the API shows it.
type watchSettingsAnswer struct {
	Rules          []watchRule `json:"rules"`
	MailTo         []string    `json:"mail_to"`
	NoMail         bool        `json:"no_mail"`
	Webhook        string      `json:"webhook"`
	WebhookSecrets int         `json:"webhook_secrets"`
	WebhookSecret  string      `json:"webhook_secret"`
}

// ruleFlags are the flags that change rules: RULE=VALUE.
type ruleFlags struct {
	answers, margins, floors []string
	off, on                  []string
}

func (r *ruleFlags) add(cmd *cobra.Command, answers bool) {
	f := cmd.Flags()
	if answers {
		f.StringArrayVar(&r.answers, "answer", nil, "RULE=record|tell|slow|hold|stop: what is done about it")
	}
	f.StringArrayVar(&r.margins, "margin", nil, "RULE=NUMBER: how far beyond the usual; 1 is the rule's own measure, 2 twice as far")
	f.StringArrayVar(&r.floors, "floor", nil, "RULE=NUMBER: the least number that is worth a finding")
	f.StringArrayVar(&r.off, "off", nil, "RULE: it is not looked for")
	f.StringArrayVar(&r.on, "on", nil, "RULE: it is looked for again")
}

// rules is what the flags ask for.
func (r *ruleFlags) rules() (map[string]map[string]any, error) {
	out := map[string]map[string]any{}
	set := func(rule, name string, v any) {
		if out[rule] == nil {
			out[rule] = map[string]any{}
		}
		out[rule][name] = v
	}
	for _, list := range []struct {
		flag  string
		texts []string
		parse func(string) (any, error)
	}{
		{"answer", r.answers, func(s string) (any, error) { return s, nil }},
		{"margin", r.margins, func(s string) (any, error) { return strconv.ParseFloat(s, 64) }},
		{"floor", r.floors, func(s string) (any, error) { return strconv.ParseInt(s, 10, 64) }},
	} {
		for _, text := range list.texts {
			rule, value, ok := strings.Cut(text, "=")
			v, err := list.parse(value)
			if !ok || rule == "" || err != nil {
				return nil, usageError("--" + list.flag + ": write it as RULE=VALUE, such as burst=2")
			}
			set(rule, list.flag, v)
		}
	}
	for _, rule := range r.off {
		set(rule, "off", true)
	}
	for _, rule := range r.on {
		set(rule, "off", false)
	}
	return out, nil
}

func (c *cli) watchSettings(w *whose) *cobra.Command {
	rf := &ruleFlags{}
	var mailTo []string
	noMail, hook, rotate := false, "", false
	var cmd *cobra.Command
	cmd = c.tenantCommand(w, "settings", "Show or change how the account is watched", cobra.NoArgs,
		func(ctx context.Context, cl *client, _ []string) error {
			rules, err := rf.rules()
			if err != nil {
				return err
			}
			in := patch{}
			if len(rules) > 0 {
				in["rules"] = rules
			}
			in.set(cmd, "mail-to", "mail_to", mailTo)
			in.set(cmd, "no-mail", "no_mail", noMail)
			in.set(cmd, "webhook", "webhook", hook)
			in.set(cmd, "rotate-secret", "rotate_secret", rotate)
			method, body := http.MethodPatch, any(in)
			if len(in) == 0 {
				method, body = http.MethodGet, nil
			}
			set, text, err := call[watchSettingsAnswer](ctx, cl, method, "/v3/watch/settings", nil, body)
			if err != nil {
				return err
			}
			return answer(c, set, text, c.showWatchSettings)
		})
	cmd.Example = "  postern watch settings --answer places=hold --margin burst=2 --webhook https://hooks.acme.example/postern"
	rf.add(cmd, true)
	cmd.Flags().StringSliceVar(&mailTo, "mail-to", nil, "who is told by mail; empty: the account's owner")
	cmd.Flags().BoolVar(&noMail, "no-mail", false, "nobody is told by mail")
	cmd.Flags().StringVar(&hook, "webhook", "", "an https URL that findings are posted to, signed; empty: none")
	cmd.Flags().BoolVar(&rotate, "rotate-secret", false, "make a new secret for the webhook; the one before signs for another day")
	return cmd
}

func (c *cli) showWatchSettings(s watchSettingsAnswer) error {
	t := newTable(c.out, "RULE", "ANSWER", "MARGIN", "FLOOR", "IT IS FOUND WHEN")
	for _, r := range s.Rules {
		answer := r.Answer
		if r.Off {
			answer = "off"
		}
		t.row(r.Rule, answer, r.Margin, r.Floor, r.What)
	}
	if err := t.end(); err != nil {
		return err
	}
	mail := "the account's owner"
	switch {
	case s.NoMail:
		mail = "nobody"
	case len(s.MailTo) > 0:
		mail = strings.Join(s.MailTo, ", ")
	}
	fmt.Fprintln(c.out)
	if err := pairs(c.out, "mail to", mail, "webhook", s.Webhook, "secrets", s.WebhookSecrets); err != nil {
		return err
	}
	if s.WebhookSecret != "" {
		fmt.Fprintf(c.out, "\nThe webhook's secret, shown once: %s\n", s.WebhookSecret)
	}
	return nil
}

// watchLine is a line of a replay.
type watchLine struct {
	Progress *watchProgress      `json:"progress"`
	Finding  *relay.WatchFinding `json:"finding"`
	Done     *watchProgress      `json:"done"`
	Error    string              `json:"error"`
}

type watchProgress struct {
	At       time.Time `json:"at"`
	Events   int64     `json:"events"`
	Logins   int64     `json:"logins"`
	Findings int       `json:"findings"`
}

func (c *cli) watchReplay(w *whose) *cobra.Command {
	rf := &ruleFlags{}
	since, until := "", ""
	var only []string
	cmd := c.tenantCommand(w, "replay", "Run the rules over the stored history, and do nothing about what they find", cobra.NoArgs,
		func(ctx context.Context, cl *client, _ []string) error {
			rules, err := rf.rules()
			if err != nil {
				return err
			}
			in := map[string]any{}
			if len(rules) > 0 {
				in["rules"] = rules
			}
			if len(only) > 0 {
				in["only"] = only
			}
			for name, text := range map[string]string{"since": since, "until": until} {
				if text == "" {
					continue
				}
				t, err := parseSince(text, time.Now())
				if err != nil {
					return err
				}
				in[name] = t.UTC().Format(time.RFC3339)
			}
			return c.replay(ctx, cl, in)
		})
	cmd.Example = "  postern watch replay --since 30d --only burst --margin burst=1.5"
	rf.add(cmd, false)
	cmd.Flags().StringVar(&since, "since", "", "show what is found since: a date, a time (RFC 3339), or so long ago, such as 30d; what is earlier only teaches")
	cmd.Flags().StringVar(&until, "until", "", "until then")
	cmd.Flags().StringSliceVar(&only, "only", nil, "only these rules")
	return cmd
}

// replay prints findings as they come, and on the side how far it is.
func (c *cli) replay(ctx context.Context, cl *client, in any) error {
	body, err := cl.lines(ctx, "/v3/watch/replay", in)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	var all []relay.WatchFinding
	for lines := json.NewDecoder(body); ; {
		var l watchLine
		if err := lines.Decode(&l); err != nil {
			return fmt.Errorf("the replay was cut off: %w", err)
		}
		switch {
		case l.Error != "":
			return &apiError{http.StatusInternalServerError, l.Error}
		case l.Progress != nil:
			fmt.Fprintf(c.err, "%s: %d events, %d logins, %d findings\n", show(l.Progress.At), l.Progress.Events, l.Progress.Logins, l.Progress.Findings)
		case l.Finding != nil:
			all = append(all, *l.Finding)
		case l.Done != nil:
			return c.showReplay(all, l.Done)
		}
	}
}

func (c *cli) showReplay(all []relay.WatchFinding, p *watchProgress) error {
	if c.json {
		if all == nil {
			all = []relay.WatchFinding{}
		}
		return c.printValue(map[string]any{"result": all, "events": p.Events, "logins": p.Logins})
	}
	t := newTable(c.out, "SEEN", "SEVERITY", "RULE", "")
	for i := range all {
		t.row(all[i].FirstAt, string(all[i].Severity), string(all[i].Rule), all[i].Title)
	}
	if err := t.end(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.out, "\n%d findings in %d events and %d logins\n", len(all), p.Events, p.Logins)
	return err
}

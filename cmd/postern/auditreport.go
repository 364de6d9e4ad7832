package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/audit"
)

func (c *cli) auditReport(w *whose) *cobra.Command {
	var html, older, id string
	var keep bool
	cmd := &cobra.Command{
		Use: "report", Short: "Who can send, as whom, with what and from where; what is wrong with it, and what mends it", Args: cobra.MaximumNArgs(1),
		Long: "report looks at keys, people, client software, domains, IP access, policy and records of an account; for\n" +
			"the first account also at the installation's settings and versions. The score is 1,000 minus the weights\n" +
			"of the findings: mending one adds its weight, and nothing else moves it (docs/audit.md).",
		Example: "  postern audit report --html report.html\n  postern audit report --keep\n  postern audit report --compare ID now",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case older == "" && len(args) > 0:
			return usageError("audit: report: " + strconv.Quote(args[0]) + " stands alone; --compare ID ID compares two kept reports")
		case older != "" && (html != "" || keep || id != "") || keep && id != "":
			return usageError("audit: report: --compare, --keep and --id do not go together")
		}
		cl, err := c.tenantClient(cmd.Context(), w.account, "")
		if err != nil {
			return err
		}
		if older != "" {
			return c.auditCompare(cmd.Context(), cl, older, strings.Join(args, ""))
		}
		return c.printReport(cmd.Context(), cl, id, keep, html)
	}
	f := cmd.Flags()
	f.StringVar(&html, "html", "", "write a page for print and mail to this file; - is standard output")
	f.StringVar(&older, "compare", "", "a kept report: tell what became of its findings in another one, or now")
	f.StringVar(&id, "id", "", "show this kept report")
	f.BoolVar(&keep, "keep", false, "keep the report, to compare with later")
	return cmd
}

// printReport shows a kept report, or makes one.
func (c *cli) printReport(ctx context.Context, cl *client, id string, keep bool, html string) error {
	if keep {
		k, _, err := call[audit.Kept](ctx, cl, http.MethodPost, "/v3/audit/reports", nil, nil)
		if err != nil {
			return err
		}
		id = k.ID
		fmt.Fprintf(c.err, "kept as %s\n", clean(id))
	}
	path := "/v3/audit/report"
	if id != "" {
		path = "/v3/audit/reports" + segment(id)
	}
	r, text, err := get[audit.Report](ctx, cl, path, nil)
	if err != nil {
		return err
	}
	if cl.socket == "" {
		forKey(&r)
	}
	if html == "" {
		return answer(c, r, text, func(r audit.Report) error { return audit.Text(c.out, &r) })
	}
	var page bytes.Buffer
	if err := audit.HTML(&page, &r); err != nil {
		return err
	}
	if html == "-" {
		_, err := page.WriteTo(c.out)
		return err
	}
	// It names people, keys and networks: nobody else's to read.
	if err := os.WriteFile(html, page.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// forKey makes the commands of a report those of who asked with a key: it says which
// account by itself, and --account is refused beside it.
func forKey(r *audit.Report) {
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Fix = strings.Replace(f.Fix, " --account "+r.Account.String(), "", 1)
	}
}

func (c *cli) auditCompare(ctx context.Context, cl *client, a, b string) error {
	q := url.Values{"a": {a}}
	if b != "" {
		q.Set("b", b)
	}
	d, text, err := get[audit.Comparison](ctx, cl, "/v3/audit/compare", q)
	if err != nil {
		return err
	}
	return answer(c, d, text, func(d audit.Comparison) error {
		fmt.Fprintln(c.out, d.Sentence())
		for _, part := range []struct {
			title string
			all   []audit.Finding
		}{{"Mended", d.Mended}, {"New", d.New}} {
			if len(part.all) == 0 {
				continue
			}
			fmt.Fprintf(c.out, "\n%s:\n", part.title)
			t := newTable(c.out, "WEIGHT", "CHECK", "ABOUT", "FINDING")
			for _, v := range part.all {
				t.row(v.Weight, v.Code, v.Subject.Name, v.Text)
			}
			if err := t.end(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *cli) auditReports(w *whose) *cobra.Command {
	var limit int
	cmd := c.tenantCommand(w, "reports", "The reports that were kept, the newest first", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		r, text, err := get[results[audit.Kept]](ctx, cl, "/v3/audit/reports", url.Values{"limit": {strconv.Itoa(limit)}})
		if err != nil {
			return err
		}
		return answer(c, r, text, func(results[audit.Kept]) error {
			t := newTable(c.out, "ID", "MADE", "SCORE", "FINDINGS")
			for _, k := range r.Result {
				t.row(k.ID, k.At, strconv.Itoa(k.Score), count(int64(k.Findings)))
			}
			return t.end()
		})
	})
	cmd.Flags().IntVar(&limit, "limit", 50, "the most, up to 500")
	return cmd
}

// auditScheduleView is what the API says of a schedule.
type auditScheduleView struct {
	Every   audit.Every   `json:"every"`
	To      []string      `json:"to"`
	Options audit.Options `json:"options"`
	NextAt  time.Time     `json:"next_at"`
	LastAt  time.Time     `json:"last_at"`
}

func (c *cli) auditSchedule(w *whose) *cobra.Command {
	var every string
	var to []string
	var unused, unseen, rotate, logins int
	cmd := &cobra.Command{
		Use: "schedule", Short: "Show or set when the report is mailed, to whom, and what it measures against", Args: cobra.NoArgs,
		Example: "  postern audit schedule --every monthly --to security@example.org\n  postern audit schedule --unused-days 60",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.tenantClient(cmd.Context(), w.account, "")
			if err != nil {
				return err
			}
			in, options := patch{}, patch{}
			in.set(cmd, "every", "every", every)
			in.set(cmd, "to", "to", to)
			options.set(cmd, "unused-days", "unused_days", unused)
			options.set(cmd, "unseen-days", "unseen_days", unseen)
			options.set(cmd, "rotate-days", "rotate_days", rotate)
			options.set(cmd, "login-days", "login_days", logins)
			if len(options) > 0 {
				in["options"] = options
			}
			method, body := http.MethodGet, any(nil)
			if len(in) > 0 {
				method, body = http.MethodPatch, in
			}
			v, text, err := call[auditScheduleView](cmd.Context(), cl, method, "/v3/audit/schedule", nil, body)
			if err != nil {
				return err
			}
			return c.showSchedule(v, text)
		},
	}
	f := cmd.Flags()
	f.StringVar(&every, "every", "", "off, weekly (on Monday) or monthly (on the first)")
	f.StringSliceVar(&to, "to", nil, "addresses that it is mailed to")
	f.IntVar(&unused, "unused-days", 0, "report keys that were not used for so long")
	f.IntVar(&unseen, "unseen-days", 0, "report people who were not seen for so long")
	f.IntVar(&rotate, "rotate-days", 0, "report secrets that are older, up to 365, unless the policy says another age")
	f.IntVar(&logins, "login-days", 0, "how far back login records are looked at, up to 90")
	return cmd
}

func (c *cli) showSchedule(v auditScheduleView, text json.RawMessage) error {
	return answer(c, v, text, func(v auditScheduleView) error {
		o := v.Options
		return pairs(c.out, "every", v.Every, "to", v.To, "next", v.NextAt, "last", v.LastAt, "keys unused for days", o.UnusedDays,
			"people unseen for days", o.UnseenDays, "secrets older than days", o.RotateDays, "logins of days", o.LoginDays)
	})
}

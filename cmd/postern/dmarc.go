package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/idna"

	"postern/internal/dmarc"
	"postern/internal/relay"
	"postern/internal/sender"
)

func (c *cli) dmarcCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dmarc", Short: "What receivers report of a domain's mail"}
	w := &whose{}
	w.flags(cmd)
	cmd.AddCommand(c.dmarcShow(w), c.dmarcReports(w), c.dmarcRead())
	group(cmd)
	return cmd
}

func (c *cli) dmarcShow(w *whose) *cobra.Command {
	since := ""
	cmd := c.tenantCommand(w, "show NAME", "Who sends as a domain, what fails and why, and how ready it is for a stricter policy", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, args []string) error {
			path, query, err := c.reportsPath(ctx, cl, args[0], since)
			if err != nil {
				return err
			}
			sum, text, err := get[sender.ReportSummary](ctx, cl, path, query)
			if err != nil {
				return err
			}
			return answer(c, sum, text, c.showReports)
		})
	cmd.Example = "  postern dmarc show acme.example --since 168h"
	reportFlags(cmd, &since)
	return cmd
}

func reportFlags(cmd *cobra.Command, since *string) {
	cmd.Flags().StringVar(since, "since", "", "from the day of this time on: a date, a time (RFC 3339), or so long ago, such as 168h; 30 days if it is not given")
}

func (c *cli) dmarcReports(w *whose) *cobra.Command {
	since, limit := "", 0
	cmd := c.tenantCommand(w, "reports NAME", "The reports about a domain, the latest first", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, args []string) error {
			path, query, err := c.reportsPath(ctx, cl, args[0], since)
			if err != nil {
				return err
			}
			query.Set("limit", strconv.Itoa(limit))
			list, text, err := get[results[dmarc.Head]](ctx, cl, path+"/reports", query)
			if err != nil {
				return err
			}
			return answer(c, list, text, func(list results[dmarc.Head]) error {
				t := newTable(c.out, "BEGIN", "REPORTER", "MESSAGES", "ALIGNED", "FAILING", "POLICY", "RECEIVED", "FROM", "ID")
				for _, h := range list.Result {
					t.row(h.Begin, h.Org, h.Messages, h.Aligned, h.Failing, string(h.Published.Policy), h.ReceivedAt, addrText(h.From), h.ReportID)
				}
				return t.end()
			})
		})
	reportFlags(cmd, &since)
	cmd.Flags().IntVar(&limit, "limit", 100, "the most reports, up to 1000")
	return cmd
}

// addrText is an address, or nothing for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// reportsPath finds a domain by its name and makes the path to its reports.
func (c *cli) reportsPath(ctx context.Context, cl *client, name, since string) (string, url.Values, error) {
	query := url.Values{}
	if since != "" {
		t, err := parseSince(since, time.Now())
		if err != nil {
			return "", nil, err
		}
		query.Set("start_date", t.UTC().Format(time.DateOnly))
	}
	// What is no domain name is looked for as it is, and not found.
	ascii := strings.ToLower(strings.TrimSuffix(name, "."))
	if a, err := idna.Lookup.ToASCII(ascii); err == nil {
		ascii = a
	}
	type found struct {
		Number int64          `json:"id"`
		Name   string         `json:"domain"`
		ID     relay.DomainID `json:"domain_id"`
	}
	var all []found
	account := ""
	err := c.atEveryAccount(ctx, cl, func(of string) error {
		list, _, err := get[[]found](ctx, cl, "/v3/whitelabel/domains", url.Values{"domain": {ascii}, "limit": {"500"}})
		for _, d := range list {
			if d.Name == ascii || d.ID.String() == name {
				all, account = append(all, d), of
			}
		}
		return err
	})
	switch {
	case err != nil:
		return "", nil, err
	case len(all) == 0:
		return "", nil, &apiError{http.StatusNotFound, "there is no domain " + strconv.Quote(name)}
	case len(all) > 1:
		return "", nil, &apiError{http.StatusConflict, strconv.Itoa(len(all)) + " accounts have the domain " + strconv.Quote(name) + "; name one with --account"}
	}
	if account != "" {
		cl.header.Set("account-id", account)
	}
	return "/v3/whitelabel/domains" + segment(strconv.FormatInt(all[0].Number, 10)) + "/dmarc", query, nil
}

// showReports prints a summary.
func (c *cli) showReports(s sender.ReportSummary) error {
	err := pairs(c.out, "domain", s.Domain, "from", s.From.Format(time.DateOnly), "to", s.To.AddDate(0, 0, -1).Format(time.DateOnly),
		"reports", count(int64(s.Reports)), "messages", count(s.Messages), "aligned", share(s.Aligned, s.Messages), "by DKIM", share(s.DKIM, s.Messages),
		"by SPF", share(s.SPF, s.Messages), "failing", share(s.Failing, s.Messages), "quarantined", s.Quarantined, "rejected", s.Rejected)
	if err != nil {
		return err
	}
	if len(s.Sources) > 0 {
		fmt.Fprintln(c.out, "\nWhere it came from ("+barGood+" aligned, "+barBad+" failing):")
		if err := c.showSources(s.Sources, s.Others); err != nil {
			return err
		}
	}
	if len(s.Reporters) > 0 {
		fmt.Fprintln(c.out, "\nWho reports:")
		t := newTable(c.out, "REPORTER", "REPORTS", "DAYS", "MESSAGES", "FAILING", "COUNTS")
		for _, r := range s.Reporters {
			counts := "yes"
			if !r.Counts {
				counts = "no: " + r.Why
			}
			t.row(r.Org, r.Reports, r.Days, r.Messages, r.Failing, counts)
		}
		if err := t.end(); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.out, "\nReady for a stricter policy:")
	for _, why := range s.Readiness.Because {
		fmt.Fprintln(c.out, "  "+clean(why))
	}
	if r := s.Recommendation; r != nil {
		fmt.Fprintf(c.out, "\nNext: %s. %s\n", clean(r.Step), clean(r.Why))
		if r.Record != "" {
			fmt.Fprintf(c.out, "%s. IN TXT %s\n", clean(r.At), clean(quoteTXT(r.Record)))
		}
	}
	return nil
}

// share is a number, and what part of all it is.
func share(n, of int64) string {
	if of <= 0 || n == 0 {
		return count(n)
	}
	return fmt.Sprintf("%d (%.1f %%)", n, float64(n)*100/float64(of))
}

// The chart: barWidth cells for the largest source.
const (
	barGood  = "█"
	barBad   = "░"
	barWidth = 24
)

// bar draws messages of one source: aligned ones, then failing ones. What is
// there at all has a cell.
func bar(aligned, failing, most int64) string {
	if most <= 0 {
		return ""
	}
	cells := func(n int64) int {
		if n <= 0 {
			return 0
		}
		return max(1, int(float64(n)*barWidth/float64(most)+0.5))
	}
	return strings.Repeat(barGood, cells(aligned)) + strings.Repeat(barBad, cells(failing))
}

// mostSources and mostTroubles bound the sources that are shown: those that the
// server puts first, and of the rest those that fail or are ours. --json has all.
const (
	mostSources  = 20
	mostTroubles = 20
)

// worthShowing splits sources into those to show and the sum of the rest.
func worthShowing(all []sender.ReportSource) (shown []sender.ReportSource, rest dmarc.Totals, hidden int) {
	for i, s := range all {
		if i < mostSources || (s.Failing > 0 || s.Ours) && len(shown) < mostSources+mostTroubles {
			shown = append(shown, s)
			continue
		}
		hidden++
		rest.Messages += s.Messages
		rest.Failing += s.Failing
	}
	return shown, rest, hidden
}

func (c *cli) showSources(sources []sender.ReportSource, others dmarc.Totals) error {
	sources, rest, hidden := worthShowing(sources)
	name := "others"
	if others.Messages == 0 && hidden > 0 {
		name = fmt.Sprintf("others (%d)", hidden)
	}
	others.Messages += rest.Messages
	others.Failing += rest.Failing
	var most int64
	for _, s := range sources {
		most = max(most, s.Messages)
	}
	t := newTable(c.out, "SOURCE", "", "MESSAGES", "FAILING", "")
	for _, s := range sources {
		who := s.Addr.String()
		if s.Ours {
			who += " (ours)"
		}
		t.row(who, bar(s.Aligned, s.Failing, most), s.Messages, s.Failing, strings.Join(s.Why, "; "))
	}
	if others.Messages > 0 {
		t.row(name, "", others.Messages, others.Failing, "")
	}
	return t.end()
}

// maxReportFile bounds a file that is read, in octets.
const maxReportFile = 80 << 20

func (c *cli) dmarcRead() *cobra.Command {
	return &cobra.Command{
		Use: "read FILE...", Short: "Print aggregate reports from files or saved messages; needs no installation", Args: cobra.MinimumNArgs(1),
		Example: "  postern dmarc read 'google.com!acme.example!1793491200!1793577599.zip' report.eml -",
		RunE: func(_ *cobra.Command, args []string) error {
			type read struct {
				File   string           `json:"file"`
				Report *dmarc.Aggregate `json:"report"`
			}
			all := []read{}
			failed := false
			for _, name := range args {
				a, err := c.readReport(name)
				if err != nil {
					fmt.Fprintf(c.err, "postern: %s: %s\n", clean(name), clean(err.Error()))
					failed = true
					continue
				}
				all = append(all, read{name, a})
			}
			var err error
			if c.json {
				err = c.printValue(all)
			} else {
				for i, one := range all {
					if i > 0 {
						fmt.Fprintln(c.out)
					}
					err = cmp.Or(err, c.showReport(one.File, one.Report))
				}
			}
			if err == nil && failed {
				err = errReported
			}
			return err
		},
	}
}

func (c *cli) readReport(name string) (*dmarc.Aggregate, error) {
	in := c.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxReportFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxReportFile {
		return nil, fmt.Errorf("larger than %d octets", maxReportFile)
	}
	return sender.ReadReport(raw)
}

// showReport prints one report.
func (c *cli) showReport(file string, a *dmarc.Aggregate) error {
	k := a.Keep(netip.Addr{}, time.Time{})
	p := a.Published
	policy := "p=" + cmp.Or(string(p.Policy), "?")
	for _, tag := range []struct{ name, value string }{{"sp", string(p.Subdomain)}, {"np", string(p.NonExistent)}, {"adkim", string(p.DKIM)}, {"aspf", string(p.SPF)}} {
		if tag.value != "" {
			policy += "; " + tag.name + "=" + tag.value
		}
	}
	if err := pairs(c.out, "file", file, "reporter", a.Org, "mail", a.Email, "contact", a.Contact, "report id", a.ReportID, "written by", a.Generator,
		"begin", a.Begin, "end", a.End, "domain", p.Domain, "policy", policy, "test mode", p.Testing, "found by", p.Discovery, "errors", a.Errors,
		"messages", count(k.Messages), "aligned", share(k.Aligned, k.Messages), "failing", share(k.Failing, k.Messages)); err != nil {
		return err
	}
	if len(k.Sources) == 0 {
		return nil
	}
	most := slices.MaxFunc(k.Sources, func(a, b dmarc.Source) int { return cmp.Compare(a.Count, b.Count) }).Count
	t := newTable(c.out, "SOURCE", "", "MESSAGES", "FROM", "SPF", "DKIM", "DONE", "")
	for i := range k.Sources {
		s := &k.Sources[i]
		sum := s.Totals()
		why := ""
		if sum.Failing > 0 && s.Addr.IsValid() {
			why = strings.Join(sender.Explain(s, p.Domain), "; ")
		}
		t.row(cmp.Or(addrText(s.Addr), "others"), bar(sum.Aligned, sum.Failing, most), s.Count, s.HeaderFrom, passed(s.SPF), passed(s.DKIM), s.Disposition, why)
	}
	return t.end()
}

func passed(ok bool) string {
	if ok {
		return "aligned"
	}
	return "-"
}

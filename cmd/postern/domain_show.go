package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/finding"
)

// shape is how records are printed.
type shape struct {
	zone bool
	host string
}

func (s *shape) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.zone, "zone", false, "print the records as lines of a zone file, and nothing else")
	cmd.Flags().StringVar(&s.host, "host", "", "print the fields to fill in at a DNS host: cloudflare, route53, godaddy, namecheap, gandi, google, azure, digitalocean, ovh, hetzner, ionos, plain")
}

func (c *cli) domainShow() *cobra.Command {
	var how shape
	cmd := c.domainDo("show NAME|ID", "Show one domain: its records, what the last check found, and DMARC", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			d, text, err := call[domainView](ctx, cl, http.MethodGet, d.path(""), nil, nil)
			if err != nil {
				return err
			}
			return c.tellDomain(ctx, cl, d, text, &how)
		})
	how.flags(cmd)
	return cmd
}

// tellDomain prints a domain, or only its records as they were asked for.
func (c *cli) tellDomain(ctx context.Context, cl *client, d domainView, text json.RawMessage, how *shape) error {
	switch {
	case how.host != "":
		return c.tellFields(ctx, cl, d, how.host)
	case how.zone:
		zone, err := cl.do(ctx, http.MethodGet, d.path("/records"), url.Values{"format": {"zone"}}, nil)
		if err != nil {
			return err
		}
		return printLines(c.out, string(zone))
	}
	return answer(c, d, text, c.describeDomain)
}

// formView is what the API says of a DNS host's form.
type formView struct {
	Host struct {
		Title string `json:"title"`
		Zone  string `json:"zone"`
		Where string `json:"where"`
	} `json:"host"`
	Result []domainRecord `json:"result"`
	Fields []struct {
		Record   string `json:"record"`
		Type     string `json:"type"`
		Name     string `json:"name"`
		Value    string `json:"value"`
		Priority string `json:"priority"`
		TTL      string `json:"ttl"`
		Proxy    string `json:"proxy"`
		Note     string `json:"note"`
	} `json:"fields"`
}

// tellFields prints what to enter at a DNS host.
func (c *cli) tellFields(ctx context.Context, cl *client, d domainView, host string) error {
	v, text, err := call[formView](ctx, cl, http.MethodGet, d.path("/records"), url.Values{"host": {host}}, nil)
	if err != nil {
		return err
	}
	return answer(c, v, text, c.showFields)
}

func (c *cli) showFields(v formView) error {
	fmt.Fprintf(c.out, "%s, zone %s: %s\n", clean(v.Host.Title), clean(v.Host.Zone), clean(v.Host.Where))
	for i, f := range v.Fields {
		use := ""
		if i < len(v.Result) {
			if use = v.Result[i].For; !v.Result[i].Required {
				use += " (not required)"
			}
		}
		fmt.Fprintf(c.out, "\n%s\n", clean(use))
		if err := pairs(c.out, "  type", f.Type, "  name", f.Name, "  value", f.Value, "  priority", f.Priority, "  TTL", f.TTL, "  proxy", f.Proxy, "  note", f.Note); err != nil {
			return err
		}
	}
	return nil
}

// describeDomain prints all there is to know.
func (c *cli) describeDomain(d domainView) error {
	form := "TXT and MX records"
	if d.Automatic {
		form = "aliases into the relay's zone"
	}
	var checked time.Time
	if d.Checked > 0 {
		checked = time.Unix(d.Checked, 0)
	}
	if err := pairs(c.out, "domain", d.Name, "in letters", d.Unicode, "id", d.Number, "owner", d.Owner, "state", d.state(), "why", d.Reason,
		"asserted by", d.AssertedBy, "failing since", d.FailingSince, "records", form, "return path", d.ReturnPath, "signs with", d.Selectors,
		"subdomains", d.Subdomains, "shared with", d.sharers(), "default", d.Default, "created", d.CreatedAt, "checked", checked, "disabled", d.DisabledAt); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "\nPublish in DNS:")
	absent := "missing"
	if d.Unknown { // nothing was seen, so that nothing is known to be missing
		absent = "unknown"
	}
	if err := c.recordTable(d.Records, d.Checked > 0, absent); err != nil {
		return err
	}
	if d.Checked == 0 {
		if d.AssertedBy == "" && !d.System {
			fmt.Fprintf(c.out, "\nThen: postern domain validate %s --wait\n", clean(d.Name))
		}
		return nil
	}
	if d.Unknown {
		c.printFindings(d.Findings)
		return nil
	}
	c.printRecordFindings(d.Name, d.Records, d.Findings)
	return c.printDMARC(d.DMARC)
}

// recordTable prints records; absent is what one that was looked for and not seen is.
func (c *cli) recordTable(records []domainRecord, checked bool, absent string) error {
	t := newTable(c.out, "NOW", "TYPE", "NAME", "VALUE")
	for _, r := range records {
		now := "-"
		switch {
		case checked && r.Valid:
			now = "right"
		case checked && r.Required:
			now = absent
		case !r.Required:
			now = "optional"
		}
		t.row(now, r.Type, r.Name, r.Value)
	}
	return t.end()
}

// missingRecord is the code of a finding that says no more than the table does.
const missingRecord = "record_missing"

// printRecordFindings prints what the table of records before it does not say. Of
// records that are just not there it says so once.
func (c *cli) printRecordFindings(d string, records []domainRecord, all []finding.Finding) {
	required := 0
	for _, r := range records {
		if r.Required && !r.Valid {
			required++
		}
	}
	var rest []finding.Finding
	missing := 0
	for _, f := range all {
		switch {
		case f.Code == missingRecord && f.Found == "" && f.Severity == finding.Error:
			missing++
		case f.Code == missingRecord && f.Found == "" && f.Severity == finding.Info: // not required
		default:
			rest = append(rest, f)
		}
	}
	if missing > 0 {
		fmt.Fprintf(c.out, "\nTo do: publish what is missing above (%d of the records), at the DNS host of %s; --zone and --host of \"postern domain show\" give it in other forms.\n", missing, clean(d))
	}
	if required > missing {
		fmt.Fprintln(c.out, "\nTo do: change what is wrong, as said below.")
	}
	c.printFindings(rest)
}

// mostShown bounds a value beside a finding, in octets; --json has all of it.
const mostShown = 160

// printFindings prints what is not as it should be.
func (c *cli) printFindings(all []finding.Finding) {
	for _, f := range all {
		if f.Severity == finding.OK {
			continue
		}
		fmt.Fprintf(c.out, "\n%s: %s\n", f.Severity, clean(f.Text))
		for _, line := range [][2]string{{"at", f.Where}, {"says", f.Server}, {"expected", shorten(f.Expected)}, {"found", shorten(f.Found)}, {"change", f.Fix}} {
			if line[1] != "" {
				fmt.Fprintf(c.out, "  %-9s %s\n", line[0], clean(line[1]))
			}
		}
	}
}

func shorten(s string) string {
	if len(s) > mostShown {
		return strings.ToValidUTF8(s[:mostShown], "") + "..."
	}
	return s
}

func (c *cli) printDMARC(d domainDMARC) error {
	policy := d.Policy
	if policy == "" {
		policy = "none published"
	}
	aligned := func(how string) string {
		if how == "" {
			return "would not align"
		}
		return "would align, " + how
	}
	fmt.Fprintln(c.out, "\nDMARC:")
	if err := pairs(c.out, "policy", policy, "by SPF", aligned(d.SPF), "by DKIM", aligned(d.DKIM), "publish next", d.Recommended, "because", d.Why); err != nil {
		return err
	}
	return nil
}

// printLines prints a text of several lines that others had a part in.
func printLines(out io.Writer, text string) error {
	for line := range strings.Lines(text) {
		if _, err := fmt.Fprintln(out, clean(strings.TrimRight(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

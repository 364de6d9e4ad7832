package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/finding"
	"postern/internal/relay"
)

// checkView is what the API says of a check.
type checkView struct {
	Name     string            `json:"domain"`
	Valid    bool              `json:"valid"`
	State    relay.DomainState `json:"state"`
	Reason   string            `json:"reason"`
	Disputed bool              `json:"disputed"`
	Unknown  bool              `json:"unknown"`
	Secure   bool              `json:"dnssec"`
	At       time.Time         `json:"checked_at"`
	NextAt   time.Time         `json:"next_check_at"`
	Servers  []string          `json:"name_servers"`
	Records  []domainRecord    `json:"records"`
	Findings []finding.Finding `json:"findings"`
	DMARC    domainDMARC       `json:"dmarc"`
}

// waitStep is how often a domain is looked at that is waited for: the server
// does not ask the DNS again before three seconds have passed.
const waitStep = 10 * time.Second

// sayAgain is after how many steps a wait says how far it is, though nothing has
// changed.
const sayAgain = 12

func (c *cli) domainValidate() *cobra.Command {
	var wait bool
	var most time.Duration
	cmd := c.domainDo("validate NAME|ID", "Ask the domain's own name servers now for its records", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			if wait {
				var end context.CancelFunc
				ctx, end = context.WithTimeout(ctx, most)
				defer end()
			}
			v, text, err := c.validateDomain(ctx, cl, d, wait, waitStep)
			if err != nil {
				return err
			}
			if err := answer(c, v, text, c.showCheck); err != nil {
				return err
			}
			if !v.Valid {
				return errReported
			}
			return nil
		})
	cmd.Long = "validate asks the domain's own name servers, not a cache, and says of each record what it found.\nExit code 1: the records are not all there. With --wait it looks again until they are."
	cmd.Flags().BoolVar(&wait, "wait", false, "look again until all records are right")
	spanVar(cmd.Flags(), &most, "timeout", time.Hour, "how long --wait goes on")
	return cmd
}

// validateDomain asks once, or until the domain is valid or ctx ends; then the
// last answer counts.
func (c *cli) validateDomain(ctx context.Context, cl *client, d domainView, wait bool, step time.Duration) (checkView, json.RawMessage, error) {
	said := ""
	for n := 0; ; n++ {
		v, text, err := call[checkView](context.WithoutCancel(ctx), cl, http.MethodPost, d.path("/validate"), nil, nil)
		busy := statusOf(err) == http.StatusTooManyRequests
		if err != nil && !(wait && busy) || err == nil && (v.Valid || !wait) {
			return v, text, err
		}
		if line := progress(v); !busy && (line != said || n%sayAgain == 0) {
			said = line
			fmt.Fprintf(c.err, "%s %s\n", v.At.UTC().Format(time.TimeOnly), line)
		}
		next := time.NewTimer(step)
		select {
		case <-ctx.Done():
			next.Stop()
			return v, text, err
		case <-next.C:
		}
	}
}

// progress is one line of how far a domain is.
func progress(v checkView) string {
	if v.Unknown {
		return "the name servers do not answer"
	}
	right, all, missing := 0, 0, []string{}
	for _, r := range v.Records {
		switch {
		case !r.Required:
			continue
		case r.Valid:
			right++
		default:
			missing = append(missing, r.Type+" "+clean(r.Name))
		}
		all++
	}
	if len(missing) == 0 {
		return fmt.Sprintf("%d of %d records are right", right, all)
	}
	return fmt.Sprintf("%d of %d records are right; waiting for %s", right, all, strings.Join(missing, ", "))
}

func (c *cli) showCheck(v checkView) error {
	verdict := "valid"
	switch {
	case v.Unknown:
		verdict = "unknown: the name servers do not answer"
	case v.Disputed:
		verdict = "proven, and another account has it; it becomes yours when that one's proof is gone"
	case !v.Valid:
		verdict = "not valid yet"
	}
	secure := "no"
	if v.Secure {
		secure = "yes"
	}
	if err := pairs(c.out, "domain", v.Name, "result", verdict, "state", string(v.State), "why", v.Reason, "DNSSEC", secure, "asked", v.Servers,
		"checked", v.At, "next", v.NextAt); err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	if v.Unknown { // nothing was seen, so that nothing is known to be missing
		if err := c.recordTable(v.Records, true, "unknown"); err != nil {
			return err
		}
		c.printFindings(v.Findings)
		return nil
	}
	if err := c.recordTable(v.Records, true, "missing"); err != nil {
		return err
	}
	c.printRecordFindings(v.Name, v.Records, v.Findings)
	return c.printDMARC(v.DMARC)
}

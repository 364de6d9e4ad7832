package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/api"
)

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "How the running server is", Args: cobra.NoArgs,
		Long: "How the running server is. Exit code 1 if it does not take mail.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, text, err := get[api.Status](cmd.Context(), cl, "/status", nil)
			if err != nil {
				return err
			}
			if err := answer(c, s, text, c.showStatus); err != nil {
				return err
			}
			if !s.Ready {
				return errReported
			}
			return nil
		},
	}
}

func (c *cli) showStatus(s api.Status) error {
	ready := "takes mail"
	if !s.Ready {
		ready = "takes no mail: " + s.Reason
	}
	if err := pairs(c.out, "state", ready, "version", s.Version, "host", s.Hostname, "up", time.Since(s.StartedAt).Round(time.Second), "epoch", s.Epoch,
		"queued messages", count(s.Queued), "held", s.Held, "quarantined", s.Quarantined, "recipients", s.Recipients,
		"sessions", count(s.Sessions), "attempts", count(int64(s.Attempts)), "certificate", certificateLine(s.CertificateExpiresAt, time.Now()),
		"domains", domainCounts(s.Domains), "DNS zone", zoneLine(s.Zone)); err != nil {
		return err
	}
	if s.Zone != nil {
		c.printFindings(s.Zone.Findings)
	}
	return c.showConsumers(s.Consumers, time.Now())
}

// showConsumers tells how far what reads the logs has come.
func (c *cli) showConsumers(all []api.Consumer, now time.Time) error {
	if len(all) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(c.out); err != nil {
		return err
	}
	t := newTable(c.out, "READER", "STREAM", "BEHIND", "LAST TOOK", "")
	for i := range all {
		r := &all[i]
		t.row(r.Name, r.Stream, behindLine(r, now), r.MovedAt, consumerNote(r))
	}
	return t.end()
}

// behindLine says how many records wait, and for how long.
func behindLine(r *api.Consumer, now time.Time) string {
	if r.Records == 0 {
		return "none"
	}
	return fmt.Sprintf("%d for %s", r.Records, max(0, now.Sub(r.Oldest)).Round(time.Second))
}

// consumerNote says what is wrong with a reader; "" if nothing is known to be.
func consumerNote(r *api.Consumer) string {
	const stands = "stands: the log of the node that runs it says why"
	switch {
	case !r.Configured && !r.Elsewhere:
		return "not in this node's configuration, and no other node sends it"
	case !r.Configured && r.Stands:
		return "not in this node's configuration; " + stands
	case !r.Configured:
		return "not in this node's configuration; another node sends it"
	case r.Error != "":
		return r.Error
	case r.Stands:
		return stands
	}
	return ""
}

// renewSoon is how long before its end a certificate should have been renewed:
// ACME clients do it with a month left.
const renewSoon = 14 * 24 * time.Hour

// certificateLine says how long the certificate is good, and what to do if that is
// not long.
func certificateLine(end, now time.Time) string {
	switch {
	case end.IsZero():
		return ""
	case now.After(end):
		return "EXPIRED " + show(end) + ": clients that check it send nothing; renew it (tls.certificate)"
	case end.Sub(now) < renewSoon:
		return fmt.Sprintf("expires %s, in %d days: has its renewal failed?", show(end), int(end.Sub(now).Hours()/24))
	}
	return "good until " + show(end)
}

// domainCounts says how many domains are in which state, those that send first.
func domainCounts(n map[string]int) string {
	var out []string
	for _, s := range []string{"verified", "asserted", "pending", "failing", "paused", "failed", "disabled"} {
		if n[s] > 0 {
			out = append(out, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// zoneLine is how the zone is, in one line; "" where none is served.
func zoneLine(z *api.ZoneStatus) string {
	switch {
	case z == nil:
		return ""
	case z.LookedAt.IsZero():
		return z.Name + ": not looked at yet"
	case !z.Healthy:
		return z.Name + ": needs attention, see below"
	}
	return z.Name + ": healthy"
}

package main

import (
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
	return pairs(c.out, "state", ready, "version", s.Version, "host", s.Hostname, "up", time.Since(s.StartedAt).Round(time.Second), "epoch", s.Epoch,
		"queued messages", count(s.Queued), "held", s.Held, "quarantined", s.Quarantined, "recipients", s.Recipients,
		"sessions", count(s.Sessions), "attempts", count(int64(s.Attempts)), "certificate expires", s.CertificateExpiresAt)
}

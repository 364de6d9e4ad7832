package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/relay"
)

// retryCommand gives an account or a pool its own delivery schedule.
func retryCommand[T any](c *cli, what, path string, show func(T) error) *cobra.Command {
	var in api.Retry
	cmd := &cobra.Command{
		Use: "retry NAME|ID", Short: "Give its mail a delivery schedule of its own", Args: cobra.ExactArgs(1),
		Long: "retry sets how long mail waits after each attempt that failed, and how long it is tried\n" +
			"before it goes back. The schedule of the pool wins over that of the account, and that over\n" +
			"the configuration's. Without a flag, the " + what + " has none of its own any more. Mail that is\n" +
			"queued keeps its lifetime; its next wait follows the new schedule.",
		Example: "  postern " + what + " retry NAME --intervals 5m,15m,1h --lifetime 48h",
		RunE: func(cmd *cobra.Command, args []string) error {
			return replace(cmd, c, path+segment(args[0])+"/retry", in, show)
		},
	}
	cmd.Flags().StringSliceVar(&in.Intervals, "intervals", nil, "waits after the 1st, 2nd, … attempt; the last repeats")
	cmd.Flags().StringVar(&in.Lifetime, "lifetime", "", "how long it is tried, such as 96h")
	cmd.Flags().StringVar(&in.DelayNotice, "delay-notice", "", "when a delay is reported to those who asked for it")
	return cmd
}

// schedule words a schedule for a person.
func schedule(r relay.Retry) string {
	var parts []string
	for _, d := range r.Intervals {
		parts = append(parts, d.String())
	}
	s := strings.Join(parts, ", ")
	if r.Lifetime > 0 {
		s += fmt.Sprintf("; for %s", r.Lifetime)
	}
	if r.DelayNotice > 0 {
		s += fmt.Sprintf("; delay notice after %s", r.DelayNotice)
	}
	return strings.TrimPrefix(s, "; ")
}

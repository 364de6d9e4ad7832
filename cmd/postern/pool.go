package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/relay"
)

func (c *cli) poolCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "pool", Short: "Addresses that mail leaves from"}
	var in api.NewPool
	var addresses []string
	add := &cobra.Command{
		Use: "add NAME", Short: "Make a pool", Args: cobra.ExactArgs(1),
		Example: "  postern pool add bulk --address 192.0.2.7=out7.example.org --address 2001:db8::7=out7.example.org",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name, in.Addresses = args[0], parseAddresses(addresses)
			return create(cmd, c, "/pools", in, c.showPool)
		},
	}
	add.Flags().StringVar(&in.Account, "account", "", "its account; none: every account may use it")
	add.Flags().StringSliceVar(&addresses, "address", nil, "ADDRESS or ADDRESS=NAME, the name to say in EHLO; none: the system chooses")
	add.Flags().StringVar(&in.TLS, "tls", "", "TLS that its deliveries must have: opportunistic, required, verified")
	add.Flags().BoolVar(&in.ReturnPathPerRecipient, "return-path-per-recipient", false, "name the recipient in the return path (one transaction for each)")
	const warmupHelp = "warm up those addresses that no pool has yet (postern pool warmup)"
	add.Flags().BoolVar(&in.Warmup, "warmup", false, warmupHelp)
	var set api.Addresses
	addressesCommand := &cobra.Command{
		Use: "addresses NAME|ID [ADDRESS[=NAME]]...", Short: "Give a pool other addresses", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set.Addresses = parseAddresses(args[1:])
			return replace(cmd, c, "/pools"+segment(args[0])+"/addresses", set, c.showPool)
		},
	}
	addressesCommand.Flags().BoolVar(&set.Warmup, "warmup", false, warmupHelp)
	cmd.AddCommand(add, addressesCommand, c.poolWarmup(), retryCommand(c, "pool", "/pools", c.showPool),
		listCommand(c, "pools", "/pools", byAccount, func(t *table, p relay.Pool) {
			owner := "shared"
			if !p.Account.IsZero() {
				owner = p.Account.String()
			}
			t.row(p.Name, p.ID, owner, poolAddresses(p), string(p.TLS), state(p.DisabledAt))
		}, "NAME", "ID", "ACCOUNT", "ADDRESSES", "TLS", "STATE"),
		showCommand(c, "pool", "/pools", c.showPool),
	)
	cmd.AddCommand(switchCommands(c, "pool", "/pools", c.showPool)...)
	group(cmd)
	return cmd
}

func parseAddresses(args []string) []api.NewAddress {
	out := make([]api.NewAddress, len(args))
	for i, s := range args {
		out[i].Address, out[i].Helo, _ = strings.Cut(s, "=")
	}
	return out
}

func poolAddresses(p relay.Pool) []string {
	var out []string
	for _, a := range p.Addresses {
		text := fmt.Sprintf("%s=%s", a.Address, a.Helo)
		if now := time.Now(); a.Warmup.Warming(now) {
			text += fmt.Sprintf(" (day %d of its warm-up)", a.Warmup.Day(now))
		}
		out = append(out, text)
	}
	return out
}

func (c *cli) showPool(p relay.Pool) error {
	return pairs(c.out, "name", p.Name, "id", p.ID, "account", p.Account, "addresses", poolAddresses(p), "tls", string(p.TLS), "retry", schedule(p.Retry),
		"return path per recipient", p.ReturnPathPerRecipient, "created", p.CreatedAt, "disabled", p.DisabledAt)
}

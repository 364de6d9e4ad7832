package main

import (
	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/relay"
)

func (c *cli) accountCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "account", Short: "Customers of the relay"}
	var in api.NewAccount
	add := &cobra.Command{
		Use: "add NAME --owner EMAIL", Short: "Make an account", Args: cobra.ExactArgs(1),
		Example: "  postern account add acme --owner ops@acme.example --time-zone Europe/Berlin",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			return create(cmd, c, "/accounts", in, c.showAccount)
		},
	}
	add.Flags().StringVar(&in.OwnerEmail, "owner", "", "who answers for it (required)")
	add.Flags().StringVar(&in.TimeZone, "time-zone", "UTC", "its days and hours count in it")
	add.Flags().StringVar(&in.TLS, "tls", "", "TLS that its deliveries must have: opportunistic, required, verified")
	add.Flags().StringVar(&in.Pool, "pool", "", "pool that its mail leaves from")
	must(add.MarkFlagRequired("owner"))
	cmd.AddCommand(add, retryCommand(c, "account", "/accounts", c.showAccount),
		listCommand(c, "accounts", "/accounts", nil, func(t *table, a relay.Account) {
			kind := state(a.DisabledAt)
			if a.System {
				kind = "system"
			}
			t.row(a.Name, a.ID, a.OwnerEmail, a.TimeZone, kind)
		}, "NAME", "ID", "OWNER", "TIME ZONE", "STATE"),
		showCommand(c, "account", "/accounts", c.showAccount),
	)
	cmd.AddCommand(switchCommands(c, "account", "/accounts", c.showAccount)...)
	group(cmd)
	return cmd
}

func (c *cli) showAccount(a relay.Account) error {
	return pairs(c.out, "name", a.Name, "id", a.ID, "owner", a.OwnerEmail, "time zone", a.TimeZone, "default pool", a.DefaultPool,
		"tls", string(a.TLS), "retry", schedule(a.Retry), "system", a.System, "created", a.CreatedAt, "disabled", a.DisabledAt)
}

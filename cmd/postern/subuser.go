package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/internal/api"
	"postern/internal/relay"
)

func (c *cli) subuserCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "subuser", Short: "Separate streams under an account"}
	var in api.NewSubuser
	add := &cobra.Command{
		Use: "add NAME", Short: "Make a subuser", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			return create(cmd, c, "/subusers", in, c.showSubuser)
		},
	}
	add.Flags().StringVar(&in.Account, "account", "", "its account, if there are several")
	add.Flags().StringVar(&in.Email, "email", "", "who answers for it")
	add.Flags().StringVar(&in.Pool, "pool", "", "pool that its mail leaves from")
	cmd.AddCommand(add,
		listCommand(c, "subusers", "/subusers", byAccount, func(t *table, s relay.Subuser) {
			t.row(s.Name, s.ID, s.Account, s.Email, state(s.DisabledAt))
		}, "NAME", "ID", "ACCOUNT", "EMAIL", "STATE"),
		showCommand(c, "subuser", "/subusers", c.showSubuser),
	)
	cmd.AddCommand(switchCommands(c, "subuser", "/subusers", c.showSubuser)...)
	group(cmd)
	return cmd
}

// byAccount is the filter of lists that belong to accounts.
func byAccount(f *pflag.FlagSet) { f.String("account", "", "only this account's") }

func (c *cli) showSubuser(s relay.Subuser) error {
	return pairs(c.out, "name", s.Name, "id", s.ID, "account", s.Account, "email", s.Email, "default pool", s.DefaultPool,
		"created", s.CreatedAt, "disabled", s.DisabledAt)
}

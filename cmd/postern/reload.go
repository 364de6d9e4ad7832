package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Apply a changed configuration, or keep the old one and say why", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return create(cmd, c, "/reload", struct{}{}, func(struct{}) error {
				_, err := fmt.Fprintln(c.out, "The configuration is applied.")
				return err
			})
		},
	}
}

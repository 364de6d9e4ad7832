package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"postern/internal/api"
	"postern/internal/relay"
)

func (c *cli) domainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "domain", Short: "Domains that mail is sent as"}
	var in api.NewDomain
	add := &cobra.Command{
		Use: "add NAME", Short: "Make a domain with its DKIM keys", Args: cobra.ExactArgs(1),
		Example: "  postern domain add acme.example --assert --return-path bounces.acme.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			return create(cmd, c, "/domains", in, c.showDomain)
		},
	}
	add.Flags().StringVar(&in.Account, "account", "", "its account, if there are several")
	add.Flags().BoolVar(&in.Assert, "assert", false, "usable at once, by your word that the account owns it")
	add.Flags().BoolVar(&in.Subdomains, "subdomains", false, "names below it may be used too")
	add.Flags().StringVar(&in.ReturnPath, "return-path", "", "host below it that bounces come back to; none: the relay's own")
	add.Flags().BoolVar(&in.Ed25519, "ed25519", false, "sign with Ed25519 from the start: its record is published")
	selector := &cobra.Command{
		Use: "selector NAME|ID SELECTOR enable|disable", Short: "Let a DKIM selector sign, or stop it", Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[2] != "enable" && args[2] != "disable" {
				return usageError(fmt.Sprintf("%q: want enable or disable", args[2]))
			}
			return create(cmd, c, "/domains"+segment(args[0])+"/dkim"+segment(args[1])+"/"+args[2], struct{}{}, c.showDomain)
		},
	}
	cmd.AddCommand(c.domainCheckCommand())
	cmd.AddCommand(add, selector,
		listCommand(c, "domains", "/domains", byAccount, func(t *table, d relay.Domain) {
			t.row(d.Name, d.ID, d.Account, domainState(d), d.Subdomains, d.ReturnPath)
		}, "NAME", "ID", "ACCOUNT", "STATE", "SUBDOMAINS", "RETURN PATH"),
		showCommand(c, "domain", "/domains", c.showDomain),
	)
	cmd.AddCommand(switchCommands(c, "domain", "/domains", c.showDomain)...)
	group(cmd)
	return cmd
}

func domainState(d relay.Domain) string {
	switch {
	case !d.DisabledAt.IsZero():
		return "disabled"
	case d.System:
		return "system"
	}
	return string(d.State)
}

func (c *cli) showDomain(d api.DomainAnswer) error {
	if err := pairs(c.out, "domain", d.Name, "id", d.ID, "account", d.Account, "state", domainState(d.Domain), "asserted by", d.AssertedBy,
		"subdomains", d.Subdomains, "return path", d.ReturnPath, "created", d.CreatedAt, "disabled", d.DisabledAt); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "\nPublish in DNS:")
	return printRecords(c.out, d.Records)
}

// printRecords prints records as lines of a zone file, each under what it is for.
func printRecords(out io.Writer, records []api.Record) error {
	for _, r := range records {
		value := r.Value
		if r.Type == "TXT" {
			value = quoteTXT(value)
		}
		if _, err := fmt.Fprintf(out, "; %s\n%s. IN %s %s\n", clean(r.For), clean(r.Name), r.Type, clean(value)); err != nil {
			return err
		}
	}
	return nil
}

// quoteTXT splits a text into strings of at most 255 octets (RFC 1035 §3.3.14).
func quoteTXT(s string) string {
	const most = 255
	out := ""
	for len(s) > most {
		out += `"` + s[:most] + `" `
		s = s[most:]
	}
	return out + `"` + s + `"`
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"postern/internal/config"
	"postern/internal/dkim"
	"postern/internal/people"
	"postern/internal/setup"
)

func (c *cli) initCommand() *cobra.Command {
	var o setup.Options
	var storeURL string
	cmd := &cobra.Command{
		Use: "init --dir D --hostname H --owner EMAIL", Short: "Make a new installation in an empty directory", Args: cobra.NoArgs,
		Long: "Make a new installation: data directory, configuration, sealing key, certificate, the system's\n" +
			"and a first account, and a key, which is printed once. A directory with an installation is left alone.",
		Example: "  postern init --dir /var/lib/postern --hostname relay.example.org --owner ops@example.org",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Dir == "" {
				o.Dir = c.dataDir
			}
			if o.Dir == "" {
				return usageError("init: --dir is required")
			}
			o.StoreURL = storeURL
			result, err := setup.Init(cmd.Context(), o)
			if err != nil {
				return err
			}
			if c.json {
				return c.printValue(result)
			}
			return c.showSetup(result)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "the data directory; it is made, or must hold no installation")
	f.StringVar(&o.Hostname, "hostname", "", "full host name of this relay (required)")
	f.StringVar(&o.Owner, "owner", "", "email address of the first account's owner (required)")
	f.StringVar(&o.Contact, "contact", "", "gets mail for postmaster@ and abuse@; the owner if not given")
	f.StringVar(&o.Account, "account", "", "name of the first account (main)")
	f.StringVar(&o.Domain, "system-domain", "", "domain of postern's own mail; the host name if not given")
	f.StringVar(&o.Prefix, "key-prefix", "", "what keys start with (SG)")
	f.StringVar(&storeURL, "store-url", "", "PostgreSQL URL; SQLite in the data directory if not given")
	must(cmd.MarkFlagRequired("hostname"))
	must(cmd.MarkFlagRequired("owner"))
	return cmd
}

func (c *cli) showSetup(r *setup.Result) error {
	fmt.Fprintf(c.out, `The installation is in %s. Its configuration is %s.

Publish these records in DNS:

`, r.Dir, r.Config)
	if err := printRecords(c.out, r.Records); err != nil {
		return err
	}
	if !hasAddress(r.Records) {
		fmt.Fprintf(c.out, "\nThis machine shows no public address of its own. Publish an A (or AAAA) record of\n"+
			"%s with the address that the world sees, and let that address's PTR be this name.\n", r.Hostname)
	}
	_, err := fmt.Fprintf(c.out, `
The first key, of account %q. It is shown only now:

  user      %s
  password  %s

The console. %s sets up their login by this link, which is good once and for %d days:

  %s
%s
Until certificates are configured the relay uses one of its own; clients trust it by %s.
Next:

  postern serve --config %s
  postern domain add YOUR-DOMAIN --data-dir %s
`, r.Account, r.User, r.APIKey, r.Owner, int(setup.SetupLife.Hours()/24), r.SetupURL, setupHint(r), r.CA, r.Config, r.Dir)
	return err
}

// setupHint says how to follow a set-up link that leads to this machine only.
func setupHint(r *setup.Result) string {
	u, err := url.Parse(r.SetupURL)
	if err != nil || people.LocalLinks(r.SetupURL) == "" {
		return ""
	}
	port := cmp.Or(u.Port(), "80")
	return fmt.Sprintf("\nOpen it in a browser on this machine, or on yours behind \"ssh -L %s:localhost:%s %s\".\n"+
		"Links for people elsewhere need http.url in the configuration.\n", port, port, r.Hostname)
}

// hasAddress reports whether the records say where the relay is. Behind NAT the
// machine does not know.
func hasAddress(records []setup.Record) bool {
	return slices.ContainsFunc(records, func(r setup.Record) bool { return r.Type == "A" || r.Type == "AAAA" })
}

// printRecords prints records as lines of a zone file, each under what it is for.
func printRecords(out io.Writer, records []setup.Record) error {
	for _, r := range records {
		value := r.Value
		switch r.Type {
		case "TXT":
			value = quoteTXT(value)
		case "MX", "PTR":
			value += "."
		}
		if _, err := fmt.Fprintf(out, "; %s\n%s. IN %s %s\n", clean(r.For), clean(r.Name), r.Type, clean(value)); err != nil {
			return err
		}
	}
	return nil
}

// quoteTXT is a TXT value as a zone file has it: strings of at most 255 octets
// (RFC 1035 §3.3.14).
func quoteTXT(s string) string { return dkim.ZoneTXT(s) }

// configName is the name of the file that init writes, for the help texts.
const configName = config.ConfigFile

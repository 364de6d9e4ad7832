package main

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"
)

// domainFlags are the settings of a domain.
type domainFlags struct {
	label, selector, returnPath             string
	ips                                     []string
	bits                                    int
	assert, manual, automatic, ed25519      bool
	subdomains, allSubusers, isDefault, spf bool
	quiet, reveal                           bool
	rotateDays                              int64
}

func (c *cli) domainAdd() *cobra.Command {
	w := &whose{}
	var f domainFlags
	var how shape
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a domain with its DKIM keys, and print the DNS records to publish", Args: cobra.ExactArgs(1),
		Long: "add makes a domain and its keys, and prints the DNS records to publish. Mail can be sent as the domain once\n" +
			"they are there: see \"postern domain validate\". Where this relay serves a zone the records are aliases into it,\n" +
			"so that keys change without touching your DNS; otherwise they are TXT and MX records.",
		Example: "  postern domain add acme.example --zone\n  postern domain add acme.example --assert --return-path bounces.acme.example",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.manual && f.automatic {
				return usageError("--manual and --automatic exclude each other")
			}
			cl, err := c.tenantClient(cmd.Context(), w.account, w.subuser)
			if err != nil {
				return err
			}
			if f.assert || f.ed25519 {
				if err := cl.onHost(); err != nil {
					return err
				}
			}
			return c.addDomain(cmd.Context(), cl, f.request(cmd, args[0]), &how)
		},
	}
	w.flags(cmd)
	how.flags(cmd)
	f.flags(cmd)
	return cmd
}

func (f *domainFlags) flags(cmd *cobra.Command) {
	g := cmd.Flags()
	g.StringVar(&f.label, "subdomain", "", "host of the return path below the domain; none: em and a number")
	g.StringVar(&f.returnPath, "return-path", "", "the same as a whole name; with --assert and without it: the relay's own")
	g.StringVar(&f.selector, "selector", "", "DKIM selector; none: s1 and s2")
	g.BoolVar(&f.manual, "manual", false, "TXT and MX records, though the relay serves a zone")
	g.BoolVar(&f.automatic, "automatic", false, "aliases into the relay's zone")
	g.BoolVar(&f.assert, "assert", false, "usable at once, by your word that the account owns it; on the host only")
	g.BoolVar(&f.ed25519, "ed25519", false, "sign with Ed25519 from the start: its record is published; on the host only")
	g.BoolVar(&f.subdomains, "subdomains", false, "names below it may be used too")
	g.BoolVar(&f.allSubusers, "all-subusers", false, "all subusers of the account may use it")
	g.BoolVar(&f.isDefault, "default", false, "it is its owner's default")
	g.BoolVar(&f.spf, "custom-spf", false, "the SPF record of the return path is your own; with --manual")
	g.BoolVar(&f.quiet, "quiet", false, "no mail to its owner when it fails")
	g.StringSliceVar(&f.ips, "ip", nil, "address for the SPF record; none: those of the pools")
	g.IntVar(&f.bits, "bits", 0, "of its RSA keys: 2048 or 4096")
}

func (f *domainFlags) request(cmd *cobra.Command, name string) patch {
	in := patch{"domain": name}
	in.set(cmd, "subdomain", "subdomain", f.label)
	in.set(cmd, "return-path", "return_path", f.returnPath)
	in.set(cmd, "selector", "custom_dkim_selector", f.selector)
	in.set(cmd, "assert", "assert", f.assert)
	in.set(cmd, "ed25519", "ed25519", f.ed25519)
	in.set(cmd, "subdomains", "subdomains", f.subdomains)
	in.set(cmd, "all-subusers", "all_subusers", f.allSubusers)
	in.set(cmd, "default", "default", f.isDefault)
	in.set(cmd, "custom-spf", "custom_spf", f.spf)
	in.set(cmd, "quiet", "notify", !f.quiet)
	in.set(cmd, "ip", "ips", f.ips)
	in.set(cmd, "bits", "key_bits", f.bits)
	if f.manual || f.automatic {
		in["automatic_security"] = f.automatic
	}
	return in
}

func (c *cli) addDomain(ctx context.Context, cl *client, in patch, how *shape) error {
	d, text, err := call[domainView](ctx, cl, http.MethodPost, pathDomains, nil, in)
	if err != nil {
		return err
	}
	return c.tellDomain(ctx, cl, d, text, how)
}

func (c *cli) domainUpdate() *cobra.Command {
	var f domainFlags
	var cmd *cobra.Command
	cmd = c.domainDo("update NAME|ID", "Change the settings of one domain", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			in := patch{}
			in.set(cmd, "default", "default", f.isDefault)
			in.set(cmd, "custom-spf", "custom_spf", f.spf)
			in.set(cmd, "subdomains", "subdomains", f.subdomains)
			in.set(cmd, "quiet", "notify", !f.quiet)
			in.set(cmd, "bits", "key_bits", f.bits)
			in.set(cmd, "rotate-every-days", "rotate_every_days", f.rotateDays)
			in.set(cmd, "reveal-retired-keys", "reveal_retired_keys", f.reveal)
			if len(in) == 0 {
				return usageError("nothing to change: name a setting, such as --subdomains=false")
			}
			d, text, err := call[domainView](ctx, cl, http.MethodPatch, d.path(""), nil, in)
			if err != nil {
				return err
			}
			return answer(c, d, text, c.describeDomain)
		})
	cmd.Example = "  postern domain update acme.example --subdomains --rotate-every-days 90"
	g := cmd.Flags()
	g.BoolVar(&f.isDefault, "default", false, "it is its owner's default")
	g.BoolVar(&f.spf, "custom-spf", false, "the SPF record of the return path is your own")
	g.BoolVar(&f.subdomains, "subdomains", false, "names below it may be used too")
	g.BoolVar(&f.quiet, "quiet", false, "no mail to its owner when it fails")
	g.IntVar(&f.bits, "bits", 0, "of its next RSA keys: 2048 or 4096")
	g.Int64Var(&f.rotateDays, "rotate-every-days", 0, "how often its keys change by themselves; 0: as the installation says, -1: never")
	g.BoolVar(&f.reveal, "reveal-retired-keys", false, "publish the private keys of withdrawn selectors")
	return cmd
}

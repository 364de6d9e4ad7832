package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/mailauth"
)

// checkFlags say what to look at, and whom to ask.
type checkFlags struct {
	selectors   []string
	addresses   []string
	server      string
	nameServers bool
}

func (c *cli) domainCheckCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use: "check NAME", Short: "Report on the mail authentication of any domain", Args: cobra.ExactArgs(1),
		Long: "Report on the mail authentication of any domain: who may send as it, whether forgeries are refused,\n" +
			"and what to change. It asks the DNS only; neither a server nor a configuration is needed. Exit code 1:\n" +
			"something does not work.",
		Example: "  postern domain check example.org\n" +
			"  postern domain check example.org --selector s1 --address 198.51.100.7 --dns-server 127.0.0.1",
		RunE: func(cmd *cobra.Command, args []string) error { return c.domainCheck(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.selectors, "selector", nil, "DKIM selector to look at; without it, those that are common")
	flags.StringSliceVar(&f.addresses, "address", nil, "IP address that its SPF record should cover")
	flags.StringVar(&f.server, "dns-server", "", "DNS resolver to ask, ADDRESS or ADDRESS:PORT; the system's if not given")
	flags.BoolVar(&f.nameServers, "name-servers", false, "ask each of the domain's own name servers too")
	return cmd
}

func (c *cli) domainCheck(ctx context.Context, name string, f checkFlags) error {
	if _, _, err := mailauth.Name(name); err != nil {
		return usageError(fmt.Sprintf("domain check: %q is not a domain name", name))
	}
	o := mailauth.Options{Domain: name, Selectors: f.selectors}
	for _, s := range f.addresses {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return usageError(fmt.Sprintf("domain check: --address %q is not an IP address", s))
		}
		o.Addrs = append(o.Addrs, a)
	}
	var conf dns.Config
	if f.server != "" {
		conf.Servers = []string{f.server}
	}
	resolver, err := dns.NewClient(conf)
	if err != nil && f.server != "" {
		return usageError(fmt.Sprintf("domain check: --dns-server: %v", err))
	}
	if err != nil {
		return fmt.Errorf("domain check: %w (--dns-server names one)", err)
	}
	o.Resolver = resolver
	if f.nameServers {
		o.Authority = dns.NewAuthority(dns.AuthorityConfig{Resolver: resolver})
	}
	done := c.checkProgress(&o)
	report := mailauth.Look(ctx, o)
	done()
	if c.json {
		err = c.printValue(report)
	} else {
		err = c.checkReport(&report)
	}
	if err == nil && report.Worst() == finding.Error {
		return errReported
	}
	return err
}

// checkProgress tells on a terminal what is being looked at; done wipes it away.
func (c *cli) checkProgress(o *mailauth.Options) (done func()) {
	f, ok := c.err.(*os.File)
	if !ok || c.json || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	const wipe = "\r\x1b[K"
	var mu sync.Mutex
	o.Progress = func(area string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(f, wipe+"looking at %s ", area)
	}
	return func() { fmt.Fprint(f, wipe) }
}

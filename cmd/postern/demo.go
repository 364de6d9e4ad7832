package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postern/internal/demo"
)

func (c *cli) demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use: "demo", Short: "A whole local world: relay, DNS, receiving server, and mail on its way", Args: cobra.NoArgs,
		Long: "Run a relay, a DNS zone and a receiving server on loopback, send real mail through the real path and\n" +
			"show each step. It then stays up to be tried, until it is interrupted.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out, o.Version = c.out, version
			if f, ok := c.out.(*os.File); ok {
				o.Colour = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
			}
			err := demo.Run(cmd.Context(), o)
			if errors.Is(err, demo.ErrTour) {
				return errors.Join(err, errReported)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Once, "once", false, "end after the tour, with 0 if all went as it should")
	f.StringVar(&o.ReadyFile, "ready-file", "", "write addresses and key there as JSON when all is up")
	f.StringVar(&o.Dir, "dir", "", "keep everything there; a directory of its own, removed at the end, if not given")
	f.StringVar(&o.ListenSMTP, "listen-smtp", "", "address of the STARTTLS port; a free one if not given")
	f.StringVar(&o.ListenSMTPS, "listen-smtps", "", "address of the TLS port")
	f.StringVar(&o.ListenHTTP, "listen-http", "", "address of the HTTP port")
	f.StringArrayVar(&o.Faults, "fault", nil, "a way in which the receiving server misbehaves, as of postern sink; may be given several times")
	f.StringVar(&o.ListenDNS, "listen-dns", "", "address of the DNS server")
	return cmd
}

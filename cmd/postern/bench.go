package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postern/internal/bench"
)

// benchFlags are the command's flags; what needs no translation is Config's own.
type benchFlags struct {
	bench.Config
	tls                string
	keyEnv, keyFile    string
	caFile, serverName string
	insecure           bool
}

func (c *cli) benchCommand() *cobra.Command {
	var b benchFlags
	cmd := &cobra.Command{
		Use: "bench --addr HOST:PORT --from A --to A", Short: "Load a submission server and measure it", Args: cobra.NoArgs,
		Long: "Log in over TLS, hand in messages as fast as they are taken, and measure: the rate, the time of set-up\n" +
			"and from the end of data to 250, and what the server's process spends (--pid).",
		Example: "  postern bench --addr relay.example.org:587 --key-file key --from a@acme.example --to b@sink.test --connections 20 --messages 20",
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := b.config()
			if err != nil {
				return err
			}
			if f, ok := c.err.(*os.File); ok && !c.json && term.IsTerminal(int(f.Fd())) {
				conf.Progress = func(p bench.Progress) {
					fmt.Fprintf(f, "\r%d of %d accepted, %d failed ", p.Accepted, p.Total, p.Failed)
				}
			}
			return c.bench(cmd, conf)
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.Addr, "addr", "", "the server, HOST:PORT")
	f.StringVar(&b.tls, "tls", string(bench.StartTLS), "starttls, implicit or none")
	f.StringVar(&b.User, "user", "apikey", "user name")
	f.StringVar(&b.keyEnv, "key-env", "", "environment variable that holds the key")
	f.StringVar(&b.keyFile, "key-file", "", "file that holds the key")
	f.StringVar(&b.caFile, "ca", "", "PEM certificate to judge the server by; the system's if not given")
	f.StringVar(&b.serverName, "server-name", "", "name that the server's certificate must have; the host if not given")
	f.BoolVar(&b.insecure, "insecure", false, "take any certificate: anyone on the way can read the key")
	f.StringVar(&b.From, "from", "", "sender")
	f.StringVar(&b.To, "to", "", "recipient")
	f.IntVar(&b.Connections, "connections", 20, "connections at once")
	f.IntVar(&b.Messages, "messages", 20, "messages of each connection")
	f.IntVar(&b.Size, "size", 10_240, "octets of a message")
	f.BoolVar(&b.OnePerConnection, "one-per-connection", false, "a new connection for each message")
	f.BoolVar(&b.Lockstep, "lockstep", false, "do not pipeline")
	f.DurationVar(&b.Hold, "hold", 0, "keep the connections open that long at the end, to measure idle memory")
	f.DurationVar(&b.Timeout, "timeout", 0, "for each connect, reply and write (1m)")
	f.IntVar(&b.PID, "pid", 0, "process of the server, to measure its CPU and memory")
	return cmd
}

// config checks the flags and turns them into what bench takes.
func (b benchFlags) config() (bench.Config, error) {
	conf := b.Config
	var err error
	if conf.TLS, err = bench.ParseTLSMode(b.tls); err != nil {
		return conf, usageError("bench: --" + err.Error())
	}
	if conf.From == "" || conf.To == "" {
		return conf, usageError("bench: --from and --to are required")
	}
	if _, _, err := net.SplitHostPort(conf.Addr); err != nil {
		return conf, usageError(fmt.Sprintf("bench: --addr %q is not HOST:PORT", conf.Addr))
	}
	if conf.TLS == bench.None {
		conf.User = "" // no AUTH happens without TLS
		return conf, nil
	}
	if conf.TLSConfig, err = (trustFlags{caFile: b.caFile, name: b.serverName, insecure: b.insecure}).tls(conf.Addr); err != nil {
		return conf, err
	}
	if (b.keyEnv == "") == (b.keyFile == "") {
		return conf, usageError("bench: give the key with --key-env or --key-file")
	}
	conf.Key, err = keyFlags{env: b.keyEnv, file: b.keyFile}.read()
	return conf, err
}

func (c *cli) bench(cmd *cobra.Command, conf bench.Config) error {
	report, err := bench.Run(cmd.Context(), conf)
	if conf.Progress != nil {
		fmt.Fprintln(c.err)
	}
	if report == nil {
		return err
	}
	if c.json {
		err = errors.Join(err, c.printValue(report))
	} else {
		err = errors.Join(err, report.WriteText(c.out))
	}
	if err == nil && report.Failed > 0 {
		return fmt.Errorf("%d messages were not accepted", report.Failed)
	}
	return err
}

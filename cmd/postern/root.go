package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes, part of the contract.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// streams are the process's, or a test's.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// cli is what all subcommands share.
type cli struct {
	streams
	json    bool
	dataDir string
	config  string
	url     string
	caFile  string
	started bool // the command line was right, a subcommand runs
}

// run executes a command line and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	c := &cli{streams: s}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[usageError](err); ok || !c.started {
		fmt.Fprintf(s.err, "postern: %s\n", strings.TrimSpace(err.Error()))
		explainUsage(s.err, cmd)
		return exitUsage
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintf(s.err, "postern: %s\n", err)
	}
	return exitFailed
}

// explainUsage says how a command that was used wrongly is used.
func explainUsage(out io.Writer, cmd *cobra.Command) {
	if cmd.HasSubCommands() {
		fmt.Fprintf(out, "Run \"%s --help\" for what there is.\n", cmd.CommandPath())
		return
	}
	fmt.Fprintf(out, "Usage: %s\nRun \"%s --help\" for the rest.\n", cmd.UseLine(), cmd.CommandPath())
}

// usageError is a wrong command line that only the command itself can tell.
type usageError string

func (e usageError) Error() string { return string(e) }

// errReported ends a command that has told its failure already.
var errReported = errors.New("failed, as reported")

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "postern",
		Short: "A self-hosted relay for authenticated mail",
		Long: "postern relays mail for those who log in, and for nobody else.\n\n" +
			"Administration goes to the running server over admin.sock in its data directory,\n" +
			"as the user that the server runs as, or root. What belongs to an account goes over the\n" +
			"network too: with --url and an API key. Exit codes: 0 done, 1 failed, 2 wrong usage.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&c.json, "json", false, "print JSON")
	flags.StringVar(&c.dataDir, "data-dir", "", "data directory of the server (or POSTERN_DATA_DIR)")
	flags.StringVar(&c.config, "config", "", "configuration file (or POSTERN_CONFIG)")
	flags.StringVar(&c.url, "url", "", "address of the server's HTTP API (or POSTERN_URL), with a key in "+keyVariable)
	flags.StringVar(&c.caFile, "ca-file", "", "certificates (PEM) to trust for --url instead of the system's")
	root.AddCommand(
		c.initCommand(), c.serveCommand(), c.reloadCommand(), c.statusCommand(), c.configCommand(), c.versionCommand(),
		c.accountCommand(), c.subuserCommand(), c.userCommand(), c.senderCommand(), c.keyCommand(), c.scopeCommand(), c.policyCommand(), c.accessCommand(), c.tokenCommand(),
		c.planCommand(), c.usageCommand(), c.auditCommand(), c.poolCommand(), c.domainCommand(), c.dmarcCommand(),
		c.queueCommand(), c.eventsCommand(), c.logCommand(), c.watchCommand(),
		c.sendCommand(), c.sinkCommand(), c.benchCommand(), c.demoCommand(),
	)
	group(root)
	c.markStart(root)
	return root
}

// group makes a command of subcommands refuse to be called without one, and
// with one that there is not: cobra would print help and call it success.
func group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			var names []string
			for _, s := range cmd.Commands() {
				if s.IsAvailableCommand() {
					names = append(names, s.Name())
				}
			}
			return usageError(fmt.Sprintf("%swhich command? %s", prefix(cmd), strings.Join(names, ", ")))
		}
		text := fmt.Sprintf("%sthere is no command %q", prefix(cmd), args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return usageError(text)
	}
}

// prefix names a subcommand in its errors; the program's own name is there already.
func prefix(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return ""
	}
	return cmd.Name() + ": "
}

// markStart notes when a command line was right. What fails before that (flags,
// arguments) is wrong usage.
func (c *cli) markStart(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.markStart(sub)
	}
	if inner := cmd.RunE; inner != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.started = true
			return inner(cmd, args)
		}
	}
}

// environment returns the flag's value, or the variable's.
func environment(flag, variable string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv(variable)
}

// Command bench compares postern with other relays on this machine: the same
// work (TLS, AUTH, acceptance on stable storage, relay to one receiving server)
// in turns, A B A B, so that what else happens on the machine hits both. It
// reports ratios and the figures behind them, and writes the table of
// docs/benchmarks.md.
//
//	go run ./bench -postern bin/postern            all scenarios
//	go run ./bench -only signed -rounds 3          some of them, more rounds
//	go run ./bench -before old/postern -only plain -rounds 12
//	                                               postern beside an older one of itself, and nobody else
//
// It starts everything itself, on loopback, and stops it again. Postfix needs
// root and Debian's packages (tools/testdeps bench).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "sink" {
		if err := sinkMain(ctx, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "sink:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	postern string
	before  string
	rounds  int
	only    string
	out     string
	json    string
	million string
}

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&o.postern, "postern", "bin/postern", "the binary to measure; empty: only the others")
	fs.StringVar(&o.before, "before", "", "an older binary: compare with it instead of other relays")
	fs.IntVar(&o.rounds, "rounds", 2, "how often each relay's turn comes in a scenario")
	fs.StringVar(&o.only, "only", "", "run only scenarios whose name contains this")
	fs.StringVar(&o.out, "out", "", "write the page to this file")
	fs.StringVar(&o.json, "json", "", "write every figure to this file")
	fs.StringVar(&o.million, "million", "", "file with what bench/million printed, for the page")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.before != "" {
		compareWithBefore()
	}
	var results []result
	for _, s := range scenarios {
		if !strings.Contains(s.name, o.only) {
			continue
		}
		r, err := s.run(ctx, o)
		results = append(results, r...)
		if err != nil {
			o.out = "" // a page that lacks scenarios does not take the place of a whole one
			return errors.Join(fmt.Errorf("%s: %w", s.name, err), o.write(results))
		}
	}
	return o.write(results)
}

// write writes the page and the figures.
func (o options) write(results []result) error {
	page := render(results)
	if o.million != "" {
		m, err := readMillion(o.million)
		if err != nil {
			return err
		}
		var b strings.Builder
		m.write(&b)
		page += b.String()
	}
	fmt.Print("\n", page)
	if o.json != "" {
		b, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.out == "" {
		return nil
	}
	old, err := os.ReadFile(o.out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(o.out, []byte(page+kept(string(old))), 0o644)
}

// kept is what of a page is written by hand or measured by other commands: from
// the first of these headings on.
func kept(page string) string {
	for _, heading := range []string{"\n## What the figures say\n", "\n## Keys and logins\n"} {
		if i := strings.Index(page, heading); i >= 0 {
			return page[i:]
		}
	}
	return ""
}

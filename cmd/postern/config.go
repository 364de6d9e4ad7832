package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/cert"
	"postern/internal/config"
	"postern/internal/people"
)

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The configuration file, and the sealing key that it names"}
	example := &cobra.Command{
		Use: "example", Short: "Print a documented configuration with all defaults", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(c.out, config.Example(config.Default(), config.Docs))
			return err
		},
	}
	check := &cobra.Command{
		Use: "check [FILE]", Short: "Say whether a configuration is right", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return c.checkConfig(args) },
	}
	cmd.AddCommand(example, check, c.newSealingKey())
	group(cmd)
	return cmd
}

// checkFiles looks at the files that a configuration names, as serve will.
func checkFiles(conf *config.Config) error {
	wrong := &config.Error{File: conf.Path}
	if conf.TLS.Certificate != "" {
		if _, err := cert.Open(cert.Config{Certificate: conf.TLS.Certificate, Key: conf.TLS.Key}); err != nil {
			wrong.Problems = append(wrong.Problems, config.Problem{Key: "tls.certificate", Text: err.Error()})
		}
	}
	if conf.Deliver.CAFile != "" {
		pem, err := os.ReadFile(conf.Deliver.CAFile)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("holds no certificate (PEM is expected)")
		}
		if err != nil {
			wrong.Problems = append(wrong.Problems, config.Problem{Key: "deliver.ca_file", Text: err.Error()})
		}
	}
	wrong.Problems = append(wrong.Problems, app.CheckFiles(conf)...)
	if len(wrong.Problems) > 0 {
		config.Locate(conf.Path, wrong.Problems)
		return wrong
	}
	return nil
}

// linkNotes are what is not wrong with a configuration and keeps people elsewhere
// from the links that they are mailed.
func linkNotes(conf *config.Config) []string {
	base := config.BaseURL(conf, nil)
	if text := people.LocalLinks(base); text != "" {
		return []string{text}
	}
	u, err := url.Parse(base)
	if err != nil || !conf.HTTP.TLS || conf.TLS.Certificate == "" {
		return nil
	}
	certs, err := cert.Open(cert.Config{Certificate: conf.TLS.Certificate, Key: conf.TLS.Key})
	if err != nil {
		return nil // checkFiles says so
	}
	if leaf := certs.Certificate().Leaf; leaf != nil && leaf.VerifyHostname(u.Hostname()) != nil {
		return []string{fmt.Sprintf("Links lead to %s, which is none of the names in the certificate: browsers warn. Set http.url to one that is.", base)}
	}
	return nil
}

// exportNotes are what an export does that looks right and may not be wanted: with
// PostgreSQL each node that serves a stream writes a file of its own.
func exportNotes(conf *config.Config) (notes []string) {
	if conf.Store.URL.Reveal() == "" {
		return nil
	}
	for i := range conf.Exports {
		if e := &conf.Exports[i]; e.Kind == "file" {
			notes = append(notes, fmt.Sprintf("Export %q writes to %s on whichever node serves a stream at the time: with several nodes the history is spread "+
				"over their disks. Collect the file from all of them, or use another kind.", e.Name, e.To))
		}
	}
	return notes
}

func (c *cli) checkConfig(args []string) error {
	var path string
	var err error
	if len(args) == 1 {
		path = args[0]
	} else if path, err = c.configPath(); err != nil {
		return err
	}
	load := c.loadConfig
	if len(args) == 1 {
		load = config.Load
	}
	conf, err := load(path)
	if err == nil {
		err = checkFiles(conf)
	}
	notes := []string{}
	if err == nil {
		notes = append(append(notes, linkNotes(conf)...), exportNotes(conf)...)
	}
	if !c.json {
		if err == nil {
			_, err = fmt.Fprintln(c.out, strings.Join(append([]string{path + " is right."}, notes...), "\n"))
		}
		return err
	}
	result := struct {
		File     string           `json:"file"`
		OK       bool             `json:"ok"`
		Problems []config.Problem `json:"problems"`
		Notes    []string         `json:"notes"` // worth knowing, and not wrong
	}{File: path, OK: err == nil, Problems: []config.Problem{}, Notes: notes}
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		result.Problems = wrong.Problems
	} else if err != nil {
		return err
	}
	if printErr := c.printValue(result); printErr != nil {
		return printErr
	}
	if err != nil {
		return errReported
	}
	return nil
}

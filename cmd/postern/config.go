package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"postern/internal/config"
)

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The configuration file"}
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
	cmd.AddCommand(example, check)
	group(cmd)
	return cmd
}

func (c *cli) checkConfig(args []string) error {
	var path string
	var err error
	if len(args) == 1 {
		path = args[0]
	} else if path, err = c.configPath(); err != nil {
		return err
	}
	_, err = config.Load(path)
	if !c.json {
		if err == nil {
			_, err = fmt.Fprintf(c.out, "%s is right.\n", path)
		}
		return err
	}
	result := struct {
		File     string           `json:"file"`
		OK       bool             `json:"ok"`
		Problems []config.Problem `json:"problems"`
	}{File: path, OK: err == nil, Problems: []config.Problem{}}
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

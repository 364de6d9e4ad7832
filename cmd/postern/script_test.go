package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"postern": main})
}

// TestScripts runs each file of testdata/script: command lines with what they
// must print and exit with. The real main is the command.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			for _, name := range []string{"POSTERN_CONFIG", "POSTERN_DATA_DIR"} {
				env.Setenv(name, "")
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "await": await},
	})
}

// code runs "code N command args…": the exit code must be N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Exec returns it as it is
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// awaitTime is how long await tries.
const awaitTime = 20 * time.Second

// await runs "await command args…" until it succeeds.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: await command args...")
	}
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Since(begin) > awaitTime {
			ts.Fatalf("%s never succeeded: %v", strings.Join(args, " "), err)
		}
	}
}

// Every subcommand says what it does, and has an entry in its parent's help.
func TestEveryCommandIsDescribed(t *testing.T) {
	t.Parallel()
	c := &cli{streams: streams{in: strings.NewReader(""), out: &bytes.Buffer{}, err: os.Stderr}}
	n := 0
	for all := c.root().Commands(); len(all) > 0; n++ {
		cmd := all[0]
		all = append(all[1:], cmd.Commands()...)
		if cmd.Short == "" || cmd.RunE == nil || cmd.Args == nil {
			t.Errorf("%s: no description, no action or no rule for arguments", cmd.CommandPath())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no description", cmd.CommandPath(), f.Name)
			}
		})
	}
	if n < 40 {
		t.Errorf("only %d commands seen", n)
	}
}

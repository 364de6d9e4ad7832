package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
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
			for _, name := range []string{"POSTERN_CONFIG", "POSTERN_DATA_DIR", "POSTERN_URL", keyVariable} {
				env.Setenv(name, "")
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "await": await, "shows": shows, "keep": keep, "address": address, "zone": serveZone},
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
const awaitTime = time.Minute

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

// shows runs "shows REGEXP command args…" until it succeeds and its output
// matches: what is recorded comes a moment later.
func shows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: shows regexp command args...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if err := ts.Exec(args[1], args[2:]...); err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Since(begin) > awaitTime {
			ts.Fatalf("%s never shows %s", strings.Join(args[1:], " "), args[0])
		}
	}
}

// keep runs "keep VARIABLE REGEXP": the first group that matches the last output
// becomes the variable's value.
func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep variable regexp")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("the output does not match %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// address runs "address VARIABLE LISTENER LOG": the address that the server in the
// background says it listens on.
func address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: address variable listener log")
	}
	line := regexp.MustCompile(`"listener":"` + args[1] + `","address":"([^"]+)"`)
	for begin := time.Now(); time.Since(begin) < awaitTime; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[2]))
		if err != nil {
			continue
		}
		if m := line.FindSubmatch(text); m != nil {
			ts.Setenv(args[0], string(m[1]))
			return
		}
	}
	ts.Fatalf("%s is not on %s", args[1], args[2])
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

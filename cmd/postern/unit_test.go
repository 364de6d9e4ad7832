package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/config"
)

const unitFile = "../../packaging/postern.service"

// unit reads the settings of the service file, by name.
func unit(t testing.TB) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("not a setting: %q", line)
		}
		settings[name] = append(settings[name], value)
	}
	return settings
}

func TestUnitHardening(t *testing.T) {
	t.Parallel()
	u := unit(t)
	for name, want := range map[string]string{
		"Type": "notify", "User": "postern", "NoNewPrivileges": "true", "ProtectSystem": "strict", "ProtectHome": "true", "PrivateTmp": "true",
		"PrivateDevices": "true", "AmbientCapabilities": "CAP_NET_BIND_SERVICE", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
		"StateDirectory": "postern", "StateDirectoryMode": "0700", "UMask": "0077", "LimitCORE": "0", "MemoryDenyWriteExecute": "true",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX AF_NETLINK", "SystemCallArchitectures": "native",
	} {
		if got := u[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// The unit's commands are commands, and its stop leaves the time that a drain takes.
func TestUnitFitsTheProgram(t *testing.T) {
	t.Parallel()
	u := unit(t)
	for _, name := range []string{"ExecStart", "ExecReload"} {
		if len(u[name]) != 1 {
			t.Fatalf("%s is %q", name, u[name])
		}
		args := strings.Fields(u[name][0])
		c := &cli{}
		cmd, rest, err := c.root().Find(args[1:])
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil || !cmd.HasParent() {
			t.Errorf("%s: %s: %v", name, u[name][0], err)
		}
	}
	stop, err := config.ParseDuration(u["TimeoutStopSec"][0] + "s")
	if drain := config.Default().Queue.DrainTime; err != nil || stop.Duration < drain.Duration+15*time.Second {
		t.Errorf("TimeoutStopSec %v is not enough for a drain of %v (%v)", stop, drain, err)
	}
}

// systemd's own opinion, where systemd is.
func TestUnitVerifies(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze on this machine")
	}
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "postern.service")
	there := regexp.MustCompile(`(?m)^(ExecStart|ExecReload)=\S+`).ReplaceAll(text, []byte("$1=/bin/true"))
	if err := os.WriteFile(path, there, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), path) || strings.Contains(string(out), "postern.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

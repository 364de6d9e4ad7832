package app

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postern/internal/config"
)

// The directory of the log has to be there, unless the service manager makes it.
func TestCheckFilesOfLog(t *testing.T) {
	t.Parallel()
	there := t.TempDir()
	for file, want := range map[string]bool{
		"": false, filepath.Join(there, "x.log"): false, filepath.Join(there, "none", "x.log"): true,
		"/var/log/postern/postern.log": false, "/var/log/postern/none/x.log": true,
	} {
		c := &config.Config{}
		c.Log.File = file
		got := slices.ContainsFunc(CheckFiles(c), func(p config.Problem) bool { return p.Key == "log.file" && strings.Contains(p.Text, "no such file") })
		if got != want {
			t.Errorf("%q: refused %t, want %t", file, got, want)
		}
	}
}

package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Each file of testdata/bad is wrong in one way (or two) and says on its first
// lines what must be reported: "# want LINE: KEY: TEXT", or without LINE for
// what is not in the file. Nothing else may be reported.
func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".toml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				rest, ok := strings.CutPrefix(line, "# want ")
				if !ok {
					break
				}
				if rest = strings.TrimSuffix(rest, "\n"); rest[0] >= '0' && rest[0] <= '9' {
					want = append(want, path+":"+rest)
				} else {
					want = append(want, path+": "+rest)
				}
			}
			c, err := Load(path)
			wrong, ok := errors.AsType[*Error](err)
			if !ok || c != nil {
				t.Fatalf("Load = %v, %v; want problems", c, err)
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(want) || len(wrong.Problems) != len(want) {
				t.Fatalf("reported:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("reported %s\nwant     %s", got[i], want[i])
				}
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("a password is shown: %v", err)
			}
		})
	}
}

const minimal = "hostname = \"relay.example.test\"\ndata_dir = \"/var/lib/postern\"\ncontact = \"ops@example.net\"\n"

// Every setting with a range or a set of values is tried outside of it.
func TestEveryBoundIsChecked(t *testing.T) {
	t.Parallel()
	tried := 0
	full := Default()
	full.Deliver.Destinations = []Destination{{Domain: "x.example", TLS: TLSRequired}}
	walk(reflect.ValueOf(full).Elem(), "", func(l leaf) {
		if strings.Contains(l.path, "[") && !strings.Contains(l.path, "[0]") {
			return
		}
		for _, value := range outside(t, l) {
			tried++
			c, problems := parse([]byte(tomlWith(l.path, value)), "/")
			found := false
			for _, p := range problems {
				found = found || (p.Key == l.path && p.Line > 0 && p.Text != "")
			}
			if !found {
				t.Errorf("%s = %s: loaded as %v with %v", l.path, value, c != nil, problems)
			}
		}
	})
	if tried < 70 {
		t.Errorf("only %d values tried", tried)
	}
}

// outside gives TOML values just outside what a setting can be.
func outside(t *testing.T, l leaf) []string {
	t.Helper()
	if _, ok := l.field.Tag.Lookup("one"); ok {
		return []string{`"something else"`, `"off"`, `"none"`}
	}
	tag, ok := l.field.Tag.Lookup("range")
	if !ok {
		return nil
	}
	low, high, err := bounds(l.value.Type(), tag)
	if err != nil || low > high {
		t.Fatalf("%s: range %q: %v", l.path, tag, err)
	}
	if _, ok := l.value.Interface().(Duration); ok {
		out := []string{fmt.Sprintf("%q", fmt.Sprintf("%dns", high+1))}
		if low > 0 {
			out = append(out, fmt.Sprintf("%q", fmt.Sprintf("%dns", low-1)))
		}
		return out
	}
	return []string{fmt.Sprint(low - 1), fmt.Sprint(high + 1)}
}

// tomlWith is a right file but for one value.
func tomlWith(path, value string) string {
	switch {
	case strings.HasPrefix(path, "listener[0]."):
		return minimal + "[[listener]]\n" + strings.TrimPrefix(path, "listener[0].") + " = " + value + "\n"
	case strings.HasPrefix(path, "deliver.destination[0]."):
		return minimal + "[[deliver.destination]]\n" + strings.TrimPrefix(path, "deliver.destination[0].") + " = " + value + "\n"
	}
	return minimal + path + " = " + value + "\n"
}

func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory is no configuration")
	}
	large := filepath.Join(t.TempDir(), "large.toml")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "larger than 4MiB") {
		t.Errorf("a large file: %v", err)
	}
}

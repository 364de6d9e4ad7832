package forge

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// readPython is what Python's email package shows of each message, in three ways
// of using it. nil where there is no Python.
func readPython(t *testing.T, raws [][]byte) [][]shown {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" {
			t.Fatal("python3 is not installed (tools/testdeps installs it)")
		}
		t.Log("python3 is not there: its readers are left out")
		return nil
	}
	var in bytes.Buffer
	for _, raw := range raws {
		in.Write(binary.BigEndian.AppendUint32(nil, uint32(len(raw))))
		in.Write(raw)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/readers.py")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	var all [][]shown
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var one []shown
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if len(all) != len(raws) {
		t.Fatalf("%d answers to %d messages: %s", len(all), len(raws), stderr.Bytes())
	}
	return all
}

package mailsend

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPythonReadsBack: a second reader, of another family, finds the same.
func TestPythonReadsBack(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" {
			t.Fatal("python3 is not installed (tools/testdeps installs it)")
		}
		t.Skip("python3 is not there")
	}
	o, wants := rich(), richSeen()
	// This reader shows no address with octets that are not ASCII.
	o["from"] = object{"email": "from@bücher.test", "name": `Jörg "the" Müller`}
	wants[0].From[0].Email = "from@xn--bcher-kva.test"
	r := parsed(t, toJSON(t, o))
	for i, want := range wants {
		cmd := exec.CommandContext(t.Context(), python, "testdata/read.py")
		cmd.Stdin = bytes.NewReader(composed(t, r, i))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		b, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, stderr.Bytes())
		}
		var got struct {
			seen
			Defects []string
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for _, list := range [][]leaf{got.Contents, got.Related, got.Mixed} {
			for j := range list {
				body, err := hex.DecodeString(list[j].Body)
				if err != nil {
					t.Fatal(err)
				}
				list[j].Body = string(body)
			}
		}
		if diff := cmp.Diff(want, got.seen); diff != "" || len(got.Defects) > 0 {
			t.Errorf("message %d: defects %q: %s", i, got.Defects, diff)
		}
	}
}

package repo

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// required are the rows of docs/security.md, by family. A row may be missing
// from no family; one that waits for a later piece of work says so there and
// stands in postponed here.
var required = []struct {
	family string
	rows   []int
}{
	{"FR", to(48)}, {"BD", to(10)}, {"TL", to(18)}, {"OR", to(17)}, {"AD", to(10)},
	{"HD", to(13)}, {"RX", to(18)}, {"DL", to(28)}, {"PF", to(18)},
	{"AU", to(36)}, {"AP", to(24)}, {"AC", to(15)}, {"WB", to(12)},
	{"ID", to(26)}, {"DN", to(16)},
}

// postponed are the rows that have no test yet, with the reason. Nothing else
// may say "later".
var postponed = map[string]string{
	"AD-08": "lists of suppressed recipients are a later piece of work",
	"DL-15": "MTA-STS is a later piece of work",
	"DL-16": "DANE is a later piece of work",
	"RX-15": "nothing can be uploaded at the console yet",
	"RX-17": "there are no stored filters yet",
	"PF-13": "there is no earlier version to upgrade from",
	"PF-17": "backup and restore are a later piece of work",
	"AP-10": "no route takes a raw message yet",
	"AP-19": "nothing from outside is taken by HTTP yet",
	"AP-23": "links to unsubscribe and to follow are a later piece of work",
}

// to lists 1 to n.
func to(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i + 1
	}
	return all
}

var (
	rowID = regexp.MustCompile(`^(FR|BD|TL|OR|AU|AP|AC|WB|ID|DN|AD|HD|RX|DL|PF)-[0-9]{2}$`)
	// testRef is how a row names its test: `internal/smtpserver TestSmuggling/FR-01`.
	testRef = regexp.MustCompile("`([a-z][A-Za-z0-9_./-]*) ((?:Test|Fuzz|Example)[A-Za-z0-9_]*)(?:/([^`]+))?`")
)

// securityPage is where the rows stand.
const securityPage = "docs/security.md"

// TestSecurityRows: every row of the attack catalogue that is in force names a
// test that exists, or is on the list of what waits.
func TestSecurityRows(t *testing.T) {
	if _, err := os.Stat(filepath.Join(root, securityPage)); err != nil {
		t.Skip("the page is not written yet")
	}
	rows := map[string][]string{}
	for _, cells := range tableRows(read(t, securityPage), "") {
		id := strings.Trim(cells[0], "`* ")
		if !rowID.MatchString(id) {
			continue
		}
		if rows[id] != nil {
			t.Errorf("%s: %s stands twice", securityPage, id)
		}
		if len(cells) < 3 || len(cells[1]) < 10 {
			t.Errorf("%s: %s needs three cells: id, words, test", securityPage, id)
			continue
		}
		rows[id] = cells
	}
	var tests testIndex
	for _, f := range required {
		for _, n := range f.rows {
			id := fmt.Sprintf("%s-%02d", f.family, n)
			if rows[id] == nil {
				t.Errorf("%s has no row %s", securityPage, id)
			}
		}
	}
	for id, cells := range rows {
		if why := checkRow(&tests, id, cells[2]); why != "" {
			t.Errorf("%s: %s: %s", securityPage, id, why)
		}
	}
	for id := range postponed {
		if rows[id] != nil && !strings.HasPrefix(rows[id][2], "later: ") {
			t.Errorf("%s has its test now: take it off the list of postponed rows", id)
		}
	}
}

// checkRow says what is wrong with the test cell of a row; "" if nothing.
func checkRow(tests *testIndex, id, cell string) string {
	if why, ok := strings.CutPrefix(cell, "later: "); ok {
		switch {
		case postponed[id] == "":
			return "says later, but is not on the list of postponed rows"
		case len(why) < 10:
			return "says later without a reason"
		}
		return ""
	}
	refs := testRef.FindAllStringSubmatch(cell, -1)
	if len(refs) == 0 {
		return fmt.Sprintf("names no test: %q (written `internal/smtpserver TestX/subtest`)", cell)
	}
	for _, ref := range refs {
		if why := tests.missing(ref[1], ref[2], ref[3]); why != "" {
			return why
		}
	}
	return ""
}

// testIndex reads the test files of a folder once.
type testIndex struct{ folders map[string]testFolder }

type testFolder struct {
	source string   // all _test.go files
	data   []string // base names of the files in testdata, without extension
}

// missing says why the test is not there; "" if it is. A subtest counts when
// its name is written in the tests of the folder (spaces may be underscores) or
// is the name of a file in testdata.
func (x *testIndex) missing(dir, test, sub string) string {
	f, err := x.folder(dir)
	if err != nil {
		return err.Error()
	}
	if !strings.Contains(f.source, "\nfunc "+test+"(") {
		return fmt.Sprintf("%s has no %s", dir, test)
	}
	if sub == "" {
		return ""
	}
	for part := range strings.SplitSeq(sub, "/") {
		spaced := strings.ReplaceAll(part, "_", " ")
		found := slices.Contains(f.data, part)
		for _, name := range []string{part, spaced} {
			found = found || strings.Contains(f.source, `"`+name+`"`) || strings.Contains(f.source, "`"+name+"`") ||
				strings.Contains(f.source, `"`+name+` `) || strings.Contains(f.source, `"`+name+`:`)
		}
		if !found {
			return fmt.Sprintf("%s %s has no subtest %q", dir, test, part)
		}
	}
	return ""
}

func (x *testIndex) folder(dir string) (testFolder, error) {
	if f, ok := x.folders[dir]; ok {
		return f, nil
	}
	names, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil || len(names) == 0 {
		return testFolder{}, fmt.Errorf("%s holds no tests", dir)
	}
	var f testFolder
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return testFolder{}, err
		}
		f.source += "\n" + string(b)
	}
	err = filepath.WalkDir(filepath.Join(root, dir, "testdata"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			f.data = append(f.data, strings.TrimSuffix(d.Name(), filepath.Ext(path)))
		}
		return nil
	})
	if err != nil {
		return testFolder{}, err
	}
	if x.folders == nil {
		x.folders = map[string]testFolder{}
	}
	x.folders[dir] = f
	return f, nil
}

// TestCheckRow proves that a row without a test, with a wrong one, or with an
// excuse of its own is noticed.
func TestCheckRow(t *testing.T) {
	for _, c := range []struct {
		id, cell string
		ok       bool
	}{
		{"FR-01", "`test/repo TestCheckRow`", true},
		{"FR-01", "`test/repo TestCheckRow/a known subtest`", true},
		{"FR-01", "`test/repo TestCheckRow/a_known_subtest`, `test/repo TestSlug`", true},
		{"FR-01", "`test/repo TestCheckRow/an unknown` + `subtest`", false},
		{"FR-01", "`test/repo TestNoSuch`", false},
		{"FR-01", "`test/nowhere TestCheckRow`", false},
		{"FR-01", "", false},
		{"FR-01", "covered elsewhere", false},
		{"FR-01", "later: we ran out of time", false},
		{"DL-15", "later: MTA-STS comes later", true},
		{"DL-15", "later: ", false},
	} {
		name := "a known subtest"
		if got := checkRow(&testIndex{}, c.id, c.cell); (got == "") != c.ok {
			t.Errorf("%s: checkRow(%q) = %q, want ok = %v", name, c.cell, got, c.ok)
		}
	}
}

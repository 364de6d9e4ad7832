package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/sink"
)

// reportLetter is what testdata/report_letter.py prints.
type reportLetter struct {
	From, Subject, ID, Auto, Type string
	Date                          time.Time
	To                            []string
	Defects                       []string
	Parts                         []struct {
		Type, Charset, File, Text string
		Defects                   []string
	}
	Open, Tags, Handlers, Fetches []string // of the HTML part
	Page                          string   // its text
	Code                          []string // what it shows to be copied
}

// readReport reads a letter with Python's email package.
func readReport(t testing.TB, m sink.Message) (l reportLetter) {
	t.Helper()
	res := command{args: []string{external(t, "python3"), "testdata/report_letter.py"}, stdin: string(m.Raw), env: []string{"PYTHONIOENCODING=utf-8"}}.run(t)
	if err := json.Unmarshal([]byte(res.out), &l); err != nil || res.code != 0 {
		t.Fatalf("%v in\n%s\nof the letter\n%s", err, res.out, m.Raw)
	}
	return l
}

// reportDue ends the relay, makes the report of every schedule due, and starts it
// again. A schedule is weekly at least, which no test can wait for; that it gives
// the right moment is proven in internal/audit.
func (r *identityRelay) reportDue(t testing.TB) {
	t.Helper()
	must(t, r.stop(40*time.Second))
	db, err := sql.Open("sqlite", filepath.Join(r.dir, "postern.db"))
	must(t, err)
	res, err := db.Exec("UPDATE audit_schedules SET next_at = $1 WHERE next_at > 0", time.Now().Add(-time.Minute).UnixMicro())
	must(t, err)
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("%d schedules, %v", n, err)
	}
	must(t, db.Close())
	os.Remove(filepath.Join(r.dir, "admin.sock"))
	r.serve(t, filepath.Join(r.dir, "postern.toml"))
}

// reportsTo waits until n letters have come to an address, and returns the last.
func (r *identityRelay) reportsTo(t testing.TB, address string, n int) sink.Message {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var found []sink.Message
		for _, m := range r.inbox.List() {
			if slices.Equal(m.RcptTo, []string{address}) && bytes.Contains(m.Raw, []byte("Audit report of")) {
				found = append(found, m)
			}
		}
		if len(found) > n {
			t.Fatalf("%d letters to %s, want %d", len(found), address, n)
		}
		if len(found) == n {
			return found[n-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d letters to %s, want %d", len(found), address, n)
		}
	}
}

// keptReport is a line of `postern audit reports`.
type keptReport struct {
	ID       string
	Score    int
	Findings int
}

// The scheduled report is delivered by SMTP to each recipient, and a mail reader
// that is not ours finds in both of its parts what the report that was kept says.
func TestAuditReportLetter(t *testing.T) {
	t.Parallel()
	external(t, "python3")
	r := newIdentityRelay(t, "")
	hostile := "<img src=https://evil.test/x onerror=alert(1)> =?utf-8?q?x?= ]\u0416"
	r.postern(t, "account", "add", "globex", "--owner", "owner@rcpt.test")
	wide := r.addKey(t, hostile, "--account", "globex", "--full-access")
	to := []string{"security@rcpt.test", "ceo@other.test"}
	r.postern(t, "audit", "schedule", "--account", "globex", "--every", "weekly", "--to", strings.Join(to, ","))
	r.reportDue(t)
	var first reportLetter
	for _, address := range to {
		m := r.reportsTo(t, address, 1)
		l := readReport(t, m)
		r.wantReport(t, &l, m, address)
		if first = l; strings.Contains(l.Parts[0].Text, "Since the report") {
			t.Errorf("the first report compares itself:\n%s", l.Parts[0].Text)
		}
	}
	id := strings.Split(wide.APIKey, ".")[1]
	// The command that mends the worst of the key works as it stands in the letter.
	fix := regexp.MustCompile(`(?m)^ +\$ postern (key update ` + regexp.QuoteMeta(id) + ` --scope mail\.send)$`).FindStringSubmatch(first.Parts[0].Text)
	if fix == nil {
		t.Fatalf("no command for the key %s in\n%s", id, first.Parts[0].Text)
	}
	r.postern(t, strings.Fields(fix[1])...)
	r.reportDue(t)
	m := r.reportsTo(t, to[0], 2)
	second := readReport(t, m)
	r.wantReport(t, &second, m, to[0])
	if want := regexp.MustCompile(`Since the report of [^:]+: 1 mended, 0 new, \d+ as before; the score\s+went\s+from\s+(\d+)\s+to\s+(\d+)\s+\(\+20\)\.`); !want.MatchString(strings.Join(strings.Fields(second.Parts[0].Text), " ")) {
		t.Errorf("the second letter begins\n%.600s", second.Parts[0].Text)
	}
	r.reportsTo(t, to[1], 2)
}

// wantReport checks one letter: its form, and that both parts have every finding
// of the report that was kept.
func (r *identityRelay) wantReport(t *testing.T, l *reportLetter, m sink.Message, to string) {
	t.Helper()
	var kept struct{ Result []keptReport }
	r.read(t, &kept, "audit", "reports", "--account", "globex")
	var report struct {
		Score, Full_score int
		Findings          []struct {
			Text, Fix string
			Evidence  []string
		}
	}
	r.read(t, &report, "audit", "report", "--account", "globex", "--id", kept.Result[0].ID)
	if len(report.Findings) < 5 || report.Score != kept.Result[0].Score {
		t.Fatalf("the report that was kept: %+v", report)
	}
	if len(l.Defects) > 0 || !slices.Equal(l.To, []string{to}) || l.Auto != "auto-generated" || l.Type != "multipart/alternative" || l.ID == "" || time.Since(l.Date).Abs() > 5*time.Minute {
		t.Errorf("letter %+v", l)
	}
	if want := fmt.Sprintf("Audit report of globex: score %d of 1000", report.Score); l.Subject != want {
		t.Errorf("subject %q, want %q", l.Subject, want)
	}
	// From the null reverse-path, as all that no person wrote: nothing answers it.
	if m.MailFrom != "" || !strings.HasSuffix(l.From, "@relay.sender.test>") {
		t.Errorf("from <%s>, %s", m.MailFrom, l.From)
	}
	if len(l.Parts) != 2 || l.Parts[0].Type != "text/plain" || l.Parts[1].Type != "text/html" {
		t.Fatalf("parts %+v", l.Parts)
	}
	for _, p := range l.Parts {
		if len(p.Defects) > 0 || p.File != "" || p.Charset != "utf-8" {
			t.Errorf("%s: %q %q %v", p.Type, p.Charset, p.File, p.Defects)
		}
	}
	// WB-01: what a stranger wrote is text, and the page fetches nothing.
	for _, tag := range []string{"script", "img", "link", "iframe", "object", "svg", "form", "a", "base"} {
		if slices.Contains(l.Tags, tag) {
			t.Errorf("the page has <%s>", tag)
		}
	}
	if len(l.Handlers)+len(l.Fetches)+len(l.Open) > 0 {
		t.Errorf("the page has %q, fetches %q and leaves %q open", l.Handlers, l.Fetches, l.Open)
	}
	oneLine := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	text := oneLine(l.Parts[0].Text)
	for _, f := range report.Findings {
		if want := oneLine(f.Text); !strings.Contains(text, want) || !strings.Contains(l.Page, want) {
			t.Errorf("one of the parts has no %q", want)
		}
		// What is there to be copied stands on one line.
		if f.Fix != "" && (!strings.Contains(l.Parts[0].Text, "$ "+f.Fix+"\n") || !slices.Contains(l.Code, f.Fix)) {
			t.Errorf("one of the parts has no line %q", f.Fix)
		}
	}
	// The table of keys keeps its columns.
	if !regexp.MustCompile(`(?m)^KEY {2,}NAME {2,}KIND {2,}MAY SEND AS {2,}FROM {2,}ENDS {2,}LAST USED {2,}FINDINGS$`).MatchString(l.Parts[0].Text) {
		t.Errorf("no table of keys in\n%s", l.Parts[0].Text)
	}
	score := fmt.Sprintf("Score %d of 1000", report.Score)
	if !strings.Contains(text, score) || !strings.Contains(l.Page, score) {
		t.Errorf("one of the parts has no %q", score)
	}
}

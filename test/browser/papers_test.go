package browser

import (
	"encoding/json"
	"strings"
	"testing"
)

// fetch is what the browser gets where a link leads that hands a file out, and the name
// of that file.
func (b *tab) fetch(path string) (text, name string) {
	b.t.Helper()
	got := script[[]string](b, `fetch(`+quote(path)+`).then(async (r) => [await r.text(), r.headers.get("Content-Disposition") ?? ""])`)
	return got[0], got[1]
}

// href is where the first link leads whose text begins with a label.
func (b *tab) href(label string) string {
	b.t.Helper()
	return script[string](b, `[...document.querySelectorAll("main a")].find((a) => a.innerText.trim().startsWith(`+quote(label)+`))?.getAttribute("href") ?? ""`)
}

// TestReportAndKey: from the list of domains to one report of one receiver, and to one
// DKIM key, by links alone and without scripts; both are handed out as files.
func TestReportAndKey(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, _ := w.owner(t, "acme", "dora")
	b.scripts(false)
	b.visit("/domains")
	b.press("acme.test")
	b.sees("h1", "acme.test")
	domain := b.at()
	b.press("DMARC reports")
	b.arrives(domain + "/dmarc")
	b.press("Each report")
	b.arrives(domain + "/dmarc/reports")
	b.sees("#reports", "Receiver Inc")
	b.visit(domain + "/dmarc/reports?start_date=2026-02-30")
	b.sees(".wrong", "day")
	if on := script[string](b, `document.activeElement.id`); on != "span-start_date" {
		t.Errorf("after a refusal the focus is at %q", on)
	}
	b.visit(domain + "/dmarc/reports")
	b.click("#reports tbody a")
	b.sees("h1", "Report about acme.test of")
	b.sees("main", "dmarc@")
	b.sees("main", "none: only watches")
	b.scripts(true)
	text, name := b.fetch(b.href("As a file"))
	var report struct {
		Org      string `json:"org_name"`
		Messages int    `json:"messages"`
		Records  []struct {
			Addr string `json:"source_ip"`
		} `json:"records"`
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil || report.Messages == 0 || len(report.Records) == 0 || !strings.HasPrefix(name, `attachment; filename="dmarc-acme.test-`) {
		t.Errorf("the file %s (%v): %s", name, err, text)
	}
	b.sees("main", report.Org)
	b.sees("#sources", report.Records[0].Addr)
	b.sees("#sources", "aligned")
	b.judge("domain-report")

	b.scripts(false)
	b.visit(domain)
	b.click("#dkim tbody a")
	b.sees("h1", "DKIM key")
	b.sees("#dkim-value", "v=DKIM1")
	b.scripts(true)
	selector := strings.Fields(b.text("h1"))[2]
	text, name = b.fetch(b.href("As a line"))
	if !strings.HasPrefix(text, selector+`._domainkey.acme.test. IN TXT "v=DKIM1`) || !strings.HasPrefix(name, `attachment; filename="`+selector+`._domainkey.acme.test`) {
		t.Errorf("the file %s: %s", name, text)
	}
}

// TestWhoIsBehind: the address of an account is written and changed by keyboard, without
// scripts; what is too long is said at its field.
func TestWhoIsBehind(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, _ := w.owner(t, w.account(t, "behind"), "bea")
	b.scripts(false)
	b.visit("/settings")
	b.sees("main", "nobody has said")
	b.press("Change who is behind it")
	b.arrives("/settings/profile")
	b.fill("#profile-company", "Behind Ltd")
	b.fill("#profile-city", "Springfield\r")
	b.arrives("/settings")
	b.sees("main", "Springfield")
	b.visit("/settings/profile")
	script[bool](b, `(document.querySelector("#profile-phone").value = "1".repeat(300)) !== ""`)
	b.press("Save")
	b.sees("#profile-phone-error", "255")
	if on := script[string](b, `document.activeElement.id`); on != "profile-phone" {
		t.Errorf("after a refusal the focus is at %q", on)
	}
	b.scripts(true)
	b.axe()
	b.visit("/settings")
	b.sees("main", "Behind Ltd")
}

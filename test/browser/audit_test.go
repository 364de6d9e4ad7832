package browser

import (
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
)

// score is the number that the page of the report shows.
func (b *tab) score() int {
	b.t.Helper()
	b.visit("/audit")
	first, _, _ := strings.Cut(b.text(".score"), " ")
	n, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		b.t.Fatalf("the score is %q", b.text(".score"))
	}
	return n
}

// TestAuditReport: a report is kept, something is made worse, and the comparison says
// what and by how much; mended, the score is what it was. It prints.
func TestAuditReport(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, _ := w.owner(t, w.account(t, "audited"), "ada")
	before := b.score()
	b.press("Keep this report")
	b.arrives("/audit/reports")
	b.sees("#reports", strconv.Itoa(before))

	b.makeKey("full", "too much")
	worse := b.score()
	if worse >= before {
		t.Errorf("the score went from %d to %d with a key that may do everything", before, worse)
	}
	b.sees("#findings", "The key “too much” may do everything")
	b.visit("/audit/reports")
	b.choose("#compare [name=b]", "now")
	b.press("Compare")
	b.arrives("/audit/compare")
	b.sees("main", "The score went from "+strconv.Itoa(before)+" to "+strconv.Itoa(worse)+".")
	b.sees("#new", "The key “too much” may do everything")
	b.sees("#mended", "Nothing was mended")
	// The points of what is new are the difference, and nothing else is.
	points := script[int](b, `[...document.querySelectorAll("#new tbody tr")].reduce((n, r) => n + Number(r.cells[0].innerText), 0)`)
	if points != before-worse {
		t.Errorf("the new findings weigh %d, and the score fell by %d", points, before-worse)
	}

	b.visit("/audit")
	b.press("For print")
	b.arrives("/audit/print")
	b.sees("h1", "Audit report of audited")
	b.sees("body", "too much")
	b.size(phone)
	b.fits("/audit/print", phone)
	b.size(desktop)
	pdf := tell(b, page.PrintToPDF, page.PrintToPDFParams{})
	if !strings.HasPrefix(string(pdf.Data), "%PDF-") {
		t.Errorf("printed are %d octets that are no PDF", len(pdf.Data))
	}

	// What was kept prints as it was then.
	b.visit("/audit/reports")
	b.press("Show it")
	b.press("For print")
	b.sees("h1", "Audit report of audited")
	if strings.Contains(b.text("body"), "too much") {
		t.Error("the report that was kept has a key that was made later")
	}

	// By the button of the finding to its page, where it is mended.
	b.visit("/audit")
	b.press("Mend it on its page")
	b.sees("h1", "too much")
	b.visit(b.at() + "/revoke")
	b.press("Revoke it for ever")
	b.arrives("/keys")
	if after := b.score(); after != before {
		t.Errorf("the score is %d after mending, %d before", after, before)
	}
}

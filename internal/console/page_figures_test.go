package console

import (
	"testing"
)

// A chart says what it counts, and why the newest logins are not in it yet: on a new
// installation it said that there was nothing, right after a login.
func TestFiguresSayWhatTheyCount(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/").want(200).shows("#logins figcaption", "by hour").shows("#logins .hint", "two minutes after").shows("#mail figcaption", "recipients by hour")
	w.get("/?span=month").want(200).shows("#mail figcaption", "recipients by day")
	w.get("/logins").want(200).shows("main .hint", "two minutes after").shows("a[href=#sums]", "In sum")
	w.get("/domains/7/dmarc").want(200).shows("#dmarc figcaption", "messages by day")
}

// What became different stands in the last of four columns, and where and by whom
// beside it: nothing of it was to be seen in a window.
func TestChangesFit(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/changes").want(200).shows("#changes td .note", "No. 9").shows("#changes td .note", "domain example.com").shows("#changes .lines", "note: old → new")
	if n := len(r.all("#changes thead th")); n != 4 {
		t.Errorf("%d columns, want 4", n)
	}
}

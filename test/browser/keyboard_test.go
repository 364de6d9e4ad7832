package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
)

// focus tells of the element that has it: what it says, and whether a person sees
// that it has it (WCAG 2.4.7) and sees it at all (2.4.11).
type focus struct {
	Text, Name, HTML string
	Ring, Shown      bool
}

func (b *tab) focus() focus {
	b.t.Helper()
	return script[focus](b, `(() => {
		const e = document.activeElement;
		const of = e.matches("input, select, textarea") && e.labels?.[0] ? e.labels[0].innerText : e.innerText ?? "";
		const s = getComputedStyle(e), r = e.getBoundingClientRect();
		const at = document.elementFromPoint(r.x + Math.min(r.width / 2, 40), r.y + Math.min(r.height / 2, 20));
		return {Text: of.trim(), Name: e.getAttribute("name") ?? "", HTML: e.outerHTML.slice(0, 200),
			Ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0,
			Shown: e === document.body || (at !== null && (e.contains(at) || at.contains(e)))};
	})()`)
}

// tabTo goes on with the tab key until something has the focus, and fails where a
// person would not see where they are.
func (b *tab) tabTo(what string, is func(focus) bool) {
	b.t.Helper()
	for range 80 {
		f := b.focus()
		if is(f) {
			return
		}
		b.key("\t")
		if f = b.focus(); f.HTML != "" && f.HTML[:5] != "<body" && f.HTML[:5] != "<html" && (!f.Ring || !f.Shown) {
			b.t.Errorf("at %s the focus is not seen (ring %v, shown %v): %s", b.at(), f.Ring, f.Shown, f.HTML)
		}
	}
	b.t.Fatalf("no %s comes with the tab key at %s", what, b.at())
}

func (b *tab) tabToText(text string) {
	b.t.Helper()
	b.tabTo(fmt.Sprintf("%q", text), func(f focus) bool { return f.Text == text })
}

func (b *tab) tabToField(name string) {
	b.t.Helper()
	b.tabTo("field "+name, func(f focus) bool { return f.Name == name })
}

// TestKeyboard: from the login to a key that is made, with the keyboard alone; the focus
// is seen at each step, and the way around the navigation is the first thing there is.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, p := w.owner(t, w.account(t, "keyboard"), "kaya")
	b.press("Log out")
	b.arrives("/login")
	b.key(p.name + "\t" + password + "\r")
	b.arrives("/login/factor")
	b.key(p.code() + "\r")
	b.until(`!location.pathname.startsWith("/login") && document.readyState === "complete"`)
	b.visit("/")
	b.key("\t")
	if f := b.focus(); f.Text != "Skip to the content" || !f.Shown {
		t.Errorf("the first stop is %q, not the way to the page", f.Text)
	}
	b.key("\r")
	b.tabTo("something in the page", func(focus) bool {
		return script[bool](b, `document.querySelector("main").contains(document.activeElement)`)
	})

	b.visit("/")
	b.tabToText("Keys")
	b.key("\r")
	b.arrives("/keys")
	b.tabToText("Make a key")
	b.key("\r")
	b.arrives("/keys/new")
	b.tabToText("Test")
	b.key("\r")
	b.until(`location.search !== "" && document.readyState === "complete"`)
	b.tabToField("name")
	b.key("made without a mouse")
	b.tabToText("Make the key")
	b.key("\r")
	b.secretShown()
	b.visit("/keys")
	b.sees("main table", "made without a mouse")
}

// TestMotion: what moves does so for those alone who have not asked for less.
func TestMotion(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b := open(t, w.url())
	b.visit("/login")
	moving := func(wish string) int {
		tell(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: wish}}})
		return script[int](b, `[...document.querySelectorAll("*")].filter((e) => { const s = getComputedStyle(e); return s.transitionDuration !== "0s" || s.animationName !== "none"; }).length`)
	}
	if n := moving("no-preference"); n == 0 {
		t.Error("nothing moves at all: the test would not see what does")
	}
	if n := moving("reduce"); n != 0 {
		t.Errorf("%d elements move for whoever asked for less", n)
	}
}

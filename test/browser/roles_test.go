package browser

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// role is one of those who look at an account.
type role struct {
	name   string
	choice string // the role that the invitation gives
	only   string // the one subuser that they see
	within string // the subuser that they belong to
	looks  bool   // they change nothing but what is their own
}

// TestRolesSeeWhatIsTheirs: an owner, and whoever they invite, follows each link that they
// are offered and presses each button, in an account full of long words that are markup
// and in one with nothing in it. Nothing that is offered is refused, no page is wider
// than its window at 320 and at 1280 pixels, no word is more than text, and the auditor
// finds nothing that changes anything but themselves.
func TestRolesSeeWhatIsTheirs(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	for _, account := range []string{"crowded", "blank"} {
		t.Run(account, func(t *testing.T) {
			t.Parallel()
			branch := account + "branch"
			w.account(t, account)
			w.operate(t, nil, "subuser", "add", branch, "--account", account)
			owner, _ := w.owner(t, account, account+"owner")
			if account == "crowded" {
				w.crowd(t, owner)
			}
			roles := []role{
				{name: "auditor", choice: "auditor", looks: true}, {name: "developer", choice: "developer"},
				{name: "restricted", choice: "developer", only: branch}, {name: "within", choice: "admin", within: branch},
			}
			if account == "blank" {
				roles = nil
			}
			crawls := []*crawl{{tab: owner, role: role{name: "owner"}, who: account + "-owner", buttons: map[string]offer{}}}
			for _, r := range roles {
				b := open(t, w.url())
				b.comes(w.invite(owner, account, r), account+r.name)
				crawls = append(crawls, &crawl{tab: b, role: r, who: account + "-" + r.name, buttons: map[string]offer{}})
			}
			measured := map[string]bool{}
			for _, c := range crawls {
				c.visits(measured)
			}
			for _, c := range crawls { // what these change, the others need not have seen
				c.presses()
			}
		})
	}
}

// invite has the account's owner invite somebody, and is the link of their letter.
func (w *world) invite(owner *tab, account string, r role) string {
	owner.t.Helper()
	people := "/people"
	if r.within != "" {
		people = "/as/" + r.within + people
	}
	email := account + r.name + "@inbox.test"
	owner.visit(people + "/invite")
	owner.fill("#invite [name=email]", email)
	owner.click("#invite [name=role][value=" + r.choice + "]")
	if r.only != "" {
		owner.click("#invite [name=restricted]")
		owner.fill("#invite [name=subusers]", r.only)
	}
	owner.press("Mail the invitation")
	owner.arrives(people)
	return w.linkIn(owner.t, w.arrived(owner.t, email, "/invite/"), "/invite/")
}

// comes takes an invitation.
func (b *tab) comes(link, name string) {
	b.t.Helper()
	b.visit(link)
	b.fill("#f-username", name)
	b.fill("#f-password", password+"\r")
	b.arrives("/welcome")
	b.enrol(&person{name: name})
	b.press("I have saved them")
	b.until(`location.pathname !== "/welcome" || document.querySelector("nav a") !== null`)
}

// crowd gives an account messages, keys and a domain with hostile and long words, and
// shares the domain with its subusers.
func (w *world) crowd(t *testing.T, b *tab) {
	t.Helper()
	long := strings.Repeat("W", 80)
	w.operate(t, nil, "domain", "add", "crowded.test", "--account", "crowded", "--assert", "--quiet")
	b.visit("/domains")
	b.press("crowded.test")
	b.press("Change it")
	b.click("#edit-domain-all_subusers")
	b.press("Save")
	key := b.makeKey("full", hostileName)
	for _, to := range []string{hostileAt, hostileLaterAt} {
		raw := "From: a@crowded.test\nTo: " + to + "\nSubject: " + hostileSubject + long + long + "\n\nx\n"
		if err := w.deliver(t, message{key, "hostile.test", "a@crowded.test", to, raw}); err != nil {
			t.Fatal(err)
		}
	}
	w.newKey(t, key, map[string]any{"name": long, "scopes": []string{"mail.send"}})
	w.ask(t, key, hostileHelo+long)
	w.wait(t, key, hostileAt, "bounced")
	w.wait(t, key, hostileLaterAt, "deferred")
}

// changing are parts of a path that differ from thing to thing.
var changing = regexp.MustCompile(`[^/]*[0-9A-Z][^/]*`)

// within is before the path of a page that is about a subuser.
var within = regexp.MustCompile(`^/as/[^/]+`)

// offer is a button: the page that has it, and where it sends.
type offer struct{ page, to string }

// crawl is one person's way through the console.
type crawl struct {
	*tab
	role
	who     string
	buttons map[string]offer // that were seen, by kind
}

// visits follows the links from the first page, one of each kind. Pages whose kind is
// not among measured are measured.
func (c *crawl) visits(measured map[string]bool) {
	c.t.Helper()
	seen, next := map[string]bool{}, []string{"/"}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		c.visit(path)
		now := c.stands(path)
		if kind := kindOf(within.ReplaceAllString(path, "")); !measured[kind] {
			measured[kind] = true
			c.measure(path)
		}
		for _, to := range now.Do {
			if _, ok := c.buttons[kindOf(to)]; !ok && !ending(to) {
				c.buttons[kindOf(to)] = offer{path, to}
			}
		}
		for _, link := range now.Links {
			if !seen[kindOf(link)] && !strings.HasSuffix(link, "/export") && !strings.HasSuffix(link, ".txt") {
				seen[kindOf(link)] = true
				next = append(next, link)
			}
		}
	}
	if c.t.Logf("%s is led to %d pages", c.who, len(seen)); len(seen) < 5 {
		c.t.Errorf("%s is led to %d pages only", c.who, len(seen))
	}
}

// kindOf is a path without what differs from thing to thing.
func kindOf(path string) string { return changing.ReplaceAllString(path, "*") }

// ending reports whether a button ends the session that presses it.
func ending(to string) bool {
	return strings.HasPrefix(to, "/sessions") || strings.HasPrefix(to, "/log")
}

// standing is how a page stands.
type standing struct {
	Status  int64    `json:"status"`
	Titles  int      `json:"titles"`
	Foreign int      `json:"foreign"` // elements that nobody wrote
	Forms   int      `json:"forms"`   // that change something
	At      string   `json:"at"`
	Text    string   `json:"text"`
	Links   []string `json:"links"`
	Do      []string `json:"do"` // where its buttons send
}

// asked in one go: a question takes longer than its answer.
const standingNow = `({
	status: performance.getEntriesByType("navigation")[0].responseStatus, titles: document.querySelectorAll("h1").length,
	foreign: document.querySelectorAll("main script, main img:not([src^='data:']), main [onerror], main [onload]").length,
	forms: document.querySelectorAll("main form[method=post]").length, at: location.pathname, text: (document.querySelector("main") ?? document.body).innerText,
	links: [...document.querySelectorAll("nav a[href], main a[href]")].filter((a) => a.origin === location.origin && !a.hasAttribute("download")).map((a) => a.pathname),
	do: [...document.querySelectorAll("main form.inline[method=post]")].map((f) => new URL(f.action).pathname)})`

// stands fails unless a page that somebody is led to is one for them.
func (c *crawl) stands(path string) standing {
	c.t.Helper()
	s := script[standing](c.tab, standingNow)
	if s.Status != 200 || s.Titles != 1 {
		c.t.Errorf("%s is offered %s, which answers with %d: %s", c.who, path, s.Status, s.Text)
		return s
	}
	if s.Foreign != 0 {
		c.t.Errorf("%s: %d elements that nobody wrote", path, s.Foreign)
	}
	own := slices.ContainsFunc([]string{"/profile", "/factors", "/sessions", "/confirm"}, func(p string) bool { return strings.HasPrefix(s.At, p) })
	if c.looks && s.Forms != 0 && !own {
		c.t.Errorf("%s shows %s %d forms that change something", path, c.who, s.Forms)
	}
	return s
}

func (c *crawl) measure(path string) {
	c.t.Helper()
	for _, s := range []screen{{name: "phone at 400 %", width: 320, height: 640, phone: true}, desktop} {
		c.size(s)
		c.fits(path, s)
		c.look(fmt.Sprintf("%s%s-%d", c.who, strings.NewReplacer("/", "-", "?", "-", "%", "").Replace(path), s.width), s)
	}
}

// presses presses the buttons that were seen, if they are there after the others.
func (c *crawl) presses() {
	c.t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(c.buttons)) {
		o := c.buttons[kind]
		c.visit(o.page)
		form := fmt.Sprintf(`[...document.querySelectorAll("main form.inline[method=post]")].find((f) => new URL(f.action).pathname === %s)`, quote(o.to))
		if !script[bool](c.tab, form+" !== undefined") {
			continue
		}
		c.run(chromedp.Evaluate[chromedp.Void](form + `.querySelector("button").click()`)) // answers before the page is left
		c.settle()
		if now := script[standing](c.tab, standingNow); now.Status != 200 || strings.Contains(now.Text, "That did not work") {
			c.t.Errorf("%s is offered a button to %s on %s, which answers with %d: %s", c.who, o.to, o.page, now.Status, now.Text)
		}
	}
}

// look keeps a picture of the page in the folder that POSTERN_LOOK names, for somebody
// to look at.
func (b *tab) look(name string, s screen) {
	b.t.Helper()
	folder := os.Getenv("POSTERN_LOOK")
	if folder == "" {
		return
	}
	yes := true
	height := script[float64](b, `document.documentElement.scrollHeight`)
	picture := tell(b, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &yes,
		Clip: &page.Viewport{Width: float64(s.width), Height: min(height, 2400), Scale: 1}})
	if err := os.WriteFile(filepath.Join(folder, name[:min(len(name), 100)]+".png"), picture.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

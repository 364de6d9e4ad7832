package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take on a busy machine.
const patience = 60 * time.Second

// chromium is one process for all tests of the package.
var chromium = sync.OnceValues(func() (context.Context, error) {
	bin := os.Getenv("POSTERN_CHROMIUM")
	if bin == "" {
		var err error
		if bin, err = exec.LookPath("chromium"); err != nil {
			return nil, err
		}
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(bin), chromedp.Flag("headless", "new"), chromedp.Flag("disable-gpu", true), chromedp.Flag("no-sandbox", os.Getuid() == 0),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.WSURLReadTimeout(patience))
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocated)
	if err := chromedp.Do(ctx); err != nil {
		stop()
		return nil, err
	}
	stopChromium = func() {
		_ = chromedp.Cancel(ctx) // waits for the process
		stop()
	}
	return ctx, nil
})

var stopChromium = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
	for _, f := range slices.Backward(exits) {
		f()
	}
	os.Exit(code)
}

// tab is one window of a browser of its own.
type tab struct {
	t    testing.TB
	ctx  context.Context
	base string

	mu       sync.Mutex
	also     string // another origin that it may go to; guarded by mu
	problems []string
	loading  map[cdp.FrameID]bool // the frames that go to another page; guarded by mu
}

// browser is the process; without one the test is skipped, or fails where all that
// the tests need must be there.
func browser(t testing.TB) context.Context {
	t.Helper()
	ctx, err := chromium()
	if err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") != "" {
			t.Fatalf("chromium does not run (tools/testdeps installs it): %v", err)
		}
		t.Skipf("chromium does not run: %v", err)
	}
	return ctx
}

// open starts a browser with an empty profile. base is the origin that it must not
// leave.
func open(t testing.TB, base string) *tab {
	t.Helper()
	parent := browser(t)
	b := &tab{t: t, base: base, loading: map[cdp.FrameID]bool{}}
	var cancel context.CancelFunc
	b.ctx, cancel = chromedp.NewContext(parent, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.watch))
	t.Cleanup(cancel)
	b.run() // the first, which opens the window, has no time limit
	tell(b, network.Enable, network.EnableParams{})
	tell(b, log.Enable, cdp.Empty{})
	tell(b, runtime.Enable, cdp.Empty{})
	tell(b, page.Enable, page.EnableParams{})
	b.scheme("light")
	b.size(desktop)
	t.Cleanup(b.check)
	return b
}

// watch keeps what must not happen on any page, and which frames are on their way to
// another.
func (b *tab) watch(event any) {
	problem := ""
	switch e := event.(type) {
	case *page.EventFrameRequestedNavigation:
		b.loads(e.FrameID, e.Disposition == page.ClientNavigationDispositionCurrentTab)
	case *page.EventFrameStartedLoading:
		b.loads(e.FrameID, true)
	case *page.EventFrameStoppedLoading:
		b.loads(e.FrameID, false)
	case *page.EventFrameDetached:
		b.loads(e.FrameID, false)
	case *network.EventRequestWillBeSent:
		u := e.Request.URL
		b.mu.Lock()
		also := b.also
		b.mu.Unlock()
		if also != "" && strings.HasPrefix(u, also+"/") {
			break
		}
		if u != b.base && !strings.HasPrefix(u, b.base+"/") && !strings.HasPrefix(u, "data:image/") && !strings.HasPrefix(u, "about:") {
			problem = "a request leaves the origin: " + u
		}
	case *runtime.EventExceptionThrown:
		problem = "a script throws: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			problem += " " + e.ExceptionDetails.Exception.Description
		}
	case *page.EventJavascriptDialogOpening:
		problem = "a dialog opens: " + e.Message
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			problem = "the browser complains: " + e.Entry.Text
		}
	}
	if problem != "" {
		b.mu.Lock()
		b.problems = append(b.problems, problem)
		b.mu.Unlock()
	}
}

func (b *tab) loads(frame cdp.FrameID, begins bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if begins {
		b.loading[frame] = true
	} else {
		delete(b.loading, frame)
	}
}

// settle waits until what a click or a key began is loaded: what comes next is to see
// the new page, not what is left of the old one.
func (b *tab) settle() {
	b.t.Helper()
	// A form is sent by a task of its own, behind the event that sends it. There is no
	// answer from a page that is left meanwhile, nor from one without scripts.
	short, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	_, _ = chromedp.Run(short, chromedp.Evaluate[bool](`new Promise((done) => setTimeout(() => done(true)))`, chromedp.EvalAwaitPromise))
	cancel()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		b.mu.Lock()
		n := len(b.loading)
		b.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			b.must(errors.New("the page does not end loading"))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (b *tab) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Error(p)
	}
}

// run does steps in order, each within patience.
func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if len(steps) == 0 {
		b.must(chromedp.Do(b.ctx))
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	b.must(chromedp.Do(ctx, steps...))
}

// must ends the test at an error, and tells what page it was.
func (b *tab) must(err error) {
	b.t.Helper()
	if err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	at, _ := chromedp.Run(ctx, chromedp.Location())
	says, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	b.t.Fatalf("%v\nat %s\n%s", err, at, says)
}

// tell sends a command of the protocol.
func tell[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	b.must(err)
	return r
}

// script is the value of an expression in the page; the debugger's scripts are not
// under the page's policy.
func script[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	b.must(err)
	return v
}

// until waits for an expression to be true, also where a page loads meanwhile.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			b.must(errors.Join(fmt.Errorf("waited for %s", expression), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func quote(s string) string {
	q, _ := json.Marshal(s) // of a string it cannot fail
	return string(q)
}

// visit opens a path.
func (b *tab) visit(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base + path))
}

// fill types into an input, in place of what it holds.
func (b *tab) fill(selector, value string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelector(%s) !== null`, quote(selector)))
	script[bool](b, fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.focus(); e.select(); return true; })()`, quote(selector)))
	b.key(value)
}

// choose sets a select.
func (b *tab) choose(selector, value string) {
	b.t.Helper()
	script[bool](b, fmt.Sprintf(`(() => { const e = document.querySelector(%s); e.value = %s; e.dispatchEvent(new Event("change", {bubbles: true})); return true; })()`, quote(selector), quote(value)))
}

// click clicks with the mouse into the middle of what the selector finds.
func (b *tab) click(selector string) {
	b.t.Helper()
	find := fmt.Sprintf(`document.querySelector(%s)`, quote(selector))
	b.until(find + `?.checkVisibility()`)
	at := script[[]float64](b, fmt.Sprintf(`(() => { const e = %s; e.scrollIntoView({block: "center", behavior: "instant"}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`, find))
	for _, kind := range []input.DispatchMouseEventType{input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased} {
		tell(b, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: at[0], Y: at[1], Button: input.MouseButtonLeft, ClickCount: 1})
	}
	b.settle()
}

// press clicks the button or link whose text begins with a label.
func (b *tab) press(label string) {
	b.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("button, a")].find((e) => e.checkVisibility() && !e.disabled && e.innerText.trim().startsWith(%s))`, quote(label))
	b.until(find + " !== undefined")
	b.run(chromedp.Evaluate[chromedp.Void](find + ".click()")) // answers before the page is left
	b.settle()
}

// sees waits until an element shows a text.
func (b *tab) sees(selector, want string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`[...document.querySelectorAll(%s)].some((e) => e.innerText.includes(%s))`, quote(selector), quote(want)))
}

// later loads the page again until an element shows a text: logins are on record some
// seconds after they were.
func (b *tab) later(selector, want string) {
	b.t.Helper()
	find := fmt.Sprintf(`document.querySelector("main") !== null && [...document.querySelectorAll(%s)].some((e) => e.innerText.includes(%s))`, quote(selector), quote(want))
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !script[bool](b, find); time.Sleep(500 * time.Millisecond) {
		b.visit(b.at())
	}
	b.sees(selector, want)
}

// text is what the first element of a selector shows.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return script[string](b, fmt.Sprintf(`document.querySelector(%s).innerText.trim()`, quote(selector)))
}

// count is how many elements a selector finds.
func (b *tab) count(selector string) int {
	b.t.Helper()
	return script[int](b, fmt.Sprintf(`document.querySelectorAll(%s).length`, quote(selector)))
}

// at is the path and query that is shown.
func (b *tab) at() string {
	b.t.Helper()
	return script[string](b, `location.pathname + location.search`)
}

// arrives waits for a path.
func (b *tab) arrives(path string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`location.pathname === %s && document.readyState === "complete"`, quote(path)))
}

// key types where the focus is.
func (b *tab) key(keys string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(keys))
	b.settle()
}

// scripts switches JavaScript of the pages on or off; the tests' own still runs.
func (b *tab) scripts(on bool) {
	b.t.Helper()
	tell(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// authenticator gives the browser a passkey device that verifies its user.
func (b *tab) authenticator() {
	b.t.Helper()
	tell(b, webauthn.Enable, webauthn.EnableParams{})
	tell(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
}

// screen is a size of window.
type screen struct {
	name          string
	width, height int64
	phone         bool
}

var (
	desktop = screen{name: "desktop", width: 1280, height: 900}
	phone   = screen{name: "phone", width: 390, height: 844, phone: true}
	// A desktop window at 200 % (WCAG 1.4.4), and at 400 %, which is the narrowest that
	// has to do (1.4.10).
	twice = screen{name: "desktop at 200 %", width: 640, height: 450}
	small = screen{name: "desktop at 400 %", width: 320, height: 256}
)

func (b *tab) size(s screen) {
	b.t.Helper()
	tell(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: s.width, Height: s.height, DeviceScaleFactor: 1, Mobile: s.phone})
}

// scheme is "light" or "dark".
func (b *tab) scheme(name string) {
	b.t.Helper()
	tell(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// shoot takes pictures of the page that is shown, in both schemes and sizes, into
// the folder that POSTERN_SCREENSHOTS names, as WebP or what POSTERN_SCREENSHOTS_AS
// says; without it no picture is taken. A page
// wider than its window is a fault in any case.
func (b *tab) shoot(name string) {
	b.t.Helper()
	folder := os.Getenv("POSTERN_SCREENSHOTS")
	for _, s := range []screen{twice, small, phone, desktop} {
		b.size(s)
		b.fits(name, s)
		if folder == "" || name == "" || s == twice || s == small {
			continue
		}
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			// The charts draw themselves anew in other colours and at other sizes.
			script[bool](b, `new Promise((done) => setTimeout(() => done(true), document.querySelector("canvas") ? 300 : 50))`)
			yes, quality := true, int64(50)
			kind := page.CaptureScreenshotFormatWebp
			if as := os.Getenv("POSTERN_SCREENSHOTS_AS"); as != "" {
				kind = page.CaptureScreenshotFormat(as)
			}
			picture := tell(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
				Format: kind, Quality: &quality, CaptureBeyondViewport: &yes, Clip: b.whole(s),
			})
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s-%s-%s.%s", name, s.name, scheme, kind)), picture.Data, 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
		b.scheme("light")
	}
}

// whole is the page from top to end, but no more than its beginning.
func (b *tab) whole(s screen) *page.Viewport {
	b.t.Helper()
	height := script[float64](b, `document.documentElement.scrollHeight`)
	return &page.Viewport{Width: float64(s.width), Height: min(max(height, float64(s.height)), 1.6*float64(s.height)), Scale: 1}
}

// fits fails when a page has to be moved sideways to be read (WCAG 1.4.10).
func (b *tab) fits(name string, s screen) {
	b.t.Helper()
	// What depends on the width is settled after a frame.
	script[bool](b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
	if width := script[int64](b, `document.documentElement.scrollWidth`); width > s.width {
		b.t.Errorf("%s is %d wide on a %s of %d", name, width, s.name, s.width)
	}
	// Nor may a table be cut. What is copied (pre) may be moved, and so may the numbers
	// behind a chart, which are read in both directions.
	if cut := script[[]string](b, `[...document.querySelectorAll("main .scroll")].filter((e) => !e.closest(".chart")).filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.getAttribute("aria-label") + ": " + e.scrollWidth + " of " + e.clientWidth)`); len(cut) > 0 {
		b.t.Errorf("%s on a %s: tables are cut: %q", name, s.name, cut)
	}
}

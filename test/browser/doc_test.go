// Package browser uses the console as a person does: in Debian's Chromium, by
// chromedp. Each test has a browser profile of its own. A test is skipped where
// there is no Chromium, unless POSTERN_TEST_EXTERNAL=1 makes that a failure.
//
// Whatever a test does, it fails when the page asks for anything outside its own
// origin, when the policy refuses something, and when a script throws.
//
//	b := open(t, c.url)
//	b.visit("/login")
//	b.fill("#f-username", "anna")
//	b.click("button.primary")
//	b.sees("h1", "One more step")
//	b.axe()
package browser

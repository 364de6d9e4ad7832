package console

import "net/http"

// csp is the policy of every page. Nothing is inline, nothing comes from elsewhere,
// and no script can turn text into code: no policy of Trusted Types may be made.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'none'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// pageHeaders sets what differs from the headers that httpx gives every answer
// (no-store, nosniff, no-referrer, no frames).
func pageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", csp)
	h.Set("Vary", "Cookie")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}

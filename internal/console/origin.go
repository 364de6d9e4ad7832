package console

import (
	"net/http"
	"net/url"
	"strings"

	"postern/internal/httpx"
)

// crossOrigin is the standard library's check, made beside ours.
var crossOrigin = http.NewCrossOriginProtection()

// checkOrigin refuses what changes state unless the browser says that a page of
// ours sent it (WB-03). Pages go out with Referrer-Policy: no-referrer, so that
// Origin is "null" on forms; Sec-Fetch-Site, which every current browser sends,
// tells then. A request with neither header is no browser's, and not ours.
func (c *Console) checkOrigin(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	foreign := httpx.Refuse(http.StatusForbidden, "This form was not sent by a page of this console. Open the page again and repeat it.")
	if err := crossOrigin.Check(r); err != nil {
		return foreign
	}
	if site := r.Header.Values("Sec-Fetch-Site"); len(site) > 0 {
		if len(site) != 1 || site[0] != "same-origin" {
			return foreign
		}
		return nil
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Host == "" {
		return foreign
	}
	if own, err := url.Parse(c.URL()); err == nil && own.Host != "" && c.Secure(r) {
		if origin.Scheme != own.Scheme || !strings.EqualFold(origin.Host, own.Host) {
			return foreign
		}
	} else if !strings.EqualFold(origin.Host, r.Host) {
		return foreign
	}
	return nil
}

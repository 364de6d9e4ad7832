package console

import (
	"net/url"
	"path"
	"strings"
)

// safeNext is localPath for where to go after a login: not back to it, and not to
// what is no page.
func safeNext(next string) string {
	next = localPath(next)
	for _, no := range []string{"/logout", "/login", "/assets", "/v3", "/confirm", "/theme"} {
		if p, _, _ := strings.Cut(next, "?"); p == no || strings.HasPrefix(p, no+"/") {
			return "/"
		}
	}
	return next
}

// localPath returns a path that a visitor's request named, if it is one of ours;
// else "/" (WB-05). It takes a path with a query, in the one spelling in which
// browsers and servers agree on what it is.
func localPath(next string) string {
	const home = "/"
	if len(next) == 0 || len(next) > 2048 || next[0] != '/' || strings.HasPrefix(next, "//") {
		return home
	}
	for i := range len(next) {
		if next[i] <= 0x20 || next[i] >= 0x7f || next[i] == '\\' {
			return home
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return home
	}
	if strings.ContainsAny(u.Path, "\\\r\n\x00") || path.Clean(u.Path) != u.Path || strings.HasPrefix(u.Path, "//") {
		return home
	}
	return u.RequestURI()
}

package people

import (
	"fmt"
	"net/netip"
	"net/url"
)

// LocalLinks says to whoever makes a link that begins with base that it helps
// nobody elsewhere; "" where links lead to more than the relay's own machine.
func LocalLinks(base string) string {
	u := localURL(base)
	if u == nil {
		return ""
	}
	return fmt.Sprintf("Links lead to %s://%s, which is the relay's own machine: they work only there, and behind %s. For people elsewhere, the operator sets http.url in the configuration.", u.Scheme, u.Host, tunnel(u))
}

// localURL reads a base of links that only the machine itself can follow; nil: it
// is another.
func localURL(base string) *url.URL {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil
	}
	if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !a.IsLoopback()) {
		return nil
	}
	return u
}

// tunnel is how a browser elsewhere gets to a local URL.
func tunnel(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return fmt.Sprintf("\"ssh -L %s:localhost:%s\" to it", port, port)
}

// letter is the part of a letter that has a link, path being behind the base: the
// link on a line of its own and, where it leads to the relay's own machine, what
// whoever is elsewhere can do.
func (s *Service) letter(path string) string {
	text := s.base() + path + "\n"
	if u := localURL(s.base()); u != nil {
		text += "\nThe link leads to the machine of the relay itself, and works only in a browser there or behind " + tunnel(u) +
			". If you have neither, ask who runs the relay.\n"
	}
	return text
}

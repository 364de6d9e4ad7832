package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// People says how persons log in to the console.
type People struct {
	// A session ends when nothing was done in it for so long.
	SessionIdle Duration `toml:"session_idle" range:"1m..24h" need:"restart"`

	// The longest life of a session.
	SessionLife Duration `toml:"session_life" range:"5m..720h" need:"restart"`

	// What changes security asks for password and second factor again when they were
	// last shown longer ago than this.
	Fresh Duration `toml:"fresh" range:"10s..1h" need:"restart"`

	// A file of the SHA-1 of passwords that are known to others, one in a line in
	// upper-case hex, sorted, perhaps with ":count" behind it (the form in which Have I
	// Been Pwned gives it). It is searched on disk. Empty: only the built-in list.
	BreachedPasswords string `toml:"breached_passwords" need:"restart"`

	// Words that no password may be made of, besides the names of the host, the account
	// and the person: the company, its products, its town.
	BlockedWords []string `toml:"blocked_words" need:"restart"`

	// Demand letters of both cases, digits and other characters in passwords. NIST SP
	// 800-63B advises against it.
	PasswordClasses bool `toml:"password_classes" need:"restart"`

	// Demand a new password so often. 0s: never, as NIST SP 800-63B advises.
	PasswordMaxAge Duration `toml:"password_max_age" range:"0s..3650d" need:"restart"`
}

// SSO is an OpenID Connect issuer by which the people of one account can log in.
type SSO struct {
	// What the button on the login page says: "Log in with Example".
	Name string `toml:"name" need:"restart" sample:"Example"`

	// The issuer; its addresses and keys are found by OpenID Connect discovery. People
	// whom it brought are known by it: under another URL it is another issuer.
	URL string `toml:"url" need:"restart" sample:"https://login.example.org"`

	// Who postern is there. Register <http.url>/login/sso/callback as redirect URI.
	ClientID string `toml:"client_id" need:"restart" sample:"postern"`

	// The file with the secret of client_id. Nobody but postern should be able to
	// read it.
	ClientSecretFile string `toml:"client_secret_file" need:"restart" sample:"/etc/postern/sso-secret"`

	// The account whose people come from this issuer, by name.
	Account string `toml:"account" need:"restart" sample:"main"`

	// Make a person at the first login of somebody new whose group has a role. Without
	// it, only who was invited comes in.
	Provision bool `toml:"provision" need:"restart"`

	// What is asked for besides openid, profile and email: some issuers name groups only
	// to who asks for a scope of theirs, often "groups".
	Scopes []string `toml:"scopes" need:"restart"`

	// The claim that lists groups, in the token or at the issuer's UserInfo endpoint.
	GroupsClaim string `toml:"groups_claim" need:"restart" sample:"groups"`

	// Which group has which role, "group = role", with owner, admin, developer or
	// auditor. Of several the strongest counts. The role is set anew at each login.
	Groups []string `toml:"groups" need:"restart" sample:"mail-admins = admin"`

	// The issuer itself asks for a second factor, and says so (amr or acr); postern's
	// own is then not asked for. Who comes without that word is asked.
	SecondFactor bool `toml:"second_factor" need:"restart"`

	// Certificates (PEM) to trust for its HTTPS instead of the system's.
	CAFile string `toml:"ca_file" need:"restart"`

	// The issuer is in your own network: private addresses are allowed.
	Private bool `toml:"private" need:"restart"`
}

// isScopeToken reports whether a text is a scope-token (RFC 6749 §3.3).
func isScopeToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}

// ssoRoles are those that a group can have.
var ssoRoles = []string{"owner", "admin", "developer", "auditor"}

// GroupRole splits an entry of SSO.Groups. A group's name may have a "=" in it.
func GroupRole(entry string) (group, role string) {
	i := strings.LastIndexByte(entry, '=')
	if i < 0 {
		return "", ""
	}
	return strings.TrimSpace(entry[:i]), strings.TrimSpace(entry[i+1:])
}

func (c *Config) checkPeople(v *checker) {
	if v.right("people.") && c.People.SessionIdle.Duration > c.People.SessionLife.Duration {
		v.fail("people.session_idle", "is longer than people.session_life")
	}
	seen := map[string]bool{}
	for i := range c.SSO {
		s, key := &c.SSO[i], "sso["+strconv.Itoa(i)+"]"
		for _, m := range []struct{ name, value string }{{"name", s.Name}, {"client_id", s.ClientID}, {"client_secret_file", s.ClientSecretFile}, {"account", s.Account}} {
			if m.value == "" {
				v.fail(key+"."+m.name, "is required")
			}
		}
		if text := issuerText(s.URL, s.Private); text != "" {
			v.fail(key+".url", "%s", text)
		}
		if strings.ContainsAny(s.Name, "/?#%\\") { // it stands in the address of its button
			v.fail(key+".name", "%q has one of / ? # %% \\", s.Name)
		}
		for n, scope := range s.Scopes {
			if !isScopeToken(scope) {
				v.fail(key+".scopes["+strconv.Itoa(n)+"]", "%q is not a scope: one word, in ASCII, without quotes and backslashes", scope)
			}
		}
		if seen[strings.ToLower(s.Name)] {
			v.fail(key+".name", "%q is there twice", s.Name)
		}
		seen[strings.ToLower(s.Name)] = true
		at := "at " + s.Account + " " + s.URL
		if seen[at] {
			v.fail(key+".url", "is there twice for the account %q: whom it brings would follow two lists of groups", s.Account)
		}
		seen[at] = true
		for n, text := range s.Groups {
			if group, role := GroupRole(text); group == "" || !slices.Contains(ssoRoles, role) {
				v.fail(key+".groups["+strconv.Itoa(n)+"]", "%q is not \"group = role\" with one of the roles %s", text, quotedList(ssoRoles))
			}
		}
		if s.Provision && len(s.Groups) == 0 {
			v.fail(key+".provision", "needs groups: nobody new has a role without one")
		}
	}
	if len(c.SSO) > 0 && c.HTTP.URL == "" {
		v.fail("http.url", "is needed with [[sso]]: the issuer sends people back to it")
	}
}

// BaseURL is where people reach the console, without a slash at its end: http.url;
// else the host name, by the first address that listens to others than this
// machine, where TLS is spoken; else localhost, which helps on this machine
// only. What a reverse proxy calls us is known from http.url alone. No request has a
// say in it (AC-09). bound are the addresses that the listeners of HTTP have; nil:
// those of the configuration. "": nothing listens.
func BaseURL(c *Config, bound []netip.AddrPort) string {
	if c.HTTP.URL != "" {
		return strings.TrimSuffix(c.HTTP.URL, "/")
	}
	if bound == nil {
		for _, s := range c.HTTP.Listen {
			if a, text := parseListen(s); text == "" {
				bound = append(bound, a)
			}
		}
	}
	if len(bound) == 0 {
		return ""
	}
	if !c.HTTP.TLS {
		at := bound[0]
		if i := slices.IndexFunc(bound, heardHere); i >= 0 {
			at = bound[i]
		}
		return baseAt("http", "localhost", at.Port())
	}
	for _, a := range bound {
		if !a.Addr().Unmap().IsLoopback() {
			return baseAt("https", c.Hostname, a.Port())
		}
	}
	return baseAt("https", "localhost", bound[0].Port())
}

// heardHere reports whether a browser on this machine gets to an address by
// "localhost".
func heardHere(a netip.AddrPort) bool {
	return a.Addr().Unmap().IsLoopback() || a.Addr().IsUnspecified()
}

func baseAt(scheme, host string, port uint16) string {
	if scheme == "https" && port == 443 || scheme == "http" && port == 80 {
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(port)))
}

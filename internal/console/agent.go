package console

import "strings"

// browsers are looked for in this order: most of them name others, too.
var browsers = []struct{ mark, name string }{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
	{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
}

var systems = []struct{ mark, name string }{
	{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
}

// browser names a browser and its system as people do, from the User-Agent header.
// What is not known is named as it names itself, cut.
func browser(agent string) string {
	if agent == "" {
		return "unknown browser"
	}
	for _, b := range browsers {
		if !strings.Contains(agent, b.mark) {
			continue
		}
		for _, s := range systems {
			if strings.Contains(agent, s.mark) {
				return b.name + " on " + s.name
			}
		}
		return b.name
	}
	return clip(agent, 60)
}

// ssoMethod is before the issuer's name in a session's method.
const ssoMethod = "oidc "

// methodText says how a session was made.
func methodText(method string) string {
	first, second := method, ""
	for mark, words := range map[string]string{"+totp": " and code", "+passkey": " and passkey", "+recovery": " and recovery code", "+none": ""} {
		if cut, ok := strings.CutSuffix(method, mark); ok {
			first, second = cut, words
		}
	}
	if name, ok := strings.CutPrefix(first, ssoMethod); ok {
		first = "single sign-on by " + name
	}
	return first + second
}

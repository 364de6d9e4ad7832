package sender

import "strings"

// providers are the large mailbox providers. Nobody but they can prove their
// domains, and their DMARC policies make mail from elsewhere in their name fail.
var providers = map[string]bool{
	"gmail.com": true, "googlemail.com": true, "google.com": true,
	"outlook.com": true, "hotmail.com": true, "live.com": true, "msn.com": true,
	"aol.com": true, "ymail.com": true, "rocketmail.com": true,
	"icloud.com": true, "me.com": true, "mac.com": true,
	"proton.me": true, "protonmail.com": true, "pm.me": true, "tutanota.com": true, "tuta.com": true,
	"web.de": true, "t-online.de": true, "freenet.de": true, "mail.ru": true, "bk.ru": true, "inbox.ru": true, "list.ru": true,
	"ya.ru": true, "rambler.ru": true, "qq.com": true, "foxmail.com": true, "163.com": true, "126.com": true, "yeah.net": true,
	"sina.com": true, "sohu.com": true, "naver.com": true, "hanmail.net": true, "daum.net": true,
	"zoho.com": true, "zohomail.com": true, "fastmail.com": true, "fastmail.fm": true, "hey.com": true,
	"comcast.net": true, "verizon.net": true, "att.net": true, "sbcglobal.net": true, "cox.net": true, "charter.net": true,
	"orange.fr": true, "wanadoo.fr": true, "free.fr": true, "laposte.net": true, "sfr.fr": true,
	"libero.it": true, "virgilio.it": true, "tiscali.it": true, "bol.com.br": true, "uol.com.br": true, "terra.com.br": true,
	"rediffmail.com": true, "btinternet.com": true, "seznam.cz": true, "wp.pl": true, "o2.pl": true, "onet.pl": true, "interia.pl": true,
}

// families are providers that have one domain per country: yahoo.co.uk, gmx.net.
var families = []string{"yahoo", "gmx", "hotmail", "outlook", "live", "yandex"}

// MailboxProvider reports whether a domain (A-label, any case) is one at which
// everybody can have a mailbox.
func MailboxProvider(domain string) bool {
	d := strings.ToLower(strings.TrimSuffix(domain, "."))
	if providers[d] {
		return true
	}
	first, rest, _ := strings.Cut(d, ".")
	for _, f := range families {
		if first != f {
			continue
		}
		// "com", "de", "co.uk", "com.br": a suffix, and not a name below somebody's.
		switch labels := strings.Split(rest, "."); len(labels) {
		case 1:
			return rest == "com" || rest == "net" || rest == "org" || len(rest) == 2
		case 2:
			return (labels[0] == "co" || labels[0] == "com") && len(labels[1]) == 2
		}
	}
	return false
}

package sender

import (
	"strings"

	"golang.org/x/net/publicsuffix"
)

// providerDomains are those of the large mailbox providers.
var providerDomains = set(`
	gmail.com googlemail.com
	outlook.com outlook.at outlook.be outlook.cl outlook.co.th outlook.com.ar outlook.com.au outlook.com.br outlook.com.gr outlook.com.tr
	outlook.com.vn outlook.cz outlook.de outlook.dk outlook.es outlook.fr outlook.hu outlook.id outlook.ie outlook.in outlook.it outlook.jp
	outlook.kr outlook.lv outlook.my outlook.ph outlook.pt outlook.sa outlook.sg outlook.sk
	live.com live.at live.be live.ca live.cl live.cn live.co.kr live.co.uk live.co.za live.com.ar live.com.au live.com.mx live.com.my
	live.com.pt live.com.sg live.de live.dk live.fi live.fr live.hk live.ie live.in live.it live.jp live.nl live.no live.ru live.se
	msn.com windowslive.com passport.com
	ymail.com rocketmail.com myyahoo.com aim.com verizon.net att.net sbcglobal.net bellsouth.net
	icloud.com me.com mac.com privaterelay.appleid.com
	proton.me protonmail.com protonmail.ch pm.me tutanota.com tutanota.de tuta.com tuta.io tutamail.com
	web.de mail.com 1und1.de email.com t-online.de magenta.de freenet.de arcor.de mailbox.org posteo.de posteo.net
	mail.ru inbox.ru list.ru bk.ru internet.ru xmail.ru ya.ru narod.ru rambler.ru lenta.ru autorambler.ru myrambler.ru ro.ru
	qq.com foxmail.com 163.com 126.com yeah.net 188.com sina.com sina.cn sohu.com 139.com 189.cn 21cn.com
	zoho.com zohomail.com zoho.eu zoho.in fastmail.com fastmail.fm hey.com hushmail.com riseup.net disroot.org runbox.com startmail.com
	mailfence.com inbox.com lycos.com mail.ee inbox.lv seznam.cz email.cz centrum.cz post.cz atlas.cz azet.sk abv.bg ukr.net i.ua
	orange.fr wanadoo.fr free.fr laposte.net sfr.fr neuf.fr bbox.fr libero.it virgilio.it tiscali.it alice.it tin.it iol.it inwind.it
	wp.pl o2.pl onet.pl op.pl interia.pl poczta.onet.pl ziggo.nl kpnmail.nl planet.nl xs4all.nl hetnet.nl telenet.be skynet.be
	bluewin.ch hispeed.ch btinternet.com virginmedia.com talktalk.net ntlworld.com blueyonder.co.uk
	comcast.net cox.net charter.net earthlink.net optonline.net juno.com netzero.net rogers.com shaw.ca sympatico.ca
	uol.com.br bol.com.br terra.com.br ig.com.br docomo.ne.jp ezweb.ne.jp softbank.ne.jp i.softbank.jp
	naver.com daum.net hanmail.net kakao.com nate.com rediffmail.com bigpond.com bigpond.net.au optusnet.com.au sapo.pt`)

// providerFamilies are providers that have their name under many public suffixes.
var providerFamilies = set("yahoo hotmail aol gmx yandex")

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// MailboxProvider reports whether a domain, in A-labels, or the organisation
// above it is one of the large providers that give mailboxes to the public: mail
// in its name can be signed by nobody else, and its DMARC policy may refuse what
// others send.
func MailboxProvider(domain string) bool {
	d := strings.ToLower(strings.TrimSuffix(domain, "."))
	for up := d; up != ""; _, up, _ = strings.Cut(up, ".") {
		if providerDomains[up] {
			return true
		}
	}
	org, err := publicsuffix.EffectiveTLDPlusOne(d)
	if err != nil {
		return false
	}
	name, _, _ := strings.Cut(org, ".")
	return providerFamilies[name]
}

package forge

import (
	"errors"
	"strings"
	"testing"

	"postern/internal/smtp"
	"postern/internal/submit"
)

// honestNames are display names as programs and people write them, before an
// address in angle brackets.
var honestNames = []string{
	"", "Me", "Me Me", `"Me, Inc."`, "Me Q. Public", "O'Neil", "Me-Me", `""`, `"Me \"M\" Me"`, `"Me \\ Me"`, "Me!", "Me & You", "Me/You", "#1 Me", "100% Me", "Me | You", "{Me}",
	"A. B. C.", "...", "Me * $ ? ^ ~ =", "Me_Me", "`Me`", "'Me'", `"'Me'"`, `"Me [x]"`, `"Me (Sales)"`, `"Me: Sales"`, `"Me; Sales"`, `"Me @ Acme"`, `"@me"`, `"Me (@me.example)"`, `"<3 Me"`, `"Me <3"`,
	"(pre) Me", "Me (a (nested) b)", "(<3) Me", `"me@acme.test"`, `"<me@acme.test>"`, `"me@acme.test via Desk"`, `"'me@acme.test'"`, `"Me (me@acme.test)"`, `"ME@ACME.TEST"`, "ME", "me",
	`"Ann via Acme Desk"`, `"Ann (via Acme)"`, `"Ann (Jira)"`, `"[Jira] Ann"`, `"Ann Lee [bot]"`, `"dependabot[bot]"`, `"GitHub"`, `"Ann via GitHub"`, `"WordPress"`, `"Cron Daemon"`, `(Cron Daemon)`,
	`"root"`, `"MAILER-DAEMON"`, "Mail Delivery System", `"LogWatch (host.acme.test)"`, `"scanner-2nd-floor"`, `"Xerox WorkCentre 7845"`, `"Canon iR-ADV C5535 [00:1e:8f]"`, `"SAP Workflow"`, `"SAP_WFRT (100)"`,
	`"Lee, Ann (EXT) (Nokia - DE/Munich)"`, `"Lee Ann, 5.4.2 IT"`, `"ACME\\ann.lee"`, `"Ann Lee/DE/Acme"`, "Ann/DE/Acme", `"Ann Lee, M.D., Ph.D."`, `"Dr. Ann-Marie O'Lee-Smith III"`, "=?utf-8?q?J=C3=B6rg?=",
	"=?UTF-8?B?SsO2cmc=?=", "=?UTF-8?B?SsO2cmc?=", "=?iso-8859-1?Q?J=F6rg?= Me", "=?ISO-8859-1?Q?J=F6rg_M=FCller?=", "=?iso-8859-15?q?=A4uro?=", "=?windows-1252?Q?Ann=92s?=", "=?Windows-1250?Q?=8Eofie?=",
	"=?windows-1251?B?zODw6P8=?=", "=?koi8-r?B?7cHSydE=?=", "=?KOI8-U?Q?=EB=C9=A7=D7?=", "=?iso-8859-2?Q?=A3ukasz?=", "=?iso-8859-5?B?vNDg2O8=?=", "=?iso-8859-7?B?zOHx3+E=?=", "=?windows-1253?B?zOHx3+E=?=",
	"=?iso-8859-8-i?B?7vjp5A==?=", "=?windows-1255?B?7vjp5A==?=", "=?windows-1256?B?48fR7cc=?=", "=?iso-8859-9?Q?=DDlker?=", "=?windows-1254?Q?=DDlker?=", "=?tis-620?B?4cHD1w==?=", "=?windows-874?B?4cHD1w==?=",
	"=?gb2312?B?zfW3vA==?=", "=?GBK?B?zfW3vA==?=", "=?gb18030?B?zfW3vA==?=", "=?big5?B?pP2q2g==?=", "=?euc-kr?B?sei/tcjx?=", "=?ks_c_5601-1987?B?sei/tcjx?=", "=?iso-2022-jp?B?GyRCOzNFRBsoQg==?=",
	"=?ISO-2022-JP?B?GyRCOzNFRBsoQiAbJEJCQE86GyhC?=", "=?shift_jis?B?jlKTYw==?=", "=?Shift-JIS?B?jlKTYw==?=", "=?euc-jp?B?u7PFxA==?=", "=?utf-8?B?5bGx55SwIOWkqumDjg==?=", "=?utf-8?B?8J+OiSBBY21lIPCfjok=?=",
	"=?utf-8?B?8J+RqeKAjfCfkqk=?=", "=?utf-8?Q?Acme=E2=84=A2?=", "=?utf-8?Q?Acme=C2=AE?= News", "=?utf-8?q?Caf=C3=A9_=E2=80=93_Bar?=", "=?utf-8?q?=E2=80=9CAnn=E2=80=9D?=", "=?utf-8?q?Ann=E2=80=99s?=",
	"=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "=?utf-8?q?a?= =?iso-8859-1?q?b?=", "=?utf-8?q?a?= b =?utf-8?q?c?=", "=?utf-8*en?Q?Me?=", "=?x-unknown?Q?Me?=", "=?unknown-8bit?Q?J=F6rg?=", "=?utf-8?X?Me?=",
	`"=?utf-8?q?J=C3=B6rg?="`, `"=?UTF-8?B?SsO2cmc=?= via Desk"`, "=?utf-8?q?M=C3=BCller=2C_J=C3=B6rg?=", "=?utf-8?q?me=40acme=2Etest?=", "=?utf-8?b?bWVAYWNtZS50ZXN0?=", "=?us-ascii?Q?Me?=", "=?ascii?Q?Me_Me?=",
	"=?utf8?q?J=C3=B6rg?=", "=?UTF8?B?SsO2cmc=?=", "=?cp1252?q?J=F6rg?=", "=?latin1?q?J=F6rg?=", "=?macintosh?q?J=9Arg?=", "=?x-mac-roman?q?J=9Arg?=", "=?ibm850?q?J=94rg?=", "=?cp932?B?jlKTYw==?=", "=?HZ-GB-2312?B?fnvN9X59?=",
	"=?utf-8?B?2YXYsduM2YU=?=", "=?utf-8?B?2YbYp9mF2YfigIzYp9uM?=", "=?utf-8?B?4KSo4KSu4KS44KWN4KSk4KWH?=", "=?utf-8?B?4Lih4Liy4LiZ4Liw?=", "=?utf-8?B?157XmdeUINeb15TXnw==?=", "=?utf-8?B?zpzOsc+Bzq/OsQ==?=",
	"=?utf-8?B?0JzQsNGA0LjRjw==?=", "=?utf-8?B?TmfDtCBWxINuIMSQ4bqhdA==?=", "=?utf-8?B?xIDFq8W8?=", "=?utf-8?Q?Acme_=7C_News?=", "=?utf-8?Q?=22Me=22?=", "=?utf-8?Q??=", "Me\r\n\tMe", "\"Me\r\n Me\"", "Me\t",
	strings.Repeat("Me ", 300), `"` + strings.Repeat("x", 900) + `"`, strings.Repeat("=?utf-8?q?J=C3=B6rg?=\r\n ", 40), "Me-" + strings.Repeat("long", 100), "J\u00f6rg", "\u5c71\u7530 \u592a\u90ce", `"M\u00fcller, J\u00f6rg"`,
	"\u041c\u0430\u0440\u0438\u044f", "\U0001F389 Acme", `"Acme\u00ae"`,
}

// honestTails stand behind an address.
var honestTails = []string{"", " ", " (c)", "\r\n (c)", "\t", " (a) (b)", " (Ann (Sales))"}

// honestFields are whole headers of programs; each is put before an empty line.
var honestFields = []string{
	"From: me@acme.test", "From:me@acme.test", "From:    <me@acme.test>", "FROM: me@acme.test", "from: Me <me@acme.test>", "From:\tMe <me@acme.test>", "From:\r\n Me\r\n <me@acme.test>",
	"From: me@ACME.TEST", "From: me@Acme.Test (Me)", "From: me@acme.test(Me)", "From: me@xn--bcher-kva.test", "From: me@XN--BCHER-KVA.test", "From: ann@mail.test", `From: "ann"@mail.test`, `From: "ann@mail.test" <ann@mail.test>`,
	"From: Cron Daemon <root@acme.test>\r\nTo: root@acme.test\r\nSubject: Cron <root@host> run-parts /etc/cron.daily\r\nX-Cron-Env: <SHELL=/bin/sh>",
	"From: root@acme.test (Cron Daemon)\r\nTo: root\r\nAuto-Submitted: auto-generated\r\nPrecedence: bulk", "From: logwatch@acme.test\r\nTo: root@acme.test\r\nSubject: Logwatch for host.acme.test (Linux)",
	"To: b@one.test\r\nSubject: Hello\r\nX-PHP-Originating-Script: 33:mail.php\r\nFrom: webmaster@acme.test\r\nReply-To: someone@else.test\r\nX-Mailer: PHP/7.4",
	"Subject: J\u00f6rg's raw subject\r\nFrom: J\u00f6rg <webmaster@acme.test>\r\nContent-Type: text/plain; charset=UTF-8", "Subject: raw \xe4\xf6\xfc\r\nFrom: me@acme.test",
	"From: \"Ann Lee (JIRA)\" <jira@acme.test>\r\nSender: jira@acme.test\r\nReply-To: jira@acme.test\r\nX-JIRA-FingerPrint: 0a", "From: Ann Lee <notifications@acme.test>\r\nReply-To: acme/repo <reply+AB12@reply.else.test>\r\nTo: acme/repo <repo@noreply.else.test>\r\nCc: Subscribed <subscribed@noreply.else.test>",
	"From: Me <me@acme.test>\r\nTo: undisclosed-recipients:;", "From: Me <me@acme.test>\r\nTo: Undisclosed recipients: ;", "From: Me <me@acme.test>\r\nTo: Friends: a@one.test, b@two.test;\r\nCc: Others: ;", "From: Me <me@acme.test>\r\nTo:\r\nCc:",
	"From: Me <me@acme.test>\r\nTo: <b@one.test>, , <c@one.test>", "From: Me <me@acme.test>\r\nTo: \"undisclosed-recipients\":;", "From: Me <me@acme.test>\r\nTo: \"ceo@bank.test\" <ceo@bank.test>", "From: Me <me@acme.test>\r\nReply-To: \"ceo@bank.test\" <other@bank.test>",
	"From: Me <me@acme.test>\r\nReply-To: a@one.test, b@two.test", "From: Me <me@acme.test>\r\nReply-To: List: a@one.test;", "From: Me <me@acme.test>\r\nReply-To: =?utf-8?q?J=C3=B6rg?= <j@else.test>", "From: Me <me@acme.test>\r\nReply-To:", "From: Me <me@acme.test>\r\nReply-To: not an address",
	"From: Me <me@acme.test>\r\nSender: Desk <desk@acme.test>", "From: Me <me@acme.test>\r\nSender: \"desk@acme.test\" <desk@acme.test>", "Resent-From: Me <me@acme.test>\r\nResent-To: c@one.test\r\nFrom: You <you@acme.test>", "From: a@acme.test, b@acme.test\r\nSender: a@acme.test",
	"From: Ann <ann@acme.test>, =?utf-8?q?J=C3=B6rg?= <j@acme.test>\r\nSender: Desk <desk@acme.test>", "From: Me <me@acme.test>\r\nDisposition-Notification-To: x@else.test\r\nReturn-Receipt-To: x@else.test\r\nErrors-To: x@else.test\r\nMail-Followup-To: l@else.test",
	"From: Me <me@acme.test>\r\nList-Id: <news.else.test>\r\nList-Unsubscribe: <mailto:u@else.test>, <https://else.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click", "From: Me <me@acme.test>\r\nX-Original-From: ceo@bank.test\r\nX-Sender: ceo@bank.test\r\nX-Envelope-From: x@y.test",
	"From: Me <me@acme.test>\r\nIn-Reply-To: <1@bank.test>\r\nReferences: <1@bank.test>\r\n <2@bank.test>", "From: Me <me@acme.test>\r\nSubject: FW: From: ceo@bank.test", "From: Me <me@acme.test>\r\nSubject: =?utf-8?q?ceo=40bank=2Etest?=", "From: Me <me@acme.test>\r\nComments: a (b) <c@d.test>",
	"MIME-Version: 1.0\r\nX-MimeOLE: Produced By Microsoft MimeOLE V6.00.2900.2180\r\nX-MSMail-Priority: Normal\r\nFrom: \"Lee, Ann\" <ann.lee@acme.test>\r\nThread-Index: Aca+", "Received: from localhost by host; Sun, 01 Nov 2026 10:00:00 +0000\r\nFrom: scanner@acme.test\r\nSubject: Scanned from a Xerox Multifunction Device",
	"Message-ID: <5.1.0.14.2@acme.test>\r\nX-Mailer: SAP Web Application Server 7.31\r\nFrom: \"WF-BATCH\" <wf-batch@acme.test>", "X-Mailer: Lotus Domino Web Server Release 5.0.8\r\nFrom: Ann_Lee/DE/Acme%ACME@acme.test", "DKIM-Signature: v=1; a=rsa-sha256; d=else.test; s=x; h=from; bh=; b=\r\nFrom: me@acme.test",
	"From: +491701234567@acme.test", "From: SRS0=HHH=TT=else.test=ann@acme.test", "From: bounce+ann=else.test@acme.test", "From: ann.lee+news@acme.test", "From: _service@acme.test", "From: -me-@acme.test", "From: 1@acme.test", "From: o'neil@acme.test", "From: a!b@acme.test", "From: a%b@acme.test",
	"From: {a}@acme.test", "From: a/b=c@acme.test", `From: "a b"@acme.test`, `From: "a@b"@acme.test`, `From: "a\"b"@acme.test`, `From: "a\\b"@acme.test`, `From: "a,b"@acme.test`, `From: ".a."@acme.test`, "From: " + strings.Repeat("a", 64) + "@acme.test", `From: "Me" <"a b"@acme.test>`,
}

// honestEAI need SMTPUTF8.
var honestEAI = []string{
	"From: j\u00f6rg@acme.test", "From: \u7528\u6237@acme.test", "From: J\u00f6rg <j\u00f6rg@b\u00fccher.test>", "From: me@b\u00fccher.test", "From: me@B\u00dcCHER.test", `From: "j\u00f6rg m"@acme.test`, "From: \u041c\u0430\u0440\u0438\u044f <\u043c\u0430\u0440\u0438\u044f@acme.test> (\u043f\u0440\u0438\u0432\u0435\u0442)",
	`From: "j\u00f6rg@b\u00fccher.test" <j\u00f6rg@b\u00fccher.test>`, `From: "me@b\u00fccher.test" <me@xn--bcher-kva.test>`, "From: \u0645\u0631\u06cc\u0645 <me@acme.test>",
}

// Unusual but honest forms are all taken: a false refusal is a defect, too.
func TestHonestFormsAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	n := 0
	take := func(utf8 bool, fields string) {
		n++
		// What stands between backquotes above has its letters escaped.
		raw := strings.NewReplacer(`\u00f6`, "\u00f6", `\u00fc`, "\u00fc", `\u00ae`, "\u00ae").Replace(fields) + "\r\n\r\nx\r\n"
		if _, err := w.submit(t.Context(), w.senders[0], envelope("me@acme.test", utf8), []byte(raw)); err != nil {
			t.Errorf("%q: %v", fields, err)
		}
	}
	for i, name := range honestNames {
		take(false, "From: "+name+" <me@acme.test>"+honestTails[i%len(honestTails)])
	}
	for _, f := range honestFields {
		take(false, f)
	}
	for _, f := range honestEAI {
		take(true, f)
	}
	t.Logf("%d forms", n)
	if n < 200 {
		t.Errorf("%d forms, want 200 at least", n)
	}
}

// By hand: the classes of the papers and tools that this is about, each once, with
// the reply that says what is wrong.
func TestByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *submit.Config) { c.IgnoreSMTPAPI = true })
	long := strings.Repeat("X-Filler: 1\r\n", 500)
	for name, c := range map[string]struct{ head, want string }{
		"ID-03 two From, own first":                  {"From: me@acme.test\r\nFrom: ceo@bank.test\r\n", "554"},
		"ID-03 two From, own last":                   {"From: ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-03 other case, far apart":                {"fROM: me@acme.test\r\n" + long + "From: ceo@bank.test\r\n", "554"},
		"ID-04 several mailboxes of two owners":      {"From: me@acme.test, ceo@bank.test\r\nSender: me@acme.test\r\n", "550"},
		"ID-04 several domains, both own":            {"From: me@acme.test, me@team.test\r\nSender: me@acme.test\r\n", "550"},
		"ID-05 none, but Sender":                     {"Sender: me@acme.test\r\n", "554"},
		"ID-06 blank before the colon":               {"From : ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-06 first line folded":                    {" From: ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-06 colon on the next line":               {"From\r\n : ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-06 line without a colon":                 {"nonsense\r\nFrom: ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-06 NUL in the name":                      {"From\x00: ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-06 blank line that is not empty":         {"From: me@acme.test\r\n \r\nFrom: ceo@bank.test\r\n", "554"},
		"ID-06 vertical tab as a line end":           {"X: a\vFrom: ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-06 next line (U+0085) as a line end":     {"X: a\u0085From: ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-06 line separator as a line end":         {"X: a\u2028 Sender : ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-07 two angles":                           {"From: <ceo@bank.test><me@acme.test>\r\n", "550"},
		"ID-07 angle and bare":                       {"From: <me@acme.test>ceo@bank.test\r\n", "550"},
		"ID-07 comma":                                {"From: ceo@bank.test,<me@acme.test>\r\n", "550"},
		"ID-07 route":                                {"From: <@bank.test,@x.test:me@acme.test>\r\n", "550"},
		"ID-07 escaped comma":                        {"From: ceo@bank.test\\,me@acme.test\r\n", "550"},
		"ID-07 encoded address":                      {"From: =?utf-8?b?Y2VvQGJhbmsudGVzdA==?=, <me@acme.test>\r\n", "550"},
		"ID-07 encoded address with its brackets":    {"From: =?utf-8?b?PGNlb0BiYW5rLnRlc3Q+?= <me@acme.test>\r\n", "550"},
		"ID-07 encoded address cut by a NUL":         {"From: =?utf-8?q?ceo=40bank=2Etest=00?=<me@acme.test>\r\n", "550"},
		"ID-07 base64 of a quote that opens":         {"From: \"=?utf-8?q?ceo=40bank.test=22?=\" <me@acme.test>\r\n", "550"},
		"ID-07 group":                                {"From: ceo@bank.test:me@acme.test;\r\n", "550"},
		"ID-07 two ats":                              {"From: <me@acme.test@bank.test>\r\n", "550"},
		"ID-07 quoted local part":                    {"From: \"ceo@bank.test\"@acme.test\r\n", "550"},
		"ID-07 quoted local part of another":         {"From: \"me@acme.test\"@bank.test\r\n", "550"},
		"ID-07 comment in the domain":                {"From: <ceo@bank.test(.acme.test)>\r\n", "550"},
		"ID-07 comment behind that does not end":     {"From: me@acme.test(().bank.test)\r\n", "550"},
		"ID-07 trailing address":                     {"From: me@acme.test ceo@bank.test\r\n", "550"},
		"ID-07 angle in a quoted name":               {"From: \"<ceo@bank.test>\" <me@acme.test>\r\n", "550"},
		"ID-07 angle behind an escaped quote":        {"From: \"\\\" <ceo@bank.test>\" <me@acme.test>\r\n", "550"},
		"ID-08 Sender":                               {"From: me@acme.test\r\nSender: ceo@bank.test\r\n", "550"},
		"ID-08 Resent-From":                          {"Resent-From: ceo@bank.test\r\nFrom: me@acme.test\r\n", "550"},
		"ID-10 subdomain":                            {"From: ceo@mail.acme.test\r\n", "550"},
		"ID-11 homograph":                            {"From: me@xn--cme-7cd.test\r\n", "550"},
		"ID-12 name that is turned round":            {"From: =?utf-8?b?4oCudHNldC5rbmFiQG9lYw==?= <me@acme.test>\r\n", "550"},
		"ID-12 zero-width space in a name":           {"From: =?utf-8?q?ceo=40ba=E2=80=8Bnk.test?= <me@acme.test>\r\n", "550"},
		"ID-14 another account's domain":             {"From: me@globex.test\r\n", "550"},
		"ID-14 name of another account's":            {"From: \"me@globex.test\" <me@acme.test>\r\n", "550"},
		"ID-16 paused":                               {"From: me@paused.test\r\n", "450"},
		"ID-19 neighbour of a single sender":         {"From: ben@mail.test\r\n", "550"},
		"ID-21 the header of the product":            {"X-Postern-From: ceo@bank.test\r\nFrom: ceo@bank.test\r\n", "550"},
		"X-SMTPAPI that ends before a From":          {"X-SMTPAPI: {\"category\":\"a\"}\r\nFrom: ceo@bank.test\r\nFrom: me@acme.test\r\n", "554"},
		"ID-13 header text in an encoded name":       {"From: =?utf-8?q?x=0D=0AFrom=3A_ceo=40bank.test?= <me@acme.test>\r\n", "550"},
		"octets of a charset that ends in a quote":   {"From: \x83\x5c <me@acme.test>\r\n", "550"},
		"a name in UTF-7":                            {"From: =?utf-7?q?ceo+AEA-bank.test?= <me@acme.test>\r\n", "550"},
		"words of one name that differ in charset":   {"From: =?us-ascii?q?ceo=40?= =?utf-8?q?bank.test?= <me@acme.test>\r\n", "550"},
		"a name that is an address by compatibility": {"From: \uff43\uff45\uff4f\uff20\uff42\uff41\uff4e\uff4b\uff0e\uff54\uff45\uff53\uff54 <me@acme.test>\r\n", "550"},
	} {
		_, err := w.submit(t.Context(), w.senders[0], envelope("me@acme.test", false), []byte(c.head+"To: b@one.test\r\n\r\nx\r\n"))
		if r, ok := errors.AsType[smtp.Reply](err); !ok || !strings.HasPrefix(r.String(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

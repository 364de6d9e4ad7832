package shown

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
)

func own(_, domain string) bool { return domain == "acme.test" || domain == "xn--bcher-kva.test" }

func b64(set, s string) string {
	return "=?" + set + "?b?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

func TestCheck(t *testing.T) {
	t.Parallel()
	sjis, _ := japanese.ISO2022JP.NewEncoder().String("ceo＠bank.test")
	gbk, _ := simplifiedchinese.GBK.NewEncoder().String("ceo＠bank.test")
	for name, c := range map[string]struct {
		in   string
		want Fault
	}{
		"bare":                               {"ann@acme.test", None},
		"plain":                              {"Ann Lee <ann@acme.test>", None},
		"own address as name":                {`"ann@acme.test" <ann@acme.test>`, None},
		"own IDN as name":                    {`"ann@bücher.test" <ann@xn--bcher-kva.test>`, None},
		"via":                                {`"Ann via List" <ann@acme.test>`, None},
		"at without a domain":                {`"Ann @ Acme" <ann@acme.test>`, None},
		"handle":                             {`"Ann (@ann.example)" <ann@acme.test>`, None},
		"time":                               {`"Ann @ 5.30" <ann@acme.test>`, None},
		"accents":                            {"=?utf-8?q?J=C3=B6rg?= <ann@acme.test>", None},
		"family emoji":                       {b64("utf-8", "👩‍👩‍👧 Ann ❤️ 1️⃣") + " <ann@acme.test>", None},
		"flag of Scotland":                   {b64("utf-8", "🏴\U000E0067\U000E0062\U000E0073\U000E0063\U000E0074\U000E007F") + " <ann@acme.test>", None},
		"Persian with a non-joiner":          {b64("utf-8", "نامه\u200cای") + " <ann@acme.test>", None},
		"Devanagari with a joiner":           {b64("utf-8", "क्\u200dष") + " <ann@acme.test>", None},
		"Japanese with a selector":           {b64("utf-8", "葛\U000E0100城") + " <ann@acme.test>", None},
		"odd charset, plain letters":         {"=?x-unknown?Q?Me?= <ann@acme.test>", None},
		"lost charset":                       {"=?unknown-8bit?q?J=F6rg?= <ann@acme.test>", None},
		"Windows' quotes as ISO 8859-1":      {"=?iso-8859-1?q?Ann=92s?= <ann@acme.test>", None},
		"language":                           {"=?utf-8*en?Q?Me?= <ann@acme.test>", None},
		"quoted local part with an at":       {`"a@b"@acme.test`, None},
		"foreign address":                    {`"ceo@bank.test" <ann@acme.test>`, Foreign},
		"foreign angle address":              {`"<ceo@bank.test>" <ann@acme.test>`, Foreign},
		"foreign angle address without dot":  {`"<ceo@bank>" <ann@acme.test>`, Foreign},
		"foreign route":                      {`"<@bank.test:ceo>" <ann@acme.test>`, Foreign},
		"foreign literal":                    {`"ceo@[192.0.2.1]" <ann@acme.test>`, Foreign},
		"in a comment":                       {"ann@acme.test (ceo@bank.test)", Foreign},
		"in a local part":                    {`"ceo@bank.test"@acme.test`, Foreign},
		"with blanks":                        {`"ceo @ bank.test" <ann@acme.test>`, Foreign},
		"in pieces of quotes":                {`ceo"@"bank.test <ann@acme.test>`, Foreign},
		"quoted pairs":                       {`"ceo\@bank\.test" <ann@acme.test>`, Foreign},
		"over comments":                      {`"ceo@" (x) "bank.test" <ann@acme.test>`, Foreign},
		"over a fold":                        {"\"ceo@bank\r\n .test\" <ann@acme.test>", Foreign},
		"encoded":                            {"=?utf-8?q?ceo=40bank.test?= <ann@acme.test>", Foreign},
		"encoded, lower-case hex and blanks": {"=?utf-8?q?ceo=40bank=2etest more?= <ann@acme.test>", Foreign},
		"encoded within quotes":              {`"=?utf-8?b?Y2VvQGJhbmsudGVzdA==?=" <ann@acme.test>`, Foreign},
		"encoded without padding":            {`=?utf-8?b?Y2VvQGJhbmsudGVzdA?= <ann@acme.test>`, Foreign},
		"two words":                          {"=?utf-8?q?ceo=40bank?= =?utf-8?q?=2Etest?= <ann@acme.test>", Foreign},
		"two words of two charsets":          {"=?utf-8?q?ceo=40bank?=\r\n =?iso-8859-1?q?=2Etest?= <ann@acme.test>", Unreadable},
		"a character over two words":         {"=?utf-8?q?ceo=EF=BC?= =?utf-8?q?=A0bank.test?= <ann@acme.test>", Foreign},
		"encoded twice":                      {"=?utf-8?q?=3D=3Futf-8=3Fq=3Fceo=3D40bank.test=3F=3D?= <ann@acme.test>", Foreign},
		"encoded once more than that":        {b64("utf-8", b64("utf-8", b64("utf-8", "Ann"))) + " <ann@acme.test>", Unreadable},
		"full-width":                         {b64("utf-8", "ｃｅｏ＠ｂａｎｋ．ｔｅｓｔ") + " <ann@acme.test>", Foreign},
		"small at, ideographic dot":          {b64("utf-8", "ceo﹫bank。test") + " <ann@acme.test>", Foreign},
		"middle dot":                         {b64("utf-8", "ceo@bank·test") + " <ann@acme.test>", Foreign},
		"mathematical letters":               {b64("utf-8", "𝐜𝐞𝐨@𝐛𝐚𝐧𝐤.𝐭𝐞𝐬𝐭") + " <ann@acme.test>", Foreign},
		"homograph of the own domain":        {b64("utf-8", "ann@аcme.test") + " <ann@acme.test>", Foreign},
		"ISO-2022-JP":                        {b64("iso-2022-jp", sjis) + " <ann@acme.test>", Foreign},
		"GBK":                                {b64("gb2312", gbk) + " <ann@acme.test>", Foreign},
		"subdomain":                          {`"ceo@mail.acme.test" <ann@acme.test>`, Foreign},
		"longer than the own domain":         {`"ann@acme.test.bank.test" <ann@acme.test>`, Foreign},
		"a hundred own addresses":            {`"` + strings.Repeat("ann@acme.test ", 100) + `" <ann@acme.test>`, Foreign},
		"UTF-7":                              {"=?utf-7?q?ceo+AEA-bank.test?= <ann@acme.test>", Unreadable},
		"EBCDIC":                             {"=?cp037?b?g4WWfIKBlZJLo4Wiow==?= <ann@acme.test>", Unreadable},
		"UTF-16":                             {"=?utf-16be?b?AGMAZQBv?= <ann@acme.test>", Tricks},
		"escapes as a charset":               {`=?unicode_escape?q?ceo=5Cx40bank.test?= <ann@acme.test>`, Unreadable},
		"broken base64":                      {"=?utf-8?b?Y2Vv=QGJhbms?= <ann@acme.test>", Unreadable},
		"override":                           {b64("utf-8", "Ann \u202etset.knab@oec") + " <ann@acme.test>", Tricks},
		"isolate":                            {b64("utf-8", "Ann \u2066x") + " <ann@acme.test>", Tricks},
		"mark":                               {b64("utf-8", "Ann\u200f") + " <ann@acme.test>", Tricks},
		"zero-width space":                   {b64("utf-8", "ceo@ba\u200bnk.test") + " <ann@acme.test>", Tricks},
		"joiner between Latin letters":       {b64("utf-8", "ba\u200dnk") + " <ann@acme.test>", Tricks},
		"soft hyphen":                        {"=?iso-8859-1?q?ba=ADnk?= <ann@acme.test>", Tricks},
		"tags":                               {b64("utf-8", "Ann \U000E0063\U000E0065") + " <ann@acme.test>", Tricks},
		"tags without an end":                {b64("utf-8", "🏴\U000E0067\U000E0062") + " <ann@acme.test>", Tricks},
		"selector in a Latin word":           {b64("utf-8", "ba\ufe0fnk") + " <ann@acme.test>", Tricks},
		"Hangul filler":                      {b64("utf-8", "ann\u3164") + " <ann@acme.test>", Tricks},
		"NUL":                                {"=?utf-8?q?Ann=00?= <ann@acme.test>", Tricks},
		"line break (ID-13)":                 {"=?utf-8?q?Ann=0D=0ABcc=3A_x?= <ann@acme.test>", Tricks},
		"escape":                             {"=?utf-8?q?=1B[2J?= <ann@acme.test>", Tricks},
		"raw override":                       {"Ann \u202ex <ann@acme.test>", Tricks},
		"NEL":                                {"=?utf-8?q?Ann=C2=85x?= <ann@acme.test>", Tricks},
	} {
		if got, address := Check([]byte(c.in), own); got != c.want {
			t.Errorf("%s: %q: %q %q, want %q", name, c.in, got, address, c.want)
		}
	}
}

// Reply-To is anybody's address, but no tricks.
func TestCheckWithoutOwners(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Fault{
		`"x@bank.test" <y@bank.test>, z@one.test`: None, "garbage <<\xff": None, "\u202ex <y@bank.test>": Tricks, "=?utf-8?q?=00?= <y@bank.test>": Tricks,
	} {
		if got, _ := Check([]byte(in), nil); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Whatever a stranger writes takes linear time.
func TestCheckIsLinear(t *testing.T) {
	t.Parallel()
	const size = 1 << 18
	start := time.Now()
	for _, piece := range []string{"=?", "=?a?q?x", "=?utf-8?q?=40?= ", "(", "()", `\`, `"`, "@", "a@b.c ", "@a.b.c.d.e.f.g.h", "\r\n ", "ä", "\u200d", "=?utf-8?b?QA==?=", "a.", "ﬀ", "\u0308"} {
		one := time.Now()
		Check([]byte(strings.Repeat(piece, size/len(piece))), func(string, string) bool { return true })
		if testing.Verbose() {
			t.Log(piece, time.Since(one))
		}
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"a@b.test", "=?utf-8?q?a=40b.test?= (x) <a@b.test>", "\"a\\\"\" \u202e", "=?iso-2022-jp?b?GyRC?=", "=?iso-2022-kr?q?=1B$)C=0Eab=0F?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fault, _ := Check([]byte(s), func(string, string) bool { return false })
		if strings.Contains(s, "x@bank.test ") && fault == None {
			t.Errorf("%q passes", s)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, s := range []string{" Ann Lee <ann@acme.test>", " =?utf-8?q?J=C3=B6rg_Lee?= <ann@acme.test>", ` "ann@acme.test" <ann@acme.test>`} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Check([]byte(s), own)
			}
		})
	}
}

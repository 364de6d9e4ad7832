package shown

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// sets are the charsets of names in the field, by their names without "-", "_"
// and "x-". In all but those of escaped ASCII stands for itself.
var sets = map[string]encoding.Encoding{
	// Readers take Windows' characters where ISO 8859-1 has controls.
	"iso88591": charmap.Windows1252, "latin1": charmap.Windows1252, "l1": charmap.Windows1252, "windows1252": charmap.Windows1252,
	"cp1252": charmap.Windows1252, "cp819": charmap.Windows1252, "usascii": charmap.Windows1252, "ascii": charmap.Windows1252,
	"ansix3.41968": charmap.Windows1252, "iso646us": charmap.Windows1252, "us": charmap.Windows1252,
	"iso88592": charmap.ISO8859_2, "latin2": charmap.ISO8859_2, "iso88593": charmap.ISO8859_3, "iso88594": charmap.ISO8859_4,
	"iso88595": charmap.ISO8859_5, "iso88596": charmap.ISO8859_6, "iso88597": charmap.ISO8859_7, "iso88598": charmap.ISO8859_8,
	"iso88598i": charmap.ISO8859_8, "iso88598e": charmap.ISO8859_8, "iso88599": charmap.Windows1254, "latin5": charmap.Windows1254,
	"iso885910": charmap.ISO8859_10, "iso885911": charmap.Windows874, "tis620": charmap.Windows874, "windows874": charmap.Windows874,
	"cp874": charmap.Windows874, "iso885913": charmap.ISO8859_13, "iso885914": charmap.ISO8859_14, "iso885915": charmap.ISO8859_15,
	"latin9": charmap.ISO8859_15, "iso885916": charmap.ISO8859_16,
	"windows1250": charmap.Windows1250, "cp1250": charmap.Windows1250, "windows1251": charmap.Windows1251, "cp1251": charmap.Windows1251,
	"windows1253": charmap.Windows1253, "cp1253": charmap.Windows1253, "windows1254": charmap.Windows1254, "cp1254": charmap.Windows1254,
	"windows1255": charmap.Windows1255, "cp1255": charmap.Windows1255, "windows1256": charmap.Windows1256, "cp1256": charmap.Windows1256,
	"windows1257": charmap.Windows1257, "cp1257": charmap.Windows1257, "windows1258": charmap.Windows1258, "cp1258": charmap.Windows1258,
	"koi8r": charmap.KOI8R, "koi8u": charmap.KOI8U, "macintosh": charmap.Macintosh, "mac": charmap.Macintosh, "macroman": charmap.Macintosh,
	"maccyrillic": charmap.MacintoshCyrillic, "ibm437": charmap.CodePage437, "cp437": charmap.CodePage437, "ibm850": charmap.CodePage850,
	"cp850": charmap.CodePage850, "ibm852": charmap.CodePage852, "cp852": charmap.CodePage852, "ibm866": charmap.CodePage866, "cp866": charmap.CodePage866,
	"ibm858": charmap.CodePage858, "cp858": charmap.CodePage858, "ibm855": charmap.CodePage855, "cp855": charmap.CodePage855,
	"shiftjis": japanese.ShiftJIS, "sjis": japanese.ShiftJIS, "windows31j": japanese.ShiftJIS, "cp932": japanese.ShiftJIS, "mskanji": japanese.ShiftJIS,
	"eucjp": japanese.EUCJP, "iso2022jp": japanese.ISO2022JP, "csiso2022jp": japanese.ISO2022JP, "iso2022jpms": japanese.ISO2022JP,
	"cp50220": japanese.ISO2022JP, "cp50221": japanese.ISO2022JP,
	"euckr": korean.EUCKR, "ksc56011987": korean.EUCKR, "ksc5601": korean.EUCKR, "cp949": korean.EUCKR, "uhc": korean.EUCKR, "windows949": korean.EUCKR,
	"gb2312": simplifiedchinese.GBK, "gbk": simplifiedchinese.GBK, "cp936": simplifiedchinese.GBK, "gb18030": simplifiedchinese.GB18030,
	"euccn": simplifiedchinese.GBK, "hzgb2312": simplifiedchinese.HZGB2312, "hz": simplifiedchinese.HZGB2312,
	"big5": traditionalchinese.Big5, "big5hkscs": traditionalchinese.Big5, "cp950": traditionalchinese.Big5,
}

// unlabelled are names that programs give to octets whose charset they lost.
var unlabelled = map[string]bool{"": true, "unknown8bit": true, "unknown": true, "default": true, "utf8": true, "utf": true, "cp65001": true}

var setName = strings.NewReplacer("-", "", "_", "", " ", "")

func canonicalSet(set string) string {
	if set == "utf-8" {
		return "utf8"
	}
	return strings.TrimPrefix(setName.Replace(set), "x")
}

// decode is the text of octets in a charset. ok is false where nobody can tell
// what it says: a charset in which ASCII may stand for something else (UTF-7,
// UTF-16, EBCDIC, or one that is not known here).
func decode(set string, b []byte) (text string, ok bool) {
	name := canonicalSet(set)
	switch e, known := sets[name]; {
	case known:
		out, err := e.NewDecoder().Bytes(b)
		return string(out), err == nil
	case unlabelled[name]:
		if !utf8.Valid(b) {
			out, _ := charmap.Windows1252.NewDecoder().Bytes(b)
			return string(out), true
		}
		return string(b), true
	case name == "iso2022kr":
		out, err := korean.EUCKR.NewDecoder().Bytes(shiftOut(b))
		return string(out), err == nil
	}
	return string(b), isPlainASCII(b) && !ebcdic.MatchString(name)
}

// isKnown reports a charset that common readers know by this name.
func isKnown(set string) bool {
	name := canonicalSet(set)
	return sets[name] != nil || name == "utf8"
}

// ebcdic: names of charsets in which digits and blanks stand for controls.
var ebcdic = regexp.MustCompile(`^(cs)?(cp|ibm|ebcdic)`)

// asUTF8 is what a reader sees that looks at the octets and not at the charset.
func asUTF8(set string, b []byte) (string, bool) {
	if utf8.Valid(b) || unlabelled[canonicalSet(set)] {
		return strings.ToValidUTF8(string(b), "\uFFFD"), true
	}
	return decode(set, b)
}

// isWide reports a charset whose octets a reader that does not know it could take
// for other ASCII than is meant.
func isWide(set string) bool {
	e, known := sets[canonicalSet(set)]
	_, narrow := e.(*charmap.Charmap)
	return !narrow && (known || !unlabelled[canonicalSet(set)])
}

// isPlainASCII: octets that mean the same in all charsets but EBCDIC, which has
// letters and digits over 127.
func isPlainASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 || c < ' ' || strings.IndexByte("@+~&\\{}|", c) >= 0 {
			return false
		}
	}
	return true
}

// escape is a sequence that changes the charset (ISO 2022, HZ).
var escape = regexp.MustCompile(`\x1b[ -/]*[0-~]|~[{}]|[\x0e\x0f]`)

// asciiOf is what a reader sees that knows ASCII only.
func asciiOf(_ string, b []byte) (string, bool) {
	b = escape.ReplaceAll(b, nil)
	var out strings.Builder
	for _, c := range b {
		if c < 0x80 {
			out.WriteByte(c)
		} else {
			out.WriteRune(utf8.RuneError)
		}
	}
	return out.String(), true
}

// shiftOut makes EUC-KR of ISO-2022-KR.
func shiftOut(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\x1b$)C"), nil)
	out, high := make([]byte, 0, len(b)), byte(0)
	for _, c := range b {
		switch {
		case c == 0x0e:
			high = 0x80
		case c == 0x0f:
			high = 0
		case c > ' ':
			out = append(out, c|high)
		default:
			out = append(out, c)
		}
	}
	return out
}

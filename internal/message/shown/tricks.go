package shown

import "unicode"

// hasTricks reports characters that make a text look like another one. What some
// scripts and emoji need is allowed where they need it: joiners between their
// letters, variation selectors after a symbol, the tags of a flag.
func hasTricks(s string) bool {
	if isPrintable(s) {
		return false
	}
	text := []rune(s)
	for i := 0; i < len(text); i++ {
		switch r := text[i]; {
		case r == flag:
			i += flagTags(text[i+1:])
		case r < ' ' && r != '\t', r >= 0x7f && r < 0xa0:
			return true
		case r == zwnj || r == zwj:
			if i == 0 || i+1 == len(text) || !joins(text[i-1], text[i+1]) {
				return true
			}
		case isSelector(r):
			if i == 0 || !selectable(text[i-1]) {
				return true
			}
		case isHidden(r):
			return true
		}
	}
	return false
}

const (
	zwnj = '\u200c'
	zwj  = '\u200d'
	flag = '\U0001F3F4' // black flag, before the tags of a region
)

func isPrintable(s string) bool {
	for i := range len(s) {
		if (s[i] < ' ' && s[i] != '\t') || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// flagTags is how many tag characters make a flag of the black flag before them.
func flagTags(text []rune) int {
	for i, r := range text {
		switch {
		case r == 0xE007F && i > 0:
			return i + 1
		case r < 0xE0020 || r > 0xE007E || i > 8:
			return 0
		}
	}
	return 0
}

// isHidden: bidi controls, line separators, and what has no width (Unicode's
// Default_Ignorable_Code_Point, without the selectors and joiners).
func isHidden(r rune) bool {
	switch {
	case r < 0xad:
		return false
	case r == 0xad, r == 0x34f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x180e, r == 0x200b,
		r == 0x2028, r == 0x2029, r == 0x3164, r == 0xfeff, r == 0xffa0, r >= 0xfff9 && r <= 0xfffb,
		r >= 0x2060 && r <= 0x206f, r >= 0x1d173 && r <= 0x1d17a, r >= 0xe0000 && r <= 0xe0fff, r >= 0x1bca0 && r <= 0x1bca3:
		return true
	}
	return unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Noncharacter_Code_Point, r)
}

// isSelector: variation selectors, those of Mongolian too.
func isSelector(r rune) bool {
	return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef || r >= 0x180b && r <= 0x180d || r == 0x180f
}

// selectable: what a selector may follow. After a letter of an alphabet it would
// be nothing but a way to break a word.
func selectable(r rune) bool {
	return r >= 0xa9 && !isSelector(r) && !unicode.In(r, unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Z) ||
		r >= '0' && r <= '9' || r == '#' || r == '*'
}

// joiners are the scripts whose letters change beside a joiner.
var joiners = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Nko, unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati,
	unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan,
}

// joins reports that a joiner between two characters has something to do.
func joins(before, after rune) bool {
	if unicode.In(before, joiners...) {
		return unicode.In(after, joiners...)
	}
	symbol := unicode.Is(unicode.So, before) || before == 0xfe0f || before >= 0x1f3fb && before <= 0x1f3ff || before >= 0xe0020 && before <= 0xe007f
	return symbol && unicode.Is(unicode.So, after)
}

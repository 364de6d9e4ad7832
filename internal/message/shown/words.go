package shown

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode/utf8"
)

// words is a text taken apart at its encoded-words (RFC 2047).
type words struct {
	pieces     []piece
	encoded    int  // words among them
	wide       bool // one is in a charset with more than an octet to a character
	mislabeled bool // one says that it is UTF-8 and is not, or the other way round
	doubtful   bool // one is
	mixed      bool // they differ in their charsets
	set        string
	unreadable bool
}

// piece is an encoded-word, or text between them.
type piece struct {
	text   string // as it stands
	octets []byte // of a word
	set    string // its charset, "" for plain text
	word   bool
	// doubtful: a strict reader leaves it as it stands, in text.
	doubtful bool
}

// splitWords finds encoded-words as lenient readers do: anywhere, within words
// and quotes, with blanks and question marks inside. ok is false where there are
// none.
func splitWords(s string) (w words, ok bool) {
	last := strings.LastIndex(s, "?=") // behind it no word ends
	from := 0                          // where plain text begins
	for at := 0; ; {
		i := strings.Index(s[at:], "=?")
		if i < 0 || at+i > last {
			w.plain(s[from:])
			return w, ok
		}
		at += i
		p, n := oneWord(s[at:])
		if n == 0 {
			at++
			continue
		}
		w.plain(s[from:at])
		if p.octets == nil {
			w.unreadable = true
		}
		w.pieces = append(w.pieces, p)
		set := canonicalSet(p.set)
		w.mixed, w.set = w.mixed || w.encoded > 0 && set != w.set, set
		w.encoded++
		w.wide = w.wide || isWide(p.set)
		w.doubtful = w.doubtful || p.doubtful
		w.mislabeled = w.mislabeled || hasHigh(p.octets) && utf8.Valid(p.octets) != unlabelled[canonicalSet(p.set)]
		at += n
		from, ok = at, true
	}
}

func (w *words) plain(s string) {
	if s != "" {
		w.pieces = append(w.pieces, piece{text: s})
	}
}

// oneWord reads the word at the start of s and says how long it is; 0: none.
// Octets are nil where its base64 is none.
func oneWord(s string) (piece, int) {
	set, rest, ok := strings.Cut(s[2:], "?")
	if !ok || len(set) > 80 || len(rest) < 2 || rest[1] != '?' {
		return piece{}, 0
	}
	end := strings.Index(rest[2:], "?=")
	if end < 0 {
		return piece{}, 0
	}
	text := rest[2 : 2+end]
	set, _, _ = strings.Cut(set, "*") // RFC 2231 §5: a language
	p := piece{word: true, set: strings.ToLower(strings.TrimSpace(set))}
	switch rest[0] | 0x20 {
	case 'b':
		p.octets = fromBase64(text)
	case 'q':
		p.octets = fromQ(text)
	default:
		return piece{}, 0
	}
	n := len(s) - len(rest) + 2 + end + 2
	p.text, p.doubtful = s[:n], strings.ContainsAny(text, " \t") || rest[0]|0x20 == 'b' && len(text)%4 != 0 || !isKnown(p.set)
	return p, n
}

func hasHigh(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// fromBase64 is lenient about padding at the end and blanks only: nil otherwise.
func fromBase64(s string) []byte {
	s = strings.TrimRight(strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, s), "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return append([]byte{}, b...)
}

func fromQ(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			out = append(out, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// hidesAt reports an "@" that words show and plain text does not.
func (w *words) hidesAt(shown string) bool {
	n := 0
	for _, p := range w.pieces {
		if !p.word {
			n += countAt(p.text)
		}
	}
	return countAt(shown) > n
}

func countAt(s string) int {
	return strings.Count(s, "@") + strings.Count(s, "\uFF20") + strings.Count(s, "\uFE6B")
}

// reading is one way to show a text.
type reading struct {
	text   string
	proper bool // with the right charset
}

// readings are the ways to put the pieces together: with each word decoded by
// itself, with neighbours of one charset decoded together, and by a reader that
// does not know the charset.
func (w *words) readings() []reading {
	out := []reading{{w.build(true, decode), true}}
	if w.encoded > 1 {
		out = append(out, reading{w.build(false, decode), true}, reading{w.spaced(), true})
		for _, p := range w.pieces { // a reader may fail at the words around it
			if p.word {
				text, _ := decode(p.set, p.octets)
				out = append(out, reading{text, true})
				if w.mislabeled {
					text, _ = asUTF8(p.set, p.octets)
					out = append(out, reading{text, true})
				}
			}
		}
	}
	if w.doubtful && w.encoded > 1 {
		strict := *w
		strict.pieces = slices.Clone(w.pieces)
		for i := range strict.pieces {
			p := &strict.pieces[i]
			p.word = p.word && !p.doubtful
		}
		out = append(out, reading{strict.build(false, decode), true})
	}
	if w.mislabeled {
		out = append(out, reading{w.build(true, asUTF8), true})
	}
	if w.wide {
		out = append(out, reading{w.build(true, asciiOf), false})
	}
	return out
}

// spaced is the text with blanks between all words: some readers leave in what is
// no single space, or put one between words of two charsets.
func (w *words) spaced() string {
	var b strings.Builder
	for i, p := range w.pieces {
		text := p.text
		if p.word {
			if text, _ = decode(p.set, p.octets); i > 0 && w.pieces[i-1].word {
				b.WriteByte(' ')
			}
		}
		b.WriteString(text)
	}
	return b.String()
}

// build puts the pieces together; blanks between two words go (RFC 2047 §6.2).
func (w *words) build(join bool, decode func(set string, b []byte) (string, bool)) string {
	var b strings.Builder
	for i := 0; i < len(w.pieces); i++ {
		p := w.pieces[i]
		if !p.word {
			between := i > 0 && i+1 < len(w.pieces) // words on both sides
			if !between || strings.Trim(p.text, " \t") != "" {
				b.WriteString(p.text)
			}
			continue
		}
		octets := p.octets
		for join {
			next := i + 1
			if next < len(w.pieces) && !w.pieces[next].word && strings.Trim(w.pieces[next].text, " \t") == "" {
				next++
			}
			if next >= len(w.pieces) || !w.pieces[next].word || w.pieces[next].set != p.set {
				break
			}
			octets, i = append(octets[:len(octets):len(octets)], w.pieces[next].octets...), next
		}
		text, ok := decode(p.set, octets)
		w.unreadable = w.unreadable || !ok
		b.WriteString(text)
	}
	return b.String()
}

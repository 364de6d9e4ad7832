package shown

import (
	"encoding/base64"
	"strings"
)

// words is a text taken apart at its encoded-words (RFC 2047).
type words struct {
	pieces     []piece
	encoded    int  // words among them
	wide       bool // one is in a charset with more than an octet to a character
	unreadable bool
}

// piece is an encoded-word, or text between them.
type piece struct {
	text   string // of plain text
	octets []byte // of a word
	set    string // its charset, "" for plain text
	word   bool
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
		w.encoded++
		w.wide = w.wide || isWide(p.set)
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
	return p, len(s) - len(rest) + 2 + end + 2
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
		out = append(out, reading{w.build(false, decode), true})
	}
	if w.wide {
		out = append(out, reading{w.build(true, asciiOf), false})
	}
	return out
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

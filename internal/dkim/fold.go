package dkim

import "strings"

// lineWidth is where lines of the field are folded (RFC 5322 §2.1.1).
const lineWidth = 78

// folder writes a field value, folding before words.
type folder struct {
	out []byte
	col int
}

// word appends one word, which starts with a space, on a line of its own if
// the current one is full. The space then becomes part of the fold.
func (f *folder) word(w string) {
	if f.col > 0 && f.col+len(w) > lineWidth {
		f.out = append(f.out, "\r\n"...)
		f.col = 0
	}
	f.out = append(f.out, w...)
	f.col += len(w)
}

// list writes tag and names with colons, folding after a colon: h= allows
// white space there (RFC 6376 §3.5).
func (f *folder) list(tag string, names []string) {
	f.word(tag + names[0])
	for i, n := range names[1:] {
		end := ":"
		if i == len(names)-2 {
			end = ";"
		}
		f.out = append(f.out, ':')
		f.col++
		if f.col+len(n)+len(end) > lineWidth {
			f.out = append(f.out, "\r\n "...)
			f.col = 1
		}
		f.out = append(f.out, n...)
		f.col += len(n)
	}
	f.out = append(f.out, ';')
	f.col++
}

// split writes base64, folded anywhere.
func (f *folder) split(s string) {
	for s != "" {
		room := lineWidth - f.col
		if room <= 0 {
			f.out = append(f.out, "\r\n "...)
			f.col = 1
			continue
		}
		n := min(room, len(s))
		f.out = append(f.out, s[:n]...)
		f.col += n
		s = s[n:]
	}
}

// appendRelaxed appends one field in relaxed form (RFC 6376 §3.4.2): the name
// in lower case, the value unfolded, runs of white space as one space, none at
// the end or beside the colon, then CRLF.
func appendRelaxed(dst []byte, name string, value []byte) []byte {
	dst = append(dst, strings.ToLower(name)...)
	dst = append(dst, ':')
	space, empty := false, true
	for _, c := range value {
		switch c {
		case ' ', '\t', '\r', '\n':
			space = true
		default:
			if space && !empty {
				dst = append(dst, ' ')
			}
			dst = append(dst, c)
			space, empty = false, false
		}
	}
	return append(dst, "\r\n"...)
}

package forge

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"
)

// The lenient reader imitates webmail that was written by example: each mode is a
// mistake that some program in the field makes.

// lineModes are where a careless reader ends a line of the header section.
var lineModes = map[string]func([]byte) []string{
	"CRLF": func(b []byte) []string { return strings.Split(asText(head(b, "\r\n\r\n")), "\r\n") },
	"any": func(b []byte) []string {
		s := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(asText(b))
		s, _, _ = strings.Cut(s, "\n\n")
		return strings.Split(s, "\n")
	},
	"Unicode": func(b []byte) []string {
		s := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\x1c", "\n", "\x1d", "\n", "\x1e", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").
			Replace(asText(b))
		s, _, _ = strings.Cut(s, "\n\n")
		return strings.Split(s, "\n")
	},
}

func head(b []byte, end string) []byte {
	h, _, _ := bytes.Cut(b, []byte(end))
	return h
}

// foldModes are what a fold becomes.
var foldModes = map[string]func(line string) string{
	"kept":    func(l string) string { return l },
	"one":     func(l string) string { return " " + strings.TrimLeft(l, " \t") },
	"dropped": func(l string) string { return strings.TrimLeft(l, " \t") },
}

// fieldsOf are the values of author fields, by name, in their order. Names may
// have blanks behind them, and a line that is none ends nothing.
func fieldsOf(lines []string, unfold func(string) string) map[string][]string {
	out := map[string][]string{}
	name, value := "", ""
	end := func() {
		for _, f := range authorFields {
			if strings.EqualFold(strings.Trim(name, " \t\u00a0\ufeff\u200b"), f) {
				out[f] = append(out[f], value)
			}
		}
		name, value = "", ""
	}
	for _, l := range lines {
		if l != "" && (l[0] == ' ' || l[0] == '\t') {
			value += unfold(l)
			continue
		}
		if n, v, ok := strings.Cut(l, ":"); ok {
			end()
			name, value = n, v
		}
	}
	end()
	return out
}

// decodeModes are when encoded-words are decoded, before the value is parsed.
var decodeModes = map[string]func(string) string{
	"never": func(s string) string { return s },
	"once":  sloppyWords,
	"twice": func(s string) string { return sloppyWords(sloppyWords(s)) },
}

var (
	aWord    = regexp.MustCompile(`=\?([^?]*)\?([bBqQ])\?(.*?)\?=`)
	between  = regexp.MustCompile(`(\?=)[ \t]+(=\?)`)
	notBase  = regexp.MustCompile(`[^A-Za-z0-9+/]`)
	aQuote   = regexp.MustCompile(`"(?:\\.|[^"\\])*"`)
	aNaive   = regexp.MustCompile(`"[^"]*"`)
	anAngle  = regexp.MustCompile(`<([^<>]*)>`)
	aComment = regexp.MustCompile(`\((?:\\.|[^()\\])*\)`)
	aPlain   = regexp.MustCompile(`\([^)]*\)`)
)

// sloppyWords decodes whatever looks like an encoded-word.
func sloppyWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	s = between.ReplaceAllString(s, "$1$2")
	return aWord.ReplaceAllStringFunc(s, func(w string) string {
		m := aWord.FindStringSubmatch(w)
		var octets []byte
		if m[2] == "b" || m[2] == "B" {
			text := notBase.ReplaceAllString(m[3], "")
			if len(text)%4 == 1 {
				text = text[:len(text)-1]
			}
			octets, _ = base64.RawStdEncoding.DecodeString(text)
		} else {
			octets = sloppyQ(m[3])
		}
		charset, _, _ := strings.Cut(strings.ToLower(m[1]), "*")
		if r, err := charsetReader(strings.TrimSpace(charset), bytes.NewReader(octets)); err == nil {
			var b bytes.Buffer
			if _, err := b.ReadFrom(r); err == nil {
				return b.String()
			}
		}
		return asText(octets)
	})
}

func sloppyQ(s string) []byte {
	s = strings.ReplaceAll(s, "_", " ")
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '=' && i+2 < len(s) {
			if hi, lo := strings.IndexByte("0123456789abcdef", s[i+1]|0x20), strings.IndexByte("0123456789abcdef", s[i+2]|0x20); hi >= 0 && lo >= 0 {
				out, i = append(out, byte(hi<<4|lo)), i+2
				continue
			}
		}
		out = append(out, s[i])
	}
	return out
}

// takeModes are how an address is found in a value.
var takeModes = map[string]func(string) string{
	"last brackets":  func(v string) string { return last(anAngle.FindAllStringSubmatch(v, -1), v) },
	"first brackets": func(v string) string { return first(anAngle.FindAllStringSubmatch(v, -1), v) },
	"last brackets outside quotes": func(v string) string {
		v = aQuote.ReplaceAllString(v, "")
		return last(anAngle.FindAllStringSubmatch(v, -1), v)
	},
	"first brackets, escapes unknown": func(v string) string {
		v = aNaive.ReplaceAllString(v, "")
		return first(anAngle.FindAllStringSubmatch(v, -1), v)
	},
	"no comments, last brackets": func(v string) string {
		v = aComment.ReplaceAllString(v, "")
		return last(anAngle.FindAllStringSubmatch(v, -1), v)
	},
	"comments end at the first parenthesis": func(v string) string {
		v = aPlain.ReplaceAllString(v, "")
		return last(anAngle.FindAllStringSubmatch(v, -1), v)
	},
	"no quotes at all": func(v string) string {
		v = strings.NewReplacer(`"`, "", `\`, "").Replace(v)
		return last(anAngle.FindAllStringSubmatch(v, -1), v)
	},
	"first that looks like one": func(v string) string { return anAddress.FindString(v) },
	"last that looks like one": func(v string) string {
		if all := anAddress.FindAllString(v, -1); len(all) > 0 {
			return all[len(all)-1]
		}
		return ""
	},
	"first of a list": func(v string) string {
		v, _, _ = strings.Cut(v, ",")
		return first(anAngle.FindAllStringSubmatch(v, -1), v)
	},
	"last of a list": func(v string) string {
		v = v[strings.LastIndexByte(v, ',')+1:]
		return last(anAngle.FindAllStringSubmatch(v, -1), v)
	},
	"after the last bracket": func(v string) string { return strings.Trim(v[strings.LastIndexByte(v, '<')+1:], "> \t") },
}

func last(all [][]string, v string) string {
	if len(all) > 0 {
		return strings.TrimSpace(all[len(all)-1][1])
	}
	return strings.TrimSpace(aComment.ReplaceAllString(v, ""))
}

func first(all [][]string, v string) string {
	if len(all) > 0 {
		return strings.TrimSpace(all[0][1])
	}
	return strings.TrimSpace(aComment.ReplaceAllString(v, ""))
}

// readLenient is the message in every combination of modes. Duplicates of a field
// are all shown: one of them is what the first or the last reader takes.
func readLenient(raw []byte) []shown {
	var out []shown
	values := map[string]string{} // value as parsed → the first way to it
	for ln, lines := range lineModes {
		for fn, unfold := range foldModes {
			for f, vs := range fieldsOf(lines(raw), unfold) {
				for _, v := range vs {
					for dn, decode := range decodeModes {
						if v := decode(v); values[v] == "" {
							values[v] = "lenient: " + f + ", lines " + ln + ", folds " + fn + ", decodes " + dn
						}
					}
				}
			}
		}
	}
	for v, way := range values {
		for tn, take := range takeModes {
			if a := take(v); strings.Contains(a, "@") {
				out = append(out, shown{Reader: way + ", takes " + tn, Authors: []string{a}})
			}
		}
	}
	return out
}

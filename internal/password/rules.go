package password

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Rules judge new passwords (NIST SP 800-63B-4 §3.1.1.2). The zero value is what
// it recommends where a password may be the only factor.
type Rules struct {
	// MinLength in characters [15].
	MinLength int
	// Classes demands letters of both cases, digits and other characters. The
	// standard advises against it: people then write Password1! and remember it worse.
	Classes bool
	// MaxAge is after how long a password must be replaced; 0: never. The standard
	// advises against it too, except where a password has become known.
	MaxAge time.Duration
	// Words are the operator's own: product, company, host. No password is made of
	// one of them.
	Words []string
	// Breached knows passwords that others have lost; nil: none.
	Breached *Breached
}

const (
	defaultMinLength = 15
	// strengthChars is how much of a password its strength is estimated from.
	strengthChars = 100
	// maxWords bounds what a password is compared with.
	maxWords = 200
)

// Min is the least number of characters.
func (r *Rules) Min() int {
	if r.MinLength > 0 {
		return r.MinLength
	}
	return defaultMinLength
}

// Check says in words what is wrong with a new password, and what to do; nothing
// if it may be used. own are the person's names, addresses, and those of their
// account. An error is a breached-password file that cannot be read.
func (r *Rules) Check(password string, own []string) ([]string, error) {
	if len(password) > MaxLength {
		return []string{fmt.Sprintf("It is too long: at most %d bytes.", MaxLength)}, nil
	}
	if !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl) {
		return []string{"It has characters that cannot be typed everywhere. Use letters, digits, spaces and signs."}, nil
	}
	text := Normal(password)
	var wrong []string
	if n := utf8.RuneCountInString(text); n < r.Min() {
		wrong = append(wrong, fmt.Sprintf("It is too short: %d characters, and at least %d are needed. Several words in a row are easy to remember.", n, r.Min()))
	}
	if missing := r.missingClasses(text); r.Classes && missing != "" {
		wrong = append(wrong, "It has no "+missing+".")
	}
	words := r.words(own)
	switch {
	case text == "":
	case repetitive(text):
		wrong = append(wrong, "It repeats itself, or follows the alphabet or the keyboard. Use words that do not belong together.")
	case madeOf(text, words):
		wrong = append(wrong, "It is little more than a name that others know: yours, your account's or this server's. Use other words.")
	case bits(cut(text, strengthChars), words) < enoughBits:
		wrong = append(wrong, "It is easy to guess. Use more words, and such that do not belong together.")
	}
	if r.Breached != nil && text != "" {
		known, err := r.Breached.Contains(password)
		if err != nil {
			return wrong, err
		}
		if known {
			wrong = append(wrong, "It stands in lists of passwords that were stolen elsewhere. Use another one, and change it wherever you use it.")
		}
	}
	return wrong, nil
}

// cut is the first n characters.
func cut(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// words are what a password may not be made of, in lower case: each name, and
// the parts of names that are long enough to say something.
func (r *Rules) words(own []string) []string {
	var out []string
	seen := map[string]bool{}
	add := func(w string) {
		w = strings.ToLower(Normal(w))
		if utf8.RuneCountInString(w) >= 4 && !seen[w] && len(out) < maxWords && len(w) <= 100 {
			seen[w] = true
			out = append(out, w)
		}
	}
	for _, list := range [][]string{{"postern"}, r.Words, own} {
		for _, name := range list {
			add(name)
			for _, part := range strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
				add(part)
			}
		}
	}
	return out
}

// madeOf reports whether what is left of a password without the words is too
// little to be a password of its own.
func madeOf(text string, words []string) bool {
	rest := strings.ToLower(text)
	found := false
	for _, w := range words {
		if strings.Contains(rest, w) {
			rest, found = strings.ReplaceAll(rest, w, ""), true
		}
	}
	return found && utf8.RuneCountInString(rest) < 8
}

// repetitive reports whether a password is one short piece over and over, or
// nearly all of it steps through the alphabet, the digits or a keyboard row.
func repetitive(text string) bool {
	r := []rune(strings.ToLower(text))
	for size := 1; size <= min(len(r)/2, 6); size++ {
		same := 0
		for i := size; i < len(r); i++ {
			if r[i] == r[i-size] {
				same++
			}
		}
		if same == len(r)-size {
			return true
		}
	}
	steps := 0
	for i := 1; i < len(r); i++ {
		if d := r[i] - r[i-1]; d >= -1 && d <= 1 || neighbours(r[i-1], r[i]) {
			steps++
		}
	}
	return len(r) > 3 && steps*10 >= (len(r)-1)*8
}

var keyboardRows = []string{"qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm", "azertyuiop", "qsdfghjklm", "wxcvbn"}

func neighbours(a, b rune) bool {
	for _, row := range keyboardRows {
		i, j := strings.IndexRune(row, a), strings.IndexRune(row, b)
		if i >= 0 && j >= 0 && (i-j == 1 || j-i == 1) {
			return true
		}
	}
	return false
}

// missingClasses names what a password has none of.
func (r *Rules) missingClasses(text string) string {
	var missing []string
	for _, c := range []struct {
		name string
		is   func(rune) bool
	}{
		{"small letter", unicode.IsLower}, {"capital letter", unicode.IsUpper}, {"digit", unicode.IsDigit},
		{"other character", func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }},
	} {
		if !strings.ContainsFunc(text, c.is) {
			missing = append(missing, c.name)
		}
	}
	if n := len(missing); n > 1 {
		return strings.Join(missing[:n-1], ", no ") + " and no " + missing[n-1]
	}
	return strings.Join(missing, "")
}

// Due reports whether a password that was set at a moment has to be replaced.
func (r *Rules) Due(set, now time.Time) bool {
	return r.MaxAge > 0 && now.Sub(set) >= r.MaxAge
}

package auth

import (
	"strings"

	"postern/internal/secret"
)

// The longest word of a user name that a record shows: a key's id. Keys' secrets
// and most tokens are longer.
const longestWord = 22

// appPasswordWord is how long an app password is without its hyphens.
const appPasswordWord = 20

// hidden stands in a record for what may be a secret.
const hidden = "[hidden]"

// tried is a client's user name as records show it, at most 64 octets. People
// put the key, or a line of base64, where the name belongs; so a word that is
// long enough to be one is hidden, and the record tells the rest.
func tried(user string) string {
	var b strings.Builder
	for rest := user; rest != ""; {
		n := 0
		for n < len(rest) && isWord(rest[n]) {
			n++
		}
		if n > longestWord || isAppPassword(rest[:n]) {
			b.WriteString(hidden)
		} else {
			b.WriteString(rest[:n])
		}
		if n < len(rest) {
			b.WriteByte(rest[n])
			n++
		}
		rest = rest[n:]
	}
	return printable(b.String(), 64)
}

// isAppPassword reports whether a word may be an app password without its
// hyphens; with them it is long enough to be hidden anyway.
func isAppPassword(word string) bool {
	if len(word) != appPasswordWord || strings.Contains(word, "-") {
		return false
	}
	_, err := secret.ParseAppPassword(word)
	return err == nil
}

// isWord reports whether base64, in either alphabet, has the character.
func isWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_+/=", c) >= 0
}

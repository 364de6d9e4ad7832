package password

import (
	"strings"

	"github.com/ccojocar/zxcvbn-go"
	"github.com/ccojocar/zxcvbn-go/matching"
)

// leet are the characters that the estimate reads as letters too, by letter.
var leet = map[rune]string{
	'a': "4@", 'b': "8", 'c': "([{<", 'e': "3", 'g': "69", 'i': "1!|", 'l': "1|7", 'o': "0", 's': "$5", 't': "+7", 'x': "%", 'z': "2",
}

// maxReadings bounds the work of an estimate: it looks each reading up in all word
// lists, and a stranger may ask what a password is worth.
const maxReadings = 16

// strength is zxcvbn's score of a password, 0 to 4. One that can be read in too
// many ways is scored as it is and in one reading, and the lower score counts.
func strength(text string, words []string) int {
	if readings(text) <= maxReadings {
		return zxcvbn.PasswordStrength(text, words).Score
	}
	asIs := zxcvbn.PasswordStrength(text, words, matching.FilterL33tMatcher).Score
	return min(asIs, zxcvbn.PasswordStrength(plainLetters(text), words, matching.FilterL33tMatcher).Score)
}

// readings is the most ways in which the estimate could read a password: it takes
// one character for each letter, and one letter for each character, at a time.
func readings(text string) int {
	n := 1
	letters := map[rune]int{} // by character
	for _, signs := range leet {
		present := 0
		for _, sign := range signs {
			if strings.ContainsRune(text, sign) {
				present++
				letters[sign]++
			}
		}
		n *= max(1, present)
	}
	for _, several := range letters {
		n *= several
	}
	return n
}

// plainLetters reads each character that may stand for a letter as that letter, of
// several as the first.
func plainLetters(text string) string {
	return strings.Map(func(r rune) rune {
		for letter := 'a'; letter <= 'z'; letter++ {
			if strings.ContainsRune(leet[letter], r) {
				return letter
			}
		}
		return r
	}, text)
}

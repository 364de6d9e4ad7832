package password

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"github.com/ccojocar/zxcvbn-go/data"
)

// The estimate is that of zxcvbn (Wheeler, USENIX Security 2016): a password is cut
// into pieces that a guesser tries early (words by rank, repeats, runs along the
// alphabet or the keyboard, dates), and what the cheapest cut costs is its worth.
// The word lists are the library's; its estimator is not used, since it reads them
// whenever the program starts, for every command, and since its work grows with the
// number of ways in which signs can be read as letters.

// enoughBits is the least that a password may be worth, as log2 of the guesses:
// zxcvbn's score 3, a million seconds of a hundred machines that try a hundred
// passwords a second each.
const enoughBits = 34.2

// maxWord is the longest word that is looked up, in characters.
const maxWord = 32

// ranks are the words of all lists, in lower case, by how early a guesser tries
// them: 1 is the first. They are read when a password is first judged, some 40 ms.
var ranks = sync.OnceValue(func() map[string]int {
	all := make(map[string]int, 90_000)
	for _, name := range []string{"Passwords", "English", "MaleNames", "FemaleNames", "Surnames"} {
		text, err := data.Asset("data/" + name + ".json")
		var list struct{ List []string }
		if err == nil {
			err = json.Unmarshal(text, &list)
		}
		if err != nil || len(list.List) == 0 {
			panic(fmt.Sprintf("password: the word list %s: %v", name, err)) // it is compiled in
		}
		for i, word := range list.List {
			word = strings.ToLower(word)
			if rank := all[word]; rank == 0 || i+1 < rank {
				all[word] = i + 1
			}
		}
	}
	return all
})

// bits is what a password is worth: log2 of the guesses that find it. words are
// what a guesser tries first.
func bits(text string, words []string) float64 {
	known := make(map[string]bool, len(words))
	for _, w := range words {
		known[strings.ToLower(w)] = true
	}
	r := []rune(text)
	one := math.Log2(variety(r))
	// worth[i] is that of the first i characters.
	worth := make([]float64, len(r)+1)
	for i := range r {
		worth[i+1] = math.Inf(1)
	}
	pieces := newPieces(r, known)
	reach := func(end int, cost float64) { worth[end] = min(worth[end], cost) }
	for start := range r {
		before := worth[start]
		reach(start+1, before+one)
		pieces.each(start, func(end int, cost float64) { reach(end, before+cost) })
	}
	return worth[len(r)]
}

// variety is how many characters each could have been.
func variety(text []rune) float64 {
	var lower, upper, digits, others float64
	for _, c := range text {
		switch {
		case unicode.IsLower(c):
			lower = 26
		case unicode.IsUpper(c):
			upper = 26
		case unicode.IsDigit(c):
			digits = 10
		default:
			others = 33
		}
	}
	return max(2, lower+upper+digits+others)
}

// pieces finds what is guessed as a whole.
type pieces struct {
	text     []rune
	readings [3][]rune // in lower case: as it is, and with signs as letters, in two ways
	known    map[string]bool
}

// signs are read as letters: "1", "|" and "!" as i or l, "7" as t or l.
var signs = [2]*strings.Replacer{
	strings.NewReplacer("4", "a", "@", "a", "8", "b", "(", "c", "[", "c", "{", "c", "<", "c", "3", "e", "6", "g", "9", "g", "1", "i", "!", "i", "|", "i", "0", "o", "5", "s", "$", "s", "7", "t", "+", "t", "%", "x", "2", "z"),
	strings.NewReplacer("4", "a", "@", "a", "8", "b", "(", "c", "[", "c", "{", "c", "<", "c", "3", "e", "6", "g", "9", "g", "1", "l", "!", "l", "|", "l", "0", "o", "5", "s", "$", "s", "7", "l", "+", "t", "%", "x", "2", "z"),
}

func newPieces(text []rune, known map[string]bool) *pieces {
	lower := make([]rune, len(text)) // not strings.ToLower: it may change how many there are
	for i, c := range text {
		lower[i] = unicode.ToLower(c)
	}
	p := &pieces{text: text, known: known, readings: [3][]rune{lower}}
	for i, s := range signs {
		p.readings[i+1] = []rune(s.Replace(string(lower)))
	}
	return p
}

// each calls found with every piece that begins at start: where it ends, and what
// it costs.
func (p *pieces) each(start int, found func(end int, cost float64)) {
	p.words(start, found)
	p.runs(start, found)
	p.dates(start, found)
}

func (p *pieces) words(start int, found func(end int, cost float64)) {
	all := ranks()
	for end := start + 1; end <= min(len(p.text), start+maxWord); end++ {
		for i, reading := range p.readings {
			word := string(reading[start:end])
			if i > 0 && word == string(p.readings[0][start:end]) {
				continue
			}
			rank := all[word]
			if p.known[word] {
				rank = 1
			}
			if rank > 0 {
				found(end, math.Log2(float64(rank))+caseBits(p.text[start:end])+min(1, float64(i)))
			}
		}
	}
}

// runs are repeats, and steps along the alphabet, the digits or a keyboard row, of
// three characters and more.
func (p *pieces) runs(start int, found func(end int, cost float64)) {
	lower := p.readings[0]
	from := math.Log2(variety(p.text[start : start+1]))
	for _, kind := range []func(a, b rune) bool{
		func(a, b rune) bool { return a == b },
		func(a, b rune) bool { return b-a == 1 || a-b == 1 },
		neighbours,
	} {
		end := start + 1
		for end < len(lower) && kind(lower[end-1], lower[end]) {
			end++
			if n := end - start; n >= 3 {
				found(end, from+math.Log2(float64(n))+1+caseBits(p.text[start:end]))
			}
		}
	}
}

// caseBits is what capitals add: one bit if there are some at the usual places, the
// first or all, and one for each otherwise.
func caseBits(word []rune) float64 {
	upper := 0
	for _, c := range word {
		if unicode.IsUpper(c) {
			upper++
		}
	}
	if upper == 0 {
		return 0
	}
	if upper == len(word) || upper == 1 && unicode.IsUpper(word[0]) {
		return 1
	}
	return float64(min(upper, len(word)-upper) + 1)
}

// Digits that people choose are days and years: two digits for each part, with or
// without signs between them, and the year first or last. Which six or eight digits
// are no day is not asked: they are guessed as cheaply.
var (
	aYear = regexp.MustCompile(`^(19|20)\d\d`)
	aDay  = regexp.MustCompile(`^(\d\d[-/._ ]?\d\d[-/._ ]?(19|20)?\d\d|(19|20)\d\d[-/._ ]?\d\d[-/._ ]?\d\d)`)
)

func init() { aDay.Longest() }

const (
	years = 119
	days  = 372
)

func (p *pieces) dates(start int, found func(end int, cost float64)) {
	const longest = len("2006-01-02")
	text := string(p.text[start:min(len(p.text), start+longest)])
	if aYear.MatchString(text) {
		found(start+4, math.Log2(years))
	}
	if day := aDay.FindString(text); day != "" {
		cost := math.Log2(years * days)
		if strings.ContainsAny(day, "-/._ ") {
			cost += 2
		}
		found(start+len(day), cost)
	}
}

package password

import (
	"strings"
	"testing"
)

func TestBits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text     string
		from, to float64
	}{
		{"", 0, 0},
		{"password", 0, 2},
		{"Password", 1, 3},
		{"pAsSwOrD", 4, 8},
		{"p@$$w0rd", 0, 4},
		{"1l0v3y0u", 4, 13},
		{"p@s5w0rd 4!1|7 p@s5w0rd", 0, enoughBits},
		{"monkey1987", 8, 20},
		{"1987-11-23", 10, 18},
		{"23.11.87", 10, 18},
		{"231187", 10, 16},
		{"zzzzzzzzzzzzzzzzzzzz", 4, 12},
		{"FGHIJKLMNOPQ", 4, 12},
		{"poiuytrewq", 2, 12},
		{"ironbridge", 0, 0.1}, // the operator's word
		{"ironbridgeironbridge", 0, 0.1},
		{"correcthorsebatterystaple", enoughBits, 60},
		{"correct 4@8({[<3 horse battery 369!|1 staple", enoughBits, 200},
		{"x8#Lq0~vT2", enoughBits, 70},
		{"jrwvqnzxkd", enoughBits, 48},
		{"ключ от двери", enoughBits, 90},
	} {
		if got := bits(c.text, []string{"Ironbridge"}); got < c.from || got > c.to {
			t.Errorf("%q is worth %.1f bits, want %.1f to %.1f", c.text, got, c.from, c.to)
		}
	}
}

// Whatever the characters are, a password has a worth.
func FuzzBits(f *testing.F) {
	f.Add("correct horse", " battery")
	f.Add("p@$$w0rd!17|{", "\u0130\u017f 2001-02-03")
	f.Fuzz(func(t *testing.T, text, more string) {
		if len(text)+len(more) > 4*strengthChars {
			return
		}
		got, longer := bits(text, nil), bits(text+"\x00"+more, nil)
		if got < 0 || longer < 0 || longer != longer {
			t.Fatalf("%q is worth %f bits, %q %f", text, got, text+"\x00"+more, longer)
		}
	})
}

// An estimate is asked for by strangers, while they type (AC-02): its work is bounded
// by the length, whatever the characters are. What counts is how many pieces are tried.
func TestBitsAreBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("4@8({[<3369!|1|/0$5+7%2", 5)[:strengthChars],
		strings.Repeat("p@$$w0rd!17|{", 8)[:strengthChars],
		strings.Repeat("1", strengthChars),
	} {
		tried := 0
		p := newPieces([]rune(text), nil)
		for start := range strengthChars {
			p.each(start, func(int, float64) { tried++ })
		}
		if most := strengthChars * (3*maxWord + 3*strengthChars + 2); tried > most {
			t.Errorf("%q: %d pieces, at most %d are looked for", text, tried, most)
		}
	}
}

func BenchmarkBits(b *testing.B) {
	text := strings.Repeat("4@8({[<3369!|1|/0$5+7%2", 5)[:strengthChars]
	bits(text, nil) // reads the lists
	for b.Loop() {
		bits(text, nil)
	}
}

package password

import (
	"strings"
	"testing"
	"time"
)

// An estimate is asked for by strangers, while they type (AC-02): no password may
// cost much more than another. Before readings were bounded, the first of these took
// several seconds of a processor.
func TestStrengthIsBounded(t *testing.T) {
	t.Parallel()
	var r Rules
	for _, text := range []string{
		strings.Repeat("4@8({[<3369!|1|/0$5+7%2", 5)[:100],
		"1a2b3c4d5e6f7g8h9i0jklmnopqrstuvwxyzZYXWVUTSRQPONMLKJIHGFEDCBA!@#$%^&*()_+4@8({[<3369!|1|/0$5+7%2x",
		strings.Repeat("p@$$w0rd!17|{", 8)[:100],
	} {
		if readings(text) <= maxReadings {
			t.Fatalf("%q has only %d readings: this tests nothing", text, readings(text))
		}
		var best time.Duration
		for range 3 { // the quickest of three: the machine may be busy
			from := time.Now()
			if _, err := r.Check(text, nil); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(from); best == 0 || took < best {
				best = took
			}
		}
		if best > time.Second {
			t.Errorf("%q takes %v", text, best)
		}
	}
}

func TestReadings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 1, "plain words": 1, "p4ssw0rd": 1, "p4ssw@rd": 2, "a1": 2, "g69": 2, "!1|7": 3 * 3 * 8, "({[<": 4} {
		if got := readings(text); got != want {
			t.Errorf("%q has %d readings, want %d", text, got, want)
		}
	}
}

// A common password stays one, however many of its letters are written as signs.
func TestStrengthReadsSigns(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"p@$$w0rd", "p4s5w0rd", "1l0v3y0u", "p@s5w0rd 4!1|7 p@s5w0rd"} {
		if got := strength(text, nil); got >= minScore {
			t.Errorf("%q has the score %d (%d readings)", text, got, readings(text))
		}
	}
	if got := plainLetters("p@$5w0rd{!|2B"); got != "passwordciizB" {
		t.Errorf("read as %q", got)
	}
	if got := strength("correct 4@8({[<3 horse battery 369!|1 staple", nil); got < minScore {
		t.Errorf("a long one with signs has the score %d", got)
	}
}

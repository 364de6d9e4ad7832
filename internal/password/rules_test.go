package password

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// AC-02.
func TestRules(t *testing.T) {
	own := []string{"ann.miller@orchard.test", "Ann", "Miller", "orchard-mail", "relay.orchard.test"}
	for _, c := range []struct {
		name, password, want string
	}{
		{"words", "tall copper lamps hum", ""},
		{"no classes are needed", "gatewaysmotherofpearlfig", ""},
		{"other scripts", "серый кот пьёт молоко у окна", ""},
		{"few but many octets", "ключ от двери", "too short"},
		{"64 characters", strings.Repeat("tall copper lamps hum and ", 3)[:64], ""},
		{"long", strings.Repeat("tall copper lamps hum and glow; ", 30), ""},
		{"too long", strings.Repeat("tall copper lamps ", 60), "at most 1000"},
		{"empty", "", "too short"},
		{"14 characters", "tall copper la", "too short: 14"},
		{"15 characters", "tall copper lam", ""},
		{"one character", strings.Repeat("a", 20), "repeats itself"},
		{"one piece", strings.Repeat("secret", 4), "repeats itself"},
		{"alphabet", "abcdefghijklmnopqrst", "repeats itself"},
		{"digits", "12345678901234567890", "repeats itself"},
		{"keyboard", "qwertyuiopasdfghjkl", "repeats itself"},
		{"own name", "AnnMiller Orchard1", "little more than a name"},
		{"the product", "postern-postern-1", "little more than a name"},
		{"the operator's word", "Ironbridge12345", "little more than a name"},
		{"common", "password12345678", "easy to guess"},
		{"no text", "tall copper lamps\xff", "cannot be typed"},
		{"control character", "tall copper lamps\x00", "cannot be typed"},
	} {
		r := &Rules{Words: []string{"Ironbridge"}}
		got, err := r.Check(c.password, own)
		text := strings.Join(got, " ")
		if err != nil || (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q (%v), want %q", c.name, text, err, c.want)
		}
	}
}

func TestClassesAreASwitch(t *testing.T) {
	r := &Rules{Classes: true}
	got, err := r.Check("tall copper lamps hum", nil)
	if err != nil || len(got) != 1 || got[0] != "It has no capital letter and no digit." {
		t.Errorf("%q %v", got, err)
	}
	if got, _ := r.Check("Tall copper lamps hum 7", nil); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestMaxAgeIsASwitch(t *testing.T) {
	set := time.Unix(1_700_000_000, 0)
	if (&Rules{}).Due(set, set.AddDate(50, 0, 0)) {
		t.Error("due without a maximum age")
	}
	r := &Rules{MaxAge: 24 * time.Hour}
	if r.Due(set, set.Add(24*time.Hour-1)) || !r.Due(set, set.Add(24*time.Hour)) {
		t.Error("due at another time")
	}
}

// The estimate grows fast with the length: it must not with what a stranger sends.
func TestStrengthLooksAtABoundedPart(t *testing.T) {
	long := strings.Repeat("qwXz!9", 160)
	if n := utf8.RuneCountInString(cut(long, strengthChars)); n != strengthChars {
		t.Fatalf("cut to %d", n)
	}
	if cut("é", 5) != "é" || cut("éé", 1) != "é" {
		t.Error("cut within a character")
	}
	if _, err := (&Rules{}).Check(long[:MaxLength-50], nil); err != nil {
		t.Error(err)
	}
}

func FuzzRules(f *testing.F) {
	f.Add("tall copper lamps hum", "ann@orchard.test")
	f.Fuzz(func(t *testing.T, password, own string) {
		got, err := (&Rules{}).Check(password, []string{own})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 && utf8.RuneCountInString(Normal(password)) < defaultMinLength {
			t.Errorf("%q passes", password)
		}
	})
}

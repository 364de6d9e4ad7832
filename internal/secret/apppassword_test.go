package secret

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestGenerateAppPassword(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z2-7]{5}(-[a-z2-7]{5}){3}$`)
	seen := map[string]bool{}
	for range 200 {
		login, password := GenerateAppPassword()
		if !IsAppLogin(login) || !form.MatchString(password.Reveal()) {
			t.Fatalf("login %q or the password's form is wrong", login)
		}
		if seen[login] || seen[password.Reveal()] {
			t.Fatal("drawn twice")
		}
		seen[login], seen[password.Reveal()] = true, true
		p, err := ParseAppPassword(password.Reveal())
		if err != nil || !p.Fits(p.Verifier().SHA256) {
			t.Fatalf("own verifier does not fit: %v", err)
		}
	}
}

func TestParseAppPasswordFolds(t *testing.T) {
	t.Parallel()
	want, err := ParseAppPassword("abcde-fghij-klmno-p2345")
	if err != nil {
		t.Fatal(err)
	}
	for _, same := range []string{"abcdefghijklmnop2345", "ABCDE-FGHIJ-KLMNO-P2345", "abcdefghij-klmnop2345-", "-a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-2-3-4-5"} {
		if p, err := ParseAppPassword(same); err != nil || !p.Fits(want.SHA256()) {
			t.Errorf("%q: %v", same, err)
		}
	}
	for _, bad := range []string{"", "abcde", "abcde-fghij-klmno-p234", "abcde-fghij-klmno-p23456", "abcde-fghij-klmno-p2341", "abcde fghij klmno p2345",
		"abcde-fghij-klmno-p234\x00", "abcde-fghij-klmno-p234é", strings.Repeat("-", 1000), "abcdefghijklmnop2345" + strings.Repeat("-", 21)} {
		if _, err := ParseAppPassword(bad); !errors.Is(err, ErrAppPassword) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	other, _ := ParseAppPassword("abcde-fghij-klmno-p2346")
	if other.Fits(want.SHA256()) {
		t.Error("another password fits")
	}
	if s := fmt.Sprintf("%v %+v %#v", want, want, want); strings.Contains(s, "abcde") {
		t.Errorf("printed as %s", s)
	}
}

func TestIsAppLogin(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]bool{
		"dev-abcdefg2": true, "dev-ABCDEFG2": false, "dev-abcdefg": false, "dev-abcdefg23": false, "dev-abcdefg1": false, "apikey": false, "": false,
	} {
		if IsAppLogin(user) != want {
			t.Errorf("%q: %t", user, !want)
		}
	}
}

func FuzzParseAppPassword(f *testing.F) {
	f.Add("abcde-fghij-klmno-p2345")
	f.Add("ABCDEFGHIJKLMNOP2345")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseAppPassword(s)
		if err != nil {
			return
		}
		if strings.ToLower(strings.ReplaceAll(s, "-", "")) != p.normal.Reveal() || len(p.normal) != appPasswordChars {
			t.Fatalf("%q was taken for another password", s)
		}
	})
}

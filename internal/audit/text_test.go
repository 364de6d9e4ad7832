package audit

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The text form has what the page and JSON have: who can send, who may log in, what is
// in use, the domains and who is let in.
func TestTextHasEachTable(t *testing.T) {
	t.Parallel()
	f := sound()
	f.Users[0].TOTP = nil
	f.Users[1].DisabledAt, f.Users[1].Subuser = ago(1), f.Subusers[0].ID
	f.Clients[1].TLS = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
	f.Lists[0].Monitor = true
	var b bytes.Buffer
	if err := Text(&b, Judge(f)); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`web +api_key +shop.example.test +192\.0\.2\.0/24 +2027-01-21 +2026-11-21 +0`,
		`ann +ann@example\.test +owner +no +2026-11-20 +1`,
		`ben \(staging\), disabled +ben@example\.test +developer +yes +2026-11-20 +0`,
		`web +web\.example\.test \(smtp\) +192\.0\.2\.7 +SCRAM-SHA-256 +TLSv1\.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 +2026-11-21 +yes`,
		`web +web\.example\.test \(smtp\) +192\.0\.2\.7 +SCRAM-SHA-256 +TLSv1\.3 TLS_AES_128_GCM_SHA256 +2026-11-21 +-`,
		`shop\.example\.test +verified +reject +relaxed +relaxed +2026-11-22 +0`,
		`the account +192\.0\.2\.0/24 +monitor`,
		`staging +everybody +enforce`,
	} {
		if !regexp.MustCompile(`(?m)(^|  )` + line + `$`).MatchString(b.String()) {
			t.Errorf("no line %s in\n%s", line, b.String())
		}
	}
}

// Who has neither password nor second factor logs in elsewhere; "no" would be wrong.
func TestFactorInWords(t *testing.T) {
	t.Parallel()
	for want, u := range map[string]PersonRow{"yes": {SecondFactor: true}, "no": {Password: true}, "by sign-on": {}} {
		if got := u.Factor(); got != want {
			t.Errorf("%+v: %q, want %q", u, got, want)
		}
	}
}

// The page is cut as the text is, says so of each table, and says what was cut before.
func TestHTMLIsBounded(t *testing.T) {
	t.Parallel()
	r := Judge(sound())
	r.Senders, r.People, r.Clients = make([]SenderRow, MaxText+1), make([]PersonRow, MaxText+2), make([]ClientRow, MaxText+3)
	r.Domains, r.Lists = make([]DomainRow, MaxText+4), make([]ListRow, MaxText+5)
	r.Lists[0].Entries = make([]string, MaxText+6)
	r.Cut = 77
	var page, text bytes.Buffer
	if err := errors.Join(HTML(&page, r), Text(&text, r)); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		for name, b := range map[string]string{"page": page.String(), "text": text.String()} {
			if strings.Count(b, fmt.Sprintf("… and %d more", n)) != 1 {
				t.Errorf("the %s does not say that there are %d more", name, n)
			}
		}
	}
	if !strings.Contains(page.String(), " and 6 more</td>") || strings.Count(page.String(), "<td>everybody</td>") != MaxText-1 {
		t.Error("the page cuts no list of networks, or does not say so")
	}
	for _, b := range []string{page.String(), text.String()} {
		if !strings.Contains(b, "leaves out 77 rows") {
			t.Error("nothing says that rows were cut before")
		}
	}
}

// A table is cut, and says so.
func TestTextIsBounded(t *testing.T) {
	t.Parallel()
	f := sound()
	for i := range MaxText {
		c := soundClient(1)
		c.Helo = fmt.Sprintf("h%d.example.test", i)
		f.Clients = append(f.Clients, c)
	}
	var b bytes.Buffer
	if err := Text(&b, Judge(f)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "example.test (smtp)"); n != MaxText {
		t.Errorf("%d programs, want %d", n, MaxText)
	}
	if !strings.Contains(b.String(), "\n… and 2 more") {
		t.Error("nothing says that there are more")
	}
}

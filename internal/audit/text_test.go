package audit

import (
	"bytes"
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
		`web +api_key +shop.example.test +192\.0\.2\.0/24 +2026-11-21 +0`,
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

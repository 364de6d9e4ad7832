package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

var linkPattern = regexp.MustCompile(`http://127\.0\.0\.1:\d+/senders/verify/[A-Za-z0-9_-]+`)

// testSingleSender: who owns no domain proves one address, by the button behind
// the link in a mail that a Postfix delivered.
func (w *domainWorld) testSingleSender(t *testing.T) {
	const ann = "ann@receiver.example"
	w.postern(t, "sender", "add", ann, "--account", "main")
	link := linkPattern.FindString(w.receiver.await(t, "ann", "Confirm that you want to send as").text(t))
	if link == "" {
		t.Fatalf("no link in %v", w.receiver.box(t, "ann"))
	}
	visit := func(method string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, link, nil)
		ensure(t, err)
		resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
		ensure(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		ensure(t, err)
		return resp.StatusCode, string(body)
	}
	for range 3 { // as scanners do
		if code, body := visit(http.MethodGet); code != 200 || !strings.Contains(body, ann) {
			t.Errorf("GET: %d %s", code, body)
		}
	}
	wantReply(t, "the link was only opened", w.mail(t, w.APIKey, ann, "bob@receiver.example", "no"), "550 5.7.1")
	if code, body := visit(http.MethodPost); code != 200 {
		t.Fatalf("POST: %d %s", code, body)
	}
	if code, _ := visit(http.MethodPost); code != 404 {
		t.Errorf("the link works twice: %d", code)
	}
	tok := token("single")
	wantReply(t, "confirmed", w.mail(t, w.APIKey, ann, "bob@receiver.example", tok), "250")
	l := w.receiver.await(t, "bob", tok)
	if !strings.Contains(l.raw, "\nFrom: "+ann+"\n") {
		t.Errorf("From was changed:\n%s", head(l.raw))
	}
	for _, other := range []string{"Ann@receiver.example", "ann+x@receiver.example", "bob@receiver.example", "ann@sub.receiver.example"} {
		wantReply(t, other, w.mail(t, w.APIKey, other, "bob@receiver.example", "no"), "550 5.7.1")
	}
}

// testReports: a receiver finds out where reports about a domain go and that they
// may go there, sends one, and its owner sees what is in it.
func (w *domainWorld) testReports(t *testing.T, name string) {
	w.verified(t, name, "_dmarc TXT \"v=DMARC1; p=none\"\n")
	to := "dmarc-" + w.domain(t, name).Token + "@dmarc." + relayZone
	if shown := w.postern(t, "domain", "show", name); !strings.Contains(shown, "mailto:"+to) {
		t.Errorf("no rua=mailto:%s is recommended:\n%s", to, shown)
	}
	if rrs, _, _ := w.tree.resolve("dmarc."+relayZone, mdns.TypeMX); len(rrs) != 1 || rrs[0] != "10 "+relayHost+"." {
		t.Errorf("reports go to %v", rrs)
	}
	// RFC 9990: whether somebody else's address may get them. The zone says so since
	// the proof, its secondary some seconds later.
	until(t, "the authorisation of reports", func() bool {
		rrs, _, _ := w.tree.resolve(name+"._report._dmarc.dmarc."+relayZone, mdns.TypeTXT)
		return len(rrs) == 1 && strings.Contains(rrs[0], "v=DMARC1")
	})
	yesterday := time.Now().Add(-24 * time.Hour).Unix()
	report := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<feedback><report_metadata><org_name>receiver.example</org_name><email>dmarc@receiver.example</email><report_id>r-1</report_id>
<date_range><begin>%d</begin><end>%d</end></date_range></report_metadata>
<policy_published><domain>%[3]s</domain><adkim>r</adkim><aspf>r</aspf><p>none</p><sp>none</sp><pct>100</pct></policy_published>
<record><row><source_ip>%[4]s</source_ip><count>41</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>pass</spf></policy_evaluated></row>
<identifiers><header_from>%[3]s</header_from></identifiers><auth_results><dkim><domain>%[3]s</domain><selector>s1</selector><result>pass</result></dkim><spf><domain>em.%[3]s</domain><result>pass</result></spf></auth_results></record>
<record><row><source_ip>%[5]s</source_ip><count>7</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>%[3]s</header_from></identifiers><auth_results><spf><domain>spam.invalid</domain><result>pass</result></spf></auth_results></record>
</feedback>`, yesterday, yesterday+3600, name, outside, foreign)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(report))
	ensure(t, err)
	ensure(t, z.Close())
	file := filepath.Join(t.TempDir(), fmt.Sprintf("receiver.example!%s!%d!%d.xml.gz", name, yesterday, yesterday+3600))
	write(t, file, packed.String())
	r := command{args: []string{external(t, "swaks"), "--server", w.mx, "--ehlo", receiverName, "--from", "dmarc@receiver.example", "--to", to,
		"--h-Subject", "Report Domain: " + name + " Submitter: receiver.example Report-ID: <r-1>", "--body", "This is an aggregate report.", "--attach-type", "application/gzip", "--attach-name", filepath.Base(file), "--attach", "@" + file}}.run(t)
	if r.code != 0 {
		t.Fatalf("swaks: %s", r.out)
	}
	shown := ""
	until(t, "the report is shown", func() bool {
		shown = w.postern(t, "dmarc", "show", name)
		return strings.Contains(shown, outside)
	})
	for _, want := range []string{foreign, "receiver.example", "41", "7", "48"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
}

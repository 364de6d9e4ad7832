package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/finding"
	"postern/internal/relay"
)

// domainServer answers as the API does about one domain, whose records turn right
// one at a time, from the third question on after a refusal for haste.
func domainServer(t *testing.T) (*client, *atomic.Int64) {
	t.Helper()
	asked := &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v3/whitelabel/domains/7/validate" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		n := asked.Add(1)
		if n == 2 {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"errors":[{"message":"This domain is being checked."}]}`))
			return
		}
		records := []map[string]any{
			{"type": "CNAME", "name": "em7.a.test", "required": true, "valid": n > 2},
			{"type": "CNAME", "name": "s1._domainkey.a.test", "required": true, "valid": n > 3},
			{"type": "CNAME", "name": "s1e._domainkey.a.test", "required": false, "valid": false},
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": 7, "domain": "a.test", "valid": n > 3, "state": "pending", "records": records, "checked_at": time.Unix(1000*n, 0)})
	}))
	t.Cleanup(s.Close)
	return &client{base: s.URL, http: s.Client(), header: http.Header{}}, asked
}

// validate --wait goes on until the records are right, and says each step once.
func TestValidateWaits(t *testing.T) {
	t.Parallel()
	cl, asked := domainServer(t)
	var out, errs strings.Builder
	c := &cli{streams: streams{out: &out, err: &errs}}
	v, _, err := c.validateDomain(t.Context(), cl, domainView{Number: 7}, true, time.Millisecond)
	if err != nil || !v.Valid || asked.Load() != 4 {
		t.Fatalf("%+v, %v, asked %d times", v, err, asked.Load())
	}
	want := "00:16:40 0 of 2 records are right; waiting for CNAME em7.a.test, CNAME s1._domainkey.a.test\n" +
		"00:50:00 1 of 2 records are right; waiting for CNAME s1._domainkey.a.test\n"
	if errs.String() != want {
		t.Errorf("said\n%swant\n%s", errs.String(), want)
	}
}

// Without --wait it asks once.
func TestValidateAsksOnce(t *testing.T) {
	t.Parallel()
	cl, asked := domainServer(t)
	c := &cli{streams: streams{out: &strings.Builder{}, err: &strings.Builder{}}}
	if v, _, err := c.validateDomain(t.Context(), cl, domainView{Number: 7}, false, time.Hour); err != nil || v.Valid || asked.Load() != 1 {
		t.Errorf("%+v, %v, asked %d times", v, err, asked.Load())
	}
}

func TestDomainStates(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]domainView{
		"disabled": {State: relay.DomainVerified, DisabledAt: time.Unix(1, 0)},
		"system":   {State: relay.DomainAsserted, System: true},
		"disputed": {State: relay.DomainPending, Disputed: true},
		"failing":  {State: relay.DomainVerified, FailingSince: time.Unix(1, 0)},
		"verified": {State: relay.DomainVerified},
		"paused":   {State: relay.DomainPaused},
	} {
		if got := d.state(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Of several of a name the one that can be used is meant, then those that are on.
func TestLikeliestDomain(t *testing.T) {
	t.Parallel()
	off := time.Unix(1, 0)
	usable := domainView{Number: 1, State: relay.DomainVerified}
	pending := domainView{Number: 2, State: relay.DomainPending}
	dead := domainView{Number: 3, State: relay.DomainVerified, DisabledAt: off}
	for _, tt := range []struct {
		have []domainView
		want []int64
	}{
		{nil, nil},
		{[]domainView{dead, pending, usable}, []int64{1}},
		{[]domainView{dead, pending}, []int64{2}},
		{[]domainView{pending, pending}, []int64{2, 2}},
		{[]domainView{dead}, []int64{3}},
	} {
		var found []place
		for _, d := range tt.have {
			found = append(found, place{domain: d})
		}
		var got []int64
		for _, p := range likeliest(found) {
			got = append(got, p.domain.Number)
		}
		if len(got) != len(tt.want) || len(got) > 0 && got[0] != tt.want[0] {
			t.Errorf("%+v: %v, want %v", tt.have, got, tt.want)
		}
	}
}

// What a server sends cannot move the cursor, in any of the forms.
func TestDomainsAreShownClean(t *testing.T) {
	t.Parallel()
	const bell = "a\x1b[2Jb"
	var out strings.Builder
	c := &cli{streams: streams{out: &out, err: &out}}
	d := domainView{Name: bell, Reason: bell, Checked: 1, Records: []domainRecord{{Name: bell, Value: bell, Type: bell}}, DMARC: domainDMARC{Policy: bell, Why: bell}}
	if err := c.describeDomain(d); err != nil {
		t.Fatal(err)
	}
	if err := c.showRotation(rotationView{Text: bell, Publish: true, New: []domainKey{{Name: bell, Record: bell}}}); err != nil {
		t.Fatal(err)
	}
	if err := printLines(&out, bell+"\nnext"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q", out.String())
	}
	if !strings.HasSuffix(out.String(), "b\nnext\n") {
		t.Errorf("lines: %q", out.String())
	}
}

// What the table of records says already is not said again; what it does not say is.
func TestFindingsOfRecordsAreShort(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := &cli{streams: streams{out: &out}}
	records := []domainRecord{{Name: "em2.a.test", Required: true}, {Name: "s1._domainkey.a.test", Required: true}, {Name: "s1e._domainkey.a.test"}}
	c.printRecordFindings("a.test", records, []finding.Finding{
		{Severity: finding.Error, Code: missingRecord, Text: "The record em2 is missing."},
		{Severity: finding.Error, Code: "record_value", Text: "The record s1 is wrong.", Found: strings.Repeat("x", 4000)},
		{Severity: finding.Info, Code: missingRecord, Text: "The record s1e is missing."},
		{Severity: finding.Error, Code: missingRecord, Text: "It is somewhere else.", Found: "at s1.a.test"},
	})
	for want, there := range map[string]bool{
		"publish what is missing above (1 of": true, "em2 is missing": false, "s1e is missing": false, "s1 is wrong": true, "somewhere else": true,
		"change what is wrong": true, strings.Repeat("x", mostShown) + "...": true, strings.Repeat("x", mostShown+1): false,
	} {
		if strings.Contains(out.String(), want) != there {
			t.Errorf("%q is there: %v, in\n%s", want, !there, out.String())
		}
	}
}

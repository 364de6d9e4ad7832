package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/setup"
)

// A name server that does not answer has not said that a record is missing.
func TestUnknownIsNotMissing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{streams: streams{out: &out, err: &out}}
	v := checkView{Name: "a.test", Unknown: true, Records: []domainRecord{{Type: "TXT", Name: "_postern.a.test", Value: "x", Required: true}}}
	if err := c.showCheck(v); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, no := range []string{"missing", "To do", "DMARC", "would not align"} {
		if strings.Contains(got, no) {
			t.Errorf("says %q of a domain that could not be looked at:\n%s", no, got)
		}
	}
	if !strings.Contains(got, "unknown  TXT") {
		t.Errorf("the record is not unknown:\n%s", got)
	}
}

func TestCertificateLine(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		end  time.Time
		want string
	}{
		{time.Time{}, ""},
		{now.Add(-time.Minute), "EXPIRED 2026-11-22 11:59:00Z: clients that check it send nothing; renew it (tls.certificate)"},
		{now.Add(9*24*time.Hour + time.Hour), "expires 2026-12-01 13:00:00Z, in 9 days: has its renewal failed?"},
		{now.Add(60 * 24 * time.Hour), "good until 2027-01-21 12:00:00Z"},
	} {
		if got := certificateLine(tc.end, now); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.end, got, tc.want)
		}
	}
}

// Behind NAT no record of the relay's address can be printed, and none is left
// unsaid.
func TestInitSaysThatTheAddressIsMissing(t *testing.T) {
	t.Parallel()
	for _, with := range []bool{false, true} {
		var out bytes.Buffer
		c := &cli{streams: streams{out: &out}}
		r := &setup.Result{Hostname: "relay.example.test"}
		if with {
			r.Records = []setup.Record{{Name: "relay.example.test", Type: "AAAA", Value: "2001:db8::1"}}
		}
		if err := c.showSetup(r); err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(out.String(), "shows no public address"); said == with {
			t.Errorf("with an address: %v; said: %v", with, said)
		}
	}
}

// An event without a message shows none, and a refusal says whose it was.
func TestRefusalNamesItsKey(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{streams: streams{out: &out}}
	key := relay.KeyID{ID: relay.NewID(time.Now())}
	if err := c.eventPrinter()(nil, relay.Event{Kind: relay.EventRefused, Key: key}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "refused      -  -  key="+key.String()) {
		t.Errorf("got %q", got)
	}
}

// Who uses a command wrongly is shown how it is used.
func TestWrongUsageShowsUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"domain add": "Usage: postern domain add NAME [flags]\nRun \"postern domain add --help\" for the rest.",
		"domain":     `Run "postern domain --help" for what there is.`,
		"bogus":      `Run "postern --help" for what there is.`,
		"init":       "Usage: postern init --dir D --hostname H --owner EMAIL [flags]",
	} {
		code, _, errs := command(t, "", strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("postern %s: exit %d, %s", args, code, errs)
		}
	}
}

// What was typed to add an entry removes it.
func TestRuleIsFoundAsItWasTyped(t *testing.T) {
	t.Parallel()
	all := []ruleView{{ID: 1, IP: "192.0.2.7/32"}, {ID: 2, IP: "2001:db8::/32"}, {ID: 3, Host: "office.example.com"}}
	for ref, want := range map[string]int64{
		"1": 1, "9": 9, "192.0.2.7": 1, "192.0.2.7/32": 1, "2001:DB8::/32": 2, "Office.example.com": 3,
		"192.0.2.0/24": 0, "192.0.2.70": 0, "2001:db8::": 0, "": 0, "office": 0,
	} {
		if id, ok := ruleID(all, ref); id != want || ok != (want != 0) {
			t.Errorf("%q is %d, %v; want %d", ref, id, ok, want)
		}
	}
}

// Who asks for a set-up link for somebody who is there already is told what helps,
// and who names somebody who is not, whom the server knows.
func TestPeopleWhoAreThereOrNot(t *testing.T) {
	t.Setenv(keyVariable, "SG.id.secret")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/setup") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":[{"message":"Somebody has this address already.","field":"email","help":null}]}`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors":[{"message":"not found","field":null,"help":null}]}`)
	}))
	defer s.Close()
	for args, want := range map[string]string{
		"setup ann@acme.example": "reset-factors)",
		"reset-factors bob":      `there is nobody called "bob" (postern user list)`,
		"show bob":               `there is nobody called "bob" (postern user list)`,
		"role bob admin":         `there is nobody called "bob" (postern user list)`,
		"sessions bob":           `there is nobody called "bob" (postern user list)`,
	} {
		code, _, errs := command(t, "", append([]string{"user", "--url", s.URL}, strings.Fields(args)...)...)
		if code != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("postern user %s: exit %d, %s", args, code, errs)
		}
	}
}

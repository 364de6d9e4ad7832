package dmarc

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRecord(t *testing.T) {
	t.Parallel()
	base := func(change func(*Record)) *Record {
		r := &Record{Policy: None, PSD: PSDUnknown, DKIM: Relaxed, SPF: Relaxed, Options: "0"}
		if change != nil {
			change(r)
		}
		return r
	}
	for _, tt := range []struct {
		in   string
		want *Record
		warn int
	}{
		{"v=DMARC1; p=none", base(nil), 0},
		{"v=DMARC1;p=none;", base(nil), 0},
		{"v = DMARC1 ; P = None ;", base(nil), 0},
		{"v=DMARC1; sp=reject; p=quarantine", base(func(r *Record) { r.Policy, r.Subdomain = Quarantine, Reject }), 0},
		{"v=DMARC1; p=reject; np=none; psd=y; t=y; adkim=s; aspf=S; fo=1:d:s", base(func(r *Record) {
			r.Policy, r.NonExistent, r.PSD, r.Test, r.DKIM, r.SPF, r.Options = Reject, None, PSDYes, true, Strict, Strict, "1:d:s"
		}), 0},
		{"v=DMARC1; p=reject; rua=mailto:a@example.com!10m, https://r.example.com/x ; ruf=mailto:f@example.com", base(func(r *Record) {
			r.Policy, r.Aggregate, r.Failure = Reject, []string{"mailto:a@example.com", "https://r.example.com/x"}, []string{"mailto:f@example.com"}
		}), 1},
		{"v=DMARC1; p=reject; pct=20; rf=afrf; ri=3600", base(func(r *Record) { r.Policy, r.Extra = Reject, []string{"pct=20", "rf=afrf", "ri=3600"} }), 3},
		{"v=DMARC1; p=reject; adkim=x; aspf=; fo=2; t=maybe; psd=?; future=1; junk", base(func(r *Record) { r.Policy, r.Extra = Reject, []string{"future=1"} }), 7},
		// RFC 9989 §4.10.1: a policy that is missing or wrong is none if somebody can be reported to.
		{"v=DMARC1; rua=mailto:a@example.com", base(func(r *Record) { r.Aggregate = []string{"mailto:a@example.com"} }), 1},
		{"v=DMARC1; p=rejekt; sp=reject; rua=mailto:a@example.com", base(func(r *Record) { r.Aggregate = []string{"mailto:a@example.com"} }), 1},
		{"v=DMARC1; p=reject; sp=rejekt; rua=mailto:a@example.com", base(func(r *Record) { r.Aggregate = []string{"mailto:a@example.com"} }), 1},
		{"v=DMARC1; p=reject; np=; rua=mailto:a@example.com", base(func(r *Record) { r.Aggregate = []string{"mailto:a@example.com"} }), 1},
	} {
		got, err := ParseRecord(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if len(got.Warnings) != tt.warn {
			t.Errorf("%q: warnings %q, want %d", tt.in, got.Warnings, tt.warn)
		}
		got.Warnings = nil
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q:\n%s", tt.in, diff)
		}
	}
	for in, want := range map[string]error{
		"": errNotDMARC, "v=spf1 -all": errNotDMARC, "v=DMARC12; p=none": errNotDMARC, "v=dmarc1; p=none": errNotDMARC,
		"p=none; v=DMARC1": errNotDMARC, " v=DMARC1; p=none": errNotDMARC, "V=DMARC1; p=none": errNotDMARC,
		"v=DMARC1": ErrInvalid, "v=DMARC1;": ErrInvalid, "v=DMARC1; p=": ErrInvalid, "v=DMARC1; p=rejekt": ErrInvalid,
		"v=DMARC1; p=reject; sp=x": ErrInvalid, "v=DMARC1; p=none; p=reject": ErrInvalid, "v=DMARC1; v=DMARC1; p=none": ErrInvalid,
		"v=DMARC1; p=none; p=none; rua=mailto:a@example.com":      ErrInvalid,
		"v=DMARC1; rua=nobody":                                    ErrInvalid,
		"v=DMARC1; rua=mailto:nobody":                             ErrInvalid,
		"v=DMARC1; p=reject; x=" + strings.Repeat("x", maxRecord): ErrInvalid,
	} {
		if got, err := ParseRecord(in); !errors.Is(err, want) || got != nil {
			t.Errorf("%.60q: got %v, %v; want %v", in, got, err, want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{
		"v=DMARC1; p=none", "v=DMARC1; p=reject; sp=none; np=quarantine; psd=n; t=y; adkim=s; aspf=s; rua=mailto:a@b.test,mailto:c@d.test!1k; fo=1:d",
		"v=DMARC1;;;=;p", "v=DMARC1; rua=mailto:%00@x", "v=spf1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRecord(s)
		if err != nil {
			return
		}
		if len(r.Warnings) > maxWarnings || len(r.Extra) > maxWarnings || len(r.Aggregate) > maxURIs || len(r.Failure) > maxURIs {
			t.Fatalf("over the limits: %+v", r)
		}
		if len(s) > maxRecord/2 {
			return
		}
		again, err := ParseRecord(r.String())
		if err != nil {
			t.Fatalf("%q: %v", r.String(), err)
		}
		r.Warnings, again.Warnings, r.Extra = nil, nil, nil
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

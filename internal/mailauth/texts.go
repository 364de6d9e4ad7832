package mailauth

import (
	"fmt"
	"net/url"
	"strings"

	"postern/internal/finding"
)

// kind is one area that consists of a single TXT record.
type kind struct {
	record  string // in findings and as a prefix of their codes
	prefix  string // of the name that it is published at
	version string
	what    string
	absent  finding.Finding                             // when there is none
	judge   func(map[string]string) (fault, fix string) // of its tags; "": fine
	present string                                      // what a good one means
}

func (l *looker) text(k kind) Text {
	t := Text{Name: k.prefix + l.domain}
	add := func(f finding.Finding) {
		f.Record = k.record
		if f.Where == "" {
			f.Where = t.Name
		}
		t.Findings = append(t.Findings, f)
	}
	records, almost, err := l.versioned(t.Name, k.version)
	if err != nil && !absent(err) {
		add(unknown(k.record, "TXT", t.Name))
		return t
	}
	for _, s := range almost {
		add(finding.Finding{Severity: finding.Error, Code: k.record + "_misspelt", Found: s,
			Text: fmt.Sprintf("A TXT record at %s looks like %s but is not read as such.", t.Name, k.what),
			Fix:  fmt.Sprintf("Publish it without quotation marks, beginning with %s, written so.", k.version)})
	}
	switch {
	case len(records) == 0 && len(almost) == 0:
		add(k.absent)
	case len(records) > 1:
		add(finding.Finding{Severity: finding.Error, Code: k.record + "_several", Found: cut(strings.Join(records, "\n")),
			Text: fmt.Sprintf("There are %d records of %s; none of them is used.", len(records), k.what), Fix: "Delete all but one."})
	case len(records) == 1:
		t.Record = records[0]
		if fault, fix := k.judge(tags(t.Record)); fault != "" {
			add(finding.Finding{Severity: finding.Error, Code: k.record + "_syntax", Found: t.Record, Fix: fix,
				Text: fmt.Sprintf("The record of %s is not valid: %s.", k.what, fault)})
			break
		}
		t.Present = true
		add(finding.Finding{Severity: finding.OK, Code: k.record + "_present", Text: k.present})
	}
	return t
}

// mtaSTS looks for the record of RFC 8461 §3.1. The policy itself is on a web
// server and is not fetched.
func (l *looker) mtaSTS() Text {
	return l.text(kind{
		record: "mta_sts", prefix: "_mta-sts.", version: "v=STSv1", what: "MTA-STS",
		absent: finding.Finding{Severity: finding.Info, Code: "mta_sts_missing",
			Text: "There is no MTA-STS record: who stands between can have mail to this domain sent without TLS.", Fix: "Publish a policy at https://mta-sts." + l.domain + " and a TXT record v=STSv1; id=1"},
		judge: func(t map[string]string) (string, string) {
			id := t["id"]
			if id == "" || len(id) > 32 || strings.ContainsFunc(id, func(c rune) bool { return !alphanumeric(c) }) {
				return "id must be of 1 to 32 letters and digits", "Write for example v=STSv1; id=20260101"
			}
			return "", ""
		},
		present: "An MTA-STS policy is announced; whether its web server has it was not looked at.",
	})
}

func alphanumeric(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// tlsRPT looks for the record of RFC 8460 §3.
func (l *looker) tlsRPT() Text {
	return l.text(kind{
		record: "tls_rpt", prefix: "_smtp._tls.", version: "v=TLSRPTv1", what: "TLS reporting",
		absent: finding.Finding{Severity: finding.Info, Code: "tls_rpt_missing",
			Text: "There is no TLS reporting record: nobody tells when mail to this domain cannot be sent by TLS.", Fix: "Publish TXT v=TLSRPTv1; rua=mailto:tls@" + l.domain + " at _smtp._tls." + l.domain},
		judge: func(t map[string]string) (string, string) {
			for one := range strings.SplitSeq(t["rua"], ",") {
				u, err := url.Parse(strings.TrimSpace(one))
				if err != nil || u.Scheme != "mailto" && u.Scheme != "https" {
					return "rua must hold mailto: or https: addresses", "Write for example rua=mailto:tls@" + l.domain
				}
			}
			return "", ""
		},
		present: "Reports about failed TLS are asked for.",
	})
}

// bimi looks for the default record of Brand Indicators for Message Identification.
func (l *looker) bimi() Text {
	return l.text(kind{
		record: "bimi", prefix: "default._bimi.", version: "v=BIMI1", what: "BIMI",
		absent: finding.Finding{Severity: finding.Info, Code: "bimi_missing", Text: "There is no BIMI record: no logo is shown beside the domain's mail."},
		judge: func(t map[string]string) (string, string) {
			for _, name := range []string{"l", "a"} {
				if v := t[name]; v != "" && !strings.HasPrefix(strings.ToLower(v), "https://") {
					return name + " must be an https: address", "Correct the address."
				}
			}
			return "", ""
		},
		present: "A logo is named (BIMI).",
	})
}

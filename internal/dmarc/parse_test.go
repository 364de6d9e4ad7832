package dmarc

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

// zipped makes an archive of names and contents.
func zipped(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i+1 < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, files[i+1])
	}
	w.Close()
	return b.String()
}

// lyingZip says that its one file has ten octets.
func lyingZip(t testing.TB, s string) string {
	t.Helper()
	var b, packed bytes.Buffer
	d, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(d, s)
	d.Close()
	w := zip.NewWriter(&b)
	f, err := w.CreateRaw(&zip.FileHeader{Name: "x.xml", Method: zip.Deflate, CompressedSize64: uint64(packed.Len()), UncompressedSize64: 10, CRC32: crc32.ChecksumIEEE([]byte(s))})
	if err != nil {
		t.Fatal(err)
	}
	f.Write(packed.Bytes())
	w.Close()
	return b.String()
}

func TestParseAggregate(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1793491200, 0).UTC()
	want := map[string]*Aggregate{
		rfc7489: {
			Org: "mailhost.example", Email: "noreply-dmarc@mailhost.example", Contact: "https://mailhost.example/dmarc", ReportID: "10954321987654321",
			Begin: begin, End: begin.Add(24*time.Hour - time.Second),
			Published: Published{Domain: "example.com", Policy: Quarantine, Subdomain: None, DKIM: Relaxed, SPF: Strict},
			Rows: []Row{
				{Addr: netip.MustParseAddr("192.0.2.25"), Count: 1204, Disposition: "none", DKIM: true, HeaderFrom: "example.com",
					Signatures: []Signature{{"example.com", "s1", "pass"}}, SPFDomain: "em1.example.com", SPFResult: "pass"},
				{Addr: netip.MustParseAddr("2001:db8::1"), Count: 3, Disposition: "none", HeaderFrom: "news.example.com",
					Reasons:    []Reason{{"local_policy", "arc=pass & known list"}},
					Signatures: []Signature{{"example.com", "s1", "fail"}, {"list.example.org", "k", "pass"}}, SPFDomain: "list.example.org", SPFResult: "fail"},
			},
		},
		rfc9990: {
			Org: "Receiver Org", Email: "dmarc@receiver.example.org", ReportID: "3v98abbp8ya9n3va8yr8oa3ya", Generator: "Reporter 2.1", Errors: []string{"1 row was lost"},
			Begin: begin, End: begin.Add(24 * time.Hour),
			Published: Published{Domain: "example.com", Policy: Reject, NonExistent: Reject, DKIM: Strict, Options: "1", Testing: true, Discovery: "treewalk"},
			Rows: []Row{
				{Addr: netip.MustParseAddr("198.51.100.7"), Count: 17, Disposition: "pass", DKIM: true, SPF: true, HeaderFrom: "example.com",
					EnvelopeFrom: "em1.example.com", EnvelopeTo: "receiver.example.org",
					Signatures: []Signature{{"example.com", "s1", "pass"}, {"example.com", "s1e", "neutral"}}, SPFDomain: "em1.example.com", SPFScope: "mfrom", SPFResult: "pass"},
				{Addr: netip.MustParseAddr("203.0.113.9"), Count: 2, Disposition: "quarantine", HeaderFrom: "example.com", Reasons: []Reason{{Type: "policy_test_mode"}}},
			},
		},
		prefixed: {
			Org: "Café – Post", Email: "r@cafe.example", ReportID: "a b", Begin: begin, End: begin, Published: Published{Domain: "example.com"},
			Rows: []Row{{Addr: netip.MustParseAddr("192.0.2.1"), Count: 1, Disposition: "none"}},
		},
	}
	for text, want := range want {
		for form, raw := range map[string]string{
			"plain": text, "gzip": gzipped(text), "two gzip members": gzipped(text[:200]) + gzipped(text[200:]), "zip": zipped(t, "../../etc/passwd", text),
		} {
			got, err := ParseAggregate(strings.NewReader(raw), form)
			if err != nil {
				t.Errorf("%s of %s: %v", form, want.Org, err)
				continue
			}
			if diff := cmp.Diff(want, got, sameAddr); diff != "" {
				t.Errorf("%s of %s:\n%s", form, want.Org, diff)
			}
		}
	}
}

// report builds a small report around some records and replaces parts of it.
func sample(records string, replace ...string) string {
	s := `<feedback><report_metadata><org_name>r.test</org_name><report_id>1</report_id><date_range><begin>1793491200</begin><end>1793577600</end></date_range></report_metadata>` +
		`<policy_published><domain>example.com</domain><p>none</p></policy_published>` + records + `</feedback>`
	return strings.NewReplacer(replace...).Replace(s)
}

const oneRecord = `<record><row><source_ip>192.0.2.1</source_ip><count>5</count></row></record>`

// RX-14: reports are hostile input, packed and not.
func TestParseAggregateRefuses(t *testing.T) {
	t.Parallel()
	good := sample(oneRecord)
	if _, err := ParseAggregate(strings.NewReader(good), ""); err != nil {
		t.Fatal(err)
	}
	row := func(addr, count string) string {
		return sample(`<record><row><source_ip>` + addr + `</source_ip><count>` + count + `</count></row></record>`)
	}
	deep := strings.Repeat("<x>", 40) + strings.Repeat("</x>", 40)
	for name, tt := range map[string]struct {
		raw  string
		want error
		says string
	}{
		"nothing":                        {"", ErrReport, "EOF"},
		"no XML":                         {"hello", ErrReport, "EOF"},
		"another root":                   {"<html></html>", ErrReport, "html"},
		"a second root":                  {good + good, ErrReport, "one <feedback>"},
		"cut off":                        {good[:len(good)-20], ErrReport, "EOF"},
		"tags that do not match":         {strings.Replace(good, "</row>", "</rom>", 1), ErrReport, "closed by"},
		"entities that grow":             {`<!DOCTYPE feedback [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>` + sample(oneRecord, "r.test", "&b;"), ErrReport, "DOCTYPE"},
		"an entity of a file":            {`<!DOCTYPE feedback [<!ENTITY f SYSTEM "file:///etc/passwd">]>` + sample(oneRecord, "r.test", "&f;"), ErrReport, "DOCTYPE"},
		"an undeclared entity":           {sample(oneRecord, "r.test", "&nbsp;"), ErrReport, "entity"},
		"an unknown encoding":            {`<?xml version="1.0" encoding="UTF-7"?>` + good, ErrReport, "UTF-7"},
		"octets that are not UTF-8":      {sample(oneRecord, "r.test", "\xff\xfe"), ErrReport, "UTF-8"},
		"too deep":                       {sample(deep + oneRecord), ErrReportSize, "deep"},
		"a gzip bomb":                    {gzipped(sample(strings.Repeat("\n", 4*maxToken))), ErrReportSize, "one element"},
		"a comment without end":          {gzipped("<!--" + strings.Repeat("x", 4*maxToken)), ErrReportSize, "one element"},
		"a tag without end":              {gzipped("<feedback " + strings.Repeat("a='b' ", 1<<20)), ErrReportSize, "one element"},
		"a CDATA without end":            {gzipped("<feedback><![CDATA[" + strings.Repeat("<", 1<<20)), ErrReportSize, "one element"},
		"gzip in gzip":                   {gzipped(gzipped(good)), ErrReport, "archive within"},
		"zip in gzip":                    {gzipped(zipped(t, "a", good)), ErrReport, "archive within"},
		"zip in zip":                     {zipped(t, "a.zip", zipped(t, "a", good)), ErrReport, "archive within"},
		"gzip in zip":                    {zipped(t, "a.gz", gzipped(good)), ErrReport, "archive within"},
		"two files":                      {zipped(t, "a.xml", good, "b.xml", good), ErrReport, "2 files"},
		"a folder and a file":            {zipped(t, "d/", "", "d/b.xml", good), ErrReport, "2 files"},
		"no file":                        {"PK\x03\x04" + zipped(t), ErrReport, "0 files"},
		"a broken gzip":                  {gzipped(good)[:40], ErrReport, "EOF"},
		"a gzip with a wrong sum":        {gzipped(good)[:len(gzipped(good))-8] + "\x00\x00\x00\x00\x00\x00\x00\x00", ErrReport, "checksum"},
		"a gzip header only":             {"\x1f\x8b", ErrReport, "gzip"},
		"a broken zip":                   {zipped(t, "a", good)[:60], ErrReport, "zip"},
		"a zip that lies about its size": {lyingZip(t, good), ErrReport, "zip"},
		"a zip that is too large":        {"PK\x03\x04" + strings.Repeat("x", maxPacked), ErrReportSize, "zip file over"},
		"a negative count":               {row("192.0.2.1", "-1"), ErrReport, "count"},
		"a count over 2^40":              {row("192.0.2.1", "1099511627777"), ErrReport, "count"},
		"a count over 2^64":              {row("192.0.2.1", "99999999999999999999999"), ErrReport, "count"},
		"a count that is a fraction":     {row("192.0.2.1", "1.5"), ErrReport, "count"},
		"an empty count":                 {row("192.0.2.1", ""), ErrReport, "count"},
		"no count":                       {sample(`<record><row><source_ip>192.0.2.1</source_ip></row></record>`), ErrReport, "without"},
		"no address":                     {sample(`<record><row><count>1</count></row></record>`), ErrReport, "without"},
		"an address with a zone":         {row("fe80::1%eth0", "1"), ErrReport, "IP address"},
		"an address with a port":         {row("192.0.2.1:25", "1"), ErrReport, "IP address"},
		"a network":                      {row("192.0.2.0/24", "1"), ErrReport, "IP address"},
		"an octal address":               {row("192.000.002.001", "1"), ErrReport, "IP address"},
		"a name for an address":          {row("localhost", "1"), ErrReport, "IP address"},
		"no metadata":                    {`<feedback><policy_published><domain>a.test</domain></policy_published></feedback>`, ErrReport, "no report_metadata"},
		"metadata twice":                 {sample(`<report_metadata></report_metadata>`), ErrReport, "two report_metadata"},
		"a policy twice":                 {sample(`<policy_published></policy_published>`), ErrReport, "two policy_published"},
		"no reporter":                    {sample(oneRecord, "r.test", " "), ErrReport, "who reports"},
		"no report id":                   {sample(oneRecord, "<report_id>1", "<report_id>"), ErrReport, "report_id"},
		"no domain":                      {sample(oneRecord, "example.com", ""), ErrReport, "no domain"},
		"a domain that is none":          {sample(oneRecord, "example.com", "exämple..com"), ErrReport, "no domain"},
		"no time":                        {sample(oneRecord, "<begin>1793491200</begin>", ""), ErrReport, "about"},
		"a negative time":                {sample(oneRecord, "1793491200", "-5"), ErrReport, "begin"},
		"an end before the begin":        {sample(oneRecord, "1793577600", "1793491199"), ErrReport, "about"},
		"two months":                     {sample(oneRecord, "1793577600", "1798761600"), ErrReport, "about"},
		"the year 1971":                  {sample(oneRecord, "1793491200", "31536000", "1793577600", "31536001"), ErrReport, "about"},
		"the far future":                 {sample(oneRecord, "1793577600", "99999999999"), ErrReport, "end"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ParseAggregate(strings.NewReader(tt.raw), "x")
			if a != nil && err == nil || !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("got %v; want %v with %q", err, tt.want, tt.says)
			}
		})
	}
}

// RX-14: the limits that take long to reach in a whole report.
func TestParseAggregateLimits(t *testing.T) {
	t.Parallel()
	full := parser{a: &Aggregate{Rows: make([]Row, maxRows)}}
	if err := full.feedback("record"); !errors.Is(err, ErrReportSize) {
		t.Errorf("a record too many: %v", err)
	}
	const piece = 1 << 20 // a gzip file may be made of many
	for form, raw := range map[string]string{
		"gzip": strings.Repeat(gzipped(strings.Repeat(" ", piece)), maxUnpacked/piece+1), "plain": strings.Repeat(" ", maxUnpacked+1),
	} {
		in, err := unpack(strings.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		n := 0
		for buf := make([]byte, 32<<10); err == nil; {
			var got int
			got, err = in.Read(buf)
			in.token = 0 // as if each of it were one
			n += got
		}
		if !errors.Is(err, ErrReportSize) || n > maxUnpacked || n < maxUnpacked-64<<10 {
			t.Errorf("%s: %d octets, then %v", form, n, err)
		}
	}
}

// What is odd but can be understood is taken, and cut to size.
func TestParseAggregateBears(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 400)
	for name, tt := range map[string]struct {
		raw  string
		want func(*Aggregate) bool
	}{
		"no records":                {sample(""), func(a *Aggregate) bool { return len(a.Rows) == 0 }},
		"a count of 2^40":           {sample(oneRecord, ">5<", ">1099511627776<"), func(a *Aggregate) bool { return a.Rows[0].Count == 1<<40 }},
		"a long text":               {sample(oneRecord, "r.test", long), func(a *Aggregate) bool { return a.Org == long[:maxText] }},
		"lines and control signs":   {sample(oneRecord, "r.test", "\n\t a\u202e\u200b\u0085b\n c \n"), func(a *Aggregate) bool { return a.Org == "a b  c" }},
		"CDATA":                     {sample(oneRecord, "r.test", "<![CDATA[<b>&]]>"), func(a *Aggregate) bool { return a.Org == "<b>&" }},
		"markup within a text":      {sample(oneRecord, "r.test", "a<b>x</b>c"), func(a *Aggregate) bool { return a.Org == "ac" }},
		"an e-mail address for org": {sample(oneRecord, "<org_name>r.test</org_name>", "<email>d@r.test</email>"), func(a *Aggregate) bool { return a.Org == "d@r.test" }},
		"an unknown element":        {sample("<new><record>x</record></new>" + oneRecord), func(a *Aggregate) bool { return len(a.Rows) == 1 }},
		"a record of others":        {sample(`<x:record xmlns:x="urn:x"/>` + oneRecord), func(a *Aggregate) bool { return len(a.Rows) == 1 }},
		"an unknown disposition":    {sample(strings.Replace(oneRecord, "</count>", "</count><policy_evaluated><disposition>none!</disposition><dkim>PASS</dkim><spf>softfail</spf></policy_evaluated>", 1)), func(a *Aggregate) bool { return a.Rows[0].Disposition == "none" && a.Rows[0].DKIM && !a.Rows[0].SPF }},
		"many signatures": {sample(strings.Replace(oneRecord, "</row>", "</row><auth_results>"+strings.Repeat("<dkim><domain>a.test</domain><result>pass</result></dkim>", 1000)+"</auth_results>", 1)),
			func(a *Aggregate) bool { return len(a.Rows[0].Signatures) == maxSignResult }},
		"two SPF results": {sample(strings.Replace(oneRecord, "</row>", "</row><auth_results><spf><domain>h.test</domain><scope>helo</scope><result>none</result></spf><spf><domain>m.test</domain><scope>mfrom</scope><result>pass</result></spf></auth_results>", 1)),
			func(a *Aggregate) bool { return a.Rows[0].SPFDomain == "m.test" && a.Rows[0].SPFScope == "mfrom" }},
	} {
		a, err := ParseAggregate(strings.NewReader(tt.raw), "x")
		if err != nil || !tt.want(a) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// A bomb does not cost more memory than its limits say. Not parallel: it looks at
// what the whole process takes.
func TestParseAggregateIsBounded(t *testing.T) {
	bomb := gzipped("<feedback><!--") + strings.Repeat(gzipped(strings.Repeat("x", 1<<20)), 16)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ParseAggregate(strings.NewReader(bomb), "x"); !errors.Is(err, ErrReportSize) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d octets for a comment without end", n)
	}
}

func FuzzParseAggregate(f *testing.F) {
	for _, s := range []string{rfc7489, rfc9990, prefixed, sample(oneRecord)} {
		f.Add([]byte(s))
		f.Add([]byte(gzipped(s)))
		f.Add([]byte(zipped(f, "x", s)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := ParseAggregate(bytes.NewReader(raw), "fuzz")
		if err != nil {
			if !errors.Is(err, ErrReport) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if _, err := json.Marshal(a); err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, r := range a.Rows {
			if !r.Addr.IsValid() || r.Count < 0 || r.Count > maxCount || len(r.HeaderFrom) > maxName || len(r.Signatures) > maxSignResult {
				t.Fatalf("over the limits: %+v", r)
			}
			sum += r.Count
		}
		k := a.Keep(netip.Addr{}, time.Time{})
		var kept int64
		for _, s := range k.Sources {
			kept += s.Count
			if len(s.Signatures) > maxListed || len(s.Reasons) > maxListed {
				t.Fatalf("over the limits: %+v", s)
			}
		}
		if sum != k.Messages || sum != kept || k.Messages != k.Aligned+k.Failing || len(k.Sources) > MaxSources+16 {
			t.Fatalf("%d messages, %+v, %d in sources", sum, k.Totals, kept)
		}
	})
}

func TestKeep(t *testing.T) {
	t.Parallel()
	a, err := ParseAggregate(strings.NewReader(rfc7489), "x")
	if err != nil {
		t.Fatal(err)
	}
	second := a.Rows[1]
	second.Signatures = []Signature{second.Signatures[1], second.Signatures[0], second.Signatures[0]} // another order, one twice: the same source
	a.Rows = append(a.Rows, second)
	at, from := time.Unix(1793600000, 0), netip.MustParseAddr("198.51.100.1")
	got := a.Keep(from, at)
	want := Kept{
		Head: Head{Org: a.Org, Email: a.Email, ReportID: a.ReportID, Begin: a.Begin, End: a.End, ReceivedAt: at, From: from, Published: a.Published,
			Totals: Totals{Messages: 1210, Aligned: 1204, DKIM: 1204, Failing: 6}},
		Sources: []Source{
			{Addr: netip.MustParseAddr("192.0.2.25"), HeaderFrom: "example.com", Disposition: "none", DKIM: true, SPFCheck: "pass em1.example.com", Signatures: "pass example.com s1", Count: 1204},
			{Addr: netip.MustParseAddr("2001:db8::1"), HeaderFrom: "news.example.com", Disposition: "none", SPFCheck: "fail list.example.org",
				Signatures: "fail example.com s1, pass list.example.org k", Reasons: "local_policy", Count: 6},
		},
	}
	if diff := cmp.Diff(want, got, sameAddr); diff != "" {
		t.Error(diff)
	}

	// Many sources: the largest stay, the rest are one without an address.
	a.Rows = nil
	for i := range MaxSources + 500 {
		a.Rows = append(a.Rows, Row{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Count: int64(2000 - i), Disposition: "reject", HeaderFrom: "example.com"})
	}
	got = a.Keep(from, at)
	if n := len(got.Sources); n != MaxSources+1 {
		t.Fatalf("%d sources", n)
	}
	rest := got.Sources[MaxSources]
	if rest.Addr.IsValid() || rest.Count != 500*(501+1000)/2 || got.Sources[0].Count != 2000 || got.Rejected != got.Failing || got.Failing != got.Messages {
		t.Errorf("the rest %+v, in all %+v", rest, got.Totals)
	}
}

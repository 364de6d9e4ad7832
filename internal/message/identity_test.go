package message

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIdentify(t *testing.T) {
	t.Parallel()
	far := strings.Repeat("X-Filler: 1\r\n", 500)
	for name, c := range map[string]struct {
		head  string
		want  []string
		err   Reason
		field string
	}{
		"plain":                    {"From: a@x.test\r\n", []string{"a@x.test"}, "", ""},
		"with Sender":              {"From: a@x.test\r\nSender: S <s@y.test>\r\n", []string{"a@x.test", "s@y.test"}, "", ""},
		"ID-06 folded":             {"From:\r\n\ta@x.test\r\n", []string{"a@x.test"}, "", ""},
		"ID-03 two From":           {"From: a@x.test\r\nFrom: b@x.test\r\n", nil, Duplicate, "From"},
		"ID-03 other case":         {"From: a@x.test\r\nfRoM: b@x.test\r\n", nil, Duplicate, "From"},
		"ID-03 far apart":          {"From: a@x.test\r\n" + far + "FROM: b@x.test\r\n", nil, Duplicate, "From"},
		"ID-03 the same twice":     {"From: a@x.test\r\nFrom: a@x.test\r\n", nil, Duplicate, "From"},
		"ID-04 several":            {"From: a@x.test, b@y.test\r\nSender: a@x.test\r\n", nil, Several, "From"},
		"ID-04 no Sender":          {"From: a@x.test, b@x.test\r\n", nil, Several, "From"},
		"ID-04 one domain, Sender": {"From: a@x.test, B <b@X.test>\r\nSender: s@x.test\r\n", []string{"a@x.test", "b@x.test", "s@x.test"}, "", ""},
		"ID-04 two Senders":        {"From: a@x.test, b@x.test\r\nSender: a@x.test, b@x.test\r\n", nil, Several, "Sender"},
		"ID-04 many":               {"From: " + strings.Repeat("a@x.test, ", 10) + "a@x.test\r\nSender: a@x.test\r\n", nil, TooLarge, "From"},
		"ID-04 group":              {"From: g: a@x.test, b@x.test;\r\nSender: a@x.test\r\n", nil, Unparseable, "From"},
		"ID-05 none":               {"To: a@x.test\r\n", nil, Missing, "From"},
		"ID-05 Sender only":        {"Sender: a@x.test\r\n", nil, Missing, "From"},
		"ID-07 empty":              {"From:\r\n", nil, Unparseable, "From"},
		"ID-07 empty group":        {"From: none:;\r\n", nil, Unparseable, "From"},
		"ID-08 bad Sender":         {"From: a@x.test\r\nSender: <b\r\n", nil, Unparseable, "Sender"},
		"ID-08 two Senders":        {"From: a@x.test\r\nSender: a@x.test\r\nsender: b@x.test\r\n", nil, Duplicate, "Sender"},
		"ID-08 Sender list":        {"From: a@x.test\r\nSender: a@x.test, b@x.test\r\n", nil, Several, "Sender"},
		"ID-08 resent":             {"Resent-From: r@x.test\r\nResent-Sender: q@y.test\r\nFrom: a@x.test\r\nresent-from: p@z.test\r\n", []string{"a@x.test", "r@x.test", "q@y.test", "p@z.test"}, "", ""},
		"ID-08 bad resent":         {"From: a@x.test\r\nResent-From: <\r\n", nil, Unparseable, "Resent-From"},
		"many resent":              {"From: a@x.test\r\n" + strings.Repeat("Resent-From: r@x.test\r\n", 101), nil, TooLarge, "Resent-From"},
		"ID-20 Reply-To is free":   {"From: a@x.test\r\nReply-To: garbage <<\r\n", []string{"a@x.test"}, "", ""},
		"HD-10 two To":             {"From: a@x.test\r\nTo: a@x.test\r\nTo: b@x.test\r\n", nil, Duplicate, "To"},
		"HD-10 two Subject":        {"From: a@x.test\r\nSubject: 1\r\nSUBJECT: 2\r\n", nil, Duplicate, "Subject"},
		"HD-10 two Date":           {"From: a@x.test\r\nDate: 1\r\nDate: 2\r\n", nil, Duplicate, "Date"},
		"HD-10 two Message-ID":     {"From: a@x.test\r\nMessage-ID: <1@x>\r\nMessage-Id: <2@x>\r\n", nil, Duplicate, "Message-ID"},
		"HD-10 two Content-Type":   {"From: a@x.test\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n", nil, Duplicate, "Content-Type"},
		"two Bcc are only removed": {"From: a@x.test\r\nBcc: a@x.test\r\nBcc: b@x.test\r\n", []string{"a@x.test"}, "", ""},
		"8-bit name":               {"From: J\xf6rg <a@x.test>\r\n", nil, Unparseable, "From"},
		"UTF-8 name":               {"From: J\u00f6rg <a@x.test>\r\n", []string{"a@x.test"}, "", ""},
	} {
		h := mustHeader(t, c.head+"\r\n")
		id, err := Identify(&h, true)
		var field string
		if e, ok := err.(*Error); ok {
			field = e.Field
		}
		if ReasonOf(err) != c.err || field != c.field || (err == nil) != (c.err == "") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil {
			if diff := cmp.Diff(c.want, addressesOf(id.Mailboxes())); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

// Without SMTPUTF8 a name may be UTF-8, an address may not.
func TestIdentifyNeedsUTF8(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]Reason{
		"J\u00f6rg <a@x.test>": "", "\"J\u00f6rg\" <a@x.test> (\u00e9)": "", "\u00e9@x.test": Unparseable, "<a@b\u00fccher.test>": Unparseable,
		"\"\u00e9\"@x.test": Unparseable, "J\xf6rg <a@x.test>": Unparseable, "\x83\x5c <a@x.test>": Unparseable,
	} {
		h, err := ParseHeader([]byte("From: "+from+"\r\n\r\n"), Limits{Octets: AnyOctet})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Identify(&h, false); ReasonOf(err) != want || (err == nil) != (want == "") {
			t.Errorf("%q: %v, want %q", from, err, want)
		}
	}
}

// TestErrorsRepeatNothing: an *Error's text is safe to send back.
func TestErrorsRepeatNothing(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"From: <SECRET\r\n\r\n", "From: a@x.test, SECRET@x.test\r\n\r\n", "SECRET\r\n\r\n", "From: a@x.test\r\nSender: (SECRET\r\n\r\n"} {
		h, err := ParseHeader([]byte(in), Limits{})
		if err == nil {
			_, err = Identify(&h, false)
		}
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestReceived(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 5, 7, 8, 9, 0, time.FixedZone("", 2*3600))
	full := Trace{Helo: "client.example.com", Host: "relay.test", Protocol: "ESMTPSA", ID: "AZGd0Z-_abc", TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256", At: at}
	want := "Received: from client.example.com\r\n\tby relay.test (postern) with ESMTPSA id AZGd0Z-_abc\r\n" +
		"\t(TLS 1.3 TLS_AES_128_GCM_SHA256);\r\n\tThu, 05 Nov 2026 07:08:09 +0200\r\n"
	if got := string(full.Received().Raw); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	for helo, want := range map[string]string{
		"[192.0.2.1]":                 "unknown",
		"[IPv6:2001:db8::1]":          "unknown",
		"192.0.2.1":                   "unknown",
		"2001:db8::1":                 "unknown",
		"":                            "unknown",
		"()":                          "unknown",
		"a (b) by evil; x\r\nFrom: y": "unknown", // HD-09; the colon
		"a (b) by evil; x\r\n":        "abbyevilx",
		"host_name.example":           "hostname.example",
		"xn--bcher-kva.example":       "xn--bcher-kva.example",
		strings.Repeat("a", 300):      strings.Repeat("a", 255),
	} {
		f := Trace{Helo: helo, Host: "h.test", Protocol: "ESMTPSA", ID: "1", At: at}.Received()
		if line, _, _ := strings.Cut(string(f.Raw), "\r\n"); line != "Received: from "+want {
			t.Errorf("%q gives %q", helo, line)
		}
		h := mustHeader(t, string(f.Raw)+"\r\n")
		if len(h.Fields) != 1 || h.CountHops("h.test").Ours != 1 {
			t.Errorf("%q breaks the field: %q", helo, f.Raw)
		}
	}
}

func TestCountHops(t *testing.T) {
	t.Parallel()
	h := mustHeader(t, strings.Repeat("Received: from a.test\r\n by other.test; x\r\n", 99)+
		"Received: from x (by relay.test) by\r\n\tRELAY.test. (postern) with SMTP; d\r\n"+
		"Received: from by by relay.test; d\r\n"+ // an EHLO name "by" shifts nothing
		"Received: from x; by relay.test\r\n"+
		"X-Received: by relay.test\r\n\r\n")
	if diff := cmp.Diff(Hops{Received: 102, Ours: 1}, h.CountHops("relay.test", "")); diff != "" {
		t.Error(diff)
	}
}

func TestRemoveForged(t *testing.T) {
	t.Parallel()
	keep := "Authentication-Results: other.test; dkim=pass\r\n" +
		"ARC-Authentication-Results: i=1; other.test; spf=pass\r\n" +
		"Received-SPF: pass (x) receiver=other.test; client-ip=192.0.2.1\r\n" +
		"From: relay.test <a@x.test>\r\n"
	h := mustHeader(t, keep+
		"Authentication-Results: relay.test; dkim=pass\r\n"+
		"authentication-results: (c) Relay.Test 1; none\r\n"+
		"Authentication-Results: \"relay.test\"; none\r\n"+
		"Authentication-Results: relay.test.; none\r\n"+
		"Authentication-Results:\r\n"+
		"ARC-Authentication-Results: i=1; relay.test; dkim=pass\r\n"+
		"ARC-Authentication-Results: nonsense\r\n"+
		"Received-SPF: pass receiver=relay.test;\r\n\r\n")
	if n := h.RemoveForged("relay.test"); n != 8 {
		t.Errorf("removed %d", n)
	}
	if got := string(h.Bytes()); got != keep+"\r\n" {
		t.Errorf("left:\n%s", got)
	}
}

func TestNewMessageID(t *testing.T) {
	t.Parallel()
	a, b := NewMessageID("relay.test"), NewMessageID("relay.test")
	if a == b || !strings.HasPrefix(a, "<") || !strings.HasSuffix(a, "@relay.test>") || len(a) != 1+26+12 {
		t.Errorf("%q %q", a, b)
	}
}

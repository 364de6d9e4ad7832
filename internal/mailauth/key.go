package mailauth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"postern/internal/finding"
)

// Key is what one selector publishes.
type Key struct {
	Selector string `json:"selector"`
	Name     string `json:"name"` // where its record is
	Record   string `json:"record,omitempty"`
	Alias    string `json:"alias,omitempty"` // what the name is a CNAME of
	Type     string `json:"type,omitempty"`  // "rsa" or "ed25519"
	Bits     int    `json:"bits,omitempty"`
	Testing  bool   `json:"testing,omitempty"` // t=y
	Revoked  bool   `json:"revoked,omitempty"` // an empty p=
	Usable   bool   `json:"usable"`            // signatures with it verify
}

// The sizes of RSA keys, RFC 8301 §3.2.
const (
	leastBits     = 1024 // below, verifiers must not accept a signature
	advisableBits = 2048
	mostBits      = 4096 // verifiers need not take more
)

// parseKey reads a key record, RFC 6376 §3.6.1. findings lack Record and Where.
func parseKey(k *Key, record string) (fs []finding.Finding) {
	k.Record = cut(record)
	bad := func(code, text, fix string) {
		fs = append(fs, finding.Finding{Severity: finding.Error, Code: code, Text: text, Fix: fix, Found: k.Record})
	}
	if strings.ContainsAny(record, "\"\\“”") {
		bad("dkim_quoted", fmt.Sprintf("The record of selector %s contains quotation marks or backslashes: they became part of the value.", k.Selector),
			"Enter the value without them; a long value is cut into strings by the DNS software, or as its manual says.")
		return fs
	}
	t, fault := keyTags(record)
	switch v, ok := t["v"]; {
	case fault != "":
		bad("dkim_syntax", fmt.Sprintf("The record of selector %s is not a list of tags: %s.", k.Selector, fault), "Publish it as v=DKIM1; k=rsa; p=… with a semicolon after each tag.")
		return fs
	case ok && v != "DKIM1" || ok && !strings.HasPrefix(strings.TrimLeft(record, " \t"), "v"):
		bad("dkim_version", fmt.Sprintf("The record of selector %s has %s: verifiers ignore it unless it begins with v=DKIM1, written so.", k.Selector, finding.Quote("v="+v)), "Begin the record with v=DKIM1;")
		return fs
	}
	flags := strings.Split(strings.ReplaceAll(t["t"], " ", ""), ":")
	if k.Testing = slices.Contains(flags, "y"); k.Testing {
		fs = append(fs, finding.Finding{Severity: finding.Warning, Code: "dkim_testing", Found: "t=" + t["t"],
			Text: fmt.Sprintf("The key of selector %s is marked as a test (t=y): some receivers treat mail that it signs as unsigned.", k.Selector), Fix: "Take t=y out of the record."})
	}
	if h, ok := t["h"]; ok && !slices.Contains(list(h), "sha256") {
		bad("dkim_hash", fmt.Sprintf("The key of selector %s allows no hash that is still accepted (%s).", k.Selector, finding.Quote("h="+h)), "Take h= out, or write h=sha256.")
	}
	if s, ok := t["s"]; ok && !slices.Contains(list(s), "email") && !slices.Contains(list(s), "*") {
		bad("dkim_service", fmt.Sprintf("The key of selector %s is not for mail (%s).", k.Selector, finding.Quote("s="+s)), "Take s= out, or write s=email.")
	}
	p, ok := t["p"]
	if !ok {
		bad("dkim_no_key", fmt.Sprintf("The record of selector %s has no p= with the public key.", k.Selector), "Publish the whole record.")
		return fs
	}
	if p == "" {
		k.Revoked = true
		return append(fs, finding.Finding{Severity: finding.Info, Code: "dkim_revoked", Found: k.Record,
			Text: fmt.Sprintf("The key of selector %s was revoked (p= is empty): nothing signed with it passes.", k.Selector)})
	}
	before := finding.Worst(fs)
	fs = append(fs, k.public(t["k"], p)...)
	k.Usable = before != finding.Error && finding.Worst(fs) != finding.Error
	return fs
}

// list reads "a : b" in lower case.
func list(s string) []string {
	out := strings.Split(strings.ToLower(s), ":")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

// keyTags reads a tag-list strictly, RFC 6376 §3.2. White space within values is taken
// out, since only p= has values with it that matter.
func keyTags(record string) (t map[string]string, fault string) {
	t = map[string]string{}
	for tag := range strings.SplitSeq(record, ";") {
		if strings.TrimSpace(tag) == "" {
			continue
		}
		name, value, ok := strings.Cut(tag, "=")
		name = strings.TrimSpace(name)
		switch _, twice := t[name]; {
		case !ok || name == "":
			return nil, fmt.Sprintf("%s has no equals sign", finding.Quote(strings.TrimSpace(tag)))
		case strings.ContainsAny(name, " \t") || name == "v" && strings.ContainsAny(strings.TrimSpace(value), " \t"):
			return nil, fmt.Sprintf("a semicolon is missing near %s", finding.Quote(strings.TrimSpace(tag)))
		case twice:
			return nil, fmt.Sprintf("the tag %s is there twice", finding.Quote(name))
		}
		if t[name] = strings.TrimSpace(value); name == "p" {
			t[name] = strings.Join(strings.Fields(value), "")
		}
	}
	return t, ""
}

// public reads the key itself.
func (k *Key) public(typ, p string) (fs []finding.Finding) {
	bad := func(code, text, fix string) []finding.Finding {
		return []finding.Finding{{Severity: finding.Error, Code: code, Text: text, Fix: fix, Found: k.Record}}
	}
	if strings.Contains(p, "BEGIN") || strings.Contains(p, "-----") {
		return bad("dkim_key", fmt.Sprintf("The record of selector %s holds the lines of a PEM file.", k.Selector), "Publish only the base64 text between the BEGIN and END lines, without line breaks.")
	}
	der, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		if der, err = base64.RawStdEncoding.DecodeString(p); err != nil {
			return bad("dkim_key", fmt.Sprintf("The public key of selector %s is not base64%s.", k.Selector, short(k.Record)), "Publish the whole value again, as it was given.")
		}
	}
	switch k.Type = strings.ToLower(typ); k.Type {
	case "", "rsa":
		k.Type = "rsa"
		return k.rsa(der, bad)
	case "ed25519":
		if k.Bits = 256; len(der) == ed25519.PublicKeySize {
			return nil
		}
		k.Bits = 0
		return bad("dkim_key", fmt.Sprintf("The Ed25519 key of selector %s has %d octets instead of %d.", k.Selector, len(der), ed25519.PublicKeySize), "Publish the key itself, without the ASN.1 wrapping (RFC 8463 §4).")
	}
	k.Type = cut(k.Type)
	return bad("dkim_type", fmt.Sprintf("The key of selector %s is of the unknown type %s.", k.Selector, finding.Quote(typ)), "Use k=rsa or k=ed25519.")
}

// short hints at a value that was cut off.
func short(record string) string {
	if n := len(record); n >= 253 && n <= 256 {
		return fmt.Sprintf("; the record ends after %d octets, so it was probably cut off", n)
	}
	return ""
}

func (k *Key) rsa(der []byte, bad func(code, text, fix string) []finding.Finding) []finding.Finding {
	var key *rsa.PublicKey
	if pub, err := x509.ParsePKIXPublicKey(der); err == nil {
		key, _ = pub.(*rsa.PublicKey)
	} else if pub, err := x509.ParsePKCS1PublicKey(der); err == nil {
		key = pub
	}
	if key == nil {
		hint := short(k.Record)
		if hint == "" && bytes.HasPrefix(der, []byte{0x30}) {
			hint = "; it may have been cut off"
		}
		return bad("dkim_key", fmt.Sprintf("The public key of selector %s cannot be read%s.", k.Selector, hint), "Publish the whole value again; a TXT value over 255 octets is entered as several strings, or in one piece where the DNS host cuts it itself.")
	}
	k.Bits = key.N.BitLen()
	f := finding.Finding{Severity: finding.Warning, Code: "dkim_weak", Found: fmt.Sprintf("%d bits", k.Bits), Expected: fmt.Sprintf("%d bits", advisableBits),
		Fix: fmt.Sprintf("Make a key of %d bits under a new selector and sign with that.", advisableBits)}
	switch {
	case k.Bits < leastBits:
		f.Severity = finding.Error
		f.Text = fmt.Sprintf("The RSA key of selector %s has %d bits: it can be broken, and receivers must not accept it (RFC 8301 §3.2).", k.Selector, k.Bits)
	case k.Bits < advisableBits:
		f.Text = fmt.Sprintf("The RSA key of selector %s has %d bits; %d are advisable.", k.Selector, k.Bits, advisableBits)
	case k.Bits > mostBits:
		f.Code = "dkim_large"
		f.Text = fmt.Sprintf("The RSA key of selector %s has %d bits; receivers need not accept more than %d.", k.Selector, k.Bits, mostBits)
	default:
		return nil
	}
	return []finding.Finding{f}
}

package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/message"
	"postern/internal/spf"
)

// maxSignatures bounds the DKIM signatures that are looked at in one message.
const maxSignatures = 16

// Envelope is what came before the content.
type Envelope struct {
	Remote   netip.Addr
	Helo     string
	MailFrom string // address in wire form; "": null
	Domain   string // of MailFrom, A-label
}

// Verdict is what the three mechanisms say of one message.
type Verdict struct {
	SPF        string // RFC 7208 §2.6
	SPFDomain  string // the identity that SPF was checked for
	Signatures []Signature
	DKIM       string // "pass" if one signature passed, else the most hopeful result, "none" without any
	Author     string // domain of From; "" where there is not exactly one
	DMARC      string
	Result     dmarc.Result
}

// Verifier checks messages. It is safe for concurrent use.
type Verifier struct {
	Resolver dns.Resolver
	Hostname string // whose results these are, in Authentication-Results
}

// Verify checks one message as received. It never fails: trouble is a result.
func (v *Verifier) Verify(ctx context.Context, env Envelope, raw []byte) Verdict {
	var out Verdict
	out.SPF, out.SPFDomain = v.spf(ctx, env)
	out.Signatures, out.DKIM = v.dkim(ctx, raw)
	out.Author = author(raw)
	in := dmarc.Input{
		Author: out.Author,
		SPF:    dmarc.Check{Domain: out.SPFDomain, Pass: out.SPF == spf.Pass, Temp: out.SPF == spf.TempError},
	}
	for _, s := range out.Signatures {
		in.DKIM = append(in.DKIM, dmarc.Check{Domain: s.Domain, Pass: s.Result == "pass", Temp: s.Result == "temperror"})
	}
	out.Result = dmarc.Evaluate(ctx, v.Resolver, in)
	out.DMARC = string(out.Result.Outcome)
	return out
}

// spf checks the sender's host against the reverse-path's domain or, where that
// is null, the HELO name (RFC 7208 §2.4).
func (v *Verifier) spf(ctx context.Context, env Envelope) (result, domain string) {
	sender := ""
	if domain = env.Domain; domain == "" {
		domain = strings.ToLower(env.Helo)
	} else {
		sender = env.MailFrom[:max(strings.LastIndexByte(env.MailFrom, '@'), 0)] + "@" + domain
	}
	result, _ = spf.Check(ctx, v.Resolver, env.Remote, env.Helo, sender)
	return result, domain
}

// dkim checks every signature, the topmost 16.
func (v *Verifier) dkim(ctx context.Context, raw []byte) (sigs []Signature, best string) {
	results, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{
		MaxVerifications: maxSignatures,
		LookupTXT: func(name string) ([]string, error) {
			return v.txt(ctx, name)
		},
	})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		return nil, "permerror"
	}
	fields := signatureFields(raw)
	best = "none"
	for i, r := range results {
		s := Signature{Domain: strings.ToLower(r.Domain), Result: "pass"}
		if i < len(fields) {
			s.Selector, s.Algorithm = fields[i]["s"], fields[i]["a"]
		}
		if r.Err != nil {
			s.Reason = strings.TrimPrefix(r.Err.Error(), "dkim: ")
			switch {
			case dkim.IsTempFail(r.Err):
				s.Result = "temperror"
			case dkim.IsPermFail(r.Err):
				s.Result = "permerror"
			default:
				s.Result = "fail"
			}
		}
		sigs = append(sigs, s)
		if hope[s.Result] > hope[best] {
			best = s.Result
		}
	}
	return sigs, best
}

// hope orders results: a message is as good as its best signature.
var hope = map[string]int{"none": 0, "permerror": 1, "fail": 2, "temperror": 3, "pass": 4}

// signatureFields reads the tags of each DKIM-Signature field, topmost first.
func signatureFields(raw []byte) (out []map[string]string) {
	h, err := message.ParseHeader(raw, message.Limits{Octets: message.AnyOctet})
	if err != nil {
		return nil
	}
	for _, f := range h.All("DKIM-Signature") {
		tags := make(map[string]string)
		for tag := range strings.SplitSeq(string(f.Value()), ";") {
			name, value, _ := strings.Cut(tag, "=")
			tags[strings.TrimSpace(name)] = strings.Join(strings.Fields(value), "")
		}
		out = append(out, tags)
	}
	return out
}

// author is the domain of the one mailbox in the one From field. DMARC says
// nothing of other messages.
func author(raw []byte) string {
	h, err := message.ParseHeader(raw, message.Limits{Octets: message.AnyOctet})
	if err != nil || h.Count("From") != 1 {
		return ""
	}
	from, _ := h.First("From")
	boxes, err := message.ParseMailboxes(from.Value(), message.AddressLimits{UTF8: true})
	if err != nil || len(boxes) != 1 || boxes[0].Address.IsLiteral() {
		return ""
	}
	return boxes[0].Address.ASCIIDomain()
}

// AuthenticationResults is the value of the field of that name, RFC 8601.
func (v *Verifier) AuthenticationResults(env Envelope, r Verdict) string {
	var b strings.Builder
	b.WriteString(v.Hostname)
	if env.MailFrom == "" {
		fmt.Fprintf(&b, "; spf=%s smtp.helo=%s", r.SPF, token(env.Helo))
	} else {
		fmt.Fprintf(&b, "; spf=%s smtp.mailfrom=%s", r.SPF, token(r.SPFDomain))
	}
	if len(r.Signatures) == 0 {
		fmt.Fprintf(&b, "; dkim=%s", r.DKIM)
	}
	for _, s := range r.Signatures {
		fmt.Fprintf(&b, "; dkim=%s header.d=%s header.s=%s header.a=%s", s.Result, token(s.Domain), token(s.Selector), token(s.Algorithm))
	}
	fmt.Fprintf(&b, "; dmarc=%s", r.DMARC)
	if r.Author != "" {
		fmt.Fprintf(&b, " header.from=%s", token(r.Author))
	}
	return b.String()
}

// token keeps what may stand bare in the field; it comes from strangers.
func token(s string) string {
	if len(s) > 255 {
		s = s[:255]
	}
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.[]:", c) {
			return c
		}
		return '?'
	}, s)
}

// txt asks for records with the kind of error that the DKIM library judges.
func (v *Verifier) txt(ctx context.Context, name string) ([]string, error) {
	txt, _, err := v.Resolver.TXT(ctx, name)
	if err == nil {
		return txt, nil
	}
	missing := errors.Is(err, dns.ErrNotFound) || errors.Is(err, dns.ErrNoData)
	return nil, &net.DNSError{Err: err.Error(), Name: name, IsNotFound: missing, IsTemporary: !missing, UnwrapErr: err}
}

package submit

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"postern/internal/message"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/smtp"
)

// judged is a header section that was found good, with its edits made.
type judged struct {
	header   message.Header
	head     []byte // set when the section was re-made for long lines
	identity message.Identity
	decision sender.Decision
	api      message.SMTPAPI
	pool     relay.Pool
	// Of the envelope and of X-SMTPAPI together.
	categories []string
	uniqueArgs map[string]string
	subject    string
	id         string // Message-ID
	eight      bool   // the header section holds octets over 127
	utf8       bool   // and the client said that they are UTF-8: the next hop must know
}

func (d *judged) bytes() []byte {
	if d.head != nil {
		return d.head
	}
	return d.header.Bytes()
}

// judge reads the header section once, decides on it, and edits it. The
// identity is judged on the fields that stay: nothing that is looked at here is
// changed afterwards.
func (in *Incoming) judge() (*judged, error) {
	// deviation: RFC 5322 §2.2 wants ASCII where SMTPUTF8 was not asked for. Old
	// programs write raw 8-bit subjects, and every receiver copes; so other octets
	// are taken and left as they are. In fields that say who writes, display names
	// may be UTF-8, and nothing else.
	octets := message.AnyOctet
	if in.env.SMTPUTF8 {
		octets = message.UTF8
	}
	if len(in.head) == 0 {
		return nil, smtp.R(554, 5, 6, 0, "The message is empty")
	}
	h, err := message.ParseHeader(in.head, message.Limits{Bytes: in.s.cfg.HeaderBytes, Fields: in.s.cfg.HeaderFields, Octets: octets})
	if err != nil {
		return nil, err
	}
	d := &judged{header: h, eight: h.NonASCII(), utf8: h.NonASCII() && in.env.SMTPUTF8}
	if hops := h.CountHops(in.s.names()...); hops.Received > in.s.cfg.MaxHops || hops.Ours >= maxOwnHops {
		return nil, replyLoop
	}
	if d.identity, err = message.Identify(&d.header, in.env.SMTPUTF8); err != nil {
		return nil, err
	}
	if d.decision, err = in.s.May(in.p, sender.Mail{Envelope: in.env.From, Header: d.identity}, in.env.Source); err != nil {
		return nil, err
	}
	if err := in.smtpapi(d); err != nil {
		return nil, err
	}
	return d, in.edit(d)
}

// maxOwnHops: a message that has passed this relay so often comes back to it.
const maxOwnHops = 5

func (s *Service) names() []string { return append([]string{s.cfg.Hostname}, s.cfg.Names...) }

// smtpapi takes the X-SMTPAPI fields out and honours what it can.
func (in *Incoming) smtpapi(d *judged) error {
	api, found, err := d.header.TakeSMTPAPI()
	d.api = api
	if found && !in.s.cfg.IgnoreSMTPAPI {
		if err != nil {
			return err
		}
		if len(api.Other) > 0 {
			return smtp.R(554, 5, 6, 0, "X-SMTPAPI: the key \""+api.Other[0]+"\" is not supported; remove it")
		}
	}
	d.categories, d.uniqueArgs = append(slices.Clip(in.env.Categories), api.Categories...), api.UniqueArgs
	if len(in.env.UniqueArgs) > 0 {
		d.uniqueArgs = maps.Clone(in.env.UniqueArgs)
		maps.Copy(d.uniqueArgs, api.UniqueArgs)
	}
	pool, ok := in.s.cfg.Directory.DefaultPool(in.p.Tenant)
	if name := cmp.Or(in.env.Pool, api.IPPool); name != "" {
		named, found := in.s.cfg.Directory.PoolNamed(in.p.Account, name)
		switch {
		case found:
			pool, ok = named, true
		case in.env.Pool != "" || !in.s.cfg.IgnoreSMTPAPI:
			return replyNoPool
		}
	}
	if !ok {
		return smtp.R(451, 4, 3, 5, "No egress pool is set up for this account")
	}
	d.pool = pool
	return nil
}

// ownFields are fields that only postern may write: a client's are removed, so
// that nothing later mistakes them for ours.
const ownFields = "x-postern-"

// edit makes the header edits. What a client may not say is removed, what is
// missing is filled in (RFC 6409 §8), and the trace goes on top.
func (in *Incoming) edit(d *judged) error {
	h := &d.header
	h.Remove("Bcc", "Resent-Bcc", "Return-Path")
	h.RemoveForged(in.s.names()...)
	h.RemoveFunc(func(f message.Field) bool { return strings.HasPrefix(strings.ToLower(f.Name), ownFields) })
	now := in.s.now()
	if h.Count("Date") == 0 {
		f, err := message.FoldField("Date", message.FormatDate(now))
		if err != nil {
			return err
		}
		h.Append(f)
	}
	if vs := h.Values("Message-ID"); len(vs) > 0 {
		d.id = vs[0]
	} else {
		d.id = "<" + in.id.String() + "@" + in.s.cfg.Hostname + ">"
		f, err := message.FoldField("Message-ID", d.id)
		if err != nil {
			return err
		}
		h.Append(f)
	}
	if vs := h.Values("Subject"); len(vs) > 0 {
		d.subject = cut(vs[0], maxSubject)
	}
	h.Prepend(in.received())
	return nil
}

// maxSubject is how much of the subject is kept with the message's records.
const maxSubject = 256

func (in *Incoming) received() message.Field {
	src := in.env.Source
	return message.Trace{
		Helo: src.Helo, Host: in.s.cfg.Hostname, Protocol: src.Protocol, ID: in.id.String(), TLS: src.TLS, At: in.s.now(),
	}.Received()
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

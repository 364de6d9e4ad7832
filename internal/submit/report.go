package submit

import (
	"context"
	"net/netip"
	"strings"

	"postern/internal/relay"
)

// ReportDirectory finds the domain that reports to an address are about;
// *identity.Directory does.
type ReportDirectory interface {
	// DomainByToken finds deleted ones too.
	DomainByToken(token string) (relay.Domain, bool)
}

// ReportTaker keeps aggregate reports; *sender.Reports does. When Take returns
// nil, the message was committed or is of no use: there is nothing to send again.
type ReportTaker interface {
	Take(ctx context.Context, d relay.Domain, from netip.Addr, raw []byte) error
}

// reportPrefix starts the local part of the address that reports about a domain
// go to; its token follows.
const reportPrefix = "dmarc-"

// tokenLen is the length of a domain's token.
const tokenLen = 26

// reportRoute finds the domain that reports to local@host are about.
func (i *Intake) reportRoute(local, host string) (relay.Domain, bool) {
	c := &i.cfg
	if c.Reports == nil || c.ReportDomains == nil || host != strings.ToLower(c.Hostname) && (c.ReportHost == "" || host != strings.ToLower(c.ReportHost)) {
		return relay.Domain{}, false
	}
	token, ok := strings.CutPrefix(strings.ToLower(local), reportPrefix)
	if !ok || len(token) != tokenLen {
		return relay.Domain{}, false
	}
	d, ok := c.ReportDomains.DomainByToken(token)
	if !ok || d.Token != token || !d.DeletedAt.IsZero() {
		return relay.Domain{}, false
	}
	return d, true
}

// reported hands a report over. Failure reports (RFC 9991) come here too, if
// somebody asks for them; nothing in them can be used, and they are dropped.
func (i *Intake) reported(ctx context.Context, env Envelope, d relay.Domain, raw []byte) error {
	return i.cfg.Reports.Take(ctx, d, env.Source.Addr, raw)
}

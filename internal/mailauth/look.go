package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"postern/internal/dns"
	"postern/internal/finding"
)

// looker is one look at one domain.
type looker struct {
	ctx      context.Context
	r        dns.Resolver
	domain   string
	slots    chan struct{}
	progress func(string)
}

func (l *looker) say(area string) {
	if l.progress != nil {
		l.progress(area)
	}
}

// absent: the DNS says that there is no such record.
func absent(err error) bool { return errors.Is(err, dns.ErrNotFound) || errors.Is(err, dns.ErrNoData) }

// limited bounds the questions under way.
type limited struct{ l *looker }

func turn[V any](ctx context.Context, l *looker, f func() (V, bool, error)) (V, bool, error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
		return f()
	case <-ctx.Done():
		var none V
		return none, false, fmt.Errorf("%w: %w", dns.ErrTemporary, ctx.Err())
	}
}

func (r limited) MX(ctx context.Context, name string) ([]dns.MX, bool, error) {
	return turn(ctx, r.l, func() ([]dns.MX, bool, error) { return r.l.r.MX(ctx, name) })
}

func (r limited) Addr(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	return turn(ctx, r.l, func() ([]netip.Addr, bool, error) { return r.l.r.Addr(ctx, host) })
}

func (r limited) TXT(ctx context.Context, name string) ([]string, bool, error) {
	return turn(ctx, r.l, func() ([]string, bool, error) { return r.l.r.TXT(ctx, name) })
}

func (r limited) CNAME(ctx context.Context, name string) (string, bool, error) {
	return turn(ctx, r.l, func() (string, bool, error) { return r.l.r.CNAME(ctx, name) })
}

func (r limited) PTR(ctx context.Context, addr netip.Addr) ([]string, bool, error) {
	return turn(ctx, r.l, func() ([]string, bool, error) { return r.l.r.PTR(ctx, addr) })
}

func (r limited) NS(ctx context.Context, name string) ([]string, bool, error) {
	return turn(ctx, r.l, func() ([]string, bool, error) { return r.l.r.NS(ctx, name) })
}

func (r limited) TLSA(ctx context.Context, name string) ([]dns.TLSA, bool, error) {
	return turn(ctx, r.l, func() ([]dns.TLSA, bool, error) { return r.l.r.TLSA(ctx, name) })
}

// unknown is the finding for a question that was not answered.
func unknown(record, typ, name string) finding.Finding {
	return finding.Finding{Severity: finding.Unknown, Code: "dns_unknown", Record: record, Where: cut(name),
		Text: fmt.Sprintf("The DNS did not answer for %s %s.", typ, finding.Quote(name)),
		Fix:  "Look again later; if it stays so, see whether the domain's name servers answer."}
}

// versioned looks for the TXT records at a name that begin with a version
// ("v=STSv1"). almost are those that were meant to.
func (l *looker) versioned(name, version string) (records, almost []string, err error) {
	txts, _, err := limited{l}.TXT(l.ctx, name)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range txts {
		rest, ok := strings.CutPrefix(s, version)
		if ok && (rest == "" || strings.IndexByte("; \t", rest[0]) >= 0) {
			records = append(records, cut(s))
			continue
		}
		if meant := strings.Trim(strings.ToLower(s), " \t\"'\\"); strings.HasPrefix(meant, strings.ToLower(version)) {
			almost = append(almost, cut(s))
		}
	}
	return records[:min(len(records), maxShown)], almost[:min(len(almost), maxShown)], nil
}

// tags reads "a=b; c=d". Names are in lower case, values without the space around.
func tags(s string) map[string]string {
	out := map[string]string{}
	for tag := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(tag, "=")
		if name = strings.ToLower(strings.TrimSpace(name)); !ok || name == "" {
			continue
		}
		if _, twice := out[name]; !twice {
			out[name] = strings.TrimSpace(value)
		}
	}
	return out
}

// cut bounds a stranger's text.
func cut(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}

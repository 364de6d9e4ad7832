package sender

import (
	"context"
	"errors"
	"strings"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
)

// sight is what the DNS says of one key's record.
type sight struct {
	all     bool // every name server answers with exactly this record
	some    bool // one of them does
	missing bool // the domain's servers answered, and it is not there
	gone    bool // all answered, and there is no record at all
	why     string
}

// sights are by key, not by selector alone: another key may have come into the slot
// since the DNS was asked.
type sights map[slot]sight

type slot struct {
	selector   string
	generation int64
}

func seenOf(k *relay.DKIMKey) slot { return slot{k.Selector, k.Generation} }

// look finds out how the records of those keys stand whose next step depends on
// it.
func (s *Domains) look(ctx context.Context, d relay.Domain, keys []relay.DKIMKey, check relay.DomainCheck) sights {
	out := sights{}
	for i := range keys {
		k := &keys[i]
		switch {
		case waiting(k), signs(k) && k.SeenAt.IsZero():
			out[seenOf(k)] = s.sight(ctx, d, k, check)
		case toReveal(k) && d.Automatic:
			out[seenOf(k)] = s.askFor(ctx, s.Zone.KeyHost(d, k.Selector), k.Record, 0)
		case toReveal(k):
			out[seenOf(k)] = s.askFor(ctx, keyHost(d, k.Selector), k.Record, 1)
		case signs(k) && k.Algorithm == relay.DKIMEd25519:
			rc, ok := checked(check, keyHost(d, k.Selector))
			out[seenOf(k)] = sight{missing: ok && !rc.Valid && !check.Unknown, why: rc.Reason}
		}
	}
	return out
}

// checked is what a check found at a host.
func checked(check relay.DomainCheck, host string) (relay.RecordCheck, bool) {
	for _, rc := range check.Records {
		if strings.EqualFold(rc.Host, host) {
			return rc, true
		}
	}
	return relay.RecordCheck{}, false
}

// sight judges one key's record. Of a TXT record the check has seen the value; of
// an alias it has seen the target, and that is asked here: at our own name servers
// and the secondaries, each of which may be behind.
func (s *Domains) sight(ctx context.Context, d relay.Domain, k *relay.DKIMKey, check relay.DomainCheck) sight {
	rc, ok := checked(check, keyHost(d, k.Selector))
	switch {
	case !ok:
		return s.askFor(ctx, keyHost(d, k.Selector), k.Record, 1)
	case !rc.Valid:
		return sight{missing: !check.Unknown, why: rc.Reason}
	case rc.Type == "CNAME":
		return s.askFor(ctx, rc.Data, k.Record, 0)
	case rc.Data != k.Record:
		return sight{why: "The check is older than the key."}
	}
	return sight{all: true, some: true}
}

// askFor asks every name server of a name for a TXT record, through as many aliases.
func (s *Domains) askFor(ctx context.Context, name, record string, aliases int) sight {
	if s.Authority == nil {
		return sight{why: "Name servers cannot be asked here."}
	}
	asked, err := s.Authority.Ask(ctx, name, "TXT")
	if err != nil || len(asked.Told) == 0 {
		return sight{why: "The name servers of " + name + " could not be found."}
	}
	out := sight{all: true, missing: true, gone: true}
	for _, t := range asked.Told {
		if t.Err == nil && t.CNAME != "" && aliases > 0 {
			return s.askFor(ctx, t.CNAME, record, aliases-1)
		}
		out.gone = out.gone && t.Err != nil && denies(t)
		if t.Err == nil && hasRecord(t, record) {
			out.some, out.missing = true, false
			continue
		}
		if out.all {
			out.why = t.Server + " does not answer with the record of " + name + " yet."
		}
		out.all = false
		out.missing = out.missing && denies(t)
	}
	return out
}

// hasRecord reports whether a server answered with this record and no other: RFC
// 6376 §3.6.2.2 leaves open which of several a verifier takes.
func hasRecord(t dns.Told, record string) bool {
	return len(t.TXT) == 1 && withoutSpace(strings.Join(t.TXT[0], "")) == withoutSpace(record)
}

// denies reports whether a server answered and does not have the record: one that
// does not answer says nothing.
func denies(t dns.Told) bool {
	return t.Err == nil || errors.Is(t.Err, dns.ErrNotFound) || errors.Is(t.Err, dns.ErrNoData)
}

// withoutSpace makes records comparable: white space between tags means nothing
// (RFC 6376 §3.2).
func withoutSpace(s string) string { return strings.Join(strings.Fields(s), "") }

// cacheTime is how long after its record was seen a key waits before it signs: as
// long as a cache may still hold what was there before. In our zone that is known;
// elsewhere an hour covers what nearly all owners choose, and a name that nobody
// asked for before is in no cache.
func cacheTime(d relay.Domain) time.Duration {
	if d.Automatic {
		return 2 * keyTTL
	}
	return time.Hour
}

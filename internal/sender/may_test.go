package sender

import (
	"strings"
	"testing"
	"time"

	"postern/internal/message"
	"postern/internal/relay"
)

// fakeDirectory knows domains by their name and single senders by their canonical
// address.
type fakeDirectory struct {
	domains map[string]relay.Domain
	senders map[string]relay.Tenant
	policy  relay.Policy
}

func (d *fakeDirectory) Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage) {
	dm, ok := d.domains[name]
	if _, parent, more := strings.Cut(name, "."); !ok && more {
		if dm, ok = d.domains[parent]; !dm.Subdomains {
			ok = false
		}
	}
	switch {
	case !ok:
		return relay.Domain{}, relay.CoverNone
	case dm.Account != t.Account:
		return relay.Domain{}, relay.CoverOther
	case !dm.DisabledAt.IsZero():
		return dm, relay.CoverDisabled
	case dm.State == relay.DomainPending:
		return dm, relay.CoverPending
	case dm.State == relay.DomainFailed:
		return dm, relay.CoverFailed
	case !dm.OpenTo(t):
		return dm, relay.CoverNotShared
	case dm.State == relay.DomainPaused:
		return dm, relay.CoverPaused
	}
	return dm, relay.CoverUsable
}

func (d *fakeDirectory) SenderFor(t relay.Tenant, address string) (relay.SingleSender, bool) {
	owner, ok := d.senders[address]
	return relay.SingleSender{Tenant: owner, Address: address}, ok && owner == t
}

func (*fakeDirectory) Domain(relay.DomainID) (relay.Domain, bool) { return relay.Domain{}, false }
func (*fakeDirectory) DKIMKeys(relay.DomainID) []relay.DKIMKey    { return nil }
func (*fakeDirectory) System() (relay.Account, relay.Domain, bool) {
	return relay.Account{}, relay.Domain{Name: "relay.test", System: true}, true
}

func (d *fakeDirectory) Account(id relay.AccountID) (relay.Account, bool) {
	return relay.Account{ID: id, Policy: d.policy}, true
}

var (
	acme    = relay.AccountID{ID: relay.ID{1}}
	globex  = relay.AccountID{ID: relay.ID{2}}
	staging = relay.SubuserID{ID: relay.ID{3}} // of acme
	other   = relay.SubuserID{ID: relay.ID{4}} // of acme
)

func directory() *fakeDirectory {
	return &fakeDirectory{
		domains: map[string]relay.Domain{
			"acme.test":          {Account: acme, Name: "acme.test", State: relay.DomainAsserted},
			"below.test":         {Account: acme, Name: "below.test", State: relay.DomainVerified, Subdomains: true},
			"xn--bcher-kva.test": {Account: acme, Name: "xn--bcher-kva.test", State: relay.DomainAsserted},
			"globex.test":        {Account: globex, Name: "globex.test", State: relay.DomainVerified},
			"pending.test":       {Account: acme, Name: "pending.test", State: relay.DomainPending},
			"paused.test":        {Account: acme, Name: "paused.test", State: relay.DomainPaused},
			"failed.test":        {Account: acme, Name: "failed.test", State: relay.DomainFailed},
			"off.test":           {Account: acme, Name: "off.test", State: relay.DomainVerified, DisabledAt: time.Unix(1, 0)},
			"failing.test":       {Account: acme, Name: "failing.test", State: relay.DomainVerified, FailingSince: time.Unix(1, 0)},
			"shared.test":        {Account: acme, Name: "shared.test", State: relay.DomainVerified, Subusers: []relay.SubuserID{staging}},
			"all.test":           {Account: acme, Name: "all.test", State: relay.DomainVerified, AllSubusers: true},
		},
		senders: map[string]relay.Tenant{
			"ann@mail.test": {Account: acme}, "globex@mail.test": {Account: globex}, "of.staging@mail.test": {Account: acme, Subuser: staging},
			"ann@acme.test": {Account: acme}, "ann@paused.test": {Account: acme}, "ann@pending.test": {Account: acme}, "a b@mail.test": {Account: acme}, "ann@globex.test": {Account: acme},
		},
	}
}

func TestMay(t *testing.T) {
	tests := []struct {
		name    string
		header  string
		senders []string // the key's
		subuser relay.SubuserID
		policy  relay.Policy
		want    Rule
		field   string
		single  bool
	}{
		{name: "own domain", header: "From: a@acme.test\r\n", want: Allowed},
		{name: "upper case domain", header: "From: a@ACME.Test\r\n", want: Allowed},
		{name: "U-label of an own domain", header: "From: a@b\u00fccher.test\r\n", want: Allowed},
		{name: "ID-01 unknown domain", header: "From: a@evil.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-14 another tenant's domain", header: "From: a@globex.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-10 subdomain without its own proof", header: "From: a@mail.acme.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-10 parent", header: "From: a@test\r\n", want: NotOwned, field: "From"},
		{name: "not usable yet", header: "From: a@pending.test\r\n", want: Rule(relay.CoverPending), field: "From"},
		{name: "ID-16 paused", header: "From: a@paused.test\r\n", want: Paused, field: "From"},
		{name: "ID-16 failed", header: "From: a@failed.test\r\n", want: Rule(relay.CoverFailed), field: "From"},
		{name: "ID-16 records gone, within grace", header: "From: a@failing.test\r\n", want: Allowed},
		{name: "disabled", header: "From: a@off.test\r\n", want: Rule(relay.CoverDisabled), field: "From"},
		{name: "paused Sender", header: "From: a@acme.test\r\nSender: b@paused.test\r\n", want: Paused, field: "Sender"},
		{name: "ID-10 below a domain given with its subdomains", header: "From: a@mail.below.test\r\n", want: Allowed},
		{name: "ID-04 several authors of one domain", header: "From: a@acme.test, b@acme.test\r\nSender: a@acme.test\r\n", want: Allowed},
		{name: "ID-04 one of them outside the key's senders", header: "From: a@acme.test, b@acme.test\r\nSender: a@acme.test\r\n", senders: []string{"a@acme.test"}, want: KeyRestricted, field: "From"},
		{name: "ID-04 foreign Sender of several authors", header: "From: a@acme.test, b@acme.test\r\nSender: a@bank.test\r\n", want: NotOwned, field: "Sender"},
		{name: "ID-04 two single senders", header: "From: ann@mail.test, \"a b\"@mail.test\r\nSender: ann@mail.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-04 a single sender and its neighbour", header: "From: ann@mail.test, ben@mail.test\r\nSender: ann@mail.test\r\n", want: NotOwned, field: "From"},
		{name: "subuser without a share", header: "From: a@acme.test\r\n", subuser: staging, want: Rule(relay.CoverNotShared), field: "From"},
		{name: "named subuser", header: "From: a@shared.test\r\n", subuser: staging, want: Allowed},
		{name: "another subuser", header: "From: a@shared.test\r\n", subuser: other, want: Rule(relay.CoverNotShared), field: "From"},
		{name: "all subusers", header: "From: a@all.test\r\n", subuser: other, want: Allowed},
		{name: "ID-19 single sender", header: "From: ann@mail.test\r\n", want: Allowed, single: true},
		{name: "ID-19 single sender, upper case domain", header: "From: ann@MAIL.test\r\n", want: Allowed, single: true},
		{name: "ID-19 single sender, quoted spelling", header: "From: \"ann\"@mail.test\r\n", want: Allowed, single: true},
		{name: "ID-19 single sender, that must be quoted", header: "From: \"a b\"@mail.test\r\n", want: Allowed, single: true},
		{name: "ID-19 single sender, another mailbox", header: "From: b@mail.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-19 single sender, plus tag", header: "From: ann+x@mail.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-19 single sender, case of the local part", header: "From: Ann@mail.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-19 single sender, subdomain", header: "From: ann@x.mail.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-14 single sender at another tenant's domain", header: "From: ann@globex.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-14 single sender of another account", header: "From: globex@mail.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-14 single sender of the account's subuser", header: "From: of.staging@mail.test\r\n", want: NotOwned, field: "From"},
		{name: "single sender of the subuser", header: "From: of.staging@mail.test\r\n", subuser: staging, want: Allowed, single: true},
		{name: "single sender outside the key's senders", header: "From: ann@mail.test\r\n", senders: []string{"acme.test"}, want: KeyRestricted, field: "From"},
		{name: "a domain is before a single sender", header: "From: ann@acme.test\r\n", want: Allowed},
		{name: "a paused domain is, too", header: "From: ann@paused.test\r\n", want: Paused, field: "From"},
		{name: "one that was never proven is not", header: "From: ann@pending.test\r\n", want: Allowed, single: true},
		{name: "single sender as Sender", header: "From: a@acme.test\r\nSender: ann@mail.test\r\n", want: Allowed},
		{name: "name with the own address", header: "From: \"a@acme.test\" <a@acme.test>\r\n", want: Allowed},
		{name: "name with a single sender's own address", header: "From: \"ann@mail.test\" <ann@mail.test>\r\n", want: Allowed, single: true},
		{name: "name with a single sender's neighbour", header: "From: \"ben@mail.test\" <ann@mail.test>\r\n", want: ForeignName, field: "From"},
		{name: "name with a foreign address", header: "From: \"ceo@bank.test\" <a@acme.test>\r\n", want: ForeignName, field: "From"},
		{name: "the same, encoded", header: "From: =?utf-8?q?ceo=40bank.test?= <a@acme.test>\r\n", want: ForeignName, field: "From"},
		{name: "the same, of another tenant", header: "From: a@acme.test (ceo@globex.test)\r\n", want: ForeignName, field: "From"},
		{name: "the same, in Sender", header: "From: a@acme.test\r\nSender: \"ceo@bank.test\" <a@acme.test>\r\n", want: ForeignName, field: "Sender"},
		{name: "the same, in Resent-Sender", header: "From: a@acme.test\r\nResent-Sender: \"ceo@bank.test\" <a@acme.test>\r\n", want: ForeignName, field: "Resent-From"},
		{name: "the same, by policy", header: "From: \"ceo@bank.test via us\" <a@acme.test>\r\n", policy: relay.Policy{ForeignNames: true}, want: Allowed},
		{name: "ID-12 tricks, policy or not", header: "From: \"a\u202eb\" <a@acme.test>\r\n", policy: relay.Policy{ForeignNames: true}, want: TrickyName, field: "From"},
		{name: "ID-13 encoded line break", header: "From: =?utf-8?q?a=0D=0AFrom=3A_b?= <a@acme.test>\r\n", want: TrickyName, field: "From"},
		{name: "name that cannot be read", header: "From: =?utf-7?q?+AEA-?= <a@acme.test>\r\n", want: UnreadName, field: "From"},
		{name: "foreign name in Reply-To", header: "From: a@acme.test\r\nReply-To: \"ceo@bank.test\" <b@evil.test>\r\n", want: Allowed},
		{name: "tricks in Reply-To", header: "From: a@acme.test\r\nReply-To: =?utf-8?b?4oCu?= <b@evil.test>\r\n", want: TrickyName, field: "Reply-To"},
		{name: "ID-20 bound Reply-To", header: "From: a@acme.test\r\nReply-To: b@evil.test\r\n", policy: relay.Policy{BindReplyTo: true}, want: ForeignReply, field: "Reply-To"},
		{name: "ID-20 bound Reply-To, one of two", header: "From: a@acme.test\r\nReply-To: a@acme.test, b@evil.test\r\n", policy: relay.Policy{BindReplyTo: true}, want: ForeignReply, field: "Reply-To"},
		{name: "ID-20 bound Reply-To that cannot be read", header: "From: a@acme.test\r\nReply-To: g: a@acme.test;\r\n", policy: relay.Policy{BindReplyTo: true}, want: ForeignReply, field: "Reply-To"},
		{name: "ID-20 bound Reply-To, own", header: "From: a@acme.test\r\nReply-To: B <b@acme.test>, ann@mail.test\r\n", policy: relay.Policy{BindReplyTo: true}, want: Allowed},
		{name: "other fields are no identity", header: "From: a@acme.test\r\nMail-Followup-To: b@evil.test\r\nDisposition-Notification-To: b@evil.test\r\nList-Owner: <mailto:b@evil.test>\r\n", policy: relay.Policy{BindReplyTo: true}, want: Allowed},
		{name: "ID-11 homograph", header: "From: a@\u0430cme.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-08 foreign Sender", header: "From: a@acme.test\r\nSender: b@evil.test\r\n", want: NotOwned, field: "Sender"},
		{name: "ID-08 foreign Resent-From", header: "Resent-From: b@evil.test\r\nFrom: a@acme.test\r\n", want: NotOwned, field: "Resent-From"},
		{name: "own Sender", header: "From: a@acme.test\r\nSender: b@acme.test\r\n", want: Allowed},
		{name: "ID-20 foreign Reply-To", header: "From: a@acme.test\r\nReply-To: b@evil.test\r\n", want: Allowed},
		{name: "key for this address", header: "From: a@acme.test\r\n", senders: []string{"a@acme.test"}, want: Allowed},
		{name: "ID-19 key for another address", header: "From: b@acme.test\r\n", senders: []string{"a@acme.test"}, want: KeyRestricted, field: "From"},
		{name: "ID-19 case of the local part", header: "From: A@acme.test\r\n", senders: []string{"a@acme.test"}, want: KeyRestricted, field: "From"},
		{name: "ID-19 plus tag", header: "From: a+x@acme.test\r\n", senders: []string{"a@acme.test"}, want: KeyRestricted, field: "From"},
		{name: "ID-19 quoted spelling is the same mailbox", header: "From: \"a\"@acme.test\r\n", senders: []string{"a@acme.test"}, want: Allowed},
		{name: "key for a domain", header: "From: z@acme.test\r\n", senders: []string{"ACME.test"}, want: Allowed},
		{name: "key's list does not make a domain own", header: "From: a@globex.test\r\n", senders: []string{"globex.test"}, want: NotOwned, field: "From"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := message.ParseHeader([]byte(tt.header+"\r\n"), message.Limits{Octets: message.UTF8})
			if err != nil {
				t.Fatal(err)
			}
			id, err := message.Identify(&h, true)
			if err != nil {
				t.Fatal(err)
			}
			p := &relay.Principal{Tenant: relay.Tenant{Account: acme, Subuser: tt.subuser}, Key: &relay.Key{Senders: tt.senders}}
			dir := directory()
			dir.policy = tt.policy
			d := May(dir, p, Mail{Header: id})
			if d.Allowed != (tt.want == Allowed) || d.Rule != tt.want || (tt.field != "" && d.Field != tt.field) || d.Single != tt.single {
				t.Errorf("%+v, want %q on %q", d, tt.want, tt.field)
			}
			// What a single sender writes is signed as the system's, and returns to it.
			if d.Allowed && d.Domain.System != tt.single || !d.Allowed && d.Domain.Name != "" {
				t.Errorf("domain %q of %+v", d.Domain.Name, d)
			}
		})
	}
}

func TestMayNotify(t *testing.T) {
	own := relay.Tenant{Account: acme}
	for addr, want := range map[string]bool{
		"a@acme.test": true, "a@globex.test": false, "ann@mail.test": true, "ben@mail.test": false, "globex@mail.test": false, "a@paused.test": false, "a@evil.test": false, "": false, "postmaster": false, "a@b@acme.test": false,
	} {
		if got := MayNotify(directory(), own, addr); got != want {
			t.Errorf("%q: %v, want %v", addr, got, want)
		}
	}
}

// The decision costs no more than a name that must be decoded does.
func BenchmarkMay(b *testing.B) {
	for _, x := range [][2]string{
		{"bare", "From: a@acme.test\r\n"},
		{"plain", "From: Ann Lee <a@acme.test>\r\nReply-To: b@other.test\r\n"},
		{"quoted", "From: \"Lee, Ann\" <a@acme.test>\r\n"},
		{"encoded", "From: =?utf-8?q?J=C3=B6rg?= <a@acme.test>\r\n"},
		{"own address as name", "From: \"a@acme.test\" <a@acme.test>\r\n"},
	} {
		b.Run(x[0], func(b *testing.B) {
			h, err := message.ParseHeader([]byte("Received: from a by b; Sun, 01 Nov 2026 10:00:00 +0000\r\n"+x[1]+
				"To: x@y.test\r\nSubject: hi\r\nMessage-ID: <1@acme.test>\r\nDate: Sun, 01 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"), message.Limits{})
			if err != nil {
				b.Fatal(err)
			}
			d, p := directory(), &relay.Principal{Tenant: relay.Tenant{Account: acme}}
			b.ReportAllocs()
			for b.Loop() {
				id, err := message.Identify(&h, false)
				if err != nil {
					b.Fatal(err)
				}
				if dec := May(d, p, Mail{Header: id}); !dec.Allowed {
					b.Fatal(dec)
				}
			}
		})
	}
}

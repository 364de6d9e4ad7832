package sender

import (
	"testing"

	"postern/internal/message"
	"postern/internal/relay"
)

type fakeDirectory map[string]relay.Domain // by name; Subdomains is honoured by listing

func (d fakeDirectory) DomainFor(t relay.Tenant, name string) (relay.Domain, bool) {
	dm, ok := d[name]
	if !ok || dm.Account != t.Account || !dm.Usable() {
		return relay.Domain{}, false
	}
	return dm, true
}
func (fakeDirectory) Domain(relay.DomainID) (relay.Domain, bool) { return relay.Domain{}, false }
func (fakeDirectory) System() (relay.Account, relay.Domain, bool) {
	return relay.Account{}, relay.Domain{}, false
}
func (fakeDirectory) DKIMKeys(relay.DomainID) []relay.DKIMKey { return nil }

var (
	acme   = relay.AccountID{ID: relay.ID{1}}
	globex = relay.AccountID{ID: relay.ID{2}}
)

func directory() fakeDirectory {
	return fakeDirectory{
		"acme.test":          {Account: acme, Name: "acme.test", State: relay.DomainAsserted},
		"xn--bcher-kva.test": {Account: acme, Name: "xn--bcher-kva.test", State: relay.DomainAsserted},
		"globex.test":        {Account: globex, Name: "globex.test", State: relay.DomainVerified},
		"pending.test":       {Account: acme, Name: "pending.test", State: relay.DomainPending},
	}
}

func TestMay(t *testing.T) {
	tests := []struct {
		name    string
		header  string
		senders []string // the key's
		want    Rule
		field   string
	}{
		{name: "own domain", header: "From: a@acme.test\r\n", want: Allowed},
		{name: "upper case domain", header: "From: a@ACME.Test\r\n", want: Allowed},
		{name: "U-label of an own domain", header: "From: a@b\u00fccher.test\r\n", want: Allowed},
		{name: "ID-01 unknown domain", header: "From: a@evil.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-14 another tenant's domain", header: "From: a@globex.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-10 subdomain without its own proof", header: "From: a@mail.acme.test\r\n", want: NotOwned, field: "From"},
		{name: "ID-10 parent", header: "From: a@test\r\n", want: NotOwned, field: "From"},
		{name: "not usable yet", header: "From: a@pending.test\r\n", want: NotOwned, field: "From"},
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
			p := &relay.Principal{Tenant: relay.Tenant{Account: acme}, Key: &relay.Key{Senders: tt.senders}}
			d := May(directory(), p, id)
			if d.Allowed != (tt.want == Allowed) || d.Rule != tt.want || (tt.field != "" && d.Field != tt.field) {
				t.Errorf("%+v, want %q on %q", d, tt.want, tt.field)
			}
		})
	}
}

func TestMayNotify(t *testing.T) {
	own := relay.Tenant{Account: acme}
	for addr, want := range map[string]bool{
		"a@acme.test": true, "a@globex.test": false, "a@evil.test": false, "": false, "postmaster": false, "a@b@acme.test": false,
	} {
		if got := MayNotify(directory(), own, addr); got != want {
			t.Errorf("%q: %v, want %v", addr, got, want)
		}
	}
}

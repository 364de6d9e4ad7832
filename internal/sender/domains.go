package sender

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"postern/internal/dkim"
	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// DomainStore keeps domains, their keys and what checks found; *store.Store
// does. Each change is one transaction, with its record.
type DomainStore interface {
	// CreateDomainWithin gives the domain its number, and where ReturnPath is
	// AutoReturnPath a label and a return path made of it. relay.Conflict where its
	// owner has most domains; 0: any number.
	CreateDomainWithin(ctx context.Context, by store.By, d relay.Domain, most int, keys ...relay.DKIMKey) (relay.Domain, error)
	// SwapDomain sets settings: relay.Conflict with store.ErrMeanwhile unless they are
	// those of was.
	SwapDomain(ctx context.Context, by store.By, was, d relay.Domain) error
	Domain(ctx context.Context, id relay.DomainID) (relay.Domain, error)
	Domains(ctx context.Context, account relay.AccountID) ([]relay.Domain, error)
	DeleteDomain(ctx context.Context, by store.By, id relay.DomainID, at time.Time) error
	// SwapDomainSharing: relay.Conflict with store.ErrMeanwhile unless it is shared as
	// was is.
	SwapDomainSharing(ctx context.Context, by store.By, was relay.Domain, subusers []relay.SubuserID, all bool) error
	SetDomainDisabled(ctx context.Context, by store.By, id relay.DomainID, at time.Time) error

	// ProveDomain makes a domain verified, or disputed where another account holds
	// the name. It returns the row as it is then.
	ProveDomain(ctx context.Context, by store.By, id relay.DomainID, at time.Time) (relay.Domain, error)
	SetDomainState(ctx context.Context, by store.By, id relay.DomainID, c relay.DomainStateChange) (relay.Domain, error)

	PutDomainCheck(ctx context.Context, c relay.DomainCheck) error
	// DomainCheck is the last check; relay.NotFound: it was never checked.
	DomainCheck(ctx context.Context, id relay.DomainID) (relay.DomainCheck, error)
	// ClaimChecks takes up to n domains that are due and moves their next check to
	// until, so that no other node takes them.
	ClaimChecks(ctx context.Context, now, until time.Time, n int) ([]relay.DomainID, error)
	CheckDue(ctx context.Context, id relay.DomainID, at time.Time) error

	DKIMKeys(ctx context.Context, id relay.DomainID) ([]relay.DKIMKey, error)
	ChangeDKIMKeys(ctx context.Context, by store.By, id relay.DomainID, action string, edit func([]relay.DKIMKey) ([]relay.DKIMKey, error)) error
	SetDKIMKeyActive(ctx context.Context, by store.By, id relay.DomainID, selector string, active bool) error
}

// DomainIndex finds domains without asking the store; *identity.Directory does.
type DomainIndex interface {
	// DomainByToken finds deleted ones too.
	DomainByToken(token string) (relay.Domain, bool)
	DomainsNamed(name string) []relay.Domain
}

// AutoReturnPath as a new domain's ReturnPath lets the store choose the label:
// "em" and the domain's number.
const AutoReturnPath = "auto"

// Settings say how domains are kept. The zero value of each means what is
// written beside it.
type Settings struct {
	CheckEvery  time.Duration // between checks of a verified domain; 0: 24 h
	Grace       time.Duration // how long mail still goes when records are gone
	Pause       time.Duration // how long it is answered 450 after that, before 550
	KeyOverlap  time.Duration // how long a replaced DKIM key stays published; 0: 7 days
	RotateEvery time.Duration // how often DKIM keys change by themselves; 0: never
	RSABits     int           // of new RSA keys; 0: 2048
	Max         int           // domains of one owner; 0: any number
}

// Domains makes and keeps sending domains. Store and Sealer are needed for
// everything, Authority for checks; the others may be missing.
type Domains struct {
	Store     DomainStore
	Sealer    *secret.Sealer
	Directory DomainIndex // nil: aliases into our zone are not told apart by whose they are
	Zone      Zone
	Authority Asker        // asks a domain's own name servers
	Resolver  dns.Resolver // for what others see: SPF and DMARC; nil: neither is looked at
	Settings  Settings

	// Seen is what DMARC reports said of a domain; nil: there are none.
	Seen func(ctx context.Context, d relay.Domain) (dmarc.Seen, error)
	// Alert records that something happened to a domain; Tell writes to its owner.
	Alert func(t relay.Tenant, a relay.Alert)
	Tell  func(ctx context.Context, t relay.Tenant, subject, text string) error
	// Checked is told of each check: valid, invalid, unknown (the DNS does not answer)
	// or error. Must not block.
	Checked func(result string)
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: none

	looking, making accountLines // checks, and keys
	told            letterPace
}

// NewDomain is what a domain is made of.
type NewDomain struct {
	Account relay.AccountID
	Subuser relay.SubuserID // its owner; zero: the account itself
	Name    string
	// Label is the host of the return path below the domain. ReturnPath says the same
	// as a whole name. Neither: one is chosen, except for a domain that is usable by
	// the operator's word, which then uses the system's.
	Label      string
	ReturnPath string
	Selector   string // the customer's own DKIM selector, 1 to 20 of a-z, 0-9, "-"; empty: s1 and s2
	// Automatic: aliases into our zone; nil: where a zone is served, unless the
	// operator's word stands for the records.
	Automatic   *bool
	Subdomains  bool // names below it too
	CustomSPF   bool // the customer writes the SPF record of the return path
	Default     bool
	IPs         []netip.Addr // of its SPF record; none: those of the pools
	KeyBits     int          // of its RSA keys: 2048, 4096; 0: as the installation says
	AllSubusers bool         // all subusers of the account may use it
	Quiet       bool         // its owner gets no mail about it
	Assert      bool         // usable at once, by the operator's word
	System      bool         // postern's own domain
	Ed25519     bool         // its Ed25519 key signs from the start, because the operator says that its record is published
}

// Add makes a domain with an RSA key and an Ed25519 key. The RSA key signs as
// soon as the domain is usable; the Ed25519 key when its record was seen, or by
// n.Ed25519. Errors: relay.Invalid with the field at fault, relay.Conflict where
// the account has the domain already or has as many as it may have.
func (s *Domains) Add(ctx context.Context, by store.By, n NewDomain) (relay.Domain, []relay.DKIMKey, error) {
	row, err := s.newDomain(by, n)
	if err != nil {
		return relay.Domain{}, nil, err
	}
	if err := s.room(ctx, row); err != nil {
		return relay.Domain{}, nil, err
	}
	leave, err := s.making.enter(ctx, row.Account, keysOnDemand)
	if err != nil {
		return relay.Domain{}, nil, err
	}
	defer leave()
	sel := SelectorsOf(row)
	keys := make([]relay.DKIMKey, 0, 2)
	for _, k := range []struct {
		selector  string
		algorithm relay.DKIMAlgorithm
		active    bool
	}{{sel.RSA[0], relay.DKIMRSA, true}, {sel.Ed25519[0], relay.DKIMEd25519, n.Ed25519}} {
		key, err := s.newKey(row.ID, k.selector, k.algorithm, s.rsaBits(row))
		if err != nil {
			return relay.Domain{}, nil, fmt.Errorf("make key %s of %s: %w", k.selector, row.Name, err)
		}
		if key.Active = k.active; key.Active {
			key.ActivatedAt = key.CreatedAt
		}
		keys = append(keys, key)
	}
	most := s.Settings.Max
	if row.System {
		most = 0
	}
	made, err := s.Store.CreateDomainWithin(ctx, by, row, most, keys...)
	if err != nil {
		return relay.Domain{}, nil, err
	}
	return made, keys, nil
}

// newDomain is the row of a new domain, all of it checked.
func (s *Domains) newDomain(by store.By, n NewDomain) (relay.Domain, error) {
	name, err := s.cleanName(n.Name, n.System)
	if err != nil {
		return relay.Domain{}, err
	}
	at := s.now()
	row := relay.Domain{
		ID: relay.DomainID{ID: relay.NewID(at)}, Account: n.Account, Subuser: n.Subuser, Name: name, State: relay.DomainPending,
		Token: newToken(), Automatic: s.Zone.Name != "" && !n.Assert && !n.System, Selector: n.Selector, KeyBits: n.KeyBits,
		CustomSPF: n.CustomSPF, Default: n.Default, IPs: n.IPs, Subdomains: n.Subdomains, AllSubusers: n.AllSubusers, Quiet: n.Quiet,
		System: n.System, CreatedAt: at,
	}
	if n.Automatic != nil {
		row.Automatic = *n.Automatic
	}
	if n.Assert {
		row.State, row.AssertedBy = relay.DomainAsserted, by.Who
	}
	switch {
	case row.Automatic && s.Zone.Name == "":
		return row, invalid("automatic_security", "This installation serves no DNS zone: publish TXT and MX records instead (automatic_security false).")
	case row.Automatic && row.CustomSPF:
		return row, invalid("custom_spf", "With automatic security the SPF record is ours; custom SPF needs automatic_security false.")
	case row.AllSubusers && !row.Subuser.IsZero():
		return row, invalid("subusers", "A subuser's own domain cannot be shared with all subusers.")
	}
	if err := setReturnPath(&row, n); err != nil {
		return row, err
	}
	if err := checkSelector(row.Selector); err != nil {
		return row, err
	}
	if err := checkBits(row.KeyBits); err != nil {
		return row, err
	}
	return row, checkIPs(row.IPs)
}

// setReturnPath fills Label and ReturnPath from what was asked for.
func setReturnPath(row *relay.Domain, n NewDomain) error {
	label := strings.ToLower(n.Label)
	if n.ReturnPath != "" {
		host, err := cleanHost("return_path", n.ReturnPath)
		if err != nil {
			return err
		}
		below, ok := strings.CutSuffix(host, "."+row.Name)
		if !ok { // RFC 7208 and DMARC look at the organisation: elsewhere SPF would pass and never align
			return invalid("return_path", "The return path must be a host below %s, such as bounces.%s.", row.Name, row.Name)
		}
		if label != "" && label != below {
			return invalid("return_path", "The subdomain and the return path name different hosts.")
		}
		label = below
	}
	switch {
	case label != "":
		host, err := cleanHost("subdomain", label+"."+row.Name)
		if err != nil {
			return invalid("subdomain", "A subdomain is made of letters, digits and hyphens, such as em or bounces.")
		}
		row.Label, row.ReturnPath = strings.TrimSuffix(host, "."+row.Name), host
	case !n.System && (!n.Assert || row.Automatic):
		row.ReturnPath = AutoReturnPath
	}
	return nil
}

// room refuses a domain over the owner's limit before its keys are made, which takes
// seconds in the account's line. The store counts again where it matters.
func (s *Domains) room(ctx context.Context, row relay.Domain) error {
	if s.Settings.Max <= 0 || row.System {
		return nil
	}
	all, err := s.Store.Domains(ctx, row.Account)
	if err != nil {
		return err
	}
	n := 0
	for _, d := range all {
		if d.Subuser == row.Subuser {
			n++
		}
	}
	if n >= s.Settings.Max {
		return store.TooManyDomains(n)
	}
	return nil
}

// newToken makes a domain's proof: 130 random bits.
func newToken() string {
	var b [17]byte
	rand.Read(b[:])
	return tokenEncoding.EncodeToString(b[:])[:tokenLength]
}

// tokenLength is the length of a domain's token in characters of 5 bits each.
const tokenLength = 26

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func (s *Domains) now() time.Time {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return now().UTC().Truncate(time.Microsecond)
}

func (s *Domains) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

// rsaBits is the size of a domain's new RSA keys.
func (s *Domains) rsaBits(d relay.Domain) int {
	for _, bits := range []int{d.KeyBits, s.Settings.RSABits} {
		if bits != 0 {
			return bits
		}
	}
	return dkim.RSABits
}

// DomainUpdate changes a domain's settings. Members that are nil stay.
type DomainUpdate struct {
	Default, CustomSPF, Subdomains, Reveal, Quiet *bool
	Rotate                                        *time.Duration // 0: as the installation says; below 0: never
	KeyBits                                       *int
}

func (u *DomainUpdate) onto(d *relay.Domain) {
	for _, m := range []struct{ to, from *bool }{
		{&d.Default, u.Default}, {&d.CustomSPF, u.CustomSPF}, {&d.Subdomains, u.Subdomains}, {&d.Reveal, u.Reveal}, {&d.Quiet, u.Quiet},
	} {
		if m.from != nil {
			*m.to = *m.from
		}
	}
	if u.Rotate != nil {
		d.Rotate = *u.Rotate
	}
	if u.KeyBits != nil {
		d.KeyBits = *u.KeyBits
	}
}

// Update changes a domain's settings and returns it as it is then.
func (s *Domains) Update(ctx context.Context, by store.By, id relay.DomainID, u DomainUpdate) (relay.Domain, error) {
	return s.edit(ctx, by, id, func(d *relay.Domain) error { u.onto(d); return nil })
}

// EditIPs changes the addresses of a domain's SPF record and returns the domain as
// it is then. edit gets a copy, and may run again.
func (s *Domains) EditIPs(ctx context.Context, by store.By, id relay.DomainID, edit func([]netip.Addr) ([]netip.Addr, error)) (relay.Domain, error) {
	return s.edit(ctx, by, id, func(d *relay.Domain) (err error) {
		d.IPs, err = edit(slices.Clone(d.IPs))
		return err
	})
}

// edit changes settings, on what somebody else has set where they were faster. What
// changes nothing is not stored.
func (s *Domains) edit(ctx context.Context, by store.By, id relay.DomainID, edit func(*relay.Domain) error) (relay.Domain, error) {
	err := store.Again(func() error {
		was, err := s.live(ctx, id)
		if err != nil {
			return err
		}
		d := was
		if err := edit(&d); err != nil {
			return err
		}
		if d.Automatic && d.CustomSPF {
			return invalid("custom_spf", "With automatic security the SPF record is ours; custom SPF needs automatic_security false.")
		}
		if err := checkBits(d.KeyBits); err != nil {
			return err
		}
		if err := checkIPs(d.IPs); err != nil {
			return err
		}
		if reflect.DeepEqual(was, d) {
			return nil
		}
		return s.Store.SwapDomain(ctx, by, was, d)
	})
	if err != nil {
		return relay.Domain{}, err
	}
	return s.Store.Domain(ctx, id)
}

// Sharing says which subusers of the account may use a domain beside its owner:
// those named, or all.
type Sharing struct {
	Subusers []relay.SubuserID
	All      bool
}

// EditSharing changes for whom a domain is; edit may run again. The store refuses
// subusers of other accounts.
func (s *Domains) EditSharing(ctx context.Context, by store.By, id relay.DomainID, edit func(*Sharing)) error {
	return store.Again(func() error {
		d, err := s.live(ctx, id)
		if err != nil {
			return err
		}
		to := Sharing{slices.Clone(d.Subusers), d.AllSubusers}
		edit(&to)
		if to.All && !d.Subuser.IsZero() {
			return invalid("subusers", "A subuser's own domain cannot be shared with all subusers.")
		}
		var named []relay.SubuserID
		for _, sub := range to.Subusers {
			if !sub.IsZero() && sub != d.Subuser && !slices.Contains(named, sub) {
				named = append(named, sub)
			}
		}
		if to.All == d.AllSubusers && slices.Equal(named, d.Subusers) {
			return nil
		}
		return s.Store.SwapDomainSharing(ctx, by, d, named, to.All)
	})
}

// Remove deletes a domain: nothing is sent as it from now on. Its row and its
// records in our zone stay for mail that is on its way.
func (s *Domains) Remove(ctx context.Context, by store.By, id relay.DomainID) error {
	d, err := s.live(ctx, id)
	if err != nil {
		return err
	}
	if d.System {
		return relay.E(relay.Conflict, "This domain signs postern's own mail; it cannot be removed.")
	}
	return s.Store.DeleteDomain(ctx, by, id, s.now())
}

// Records are the records that a domain's owner is to publish.
func (s *Domains) Records(ctx context.Context, id relay.DomainID) (relay.Domain, []relay.DNSRecord, error) {
	d, err := s.live(ctx, id)
	if err != nil {
		return d, nil, err
	}
	keys, err := s.Store.DKIMKeys(ctx, id)
	if err != nil {
		return d, nil, err
	}
	return d, Records(s.Zone, d, keys), nil
}

// LastCheck is what the last check of a domain found; relay.NotFound: none was.
func (s *Domains) LastCheck(ctx context.Context, id relay.DomainID) (relay.DomainCheck, error) {
	return s.Store.DomainCheck(ctx, id)
}

// live is a domain that was not deleted.
func (s *Domains) live(ctx context.Context, id relay.DomainID) (relay.Domain, error) {
	d, err := s.Store.Domain(ctx, id)
	if err == nil && !d.DeletedAt.IsZero() {
		return relay.Domain{}, relay.E(relay.NotFound, "There is no such domain.")
	}
	return d, err
}

// Domains lists all domains.
func (s *Domains) Domains(ctx context.Context) ([]relay.Domain, error) {
	return s.Store.Domains(ctx, relay.AccountID{})
}

// DKIMKeys lists a domain's keys.
func (s *Domains) DKIMKeys(ctx context.Context, id relay.DomainID) ([]relay.DKIMKey, error) {
	return s.Store.DKIMKeys(ctx, id)
}

// SetDomainDisabled switches a domain off or on.
func (s *Domains) SetDomainDisabled(ctx context.Context, by store.By, id relay.DomainID, disabled bool) error {
	var at time.Time
	if disabled {
		at = s.now()
	}
	return s.Store.SetDomainDisabled(ctx, by, id, at)
}

// SetDKIMKeyActive makes a selector sign or stops it.
func (s *Domains) SetDKIMKeyActive(ctx context.Context, by store.By, id relay.DomainID, selector string, active bool) error {
	return s.Store.SetDKIMKeyActive(ctx, by, id, selector, active)
}

package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/audit"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/store"
)

// The account with flaws, for the audit report to find. Nobody has a secret or
// password of it: it is there to be looked at.
const (
	flawedAccount = "initech"
	flawedDomain  = "initech.test"
	flawedOwner   = "bill"
	flawedInvite  = "peter@" + inbox
	flawedOpen    = "Canary key of the file server was tried"
	flawedUntold  = "The key of the fax is used from a new network"
)

// nobodysHash has the form of a password's hash, and is that of none: it was
// chosen, and not computed.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// flaw is one that was planted: the code of the check that is to find it, and what
// it is about.
type flaw struct{ code, about string }

// The keys of the flawed account.
const (
	keySound = "reports" // nothing to find
	keyStale = "crm"     // made long ago, and never used
	keyWide  = "everything"
	keyFax   = "fax"
)

// planted are the flaws of the account: all of them, and nothing else is wrong.
var planted = []flaw{
	{"key_never_used", keyStale}, {"key_rotation", keyStale},
	{"key_full_access", keyWide}, {"key_networks", keyWide}, {"key_senders", keyWide}, {"key_no_expiry", keyWide},
	{"key_app_password", keyFax}, {"key_cram", keyFax}, {"client_mechanism", keyFax}, {"client_cipher", keyFax},
	{"owner_no_second_factor", flawedOwner}, {"person_unseen", flawedOwner}, {"invitation_open", flawedInvite},
	{"domain_asserted", flawedDomain}, {"domain_dmarc", flawedDomain},
	{"access_open", flawedAccount}, {"access_monitor", flawedAccount},
	{"policy_key_life", flawedAccount}, {"policy_full_access", flawedAccount}, {"policy_networks", flawedAccount},
	{"policy_mechanisms", flawedAccount}, {"policy_foreign_names", flawedAccount}, {"policy_second_factor", flawedAccount},
	{"audit_unscheduled", flawedAccount}, {"export_missing", flawedAccount},
	{"watch_rule_off", string(relay.WatchHours)}, {"watch_untold", flawedAccount}, {"watch_open", flawedOpen}, {"watch_undelivered", flawedUntold},
}

// flawedStore is what planting writes to; *store.Store is one.
type flawedStore interface {
	CreateAccount(ctx context.Context, by store.By, a relay.Account) error
	CreateKey(ctx context.Context, by store.By, k relay.Key) error
	CreateUser(ctx context.Context, by store.By, u relay.User) error
	CreateLink(ctx context.Context, by store.By, l relay.Link) error
	SetAccessList(ctx context.Context, by store.By, l relay.AccessList) (relay.AccessList, error)
	Accounts(ctx context.Context) ([]relay.Account, error)
	RecordLogin(l relay.Login)
	WatchSettings(ctx context.Context, account relay.AccountID) (relay.WatchSettings, error)
	SwapWatchSettings(ctx context.Context, by store.By, account relay.AccountID, was, v relay.WatchSettings) error
	PutWatch(ctx context.Context, c store.WatchCommit) error
	SetWatchAnswered(ctx context.Context, f relay.WatchFinding, at time.Time, problem string) error
}

// plantFlaws makes the account, if it is not there.
func plantFlaws(ctx context.Context, st flawedStore, domains *sender.Domains, sealer *secret.Sealer, now time.Time) error {
	all, err := st.Accounts(ctx)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(a relay.Account) bool { return a.Name == flawedAccount }); i >= 0 {
		return plantWatch(ctx, st, all[i].ID, now) // a demo from before has no flaws of the watch
	}
	id := func() relay.ID { return relay.NewID(now) }
	before := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	a := relay.Account{
		ID: relay.AccountID{ID: id()}, Name: flawedAccount, OwnerEmail: operator, TimeZone: "UTC", CreatedAt: now,
		Policy: relay.Policy{SecondFactorOptional: true, ForeignNames: true, Mechanisms: []string{"CRAM-MD5", "PLAIN"}},
	}
	if err := st.CreateAccount(ctx, by, a); err != nil {
		return err
	}
	if err := plantKeys(ctx, st, sealer, a.ID, now); err != nil {
		return err
	}
	if err := st.CreateUser(ctx, by, relay.User{
		ID: relay.UserID{ID: id()}, Account: a.ID, Username: flawedOwner, Email: flawedOwner + "@" + inbox, Role: relay.RoleOwner,
		Password: nobodysHash, PasswordAt: before(200), CreatedAt: before(200),
	}); err != nil {
		return err
	}
	if err := st.CreateLink(ctx, by, relay.Link{
		Hash: sha256.Sum256([]byte(flawedInvite)), Kind: relay.LinkInvite, Account: a.ID, Email: flawedInvite, Role: relay.RoleAuditor,
		CreatedAt: before(9), CreatedBy: flawedOwner, ExpiresAt: before(2),
	}); err != nil {
		return err
	}
	if _, err := st.SetAccessList(ctx, by, relay.AccessList{
		Tenant: relay.Tenant{Account: a.ID}, Rules: []relay.AccessRule{{Network: netip.MustParsePrefix("0.0.0.0/0")}}, Monitor: true,
	}); err != nil {
		return err
	}
	if err := plantWatch(ctx, st, a.ID, now); err != nil {
		return err
	}
	_, err = seedDomain(ctx, domains, sender.NewDomain{Account: a.ID, Name: flawedDomain, Assert: true, Quiet: true})
	return err
}

// plantKeys makes the account's keys. Their secrets are forgotten at once.
func plantKeys(ctx context.Context, st flawedStore, sealer *secret.Sealer, account relay.AccountID, now time.Time) error {
	for name, spoil := range map[string]func(k *relay.Key, made secret.Key) error{
		keySound: func(*relay.Key, secret.Key) error { return nil },
		keyStale: func(k *relay.Key, _ secret.Key) error { k.CreatedAt = now.AddDate(0, 0, -200); return nil },
		keyWide: func(k *relay.Key, _ secret.Key) error {
			k.Scopes, k.Networks, k.Senders, k.ExpiresAt = relay.FullAccess(), nil, nil, time.Time{}
			return nil
		},
		keyFax: func(k *relay.Key, made secret.Key) (err error) {
			k.Kind, k.Login = relay.KeyAppPassword, "fax-"+k.ID.String()
			k.Verifier.SealedCRAM, err = secret.SealCRAM(sealer, made)
			st.RecordLogin(relay.Login{
				At: now.Add(-time.Hour), Protocol: "smtp", Listener: listenStartTLS, Mechanism: "CRAM-MD5", Key: k.ID, Tenant: relay.Tenant{Account: account},
				Addr: netip.MustParseAddr("192.0.2.40"), Network: "192.0.2.0/24", Helo: "fax.initech.test",
				TLS: "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Result: relay.LoginOK,
			})
			return err
		},
	} {
		made, err := secret.GenerateKey(secret.DefaultPrefix)
		if err != nil {
			return err
		}
		v, err := secret.NewVerifier(made)
		if err != nil {
			return err
		}
		k := relay.Key{
			ID: relay.KeyID{ID: made.ID}, Account: account, Kind: relay.KeyAPI, Name: name, Scopes: []string{relay.ScopeMailSend}, Mode: relay.KeyLive,
			Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Senders: []string{flawedDomain},
			CreatedAt: now, CreatedBy: by.Who, ExpiresAt: now.AddDate(0, 0, 60),
			Verifier: relay.Verifier(v),
		}
		if err := spoil(&k, made); err != nil {
			return err
		}
		if err := st.CreateKey(ctx, by, k); err != nil {
			return err
		}
	}
	return nil
}

// plantWatch has the account told of nothing, and leaves it findings that nobody has
// looked at: one that waits, and one that could not be told while somebody was. It does
// nothing where the account has said how it is watched.
func plantWatch(ctx context.Context, st flawedStore, account relay.AccountID, now time.Time) error {
	if s, err := st.WatchSettings(ctx, account); err != nil || s.NoMail {
		return err
	}
	finding := func(title string, rule relay.WatchRule, severity relay.WatchSeverity, days int) relay.WatchFinding {
		at := now.AddDate(0, 0, -days)
		return relay.WatchFinding{
			ID: relay.WatchID{ID: relay.NewID(at)}, Rule: rule, Tenant: relay.Tenant{Account: account}, Severity: severity, State: relay.WatchOpen,
			Title: title, Text: title + ".", Fix: "Rotate the key.", FirstAt: at, LastAt: at, Count: 1, Answer: relay.WatchTell,
		}
	}
	open, untold := finding(flawedOpen, relay.WatchCanary, relay.WatchCritical, 20), finding(flawedUntold, relay.WatchNetwork, relay.WatchWarning, 12)
	if err := st.PutWatch(ctx, store.WatchCommit{Findings: []relay.WatchFinding{open, untold}}); err != nil {
		return err
	}
	// Both are answered: the watch has nothing to do about them.
	answered := now.AddDate(0, 0, -11)
	if err := errors.Join(st.SetWatchAnswered(ctx, open, answered, ""), st.SetWatchAnswered(ctx, untold, answered, "mail: the mailbox is full")); err != nil {
		return err
	}
	return st.SwapWatchSettings(ctx, by, account, relay.WatchSettings{}, relay.WatchSettings{
		NoMail: true, Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchHours: {Off: true}},
	})
}

// flawedAsk asks the relay about the flawed account, as its operator.
func (v *visitor) flawedAsk(ctx context.Context, method, path string, body, out any) error {
	return v.w.records.askAs(ctx, flawedAccount, method, path, body, out)
}

// lookAtFlawed has the domain looked at, so that the report knows of its records.
func (v *visitor) lookAtFlawed(ctx context.Context) (string, error) {
	var found []provenDomain
	if err := v.flawedAsk(ctx, http.MethodGet, strings.TrimPrefix(domainsPath, "/")+"?"+url.Values{"domain": {flawedDomain}}.Encode(), nil, &found); err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the account has %d domains", len(found))
	}
	var got validation
	path := fmt.Sprintf("%s/%d/validate", strings.TrimPrefix(domainsPath, "/"), found[0].ID)
	if err := v.flawedAsk(ctx, http.MethodPost, path, map[string]any{}, &got); err != nil {
		return "", err
	}
	if got.Valid {
		return "", fmt.Errorf("%s is called valid, and nobody published anything", flawedDomain)
	}
	return "4 keys, a person, an invitation, a watch that tells nobody and a domain whose records nobody published", nil
}

// auditFlawed compares the report with what was planted.
func (v *visitor) auditFlawed(ctx context.Context) (string, error) {
	var want []string
	for _, p := range planted {
		want = append(want, p.code+" "+p.about)
	}
	slices.Sort(want)
	var r audit.Report
	var got []string
	// The last check of the domain is written a moment later.
	err := v.until(ctx, func() (bool, error) {
		if err := v.flawedAsk(ctx, http.MethodGet, "v3/audit/report", nil, &r); err != nil {
			return false, err
		}
		got = got[:0]
		for _, f := range r.Findings {
			got = append(got, f.Code+" "+f.Subject.Name)
		}
		slices.Sort(got)
		return slices.Equal(got, want), nil
	})
	if err != nil {
		return "", fmt.Errorf("found %q, planted %q: %w", got, want, err)
	}
	v.score = r.Score
	return fmt.Sprintf("score %d of %d: %d findings, those that were planted and no other", r.Score, r.FullScore, len(got)), nil
}

// policyPath is the path of an account's policy.
const policyPath = "v3/user/policy"

// mendFlaw mends one finding as the report says, and then puts it back, so that the
// next demo in this directory finds the same.
func (v *visitor) mendFlaw(ctx context.Context) (string, error) {
	var r audit.Report
	if err := v.flawedAsk(ctx, http.MethodPatch, policyPath, map[string]any{"forbid_full_access": true}, nil); err != nil {
		return "", err
	}
	err := v.flawedAsk(ctx, http.MethodGet, "v3/audit/report", nil, &r)
	if back := v.flawedAsk(ctx, http.MethodPatch, policyPath, map[string]any{"forbid_full_access": false}, nil); err == nil {
		err = back
	}
	if err != nil {
		return "", err
	}
	const code = "policy_full_access"
	if slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return f.Code == code }) {
		return "", fmt.Errorf("%s is still there", code)
	}
	for _, c := range audit.Checks() {
		if c.Code == code && r.Score == v.score+c.Weight {
			return fmt.Sprintf("postern policy --forbid-full-access: the score rose from %d to %d, by the finding's weight", v.score, r.Score), nil
		}
	}
	return "", fmt.Errorf("the score went from %d to %d", v.score, r.Score)
}

// Package setup makes a new installation in an empty data directory:
// configuration, sealing key, certificate, database, the accounts that must be
// there, and a first key. It replaces a page of commands that an operator would
// type in the right order. It never touches an installation that exists.
//
// Its one invariant: either everything is there at the end, or nothing of it.
package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"postern/internal/api"
	"postern/internal/cert"
	"postern/internal/config"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/store"
)

// Options are what an installation starts from. Hostname, Dir and Owner are
// required.
type Options struct {
	Dir      string
	Hostname string
	Owner    string // email address of the first account's owner
	Contact  string // "": Owner; gets mail for postmaster@ and abuse@
	Account  string // name of the first account; "": "main"
	Domain   string // the system domain; "": Hostname
	Prefix   string // of keys; "": SG
	StoreURL string // PostgreSQL; "": SQLite in Dir
	Logger   *slog.Logger
	Now      func() time.Time
}

// Result is what the operator must be told, once.
type Result struct {
	Dir      string `json:"data_dir"`
	Config   string `json:"config"`
	CA       string `json:"ca_file"`
	Hostname string `json:"hostname"`
	Account  string `json:"account"`
	Owner    string `json:"owner"`
	User     string `json:"username"`
	APIKey   string `json:"api_key"`
	// SetupURL is good once, for SetupLife: there the owner sets up their login.
	SetupURL string   `json:"setup_url"`
	Records  []Record `json:"records"`
}

// SetupLife is how long the owner's link is good.
const SetupLife = 7 * 24 * time.Hour

// ErrExists: the directory holds an installation, or a part of one.
var ErrExists = errors.New("there is an installation already")

// The names of what every installation has.
const (
	systemAccount = "postern"
	defaultPool   = "default"
	firstKey      = "first key"
	defaultOwner  = "main"
)

// by is what the change log says.
var by = store.By{Who: "postern init", From: "command line"}

// Init makes the installation.
func Init(ctx context.Context, o Options) (_ *Result, err error) {
	o = o.withDefaults()
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	conf := config.Default()
	conf.Hostname, conf.DataDir, conf.Contact, conf.Keys.Prefix, conf.Store.URL = o.Hostname, dir, o.Contact, o.Prefix, config.Secret(o.StoreURL)
	if err := (&api.NewAccount{Name: o.Account, OwnerEmail: o.Owner}).Check(); err != nil {
		return nil, err
	}
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	created, err := prepare(dir, conf)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // nothing of it stays; the directory does if it was there
			err = errors.Join(err, cleanUp(dir, conf, created))
		}
	}()
	if err := secret.WriteKeyFile(conf.SealingKeyPath(), secret.NewSealingKey()); err != nil {
		return nil, err
	}
	files, _ := conf.SelfSigned()
	if err := cert.SelfSigned(files, []string{o.Hostname}, o.Now()); err != nil {
		return nil, err
	}
	result, err := fill(ctx, conf, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = o.left(err)
		}
	}()
	// The configuration comes last: with it, the installation is complete.
	result.Dir, result.Config, result.CA, result.Hostname = dir, filepath.Join(dir, config.ConfigFile), conf.CAPath(), o.Hostname
	if err := secret.WriteFileAtomic(result.Config, []byte(config.Example(conf, config.Docs)), 0o600); err != nil {
		return nil, err
	}
	if err := giveAway(dir, conf); err != nil {
		return nil, err
	}
	return result, nil
}

func (o Options) withDefaults() Options {
	if o.Contact == "" {
		o.Contact = o.Owner
	}
	if o.Account == "" {
		o.Account = defaultOwner
	}
	if o.Domain == "" {
		o.Domain = o.Hostname
	}
	if o.Prefix == "" {
		o.Prefix = secret.DefaultPrefix
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// ours lists the files that Init makes in the directory.
func ours(dir string, conf *config.Config) []string {
	files, _ := conf.SelfSigned()
	database := conf.DatabasePath()
	return []string{
		filepath.Join(dir, config.ConfigFile), conf.SealingKeyPath(),
		files.Authority, files.AuthorityKey, files.Certificate, files.Key,
		database, database + "-wal", database + "-shm", database + ".lock",
	}
}

// prepare makes the directory, or checks that one that exists is ours to fill.
func prepare(dir string, conf *config.Config) (created bool, err error) {
	err = os.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		// Without this a power cut may take the directory with all that is in it.
		return true, secret.SyncDir(filepath.Dir(dir))
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("make data directory: %s does not exist", filepath.Dir(dir))
	case errors.Is(err, fs.ErrPermission):
		return false, fmt.Errorf("make data directory: %w; make it for this user first, as root: install -d -m 0700 -o USER %s", err, dir)
	case !errors.Is(err, fs.ErrExist):
		return false, fmt.Errorf("make data directory: %w", err)
	}
	for _, path := range ours(dir, conf) {
		if _, err := os.Lstat(path); err == nil {
			return false, fmt.Errorf("%w: %s; nothing was changed", ErrExists, path)
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return false, fmt.Errorf("look at data directory: %w", err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false, fmt.Errorf("look at data directory: %w", err)
	}
	if !info.IsDir() {
		return false, fmt.Errorf("%s is not a directory", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return false, fmt.Errorf("close data directory to others: %w", err)
		}
	}
	return false, nil
}

func cleanUp(dir string, conf *config.Config, created bool) error {
	var errs []error
	for _, path := range ours(dir, conf) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if created {
		errs = append(errs, os.Remove(dir)) // not RemoveAll: what is not ours stays
	}
	return errors.Join(errs...)
}

// left adds to an error what is not taken back: files are removed, what a
// PostgreSQL database was given is not.
func (o Options) left(err error) error {
	if o.StoreURL == "" {
		return err
	}
	return fmt.Errorf("%w; a part of the installation may be in the database: drop it and create it anew before the next \"postern init\"", err)
}

// fill opens the database, which must be empty, and fills it.
func fill(ctx context.Context, conf *config.Config, o Options) (*Result, error) {
	sealer, err := secret.OpenSealer(conf.SealingKeyPath())
	if err != nil {
		return nil, err
	}
	st, _, err := store.Open(ctx, store.Config{
		Path: conf.DatabasePath(), URL: o.StoreURL, Sealer: sealer, Logger: o.Logger, MinFree: int64(conf.Store.MinFree), Expect: store.Vacancy,
	})
	if errors.Is(err, store.ErrInstalled) { // a PostgreSQL database that another node set up
		return nil, fmt.Errorf("%w: the database has accounts; another node gets copies of postern.toml and sealing.key in place of an init", ErrExists)
	}
	if err != nil {
		return nil, err
	}
	result, err := seed(ctx, st, sealer, conf, o)
	if err = errors.Join(err, st.Close()); err != nil {
		return nil, o.left(err)
	}
	return result, nil
}

// seed makes what every installation has. The account comes first: a database
// with one is no longer empty.
func seed(ctx context.Context, st *store.Store, sealer *secret.Sealer, conf *config.Config, o Options) (*Result, error) {
	now := o.Now().UTC()
	system := relay.Account{ID: relay.AccountID{ID: relay.NewID(now)}, Name: systemAccount, OwnerEmail: o.Contact, TimeZone: "UTC", System: true, CreatedAt: now}
	if err := st.CreateAccount(ctx, by, system); err != nil {
		return nil, fmt.Errorf("make system account: %w", err)
	}
	if err := st.CreatePool(ctx, by, relay.Pool{ID: relay.PoolID{ID: relay.NewID(now)}, Name: defaultPool, CreatedAt: now}); err != nil {
		return nil, fmt.Errorf("make pool: %w", err)
	}
	domains := &sender.Domains{Store: st, Sealer: sealer, Now: o.Now}
	d, keys, err := domains.Add(ctx, by, sender.NewDomain{Account: system.ID, Name: o.Domain, Assert: true, System: true})
	if err != nil {
		return nil, fmt.Errorf("make system domain: %w", err)
	}
	owner := relay.Account{ID: relay.AccountID{ID: relay.NewID(now)}, Name: o.Account, OwnerEmail: o.Owner, TimeZone: "UTC", CreatedAt: now}
	if err := st.CreateAccount(ctx, by, owner); err != nil {
		return nil, fmt.Errorf("make account: %w", err)
	}
	key, err := makeKey(ctx, st, owner.ID, o.Prefix, now)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	link, setupURL := people.NewSetupLink(owner.ID, o.Owner, by.Who, config.BaseURL(conf, nil), now, SetupLife)
	if err := st.CreateLink(ctx, by, link); err != nil {
		return nil, fmt.Errorf("make the owner's link: %w", err)
	}
	return &Result{
		SetupURL: setupURL, Account: owner.Name, Owner: o.Owner, User: "apikey", APIKey: key, Records: records(sender.SystemRecords(o.Hostname, d, keys, publicAddrs())),
	}, nil
}

// makeKey makes the account's first key, which may send mail and nothing else:
// it is pasted into the first program that sends.
func makeKey(ctx context.Context, st *store.Store, account relay.AccountID, prefix string, now time.Time) (string, error) {
	drawn, err := secret.GenerateKey(prefix)
	if err != nil {
		return "", err
	}
	v, err := secret.NewVerifier(drawn)
	if err != nil {
		return "", err
	}
	return drawn.Text().Reveal(), st.CreateKey(ctx, by, relay.Key{
		ID: relay.KeyID{ID: drawn.ID}, Account: account, Name: firstKey, Kind: relay.KeyAPI, Scopes: []string{relay.ScopeMailSend}, Mode: relay.KeyLive,
		CreatedAt: now, CreatedBy: by.Who, Verifier: relay.Verifier(v),
	})
}

// publicAddrs are the addresses of this machine that the world may see.
func publicAddrs() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // the records without addresses are still right
	}
	var out []netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := p.Addr().Unmap(); ip.IsGlobalUnicast() && !ip.IsPrivate() {
			out = append(out, ip)
		}
	}
	return out
}

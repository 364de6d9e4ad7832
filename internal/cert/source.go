// Package cert supplies the certificate of postern's listeners: from files that
// may change on disk at any time, or self-signed at init. It does not fetch
// certificates from an authority.
//
// Its one invariant: a Source always has a certificate that works. One that
// cannot be read, does not match its key or has expired never replaces one that
// does; and there is no Source without a first certificate.
package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pollEvery is how soon a change on disk is noticed. Polling, not watching: a
// watch misses renamed directories, swapped symlinks and network file systems.
const pollEvery = 10 * time.Second

// renewEvery is how often Renew is asked.
const renewEvery = 12 * time.Hour

// maxFile bounds a certificate or key file.
const maxFile = 1 << 20

// Config says where the files are.
type Config struct {
	Certificate string // PEM chain, the leaf first
	Key         string // PEM private key
	Logger      *slog.Logger
	// OnReload is told of every attempt to take a changed certificate: nil when it
	// is in use, otherwise why the old one stays. It must not block. Optional.
	OnReload func(error)
	// Renew, if set, is called when Run begins and twice a day, and replaces files
	// that are near their end: for certificates of our own (RenewIfDue).
	Renew func() error
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Source is a certificate that follows its files.
type Source struct {
	config  Config
	current atomic.Pointer[tls.Certificate]

	mu       sync.Mutex // one reload at a time; guards what follows
	seen     [2]stamp   // the files that current was made from, or that were refused
	lastFail string     // the last refusal: logged when it changes
}

// stamp tells whether a file is still the one that was read. It follows
// symlinks, so that a swapped link is a change.
type stamp struct {
	modified time.Time
	size     int64
	file     os.FileInfo // for the inode
}

func (s stamp) same(o stamp) bool {
	return s.file != nil && o.file != nil && s.modified.Equal(o.modified) && s.size == o.size && os.SameFile(s.file, o.file)
}

// Open reads the first certificate; without a usable one there is no Source. An
// expired one is usable here, with a warning: refusing to start would stop mail
// that most clients can still hand in after their own decision.
func Open(c Config) (*Source, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Source{config: c}
	stamps, err := s.stamps()
	if err != nil {
		return nil, err
	}
	pair, err := load(c.Certificate, c.Key)
	if err != nil {
		return nil, err
	}
	s.seen = stamps
	if err := inTime(pair.Leaf, c.Now()); err != nil {
		c.Logger.Warn("certificate is not valid now", "file", c.Certificate, "error", err)
	}
	s.current.Store(pair)
	return s, nil
}

// Certificate returns the one in use. The caller must not change it.
func (s *Source) Certificate() *tls.Certificate { return s.current.Load() }

// GetCertificate fits tls.Config: every name gets the one certificate, known or
// unknown, present or not. Who insists on a name checks it on their side.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

// Run takes changed files into use until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	tick, renew := time.NewTicker(pollEvery), time.NewTicker(renewEvery)
	defer tick.Stop()
	defer renew.Stop()
	s.renew()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.poll()
		case <-renew.C:
			s.renew()
		}
	}
}

// renew lets the certificate be renewed, and takes it into use at once.
func (s *Source) renew() {
	if s.config.Renew == nil {
		return
	}
	if err := s.config.Renew(); err != nil {
		s.config.Logger.Error("certificate not renewed", "file", s.config.Certificate, "error", err)
		return
	}
	s.poll()
}

// poll reloads when a file is not the one it was. Errors are reported, not returned.
func (s *Source) poll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.stamps()
	if err == nil && now[0].same(s.seen[0]) && now[1].same(s.seen[1]) {
		s.lastFail = "" // what failed was taken back
		return
	}
	_ = s.reload(now, err)
}

// Reload takes the files into use now. An error means that the old certificate
// stays in use.
func (s *Source) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.stamps()
	return s.reload(now, err)
}

// reload does the work of poll and Reload; s.mu is held.
func (s *Source) reload(now [2]stamp, err error) error {
	var pair *tls.Certificate
	if err == nil {
		pair, err = load(s.config.Certificate, s.config.Key)
	}
	if err == nil {
		err = inTime(pair.Leaf, s.config.Now())
	}
	if err != nil {
		// The stamps are not kept: writing two files is not one step, so a pair that
		// does not match is looked at again at the next poll.
		if err.Error() != s.lastFail {
			s.lastFail = err.Error()
			s.config.Logger.Error("certificate not reloaded; the old one stays in use", "file", s.config.Certificate, "error", err)
			s.tell(err)
		}
		return err
	}
	s.seen, s.lastFail = now, ""
	s.current.Store(pair)
	s.config.Logger.Info("certificate reloaded", "file", s.config.Certificate, "subject", pair.Leaf.Subject.String(), "expires_at", pair.Leaf.NotAfter)
	s.tell(nil)
	return nil
}

func (s *Source) tell(err error) {
	if s.config.OnReload != nil {
		s.config.OnReload(err)
	}
}

func (s *Source) stamps() (out [2]stamp, err error) {
	for i, path := range []string{s.config.Certificate, s.config.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return out, fmt.Errorf("look at certificate file: %w", err)
		}
		out[i] = stamp{modified: info.ModTime(), size: info.Size(), file: info}
	}
	return out, nil
}

// load reads a chain and its key and checks that they belong together.
func load(certificate, key string) (*tls.Certificate, error) {
	chain, err := readFile(certificate)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	private, err := readFile(key)
	if err != nil {
		return nil, fmt.Errorf("read certificate's key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certificate, key, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", certificate, err)
		}
	}
	return &pair, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() { // a pipe would block for ever
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d octets", path, maxFile)
	}
	return b, nil
}

// errNotInTime is wrapped by what inTime returns.
var errNotInTime = errors.New("certificate is outside its time of validity")

func inTime(leaf *x509.Certificate, now time.Time) error {
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("%w: %s to %s", errNotInTime, leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly))
	}
	return nil
}

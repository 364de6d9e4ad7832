package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"postern/internal/cert"
	"postern/internal/config"
	"postern/internal/dns"
	"postern/internal/secret"
	"postern/internal/sink"
)

// world is everything that runs.
type world struct {
	ready   Ready
	inbox   *sink.Inbox
	records *records
	zone    *dns.Zone // of the demo's names
	dns     *dns.ZoneServer
	roots   *x509.CertPool
	failed  chan error // the first part that ended before it was told to
	stops   []func(context.Context) error
}

// caKeyName is the authority's key, beside what config names.
const caKeyName = "ca.key"

// open makes the world: names first, then the receiving server, then the relay
// that needs both.
func open(ctx context.Context, dir string, o Options, log *slog.Logger) (_ *world, err error) {
	w := &world{failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			err = errors.Join(err, w.close(stop))
		}
	}()
	c := relayConfig(dir)
	if err := w.secrets(c); err != nil {
		return nil, err
	}
	all, err := settle(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if err := w.openDNS(o.ListenDNS, all, log); err != nil {
		return nil, err
	}
	if err := w.openSink(c, o.Faults, log); err != nil {
		return nil, err
	}
	if err := w.openRelay(ctx, c, o, log); err != nil {
		return nil, err
	}
	w.records = newRecords(c.SocketPath())
	if w.ready.APIKey, err = w.records.newKey(ctx); err != nil {
		return nil, err
	}
	w.ready.Hostname, w.ready.CAFile, w.ready.DataDir = hostname, c.CAPath(), dir
	w.ready.Username, w.ready.From, w.ready.UnverifiedFrom, w.ready.To = username, author, foreign, recipient
	return w, nil
}

// settle fills a new directory and returns its zones; those of one that was
// filled before are read from its files. The store of the latter is left to the
// relay, which must be the first to see what a crash left in it.
func settle(ctx context.Context, c *config.Config, log *slog.Logger) ([]*dns.Zone, error) {
	all, err := readZones(c.DataDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return all, err
	}
	domains, err := seedDirectory(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if all, err = zones(domains); err != nil {
		return nil, err
	}
	return all, writeZones(c.DataDir, all)
}

// secrets makes the sealing key and the certificates, where they are not there
// from before, and reads the authority.
func (w *world) secrets(c *config.Config) error {
	if _, err := os.Lstat(c.SealingKeyPath()); errors.Is(err, fs.ErrNotExist) {
		if err := secret.WriteKeyFile(c.SealingKeyPath(), secret.NewSealingKey()); err != nil {
			return err
		}
	}
	certificate, key := c.CertificatePaths()
	if _, err := os.Lstat(certificate); errors.Is(err, fs.ErrNotExist) {
		files := cert.Files{Authority: c.CAPath(), AuthorityKey: filepath.Join(c.DataDir, caKeyName), Certificate: certificate, Key: key}
		names := []string{hostname, sinkName, "localhost", loopback.String(), netip.IPv6Loopback().String()}
		if err := cert.SelfSigned(files, names, time.Now()); err != nil {
			return err
		}
	}
	pem, err := os.ReadFile(c.CAPath())
	if err != nil {
		return fmt.Errorf("read the demo's authority: %w", err)
	}
	w.roots = x509.NewCertPool()
	if !w.roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read the demo's authority: %s holds no certificate", c.CAPath())
	}
	return nil
}

// tls is what a client of the relay uses.
func (w *world) tls() *tls.Config {
	return &tls.Config{RootCAs: w.roots, ServerName: hostname, MinVersion: tls.VersionTLS12}
}

// run lets a part run until close; its end before ends the demo.
func (w *world) run(name string, part func(context.Context) error, stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := part(ctx)
		if ctx.Err() == nil {
			select {
			case w.failed <- fmt.Errorf("%s ended: %w", name, errors.Join(err, errEnded)):
			default:
			}
		}
		done <- err
	}()
	w.stops = append(w.stops, func(wait context.Context) error {
		defer cancel()
		if stop != nil {
			if err := stop(wait); err != nil {
				return fmt.Errorf("stop %s: %w", name, err)
			}
		}
		cancel()
		select {
		case err := <-done:
			return err
		case <-wait.Done():
			return fmt.Errorf("stop %s: %w", name, wait.Err())
		}
	})
}

var errEnded = errors.New("it was not told to")

// close ends everything, last started first.
func (w *world) close(ctx context.Context) error {
	var errs []error
	for i := len(w.stops) - 1; i >= 0; i-- {
		errs = append(errs, w.stops[i](ctx))
	}
	w.stops = nil
	return errors.Join(errs...)
}

func (w *world) openDNS(addr string, all []*dns.Zone, log *slog.Logger) error {
	s, err := dns.ListenZones(or(addr), log, all...)
	if err != nil {
		return err
	}
	w.ready.DNS, w.dns, w.zone = s.Addr().String(), s, dns.ZoneFor(all, customer)
	w.run("DNS", s.Run, nil)
	return nil
}

// openSink binds the receiving server to a free port: the port that the relay
// is told all mail servers have.
func (w *world) openSink(c *config.Config, misbehaviour []string, log *slog.Logger) error {
	var faults []sink.Fault
	for _, text := range misbehaviour {
		f, err := sink.ParseFault(text)
		if err != nil {
			return err
		}
		faults = append(faults, f)
	}
	resolver, err := dns.NewClient(dns.Config{Servers: []string{w.ready.DNS}})
	if err != nil {
		return err
	}
	certificate, key := c.CertificatePaths()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("read the receiving server's certificate: %w", err)
	}
	s, err := sink.New(sink.Config{
		Hostname: sinkName, TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, Domains: []string{inbox, customer, stranger},
		Verify: true, Enforce: true, Resolver: resolver, Faults: faults, Log: log,
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", or(""))
	if err != nil {
		return fmt.Errorf("listen for the receiving server: %w", err)
	}
	w.ready.Sink, w.inbox = ln.Addr().String(), s.Inbox()
	w.run("the receiving server", func(ctx context.Context) error { return s.Serve(ctx, ln) }, s.Drain)
	c.Deliver.Port = ln.Addr().(*net.TCPAddr).Port
	c.Deliver.DNSServers = []string{w.ready.DNS}
	// The relay asks name servers where the demo's is, and serves a zone of its own.
	c.DNS.AskPort = int(netip.MustParseAddrPort(w.ready.DNS).Port())
	c.DNS.AllowNetworks = c.Deliver.AllowNetworks
	c.DNS.Zone, c.DNS.NameServers, c.DNS.Listen = mailZone, []string{nsName, nsName2}, []string{or("")}
	return nil
}

// or is an address to listen on, or a free port.
func or(addr string) string {
	if addr == "" {
		return net.JoinHostPort(loopback.String(), "0")
	}
	return addr
}

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"postern/internal/dns"
)

// MaxBody is the most octets that are posted at once.
const MaxBody = 1 << 20

// The other bounds of a post.
const (
	postTime    = 15 * time.Second
	dialTime    = 5 * time.Second
	maxAnswer   = 4 << 10  // octets of the answer that are read
	maxHeader   = 16 << 10 // octets of the answer's header
	idleClients = 4
)

// Config is how posts are made.
type Config struct {
	// Ports besides 443.
	Ports []int
	// Allow says which addresses may be dialled; nil: those of the public Internet.
	Allow func(netip.Addr) bool
	// Private: the URLs are the operator's own, not a customer's. Any host is right,
	// and every address may be dialled; ports are as ever.
	Private bool
	// Certificates show a receiver who posts, if it asks.
	Certificates []tls.Certificate
	// Roots sign the receivers' certificates; nil: the system's.
	Roots *x509.CertPool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Client posts to customers' URLs. It follows no redirect, uses no proxy, keeps no
// cookie, and dials no address that is not public: each one that a name resolves
// to is judged at the dial, so a name that changes in between helps nobody (AP-17).
type Client struct {
	cfg    Config
	dialer *net.Dialer
	http   *http.Client
}

// errAddress is why a dial was refused.
var errAddress = errors.New("webhook: its address is not one of the public Internet")

// NewClient makes a client.
func NewClient(cfg Config) *Client {
	switch {
	case cfg.Private:
		cfg.Allow = func(netip.Addr) bool { return true }
	case cfg.Allow == nil:
		cfg.Allow = dns.Public
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{cfg: cfg}
	c.dialer = &net.Dialer{Timeout: dialTime, Control: c.guard}
	c.http = &http.Client{
		Timeout:       postTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: c.dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: cfg.Roots, Certificates: cfg.Certificates, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: postTime, MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns: idleClients, IdleConnTimeout: time.Minute, DisableCompression: true, ForceAttemptHTTP2: true,
		},
	}
	return c
}

// guard is asked by the dialer with the address that is about to be dialled, after
// names were resolved.
func (c *Client) guard(network, address string, _ syscall.RawConn) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return errAddress
	}
	addr, err := netip.ParseAddr(host)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || addr.Zone() != "" || !c.cfg.Allow(addr) || n != 443 && !slices.Contains(c.cfg.Ports, n) {
		return errAddress
	}
	return nil
}

// check is CheckURL, but for the operator's own URL: what it says is dialled.
func (c *Client) check(text string) (string, error) {
	if !c.cfg.Private {
		return CheckURL(text, c.cfg.Ports)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return "", errors.New("webhook: not an https URL")
	}
	return text, nil
}

// Refused is an answer other than 2xx.
type Refused struct {
	Status int
	After  time.Duration // what Retry-After asks for; 0: nothing
}

func (r *Refused) Error() string {
	if r.Status >= 300 && r.Status < 400 {
		return fmt.Sprintf("webhook: answered with a redirect (%d), which is not followed", r.Status)
	}
	return fmt.Sprintf("webhook: answered with status %d", r.Status)
}

// Post posts a JSON body to a URL, signed with each of the secrets. id is the same
// for each try of one thing, so that a receiver can pass over what it has. Nil: it
// was answered with 2xx. The receiver's words are not in the error.
func (c *Client) Post(ctx context.Context, to string, secrets [][]byte, id string, body []byte) error {
	to, err := c.check(to)
	if err != nil {
		return err
	}
	if len(body) > MaxBody {
		return errors.New("webhook: the body is too large")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("webhook: not a URL")
	}
	now := c.cfg.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "postern-webhook")
	req.Header.Set(HeaderID, id)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	if len(secrets) > 0 {
		req.Header.Set(HeaderSignature, Sign(secrets, id, now, body))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, errAddress) {
			return errAddress
		}
		if !c.cfg.Private {
			err = outside(err)
		}
		return fmt.Errorf("webhook: no answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &Refused{resp.StatusCode, RetryAfter(resp.Header, now)}
	}
	return nil
}

// outside is an error without the installation's own side, which is none of a customer's
// business: where its resolver is, and its own address. Others may have the same error,
// so it is not changed in place.
func outside(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		own := *e
		own.Server = ""
		return &own
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		own := *e
		own.Source = nil
		return &own
	}
	return err
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

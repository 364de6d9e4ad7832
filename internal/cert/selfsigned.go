package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"postern/internal/secret"
)

// Lifetimes of what SelfSigned makes. The authority is long-lived because
// clients have it installed; the certificate under it stays below the 825 days
// that Apple's clients accept from a private authority, and Renew makes the
// next one without touching the clients.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 820 * 24 * time.Hour
	renewBefore     = 60 * 24 * time.Hour
	// backdate forgives clients whose clock is behind.
	backdate = time.Hour
)

// Files are where SelfSigned writes.
type Files struct {
	Authority    string // certificate for clients to trust, PEM, 0644
	AuthorityKey string // its key, PEM, 0600
	Certificate  string // the server's chain, PEM, 0644
	Key          string // the server's key, PEM, 0600
}

// SelfSigned makes a certificate authority of its own and a server certificate
// under it for the names (host names or addresses; the first is the subject).
// Both are ECDSA P-256: the cheapest handshake for the server. The authority is
// constrained to the names, so that trusting it gives away nothing else. It
// refuses to overwrite any of the files.
func SelfSigned(f Files, names []string, now time.Time) error {
	for _, path := range []string{f.Authority, f.AuthorityKey, f.Certificate, f.Key} {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("make certificate: %s: %w", path, fs.ErrExist)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make certificate: %w", err)
		}
	}
	if len(names) == 0 {
		return errors.New("make certificate: no names")
	}
	ca, err := newAuthority(names, now)
	if err != nil {
		return err
	}
	if err := writePair(f.Authority, f.AuthorityKey, ca.certificate, ca.key); err != nil {
		return err
	}
	return issue(f, ca, names, now)
}

// RenewIfDue renews a certificate of SelfSigned that has less than renewBefore
// left, and reports whether it did.
func RenewIfDue(f Files, names []string, now time.Time) (bool, error) {
	pair, err := load(f.Certificate, f.Key)
	if err != nil {
		return false, err
	}
	if pair.Leaf.NotAfter.Sub(now) > renewBefore {
		return false, nil
	}
	return true, Renew(f, names, now)
}

// Renew makes a new server certificate, with a new key, under the authority that
// SelfSigned made. Clients notice nothing.
func Renew(f Files, names []string, now time.Time) error {
	pair, err := load(f.Authority, f.AuthorityKey)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("renew certificate: %s is not an ECDSA key", f.AuthorityKey)
	}
	return issue(f, authority{certificate: pair.Certificate[0], key: key, parsed: pair.Leaf}, names, now)
}

type authority struct {
	certificate []byte // DER
	parsed      *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(names []string, now time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("make authority's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "postern authority of " + names[0]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	constrain(template, names)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("make authority: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("make authority: %w", err)
	}
	return authority{certificate: der, parsed: parsed, key: key}, nil
}

func issue(f Files, ca authority, names []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make certificate's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: names[0]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(certificateLife),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if a, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, a.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, strings.ToLower(name))
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.parsed, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	return writePair(f.Certificate, f.Key, der, key)
}

// constrain limits an authority to the names and what is below them (RFC 5280
// §4.2.1.10). Without an address among the names, addresses are excluded.
func constrain(template *x509.Certificate, names []string) {
	template.PermittedDNSDomainsCritical = true
	for _, name := range names {
		if a, err := netip.ParseAddr(name); err == nil {
			template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())})
		} else {
			template.PermittedDNSDomains = append(template.PermittedDNSDomains, strings.ToLower(name))
		}
	}
	if len(template.PermittedIPRanges) == 0 {
		template.ExcludedIPRanges = []*net.IPNet{
			{IP: make([]byte, 4), Mask: net.CIDRMask(0, 32)},
			{IP: make([]byte, 16), Mask: net.CIDRMask(0, 128)},
		}
	}
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40 // positive and of full length (RFC 5280 §4.1.2.2)
	return new(big.Int).SetBytes(b[:])
}

// writePair writes the key before the certificate: a poll between the two sees a
// pair that does not match and keeps the old one.
func writePair(certificate, key string, der []byte, private *ecdsa.PrivateKey) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	if err := secret.WriteFileAtomic(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := secret.WriteFileAtomic(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

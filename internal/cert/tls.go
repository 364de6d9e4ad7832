package cert

import "crypto/tls"

// Use says what a TLS configuration is for.
type Use struct {
	Minimum uint16   // lowest version; below TLS 1.2, and 0, mean TLS 1.2 (RFC 8996)
	ALPN    []string // protocols to agree on; a client that offers only others is refused (RFC 7301 §3.2)
	// NoTickets switches session tickets off, for listeners that strangers use.
	NoTickets bool
	// Looser takes clients that have nothing better than RSA key exchange or CBC:
	// for mx listeners, where the other choice is plain text.
	Looser bool
}

// suites12 are the TLS 1.2 suites of RFC 9325 §4.2: forward secret, AEAD only.
// (TLS 1.3 has no others; crypto/tls orders them by hardware.)
var suites12 = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// looser12 adds what old mail servers have: forward secret CBC suites, and no
// RC4, 3DES or static RSA even here.
var looser12 = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
}

// TLSConfig makes a server's configuration over the source. Each call gives one
// with ticket keys of its own, so that a session of one listener cannot be
// resumed on another: make one per listener. Compression and renegotiation do
// not exist in crypto/tls's server, and early data is never accepted
// (RFC 9325 §3.3, RFC 8446 §8).
func (s *Source) TLSConfig(u Use) *tls.Config {
	c := &tls.Config{
		GetCertificate:         s.GetCertificate,
		MinVersion:             max(u.Minimum, tls.VersionTLS12),
		CipherSuites:           append([]uint16(nil), suites12...),
		NextProtos:             append([]string(nil), u.ALPN...),
		SessionTicketsDisabled: u.NoTickets,
	}
	if u.Looser {
		c.CipherSuites = append(c.CipherSuites, looser12...)
	}
	return c
}

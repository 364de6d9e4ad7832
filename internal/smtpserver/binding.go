package smtpserver

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
)

// binding returns channel binding data of the session by the name of its type.
func (x *session) binding(name string) ([]byte, bool) {
	conn, ok := x.w.conn.(*tls.Conn)
	if !ok {
		return nil, false
	}
	state := conn.ConnectionState()
	switch name {
	case "tls-exporter":
		return exporter(state)
	case "tls-server-end-point":
		return endPoint(x.served)
	case "tls-unique":
		// Without the extended master secret two connections can be made to have the
		// same (RFC 7627 §1); TLS 1.3 has none (RFC 9266 §1).
		_, ems := exporter(state)
		return state.TLSUnique, ems && state.Version == tls.VersionTLS12 && len(state.TLSUnique) > 0
	}
	return nil, false
}

// bindable reports whether the session has channel binding data of any type.
func (x *session) bindable() bool {
	if x.peer.TLS == nil {
		return false
	}
	if x.peer.TLS.Version >= tls.VersionTLS13 {
		return true
	}
	for _, name := range []string{"tls-exporter", "tls-server-end-point"} {
		if _, ok := x.binding(name); ok {
			return true
		}
	}
	return false
}

// exporter is tls-exporter (RFC 9266 §2). crypto/tls refuses where neither TLS
// 1.3 nor the extended master secret makes it safe.
func exporter(state tls.ConnectionState) ([]byte, bool) {
	p, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	return p, err == nil
}

// endPoint is tls-server-end-point (RFC 5929 §4.1): the certificate's hash by
// the hash of its own signature, SHA-256 in place of MD5 and SHA-1. A signature
// without one such hash (Ed25519) has no binding.
func endPoint(c *tls.Certificate) ([]byte, bool) {
	if c == nil || len(c.Certificate) == 0 {
		return nil, false
	}
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, false
		}
	}
	switch leaf.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(leaf.Raw)
		return sum[:], true
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(leaf.Raw)
		return sum[:], true
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(leaf.Raw)
		return sum[:], true
	}
	return nil, false
}

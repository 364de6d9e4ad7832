package dkim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func rsaKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func pkcs8(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func TestParsePEM(t *testing.T) {
	t.Parallel()
	k := rsaKey(t, 2048)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		want []byte
		alg  Algorithm
	}{
		"PKCS #1":            {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)), pkcs8(t, k), RSA},
		"PKCS #8":            {pemOf("PRIVATE KEY", pkcs8(t, k)), pkcs8(t, k), RSA},
		"Ed25519":            {pemOf("PRIVATE KEY", pkcs8(t, ed)), pkcs8(t, ed), Ed25519},
		"with text around":   {[]byte("my key:\n" + string(pemOf("PRIVATE KEY", pkcs8(t, ed))) + "\n\n"), pkcs8(t, ed), Ed25519},
		"as it is exported":  {FormatPEM(pkcs8(t, k)), pkcs8(t, k), RSA},
		"with CRLF":          {bytes.ReplaceAll(pemOf("PRIVATE KEY", pkcs8(t, ed)), []byte("\n"), []byte("\r\n")), pkcs8(t, ed), Ed25519},
		"with unknown words": {[]byte(strings.Replace(string(pemOf("PRIVATE KEY", pkcs8(t, ed))), "KEY-----\n", "KEY-----\nComment: x\n\n", 1)), pkcs8(t, ed), Ed25519},
	} {
		der, alg, err := ParsePEM(c.text)
		if err != nil || alg != c.alg || !bytes.Equal(der, c.want) {
			t.Errorf("%s: %s, %v, same: %v", name, alg, err, bytes.Equal(der, c.want))
		}
	}
}

func TestParsePEMRefuses(t *testing.T) {
	t.Parallel()
	k := rsaKey(t, 2048)
	good := pemOf("PRIVATE KEY", pkcs8(t, k))
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(pkcs8(t, k))
	broken[len(broken)/2] ^= 1
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"nothing":      {nil, "no PEM block"},
		"prose":        {[]byte("please use my key"), "no PEM block"},
		"too long":     {bytes.Repeat([]byte("a"), MaxPEM+1), "octets"},
		"two":          {append(bytes.Clone(good), good...), "more than one"},
		"1,024 bits":   {pemOf("PRIVATE KEY", pkcs8(t, rsaKey(t, 1024))), "1024 bits"},
		"ECDSA":        {pemOf("PRIVATE KEY", pkcs8(t, ec)), "neither RSA nor Ed25519"},
		"public":       {pemOf("PUBLIC KEY", public), "public key"},
		"certificate":  {pemOf("CERTIFICATE", public), "another kind"},
		"pass phrase":  {pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), "pass phrase"},
		"old cipher":   {[]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), "pass phrase"},
		"damaged":      {pemOf("PRIVATE KEY", broken), "no sound private key"},
		"wrong label":  {pemOf("RSA PRIVATE KEY", pkcs8(t, ec)), "no sound private key"},
		"empty block":  {pemOf("PRIVATE KEY", nil), "no sound private key"},
		"small e":      {pemOf("PRIVATE KEY", withExponent(t, 3)), "exponent"},
		"other e":      {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(exponent(t, 17))), "exponent"},
		"three primes": {pemOf("RSA PRIVATE KEY", threePrimes(t)), "KEY"},
	} {
		der, _, err := ParsePEM(c.text)
		if !errors.Is(err, ErrKey) || der != nil || name != "three primes" && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// exponent makes a sound key with another public exponent.
func exponent(tb testing.TB, e int) *rsa.PrivateKey {
	tb.Helper()
	for {
		k := rsaKey(tb, 2048)
		one := big.NewInt(1)
		phi := new(big.Int).Mul(new(big.Int).Sub(k.Primes[0], one), new(big.Int).Sub(k.Primes[1], one))
		d := new(big.Int).ModInverse(big.NewInt(int64(e)), phi)
		if d == nil {
			continue
		}
		out := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: k.N, E: e}, D: d, Primes: k.Primes}
		out.Precompute()
		return out
	}
}

func withExponent(tb testing.TB, e int) []byte { return pkcs8(tb, exponent(tb, e)) }

func threePrimes(tb testing.TB) []byte {
	tb.Helper()
	//lint:ignore SA1019 such keys are what is to be refused
	k, err := rsa.GenerateMultiPrimeKey(rand.Reader, 3, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return x509.MarshalPKCS1PrivateKey(k)
}

func FuzzParsePEM(f *testing.F) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pemOf("PRIVATE KEY", pkcs8(f, ed)))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nA: b\n\nMA==\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		der, alg, err := ParsePEM(text)
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Fatal(err)
			}
			return
		}
		if _, got, err := ParseKey(der); err != nil || got != alg {
			t.Fatalf("taken as %s, then %s, %v", alg, got, err)
		}
		if _, err := Revealed(der); err != nil {
			t.Fatalf("cannot be revealed: %v", err)
		}
	})
}

func TestRevoked(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		Revoked(RSA, ""):     "v=DKIM1; k=rsa; p=",
		Revoked(Ed25519, ""): "v=DKIM1; k=ed25519; p=",
		Revoked(RSA, "x y"):  "v=DKIM1; k=rsa; n=x y; p=",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestRevokedKeyFails: a verifier that asks for a withdrawn selector is told that
// it is revoked, with and without the note.
func TestRevokedKeyFails(t *testing.T) {
	t.Parallel()
	for _, k := range testKeys() {
		other, err := GenerateKey(k.Algorithm)
		if err != nil {
			t.Fatal(err)
		}
		note, err := Revealed(other)
		if err != nil {
			t.Fatal(err)
		}
		msg := signMessage(t, corpus["plain"], []Key{k}, Options{})
		for _, n := range []string{"", note} {
			vs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{
				LookupTXT: func(string) ([]string, error) { return []string{Revoked(k.Algorithm, n)}, nil }})
			if err != nil || len(vs) != 1 || !msgauth.IsPermFail(vs[0].Err) || !strings.Contains(vs[0].Err.Error(), "revoked") {
				t.Errorf("%s, note %q: %v, %+v", k.Algorithm, n, err, vs)
			}
		}
	}
}

// TestRevealedKeySigns: from the note alone, anybody can make the signatures that
// the withdrawn key made.
func TestRevealedKeySigns(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, large := rsaKey(t, 2048), rsaKey(t, 4096)
	digest := sha256.Sum256([]byte("x"))
	for _, c := range []struct {
		key crypto.Signer
		max int
	}{{ed, 200}, {small, 450}, {large, 900}} {
		der := pkcs8(t, c.key)
		note, err := Revealed(der)
		if err != nil {
			t.Fatal(err)
		}
		_, alg, _ := ParseKey(der)
		record := Revoked(alg, note)
		if len(record) > c.max {
			t.Errorf("a record of %d octets", len(record))
		}
		if err := tagValue(note); err != nil {
			t.Errorf("%q: %v", note, err)
		}
		again := fromNote(t, note)
		opts := crypto.SignerOpts(crypto.SHA256)
		if alg == Ed25519 {
			opts = crypto.Hash(0)
		}
		want, err := c.key.Sign(nil, digest[:], opts)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := again.Sign(nil, digest[:], opts); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: another signature, %v", alg, err)
		}
	}
	if _, err := Revealed([]byte("x")); !errors.Is(err, ErrKey) {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := Revealed(withExponent(t, 3)); !errors.Is(err, ErrKey) {
		t.Errorf("e=3: %v", err)
	}
}

// tagValue holds a note to RFC 6376 §3.2 (VALCHAR, no semicolon) and §2.11: "="
// only where it quotes.
func tagValue(s string) error {
	for _, c := range []byte(s) {
		if c != ' ' && (c <= ' ' || c > '~') || c == ';' || c == '=' {
			return fmt.Errorf("octet %q", c)
		}
	}
	return nil
}

// fromNote is what a stranger would write to use a revealed key.
func fromNote(tb testing.TB, note string) crypto.Signer {
	tb.Helper()
	words := strings.Fields(note)
	get := func(s string) []byte {
		b, err := base64.RawStdEncoding.DecodeString(s)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	if words[len(words)-2] == "seed" {
		return ed25519.NewKeyFromSeed(get(words[len(words)-1]))
	}
	p, q := new(big.Int).SetBytes(get(words[len(words)-2])), new(big.Int).SetBytes(get(words[len(words)-1]))
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, Primes: []*big.Int{p, q}}
	k.D = new(big.Int).ModInverse(big.NewInt(65537), phi)
	k.Precompute()
	return k
}

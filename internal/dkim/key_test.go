package dkim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeysRoundTrip(t *testing.T) {
	t.Parallel()
	for _, a := range []Algorithm{RSA, Ed25519} {
		der, err := GenerateKey(a)
		if err != nil {
			t.Fatal(err)
		}
		s, got, err := ParseKey(der)
		if err != nil || got != a {
			t.Fatalf("%s: %s, %v", a, got, err)
		}
		again, err := x509.MarshalPKCS8PrivateKey(s)
		if err != nil || !bytes.Equal(again, der) {
			t.Errorf("%s: not the same after reading: %v", a, err)
		}
		if k, ok := s.(*rsa.PrivateKey); ok && k.N.BitLen() != RSABits {
			t.Errorf("RSA key of %d bits", k.N.BitLen())
		}
	}
	if _, err := GenerateKey("rsa-sha1"); !errors.Is(err, ErrKey) {
		t.Errorf("rsa-sha1: %v", err)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"nothing": nil, "nonsense": []byte("x"), "ECDSA": ecDER} {
		if _, _, err := ParseKey(der); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, _, err := LoadSigner(der); !errors.Is(err, ErrKey) {
			t.Errorf("%s: LoadSigner: %v", name, err)
		}
	}
	if _, err := Record(&ec.PublicKey); !errors.Is(err, ErrKey) {
		t.Errorf("record of an ECDSA key: %v", err)
	}
}

func TestRecordOfRSA(t *testing.T) {
	t.Parallel()
	r, err := Record(testKeys()[0].Signer.Public())
	if err != nil || !strings.HasPrefix(r, "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A") {
		t.Errorf("%q, %v", r, err)
	}
	parts := SplitTXT(r)
	if len(parts) != 2 || len(parts[0]) != 255 || strings.Join(parts, "") != r {
		t.Errorf("split into %q", parts)
	}
}

func TestSplitTXT(t *testing.T) {
	t.Parallel()
	for n, want := range map[int][]int{0: {0}, 1: {1}, 255: {255}, 256: {255, 1}, 510: {255, 255}, 511: {255, 255, 1}} {
		var got []int
		for _, p := range SplitTXT(strings.Repeat("x", n)) {
			got = append(got, len(p))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
	}
	if got := ZoneTXT(`a"b\c`); got != `"a\"b\\c"` {
		t.Errorf("ZoneTXT: %s", got)
	}
}

package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"testing"
)

// TestSCRAMKeysVector checks the derivation with the exchange of RFC 7677 §3.
func TestSCRAMKeysVector(t *testing.T) {
	t.Parallel()
	const authMessage = "n=user,r=rOprNGfwEbeRWgbNEkqO," +
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	proof, _ := base64.StdEncoding.DecodeString("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	stored, server, err := scramKeys("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, server)
	h.Write([]byte(authMessage))
	if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("server signature %s", got)
	}
	h = hmac.New(sha256.New, stored)
	h.Write([]byte(authMessage))
	client := h.Sum(nil)
	for i := range client {
		client[i] ^= proof[i]
	}
	if sum := sha256.Sum256(client); !hmac.Equal(sum[:], stored) {
		t.Error("the client proof does not lead to the stored key")
	}
}

func TestNewVerifier(t *testing.T) {
	t.Parallel()
	k := testKey(t)
	a, err := NewVerifier(k)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewVerifier(k)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.SCRAMSalt) < 16 || string(a.SCRAMSalt) == string(b.SCRAMSalt) {
		t.Error("salts are not fresh")
	}
	if a.SCRAMIterations != 10_000 || a.SHA256 != b.SHA256 || !VerifySHA256(k, a.SHA256) || a.SealedCRAM != nil {
		t.Error("verifier members are wrong")
	}
	stored, server, _ := scramKeys(k.Text().Reveal(), a.SCRAMSalt, a.SCRAMIterations)
	if !hmac.Equal(stored, a.SCRAMStoredKey) || !hmac.Equal(server, a.SCRAMServerKey) {
		t.Error("the SCRAM password is not the whole key")
	}
}

// A rotated key keeps id, salt and iterations, and nothing else.
func TestNewVerifierLike(t *testing.T) {
	t.Parallel()
	k := testKey(t)
	old, err := NewVerifier(k)
	if err != nil {
		t.Fatal(err)
	}
	old.SCRAMIterations = 4096 // not the default
	next, err := NewSecret(k.Prefix, k.ID)
	if err != nil || next.ID != k.ID || next.SHA256() == k.SHA256() {
		t.Fatalf("new secret: %v", err)
	}
	if _, err := ParseKey(next.Text().Reveal(), k.Prefix); err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifierLike(next, old)
	if err != nil || string(v.SCRAMSalt) != string(old.SCRAMSalt) || v.SCRAMIterations != 4096 {
		t.Fatalf("salt or iterations differ: %v", err)
	}
	if hmac.Equal(v.SCRAMStoredKey, old.SCRAMStoredKey) || !VerifySHA256(next, v.SHA256) || VerifySHA256(k, v.SHA256) {
		t.Error("the verifier is not the new secret's")
	}
	stored, _, _ := scramKeys(next.Text().Reveal(), old.SCRAMSalt, 4096)
	if !hmac.Equal(stored, v.SCRAMStoredKey) {
		t.Error("the SCRAM keys are not the new secret's")
	}
	v.SCRAMSalt[0] ^= 1
	if string(v.SCRAMSalt) == string(old.SCRAMSalt) {
		t.Error("the salt is shared memory")
	}
	if _, err := NewVerifierLike(next, Verifier{}); !errors.Is(err, ErrNoSCRAM) {
		t.Errorf("without a salt: %v", err)
	}
	if _, err := NewSecret("S.G", k.ID); !errors.Is(err, ErrPrefix) {
		t.Errorf("bad prefix: %v", err)
	}
}

// A sealed CRAM secret belongs to one key and one secret of it.
func TestSealCRAM(t *testing.T) {
	t.Parallel()
	s, err := NewSealer(NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	k := testKey(t)
	sealed, err := SealCRAM(s, k)
	if err != nil {
		t.Fatal(err)
	}
	v := Verifier{SHA256: k.SHA256(), SealedCRAM: sealed}
	if got, err := OpenCRAM(s, k.ID, v); err != nil || got != k.Text() {
		t.Errorf("open: %v", err)
	}
	other := testKey(t)
	if _, err := OpenCRAM(s, other.ID, v); !errors.Is(err, ErrSealed) {
		t.Errorf("another key: %v", err)
	}
	v.SHA256 = other.SHA256()
	if _, err := OpenCRAM(s, k.ID, v); !errors.Is(err, ErrSealed) {
		t.Errorf("another secret: %v", err)
	}
	if _, err := OpenCRAM(s, k.ID, Verifier{}); !errors.Is(err, ErrSealed) {
		t.Errorf("none: %v", err)
	}
}

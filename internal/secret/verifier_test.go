package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
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

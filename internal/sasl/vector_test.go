package sasl

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"postern/internal/secret"
)

// The exchange of RFC 7677 §3.
const (
	vectorNonce  = "rOprNGfwEbeRWgbNEkqO"
	vectorFirst  = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	vectorServer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	vectorFinal  = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	vectorProof  = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

// TestSCRAMVector: AU-16.
func TestSCRAMVector(t *testing.T) {
	t.Parallel()
	c := newSCRAMClient("user", "pencil", SCRAMBinding{}, vectorNonce)
	if name, first, err := c.Start(); name != "SCRAM-SHA-256" || string(first) != vectorFirst || err != nil {
		t.Fatalf("%s %q, %v", name, first, err)
	}
	if final, err := c.Next([]byte(vectorServer)); string(final) != vectorFinal || err != nil {
		t.Fatalf("%q, %v", final, err)
	}
	if c.Done() == nil {
		t.Error("done before the server proved itself")
	}
	if last, err := c.Next([]byte(vectorProof)); len(last) != 0 || last == nil || err != nil || c.Done() != nil {
		t.Errorf("%q, %v, %v", last, err, c.Done())
	}

	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, "pencil", salt, 4096, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	stored := sha256.Sum256(sum256(salted, []byte("Client Key")))
	s := &scramServer{name: scramName, x: Exchange{
		SCRAM: func(context.Context, string) SCRAMUser {
			return SCRAMUser{Salt: salt, Iterations: 4096, Keys: []SCRAMKeys{{stored[:], sum256(salted, []byte("Server Key"))}}}
		},
		Proved: func(_ context.Context, p Proof) error {
			if p != (Proof{Mechanism: scramName, User: "user"}) {
				t.Errorf("%+v", p)
			}
			return nil
		},
	}}
	if _, _, err := s.Next(t.Context(), []byte(vectorFirst)); err != nil {
		t.Fatal(err)
	}
	s.nonce, s.spoken = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", vectorFirst[3:]+","+vectorServer
	if got, done, err := s.Next(t.Context(), []byte(vectorFinal)); string(got) != vectorProof || done || err != nil {
		t.Errorf("%q, %v, %v", got, done, err)
	}
	if _, done, err := s.Next(t.Context(), []byte{}); !done || err != nil {
		t.Errorf("end: %v, %v", done, err)
	}
}

// TestCRAMVector is the example of RFC 2195 §2.
func TestCRAMVector(t *testing.T) {
	t.Parallel()
	challenge := "<1896.697170952@postoffice.reston.mci.net>"
	got, err := NewCRAMMD5Client("tim", "tanstaaftanstaaf").Next([]byte(challenge))
	if want := "tim b913a602c7eda7a495b4e6e7334d3890"; string(got) != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	s := &cramServer{challenge: []byte(challenge), x: Exchange{CRAM: func(_ context.Context, user string, fits func(secret.Redacted) bool) error {
		if user != "tim" || fits("tanstaaftanstaaF") || !fits("tanstaaftanstaaf") {
			t.Errorf("user %q", user)
		}
		return nil
	}}}
	if _, done, err := s.Next(t.Context(), got); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}

package secret

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func testSealer(t testing.TB, keys ...SealingKey) *Sealer {
	t.Helper()
	s, err := NewSealer(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestXAESVectors are the two of the C2SP specification of XAES-256-GCM.
func TestXAESVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key  byte
		aad  string
		want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{c.key}, 32))
		if err != nil {
			t.Fatal(err)
		}
		got, err := x.seal(nil, []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM"), []byte(c.aad))
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("key %d: %x, %v", c.key, got, err)
		}
	}
}

func TestSealOpen(t *testing.T) {
	t.Parallel()
	s := testSealer(t, NewSealingKey())
	plain, aad := []byte("a private key"), []byte("dkim_keys/1/s1")
	sealed, err := s.Seal(plain, aad)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, plain) {
		t.Fatal("not encrypted")
	}
	got, err := s.Open(sealed, aad)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("open: %q, %v", got, err)
	}
	if _, err := s.Open(sealed, []byte("dkim_keys/1/s2")); !errors.Is(err, ErrSealed) {
		t.Errorf("other aad: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x10
		if _, err := s.Open(bad, aad); !errors.Is(err, ErrSealed) && !errors.Is(err, ErrNoSealingKey) {
			t.Errorf("octet %d changed: %v", i, err)
		}
	}
	for i := range sealed {
		if _, err := s.Open(sealed[:i], aad); err == nil {
			t.Errorf("cut to %d octets: opens", i)
		}
	}
	again, _ := s.Seal(plain, aad)
	if bytes.Equal(sealed, again) {
		t.Error("two seals of the same are equal")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	k1, k2 := NewSealingKey(), NewSealingKey()
	before := testSealer(t, k1)
	old, _ := before.Seal([]byte("x"), nil)
	after := testSealer(t, k2, k1)
	if got, err := after.Open(old, nil); err != nil || string(got) != "x" {
		t.Fatalf("old envelope under the rotated sealer: %v", err)
	}
	fresh, _ := after.Seal([]byte("x"), nil)
	if !after.Stale(old) || after.Stale(fresh) || after.CurrentID() != k2.ID {
		t.Error("stale envelopes are not told from fresh ones")
	}
	if _, err := before.Open(fresh, nil); !errors.Is(err, ErrNoSealingKey) {
		t.Errorf("unknown key: %v", err)
	}
	if all := after.DeriveAll("mac"); len(all) != 2 || !bytes.Equal(all[0], after.Derive("mac")) || !bytes.Equal(all[1], before.Derive("mac")) {
		t.Error("derived keys do not survive rotation")
	}
	if bytes.Equal(after.Derive("a"), after.Derive("b")) || len(after.Derive("a")) != 32 {
		t.Error("purposes share a key")
	}
	if _, err := NewSealer(k1, k1); err == nil {
		t.Error("a sealer took the same key twice")
	}
	if _, err := NewSealer(); err == nil {
		t.Error("a sealer without key")
	}
}

func TestBodyKey(t *testing.T) {
	t.Parallel()
	s := testSealer(t, NewSealingKey())
	k, err := NewBodyKey()
	if err != nil {
		t.Fatal(err)
	}
	id, other := [16]byte{1}, [16]byte{2}
	wrapped, err := s.WrapBodyKey(k, id[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.UnwrapBodyKey(wrapped, other[:]); !errors.Is(err, ErrSealed) {
		t.Errorf("another message's key: %v", err)
	}
	if _, err := s.Open(wrapped, id[:]); !errors.Is(err, ErrSealed) {
		t.Errorf("a body key opens as an ordinary envelope: %v", err)
	}
	back, err := s.UnwrapBodyKey(wrapped, id[:])
	if err != nil {
		t.Fatal(err)
	}
	sealed := k.SealChunk([]byte("pre"), id, 7, []byte("chunk"))
	if len(sealed) != 3+5+ChunkOverhead {
		t.Errorf("length %d", len(sealed))
	}
	sealed = sealed[3:]
	if got, err := back.OpenChunk(nil, id, 7, sealed); err != nil || string(got) != "chunk" {
		t.Fatalf("open: %q, %v", got, err)
	}
	if _, err := back.OpenChunk(nil, id, 8, sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("other place: %v", err)
	}
	if _, err := back.OpenChunk(nil, other, 7, sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("other message: %v", err)
	}
	for i := range sealed {
		sealed[i] ^= 1
		if _, err := back.OpenChunk(nil, id, 7, sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("octet %d changed: %v", i, err)
		}
		sealed[i] ^= 1
	}
}

func BenchmarkBody10KB(b *testing.B) {
	s := testSealer(b, NewSealingKey())
	plain, id := make([]byte, 10<<10), [16]byte{1}
	dst := make([]byte, 0, 11<<10)
	b.ReportAllocs()
	for b.Loop() {
		k, _ := NewBodyKey()
		if _, err := s.WrapBodyKey(k, id[:]); err != nil {
			b.Fatal(err)
		}
		dst = k.SealChunk(dst[:0], id, 0, plain)
	}
}

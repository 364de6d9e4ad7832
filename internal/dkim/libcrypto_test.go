//go:build !static && linux && (amd64 || arm64)

package dkim

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
)

// libcryptoSignerForTest returns a signer that is surely libcrypto's, or skips.
func libcryptoSignerForTest(tb testing.TB, bits int) (*libcryptoSigner, *rsa.PrivateKey) {
	tb.Helper()
	if _, err := load(); err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" {
			tb.Fatal(err)
		}
		tb.Skip(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := accelerate(key)
	if err != nil {
		tb.Fatal(err)
	}
	return s.(*libcryptoSigner), key
}

func TestLibcryptoSignsTheSame(t *testing.T) {
	t.Parallel()
	for _, bits := range []int{1024, 2048, 3072} {
		s, key := libcryptoSignerForTest(t, bits)
		for i := range 20 {
			digest := sha256.Sum256([]byte{byte(i)})
			got, err := s.Sign(nil, digest[:], crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			// PKCS #1 v1.5 is deterministic.
			want, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bits: signatures differ, %v", bits, err)
			}
		}
		if !key.PublicKey.Equal(s.Public()) {
			t.Error("another public key")
		}
	}
}

func TestLibcryptoFromManyGoroutines(t *testing.T) {
	t.Parallel()
	s, key := libcryptoSignerForTest(t, 2048)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 25 {
				digest := sha256.Sum256([]byte{byte(g), byte(i)})
				sig, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
				if err == nil {
					err = rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], sig)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if i%10 == 0 {
					runtime.GC()
				}
			}
		})
	}
	wg.Wait()
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if n := len(s.pool.idle); n < 1 || n > s.pool.max {
		t.Errorf("%d idle workers, at most %d wanted", n, s.pool.max)
	}
}

// TestLibcryptoLeavesTheRestToGo: whatever it was not made for, and whatever
// it fails at, is signed by crypto/rsa.
func TestLibcryptoLeavesTheRestToGo(t *testing.T) {
	t.Parallel()
	s, key := libcryptoSignerForTest(t, 2048)
	digest := sha256.Sum256([]byte("x"))
	sig, err := s.Sign(rand.Reader, digest[:], &rsa.PSSOptions{Hash: crypto.SHA256})
	if err != nil || rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest[:], sig, nil) != nil {
		t.Errorf("PSS: %v", err)
	}
	if _, err := s.Sign(rand.Reader, digest[:5], crypto.SHA256); err == nil {
		t.Error("a digest of 5 octets was signed")
	}
	s.pool.der = []byte("no key") // every new worker fails
	s.pool.close()
	sig, err = s.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], sig) != nil {
		t.Errorf("after libcrypto failed: %v", err)
	}
	if _, err := s.pool.sign(digest[:]); !errors.Is(err, errLibcrypto) {
		t.Errorf("pool: %v", err)
	}
}

func TestLibcryptoIsProven(t *testing.T) {
	t.Parallel()
	_, key := libcryptoSignerForTest(t, 2048)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	// A key whose public half does not fit is what a faulty library looks like.
	mixed := *key
	mixed.PublicKey = other.PublicKey
	if _, err := accelerate(&mixed); err == nil {
		t.Error("a signature that does not verify passed the self-test")
	}
}

func TestLibcryptoFreesItsMemory(t *testing.T) {
	t.Parallel()
	s, _ := libcryptoSignerForTest(t, 1024)
	done := make(chan struct{})
	p := s.pool
	runtime.AddCleanup(s, func(c chan struct{}) { close(c) }, done)
	s = nil
	for range 50 {
		runtime.GC()
		select {
		case <-done:
			p.mu.Lock()
			for !p.closed { // the other clean-up runs on its own
				p.mu.Unlock()
				runtime.Gosched()
				p.mu.Lock()
			}
			p.mu.Unlock()
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("a signer that nobody uses was not collected")
}

func TestLoadSignerPrefersLibcrypto(t *testing.T) {
	t.Parallel()
	libcryptoSignerForTest(t, 1024)
	der, err := GenerateKey(RSA)
	if err != nil {
		t.Fatal(err)
	}
	s, backend, why, err := LoadSigner(der)
	if _, ok := s.(*libcryptoSigner); !ok || backend != BackendLibcrypto || why != nil || err != nil {
		t.Errorf("%T %s, %v, %v", s, backend, why, err)
	}
}

func BenchmarkRSALibcrypto(b *testing.B) {
	s, _ := libcryptoSignerForTest(b, 2048)
	digest := sha256.Sum256([]byte("x"))
	for b.Loop() {
		if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}

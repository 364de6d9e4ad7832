//go:build !static && linux && (amd64 || arm64)

package dkim

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// libcryptoName is OpenSSL 3, whose functions below are a stable ABI. Older
// ones have macros in their place and are not used.
const libcryptoName = "libcrypto.so.3"

// minLibcrypto is OPENSSL_VERSION_NUMBER of 3.0.0.
const minLibcrypto = 0x30000000

// rsaPKCS1Padding is RSA_PKCS1_PADDING of openssl/rsa.h.
const rsaPKCS1Padding = 1

// libcrypto holds the entry points. All are C functions of at most five
// integer or pointer arguments.
type libcrypto struct {
	versionNum, clearError, sha256        uintptr
	d2iAutoPrivateKey, pkeyFree           uintptr
	ctxNew, ctxFree, signInit, pkeySign   uintptr
	ctxSetRSAPadding, ctxSetSignatureHash uintptr
}

// load opens the library once per process; it is never closed.
var load = sync.OnceValues(func() (*libcrypto, error) {
	h, err := purego.Dlopen(libcryptoName, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", libcryptoName, err)
	}
	var l libcrypto
	for name, fn := range map[string]*uintptr{
		"OpenSSL_version_num":           &l.versionNum,
		"ERR_clear_error":               &l.clearError,
		"EVP_sha256":                    &l.sha256,
		"d2i_AutoPrivateKey":            &l.d2iAutoPrivateKey,
		"EVP_PKEY_free":                 &l.pkeyFree,
		"EVP_PKEY_CTX_new":              &l.ctxNew,
		"EVP_PKEY_CTX_free":             &l.ctxFree,
		"EVP_PKEY_sign_init":            &l.signInit,
		"EVP_PKEY_sign":                 &l.pkeySign,
		"EVP_PKEY_CTX_set_rsa_padding":  &l.ctxSetRSAPadding,
		"EVP_PKEY_CTX_set_signature_md": &l.ctxSetSignatureHash,
	} {
		if *fn, err = purego.Dlsym(h, name); err != nil {
			return nil, fmt.Errorf("load %s: %w", libcryptoName, err)
		}
	}
	if v, _, _ := purego.SyscallN(l.versionNum); v < minLibcrypto {
		return nil, fmt.Errorf("%s says it is version %#x", libcryptoName, v)
	}
	return &l, nil
})

// accelerate makes a signer by libcrypto and proves it: its first signature
// must pass crypto/rsa's check.
func accelerate(key *rsa.PrivateKey) (crypto.Signer, error) {
	lib, err := load()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("libcrypto: %w", err)
	}
	p := &workerPool{lib: lib, key: key, der: der, max: runtime.GOMAXPROCS(0)}
	digest := sha256.Sum256([]byte("postern signs"))
	sig, err := p.sign(digest[:])
	if err == nil {
		err = rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], sig)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("libcrypto self-test: %w", err)
	}
	s := &libcryptoSigner{pool: p}
	runtime.AddCleanup(s, (*workerPool).close, p)
	return s, nil
}

// libcryptoSigner is a crypto.Signer. When it is collected, so is what its
// workers hold in C.
type libcryptoSigner struct{ pool *workerPool }

// Public returns the *rsa.PublicKey.
func (s *libcryptoSigner) Public() crypto.PublicKey { return &s.pool.key.PublicKey }

// Sign makes a PKCS #1 v1.5 signature of a SHA-256 digest. Any other request,
// and one that libcrypto fails, is the standard library's.
func (s *libcryptoSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer runtime.KeepAlive(s)
	if _, pss := opts.(*rsa.PSSOptions); !pss && opts.HashFunc() == crypto.SHA256 && len(digest) == sha256.Size {
		if sig, err := s.pool.sign(digest); err == nil {
			return sig, nil
		}
	}
	return s.pool.key.Sign(rand, digest, opts)
}

// workerPool lends workers: one goroutine uses one at a time. Each has its own
// EVP_PKEY, so that no lock and no blinding state is shared.
type workerPool struct {
	lib *libcrypto
	key *rsa.PrivateKey
	der []byte
	max int // idle workers kept

	mu     sync.Mutex
	idle   []*worker
	closed bool
}

func (p *workerPool) sign(digest []byte) ([]byte, error) {
	w, err := p.take()
	if err != nil {
		return nil, err
	}
	sig, err := w.sign(p.lib, digest)
	if err != nil {
		w.free(p.lib) // its state is unknown
		return nil, err
	}
	p.give(w)
	return sig, nil
}

func (p *workerPool) take() (*worker, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return w, nil
	}
	p.mu.Unlock()
	return newWorker(p.lib, p.der, p.key.Size())
}

func (p *workerPool) give(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.max {
		w.free(p.lib)
		return
	}
	p.idle = append(p.idle, w)
}

func (p *workerPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.idle {
		w.free(p.lib)
	}
	p.idle = nil
}

// worker is one signing context. C sees Go memory only during a call: the
// fields digest, size and sig, which stay pinned while the worker lives. C
// keeps no pointer to any of it after the call.
type worker struct {
	pkey, ctx uintptr // owned C objects
	digest    [sha256.Size]byte
	size      uintptr // in: room in sig; out: length of the signature
	sig       []byte
	pin       runtime.Pinner
}

var errLibcrypto = errors.New("libcrypto refused")

func newWorker(lib *libcrypto, der []byte, size int) (*worker, error) {
	w := &worker{sig: make([]byte, size)}
	w.pin.Pin(w)
	w.pin.Pin(&w.sig[0])
	if err := w.init(lib, der); err != nil {
		w.free(lib)
		return nil, err
	}
	return w, nil
}

func (w *worker) init(lib *libcrypto, der []byte) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&der[0])
	next := &der[0] // d2i moves it behind what it read
	pin.Pin(&next)
	w.pkey, _, _ = purego.SyscallN(lib.d2iAutoPrivateKey, 0, uintptr(unsafe.Pointer(&next)), uintptr(len(der)))
	if w.pkey == 0 {
		return w.failed(lib, "d2i_AutoPrivateKey")
	}
	w.ctx, _, _ = purego.SyscallN(lib.ctxNew, w.pkey, 0)
	if w.ctx == 0 {
		return w.failed(lib, "EVP_PKEY_CTX_new")
	}
	if !ok(purego.SyscallN(lib.signInit, w.ctx)) {
		return w.failed(lib, "EVP_PKEY_sign_init")
	}
	if !ok(purego.SyscallN(lib.ctxSetRSAPadding, w.ctx, rsaPKCS1Padding)) {
		return w.failed(lib, "EVP_PKEY_CTX_set_rsa_padding")
	}
	md, _, _ := purego.SyscallN(lib.sha256)
	if md == 0 || !ok(purego.SyscallN(lib.ctxSetSignatureHash, w.ctx, md)) {
		return w.failed(lib, "EVP_PKEY_CTX_set_signature_md")
	}
	return nil
}

// ok reports a C int of 1: success everywhere in EVP.
func ok(r1, _, _ uintptr) bool { return int32(r1) == 1 }

// failed empties the thread's error queue, which nothing else would.
func (w *worker) failed(lib *libcrypto, what string) error {
	purego.SyscallN(lib.clearError)
	return fmt.Errorf("%w: %s", errLibcrypto, what)
}

func (w *worker) sign(lib *libcrypto, digest []byte) ([]byte, error) {
	copy(w.digest[:], digest)
	w.size = uintptr(len(w.sig))
	if !ok(purego.SyscallN(lib.pkeySign, w.ctx,
		uintptr(unsafe.Pointer(&w.sig[0])), uintptr(unsafe.Pointer(&w.size)),
		uintptr(unsafe.Pointer(&w.digest[0])), uintptr(len(w.digest)))) {
		return nil, w.failed(lib, "EVP_PKEY_sign")
	}
	if w.size != uintptr(len(w.sig)) { // an RSA signature is as long as its modulus
		return nil, fmt.Errorf("%w: signature of %d octets", errLibcrypto, w.size)
	}
	return append([]byte(nil), w.sig...), nil
}

func (w *worker) free(lib *libcrypto) {
	if w.ctx != 0 {
		purego.SyscallN(lib.ctxFree, w.ctx)
	}
	if w.pkey != 0 {
		purego.SyscallN(lib.pkeyFree, w.pkey)
	}
	w.ctx, w.pkey = 0, 0
	w.pin.Unpin()
}

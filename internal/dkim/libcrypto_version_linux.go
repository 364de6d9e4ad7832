//go:build !static && linux && (amd64 || arm64)

package dkim

import (
	"sync"

	"github.com/ebitengine/purego"
)

// LibcryptoVersion is what the system's libcrypto says of itself, such as "OpenSSL
// 3.5.1 1 Jul 2025"; "" where there is none that could be used.
var LibcryptoVersion = sync.OnceValue(func() string {
	if _, err := load(); err != nil {
		return ""
	}
	h, err := purego.Dlopen(libcryptoName, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return ""
	}
	fn, err := purego.Dlsym(h, "OpenSSL_version")
	if err != nil {
		return ""
	}
	var version func(what int32) string // OPENSSL_VERSION is 0
	purego.RegisterFunc(&version, fn)
	return version(0)
})

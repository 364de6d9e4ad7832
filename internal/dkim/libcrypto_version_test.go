//go:build !static && linux && (amd64 || arm64)

package dkim

import (
	"strings"
	"testing"
)

func TestLibcryptoVersion(t *testing.T) {
	t.Parallel()
	if _, err := load(); err != nil {
		if v := LibcryptoVersion(); v != "" {
			t.Errorf("a library that cannot be used says %q", v)
		}
		t.Skip(err)
	}
	if v := LibcryptoVersion(); !strings.HasPrefix(v, "OpenSSL 3.") || v != LibcryptoVersion() {
		t.Errorf("version %q", v)
	}
}

//go:build static || !linux || !(amd64 || arm64)

package dkim

// LibcryptoVersion is "": this build uses no libcrypto.
func LibcryptoVersion() string { return "" }

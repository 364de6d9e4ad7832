package secret

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	keyIDBytes  = 8
	rootBytes   = 32
	keyFileWord = "postern-sealing-key-1"
	maxKeyFile  = 64 << 10
)

// ErrKeyFile: the key file is not one, or others may read it.
var ErrKeyFile = errors.New("sealing key file")

// KeyFileID names a sealing key. It is public: it stands in every envelope.
type KeyFileID [keyIDBytes]byte

// String is the id in lower-case hexadecimal.
func (id KeyFileID) String() string { return hex.EncodeToString(id[:]) }

// SealingKey is one root key of the installation.
type SealingKey struct {
	ID   KeyFileID
	root [rootBytes]byte
}

// NewSealingKey draws a key and its id.
func NewSealingKey() SealingKey {
	var k SealingKey
	_, _ = rand.Read(k.ID[:]) // never fails
	_, _ = rand.Read(k.root[:])
	return k
}

// String names the key without its secret.
func (k SealingKey) String() string { return "sealing key " + k.ID.String() }

// Format implements fmt.Formatter: no verb shows the secret.
func (k SealingKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue implements slog.LogValuer.
func (k SealingKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// WriteKeyFile writes keys to path, mode 0600, the current one first: a line
// each of word, id and root key in hexadecimal. The old content, if any, is
// replaced atomically and the new one is on stable storage on return.
func WriteKeyFile(path string, keys ...SealingKey) error {
	var b bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&b, "%s %s %s\n", keyFileWord, k.ID, hex.EncodeToString(k.root[:]))
	}
	if err := WriteFileAtomic(path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	return nil
}

// ReadKeyFile reads the keys of path, current first. It refuses a symbolic
// link, anything but a regular file, an owner that is neither this process's
// user nor root, and a file that group or others may touch at all; the error
// then matches ErrKeyFile and says what to change.
func ReadKeyFile(path string) ([]SealingKey, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w %s: is a symbolic link", ErrKeyFile, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := checkPrivate(f); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	keys, err := parseKeyFile(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	return keys, nil
}

// checkPrivate looks at the open file, not at the name, so that a swap in
// between changes nothing.
func checkPrivate(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if perm := fi.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("mode is %04o, others can reach it; want 0600 (chmod 600)", perm)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to uid %d, and this process runs as uid %d: run it as the file's owner", st.Uid, os.Geteuid())
	}
	return nil
}

// parseKeyFile reads the lines that WriteKeyFile writes. Errors name the line
// and never its content.
func parseKeyFile(r io.Reader) ([]SealingKey, error) {
	var keys []SealingKey
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		words := strings.Fields(sc.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		var k SealingKey
		if len(words) != 3 || words[0] != keyFileWord ||
			!decodeHex(k.ID[:], words[1]) || !decodeHex(k.root[:], words[2]) {
			return nil, fmt.Errorf("line %d is not a key", n)
		}
		if k.root == [rootBytes]byte{} {
			return nil, fmt.Errorf("line %d holds an all-zero key", n)
		}
		keys = append(keys, k)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key")
	}
	return keys, nil
}

func decodeHex(dst []byte, s string) bool {
	if len(s) != hex.EncodedLen(len(dst)) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// OpenSealer reads a key file and makes its sealer.
func OpenSealer(path string) (*Sealer, error) {
	keys, err := ReadKeyFile(path)
	if err != nil {
		return nil, err
	}
	return NewSealer(keys...)
}

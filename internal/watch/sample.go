package watch

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// maxSample bounds how many recipients are remembered for a key.
const maxSample = 512

// sample remembers to whom a key wrote, in bounded space: those recipients whose
// hash ends in Level zero bits. While a key has few recipients all are known; with
// each doubling beyond maxSample half of them stand for the rest.
type sample struct {
	level  uint8
	hashes []uint32 // sorted
}

// add notes a recipient. sampled: it is one of those that are remembered; fresh:
// it was not known. weight is how many recipients it stands for.
func (s *sample) add(recipient string) (sampled, fresh bool, weight float32) {
	h := uint32(hash(strings.ToLower(recipient)))
	if h&(1<<s.level-1) != 0 {
		return false, false, 0
	}
	weight = float32(uint32(1) << s.level)
	i, known := slices.BinarySearch(s.hashes, h)
	if known {
		return true, false, weight
	}
	s.hashes = slices.Insert(s.hashes, i, h)
	for len(s.hashes) > maxSample && s.level < 31 {
		s.level++
		s.hashes = slices.DeleteFunc(s.hashes, func(h uint32) bool { return h&(1<<s.level-1) != 0 })
	}
	return true, true, weight
}

// MarshalText is the level and the hashes: "3:base64".
func (s sample) MarshalText() ([]byte, error) {
	var b []byte
	for _, h := range s.hashes {
		b = binary.BigEndian.AppendUint32(b, h)
	}
	return fmt.Appendf(nil, "%d:%s", s.level, base64.RawStdEncoding.EncodeToString(b)), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *sample) UnmarshalText(text []byte) error {
	var rest string
	if _, err := fmt.Sscanf(string(text), "%d:", &s.level); err != nil || s.level > 31 {
		return fmt.Errorf("sample of recipients: no level in %.20q", text)
	}
	_, rest, _ = strings.Cut(string(text), ":")
	b, err := base64.RawStdEncoding.DecodeString(rest)
	if err != nil || len(b)%4 != 0 || len(b) > 4*maxSample {
		return fmt.Errorf("sample of recipients: %d characters that are none", len(rest))
	}
	s.hashes = nil
	for ; len(b) > 0; b = b[4:] {
		s.hashes = append(s.hashes, binary.BigEndian.Uint32(b))
	}
	if !slices.IsSorted(s.hashes) {
		return fmt.Errorf("sample of recipients: not in order")
	}
	return nil
}

// hash is FNV-1a with its bits mixed: the same in every process, because what was
// learned is stored. Whoever makes collisions makes the watch think that a
// recipient is known; they gain less than by writing to known ones.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return h
}

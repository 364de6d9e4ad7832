package store

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash/crc32"
	"sync"

	"postern/internal/relay"
)

// SQLite has no page checksums, so rows that steer mail carry their own: a
// flipped bit in an address must not send a message to a stranger.

// checksumBytes is the length of a message row's checksum: SHA-256, cut.
const checksumBytes = 16

var sumBuffers = sync.Pool{New: func() any { return new([]byte) }}

// sumMessage is the checksum of what never changes in a message's row. Each
// part is preceded by its length, so no two rows have the same octets.
func sumMessage(m *relay.Message, categories, uniqueArgs string, l *layout) []byte {
	p, _ := sumBuffers.Get().(*[]byte)
	b := (*p)[:0]
	str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	num := func(n int64) { b = binary.BigEndian.AppendUint64(b, uint64(n)) }
	for _, id := range []relay.ID{m.ID.ID, m.Account.ID, m.Subuser.ID, m.Key.ID, m.Pool.ID, m.Domain.ID} {
		b = append(b, id[:]...)
	}
	for _, s := range []string{m.EnvelopeFrom, m.ReturnPath, string(m.Body), text(m.Ret), m.EnvID, m.HeaderFrom,
		m.Subject, m.HeaderID, categories, uniqueArgs, addrText(m.Source.Addr), m.Source.Helo, text(m.Source.Protocol),
		text(m.Source.TLS), text(m.Source.Mechanism)} {
		str(s)
	}
	for _, n := range []int64{flag(m.SMTPUTF8), flag(m.RequireTLS), m.Size, micros(m.AcceptedAt), micros(m.ExpiresAt),
		l.headChunks, l.bodyChunks, l.size} {
		num(n)
	}
	b = append(b, l.wrapped...)
	sum := sha256.Sum256(b)
	*p = b
	sumBuffers.Put(p)
	return sum[:checksumBytes]
}

func sameSum(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumRecipient is the CRC-32C of what never changes in a recipient's row.
func sumRecipient(r *relay.Recipient) int64 {
	var stack [512]byte
	b := append(stack[:0], r.Message.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.N))
	for _, s := range []string{r.Address, r.Site, r.ORcpt} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = append(b, byte(r.Notify))
	return int64(crc32.Checksum(b, castagnoli))
}

// packSignatures adds a checksum to the signature fields: a damaged one would
// make every receiver doubt the mail.
func packSignatures(sig []byte) []byte {
	if len(sig) == 0 {
		return noBlob
	}
	return binary.BigEndian.AppendUint32(append([]byte(nil), sig...), crc32.Checksum(sig, castagnoli))
}

// unpackSignatures returns nil for damaged ones: they are then made anew.
func unpackSignatures(b []byte) []byte {
	if len(b) < 5 {
		return nil
	}
	sig := b[: len(b)-4 : len(b)-4]
	if binary.BigEndian.Uint32(b[len(b)-4:]) != crc32.Checksum(sig, castagnoli) {
		return nil
	}
	return sig
}

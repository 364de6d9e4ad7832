package mailsend

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"postern/internal/relay"
)

// BatchLife is how long a batch id is valid.
const BatchLife = 10 * 24 * time.Hour

// Batches makes and recognises batch ids. An id is not stored: it holds when it
// was made, 64 random bits, and a MAC over both and the tenant. The keys are the
// sealing keys' sub-keys for this purpose, the current one first. nil has no keys.
type Batches struct{ keys [][]byte }

// NewBatches makes a Batches; without keys every id is invalid and none is made.
func NewBatches(keys [][]byte) *Batches { return &Batches{keys: keys} }

const (
	batchClaim = 8 + 8 // Unix seconds, random
	batchMAC   = 16
)

var batchText = base64.RawURLEncoding.Strict()

// Make returns a new id of a tenant: 43 characters of base64url.
func (b *Batches) Make(t relay.Tenant, now time.Time) (string, bool) {
	if b == nil || len(b.keys) == 0 {
		return "", false
	}
	id := make([]byte, batchClaim, batchClaim+batchMAC)
	binary.BigEndian.PutUint64(id, uint64(now.Unix()))
	rand.Read(id[8:])
	return batchText.EncodeToString(append(id, batchSum(b.keys[0], t, id)...)), true
}

// Valid reports an id that Make gave this tenant in the last ten days.
func (b *Batches) Valid(t relay.Tenant, text string, now time.Time) bool {
	id, err := batchText.DecodeString(text)
	if b == nil || err != nil || len(id) != batchClaim+batchMAC || len(text) != batchText.EncodedLen(len(id)) {
		return false
	}
	proven := false
	for _, key := range b.keys {
		proven = hmac.Equal(batchSum(key, t, id[:batchClaim]), id[batchClaim:]) || proven
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(id)), 0)
	return proven && now.Before(made.Add(BatchLife))
}

func batchSum(key []byte, t relay.Tenant, claim []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("mail batch\x00"))
	mac.Write(t.Account.ID[:])
	mac.Write(t.Subuser.ID[:])
	mac.Write(claim)
	return mac.Sum(nil)[:batchMAC]
}

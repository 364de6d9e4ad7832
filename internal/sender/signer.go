package sender

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// SignerDirectory is what a Signer needs to know; *identity.Directory has it.
type SignerDirectory interface {
	Domain(id relay.DomainID) (relay.Domain, bool)
	DKIMKeys(id relay.DomainID) []relay.DKIMKey    // those that sign now
	AllDKIMKeys(id relay.DomainID) []relay.DKIMKey // withdrawn ones too
}

// SignerConfig sets a Signer up.
type SignerConfig struct {
	Directory SignerDirectory
	Sealer    *secret.Sealer
	GoOnly    bool // never use the system's libcrypto
	Logger    *slog.Logger
	Now       func() time.Time // nil: time.Now
	MaxKeys   int              // unsealed keys held in memory; 0: 20,000
	// Overlap is how long a retired key stays published. Its stored signatures are
	// sent until a day before the end, since they are checked when they arrive. 0: 7
	// days.
	Overlap time.Duration
}

// Signer makes the DKIM signatures of messages with the keys of their domains.
// It implements queue.Signer.
type Signer struct {
	cfg SignerConfig

	slow sync.Once // says once why signing is slower than it could be
	keys *keyring
}

// NewSigner makes a Signer.
func NewSigner(c SignerConfig) (*Signer, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Signer{cfg: c, keys: newKeyring(c.MaxKeys)}, nil
}

// Sign makes one field for every key of the message's domain that signs now.
// All or nothing: an error means that the message must wait.
func (s *Signer) Sign(ctx context.Context, m *relay.Message, c store.Content) ([]byte, []string, error) {
	keys, with, err := s.active(m)
	if err != nil {
		return nil, nil, err
	}
	r, err := c.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	head, body, err := hashContent(r)
	if err != nil {
		return nil, nil, fmt.Errorf("read message %s: %w", m.ID, err)
	}
	fields, err := dkim.Sign(head, body, keys, dkim.Options{Time: s.cfg.Now()})
	if err != nil {
		return nil, nil, fmt.Errorf("sign message %s: %w", m.ID, err)
	}
	return fields, with, nil
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}

// hashContent takes the header section from r and hashes the rest.
func hashContent(r io.Reader) (head []byte, sum [32]byte, err error) {
	br := readers.Get().(*bufio.Reader)
	br.Reset(r)
	defer func() {
		br.Reset(nil)
		readers.Put(br)
	}()
	for {
		line, err := br.ReadSlice('\n')
		head = append(head, line...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return nil, sum, err
		}
		if bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			break
		}
	}
	h := dkim.NewBodyHash()
	if _, err := br.WriteTo(h); err != nil {
		return nil, sum, err
	}
	return head, h.Sum(), nil
}

// waits says why mail of a domain must not leave now; "" where it may. What was
// accepted before a domain was switched off or deleted still goes.
func waits(d *relay.Domain) string {
	switch d.State {
	case relay.DomainPaused:
		return "its DNS records are gone: " + d.Reason
	case relay.DomainFailed:
		return "it is no longer proven: " + d.Reason
	}
	return ""
}

// active returns the keys that sign a message now, and what they are called in
// SignedWith.
func (s *Signer) active(m *relay.Message) ([]dkim.Key, []string, error) {
	d, ok := s.cfg.Directory.Domain(m.Domain)
	if !ok {
		return nil, nil, fmt.Errorf("the domain of message %s no longer exists", m.ID)
	}
	if why := waits(&d); why != "" {
		return nil, nil, relay.E(relay.Unavailable, fmt.Sprintf("domain %s is %s, %s", d.Name, d.State, why))
	}
	rows := s.cfg.Directory.DKIMKeys(d.ID)
	if len(rows) == 0 {
		return nil, nil, fmt.Errorf("domain %s: %w", d.Name, dkim.ErrNoKeys)
	}
	held, err := s.hold(d, rows)
	if err != nil {
		return nil, nil, err
	}
	keys, with := make([]dkim.Key, len(rows)), make([]string, len(rows))
	for i := range rows {
		keys[i], with[i] = held[i].key, signedWith(d.Name, &rows[i])
	}
	return keys, with, nil
}

// signedWith names a key in a message's SignedWith: where its record stands, and
// which of the keys that the selector has had it is.
func signedWith(domain string, k *relay.DKIMKey) string {
	return k.Selector + "._domainkey." + domain + "#" + strconv.FormatInt(k.Generation, 10)
}

// hold returns the keys of rows, unsealed, in their order. Two messages that meet
// here may both unseal them: better than one domain waiting for another.
func (s *Signer) hold(d relay.Domain, rows []relay.DKIMKey) ([]heldKey, error) {
	held := s.keys.of(d.ID)
	same := len(held) == len(rows)
	out := make([]heldKey, len(rows))
	for i := range rows {
		k, ok := find(held, &rows[i])
		if !ok {
			same = false
			var err error
			if k, err = s.load(d, &rows[i]); err != nil {
				return nil, err
			}
		}
		out[i] = heldKey{rows[i].Selector, rows[i].Generation, k}
	}
	if !same {
		s.keys.put(d.ID, out)
	}
	return out, nil
}

// load unseals a key.
func (s *Signer) load(d relay.Domain, row *relay.DKIMKey) (dkim.Key, error) {
	der, err := s.cfg.Sealer.Open(row.Sealed, keyPlace(d.ID, row.Selector))
	if err != nil {
		return dkim.Key{}, fmt.Errorf("open key %s of %s: %w", row.Selector, d.Name, err)
	}
	defer clear(der)
	signer, err := s.signer(der)
	if err != nil {
		return dkim.Key{}, fmt.Errorf("load key %s of %s: %w", row.Selector, d.Name, err)
	}
	// ID-25: what does not fit the published record would fail at every receiver.
	if record, err := dkim.Record(signer.Public()); err != nil || record != row.Record {
		return dkim.Key{}, fmt.Errorf("key %s of %s is not that of its record", row.Selector, d.Name)
	}
	return dkim.Key{Domain: d.Name, Selector: row.Selector, Algorithm: dkim.Algorithm(row.Algorithm), Signer: signer}, nil
}

func (s *Signer) signer(der []byte) (crypto.Signer, error) {
	if s.cfg.GoOnly {
		k, _, err := dkim.ParseKey(der)
		return k, err
	}
	k, backend, why, err := dkim.LoadSigner(der)
	if why != nil {
		s.slow.Do(func() { s.cfg.Logger.Info("sender: signing without libcrypto", "backend", string(backend), "why", why) })
	}
	return k, err
}

// Current reports whether a stored message's signatures may be sent as they are:
// the records of all keys that made them will still be there when it arrives, and
// its domain may send. Signatures of a retired key stay good until a day before its
// record goes; those of a key that was withdrawn, replaced in its slot, or stopped
// because its record vanished do not.
func (s *Signer) Current(m *relay.Message) bool {
	d, ok := s.cfg.Directory.Domain(m.Domain)
	if !ok || len(m.SignedWith) == 0 || waits(&d) != "" {
		return false
	}
	keys := s.cfg.Directory.AllDKIMKeys(d.ID)
	for _, w := range m.SignedWith {
		at := slices.IndexFunc(keys, func(k relay.DKIMKey) bool { return signedWith(d.Name, &k) == w })
		if at < 0 || !s.verifiable(&keys[at]) {
			return false
		}
	}
	return true
}

// transit is how long after it left a message may still be verified: at each hop
// behind the one that took it, and once more in the mailbox.
const transit = 24 * time.Hour

// verifiable reports whether a signature by k that leaves now can still be checked
// when it arrives.
func (s *Signer) verifiable(k *relay.DKIMKey) bool {
	switch {
	case !k.WithdrawnAt.IsZero():
		return false
	case k.RetiredAt.IsZero():
		return k.Active
	}
	overlap := overlapOr(s.cfg.Overlap)
	return s.cfg.Now().Before(k.RetiredAt.Add(overlap - min(transit, overlap/2)))
}

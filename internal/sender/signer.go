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
	"sync"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// SignerConfig sets a Signer up.
type SignerConfig struct {
	Directory Directory
	Sealer    *secret.Sealer
	GoOnly    bool // never use the system's libcrypto
	Logger    *slog.Logger
	Now       func() time.Time // nil: time.Now
}

// Signer makes the DKIM signatures of messages with the keys of their domains.
// It implements queue.Signer.
type Signer struct {
	cfg SignerConfig

	slow sync.Once // says once why signing is slower than it could be

	mu   sync.Mutex
	keys map[string]dkim.Key // by place; unsealed when first used
}

// NewSigner makes a Signer.
func NewSigner(c SignerConfig) (*Signer, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Signer{cfg: c, keys: map[string]dkim.Key{}}, nil
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

// active returns the keys that sign a message now.
func (s *Signer) active(m *relay.Message) ([]dkim.Key, []string, error) {
	d, ok := s.cfg.Directory.Domain(m.Domain)
	if !ok {
		return nil, nil, fmt.Errorf("the domain of message %s no longer exists", m.ID)
	}
	var keys []dkim.Key
	var with []string
	for _, row := range s.cfg.Directory.DKIMKeys(d.ID) {
		k, err := s.load(d, row)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, k)
		with = append(with, k.Name())
	}
	if len(keys) == 0 {
		return nil, nil, fmt.Errorf("domain %s: %w", d.Name, dkim.ErrNoKeys)
	}
	return keys, with, nil
}

// load unseals a key once.
func (s *Signer) load(d relay.Domain, row relay.DKIMKey) (dkim.Key, error) {
	place := string(keyPlace(d.ID, row.Selector))
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.keys[place]; ok {
		return k, nil
	}
	der, err := s.cfg.Sealer.Open(row.Sealed, []byte(place))
	if err != nil {
		return dkim.Key{}, fmt.Errorf("open key %s of %s: %w", row.Selector, d.Name, err)
	}
	defer clear(der)
	signer, err := s.signer(der)
	if err != nil {
		return dkim.Key{}, fmt.Errorf("load key %s of %s: %w", row.Selector, d.Name, err)
	}
	k := dkim.Key{Domain: d.Name, Selector: row.Selector, Algorithm: dkim.Algorithm(row.Algorithm), Signer: signer}
	s.keys[place] = k
	return k, nil
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

// Current reports whether every selector that signed a stored message still
// signs. A withdrawn one would fail at the receiver.
func (s *Signer) Current(m *relay.Message) bool {
	d, ok := s.cfg.Directory.Domain(m.Domain)
	if !ok || len(m.SignedWith) == 0 {
		return false
	}
	var names []string
	for _, k := range s.cfg.Directory.DKIMKeys(d.ID) {
		names = append(names, dkim.Key{Domain: d.Name, Selector: k.Selector}.Name())
	}
	for _, w := range m.SignedWith {
		if !slices.Contains(names, w) {
			return false
		}
	}
	return true
}

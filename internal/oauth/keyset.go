package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// refreshGap is the least time between two refreshes, whatever tokens come.
	refreshGap = 30 * time.Second
	// refreshAge is how old keys may be before they are fetched anew while they go on
	// being used: a key that the issuer took back is believed no longer than that.
	refreshAge = 15 * time.Minute
	// maxAge is how long keys are believed while the issuer cannot be reached.
	maxAge = 24 * time.Hour
	// discoveryAge and discoveryRetry are after how long the discovery document is
	// read again: as a rule, and when the keys are not where it said.
	discoveryAge   = 24 * time.Hour
	discoveryRetry = 5 * time.Minute
	// An unknown key id is not looked for again for unknownLife; maxUnknown of them
	// are remembered.
	unknownLife = 2 * time.Minute
	maxUnknown  = 1024
	// maxKeys bounds an issuer's set.
	maxKeys = 100
)

// keySet holds an issuer's public keys. Known keys are found without the issuer;
// an unknown id makes one refresh at most, that all who wait share.
type keySet struct {
	ctx     context.Context // of refreshes: they outlive the login that began them
	running *sync.WaitGroup
	issuer  *issuer
	client  *client
	now     func() time.Time
	log     *slog.Logger

	mu       sync.Mutex
	keys     []jose.JSONWebKey
	got      time.Time            // when keys were fetched; zero: never
	tried    time.Time            // when the last refresh began
	failed   error                // of the last refresh
	flight   chan struct{}        // closed when the refresh under way is done; nil: none is
	unknown  map[string]time.Time // key ids that were not there, until when that is believed
	jwks     string               // from discovery
	jwksFrom time.Time
}

func newKeySet(ctx context.Context, running *sync.WaitGroup, cfg Config, is *issuer, c *client) *keySet {
	return &keySet{ctx: ctx, running: running, issuer: is, client: c, now: cfg.Now, log: cfg.Logger, unknown: map[string]time.Time{}}
}

// find returns the keys that may have signed under a header, fetching the set if
// that can help and is allowed now.
func (s *keySet) find(ctx context.Context, h header) ([]any, error) {
	s.mu.Lock()
	now := s.now()
	if s.usable(now) {
		keys, err := s.match(h)
		if err != nil || len(keys) > 0 {
			if now.Sub(s.got) > refreshAge && s.due(now) {
				s.refresh(now)
			}
			s.mu.Unlock()
			return keys, err
		}
	}
	flight := s.flight
	if flight == nil && s.due(now) && !now.Before(s.unknown[h.Kid]) {
		flight = s.refresh(now)
	}
	s.mu.Unlock()
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
	return s.again(h, flight != nil)
}

// again looks once more, and says why nothing is found. An id is remembered as
// unknown only where the issuer was asked: it may have come since the last time.
func (s *keySet) again(h header, asked bool) ([]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !s.usable(now) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(errors.New("its keys are not known"), s.failed))
	}
	keys, err := s.match(h)
	if err != nil || len(keys) > 0 {
		return keys, err
	}
	if asked {
		s.remember(h.Kid, now)
	}
	return nil, refuse("it is signed with a key that its issuer does not have")
}

func (s *keySet) usable(now time.Time) bool { return !s.got.IsZero() && now.Sub(s.got) <= maxAge }

// due reports whether a refresh may begin.
func (s *keySet) due(now time.Time) bool {
	since := now.Sub(s.tried)
	return s.flight == nil && (s.tried.IsZero() || since >= refreshGap || since < 0)
}

// remember keeps an id that is not in the set from being looked for again soon.
func (s *keySet) remember(kid string, now time.Time) {
	if now.Before(s.unknown[kid]) {
		return
	}
	if len(s.unknown) >= maxUnknown {
		for k, until := range s.unknown {
			if !now.Before(until) {
				delete(s.unknown, k)
			}
		}
	}
	if len(s.unknown) < maxUnknown {
		s.unknown[kid] = now.Add(unknownLife)
	}
}

// match returns the keys that fit a header. A token may leave its key's id out
// only where the issuer has a single key. An error is final: no refresh helps.
func (s *keySet) match(h header) ([]any, error) {
	if h.Kid == "" && len(s.keys) > 1 {
		return nil, refuse("it does not say with which of its issuer's keys it is signed (kid)")
	}
	var out []any
	named := false
	for _, k := range s.keys {
		if h.Kid != "" && k.KeyID != h.Kid {
			continue
		}
		named = true
		if keyKinds[h.Alg](k.Key) && (k.Algorithm == "" || k.Algorithm == h.Alg) {
			out = append(out, k.Key)
		}
	}
	if named && len(out) == 0 {
		return nil, refuse("its key is not for its algorithm")
	}
	return out, nil
}

// refresh begins to fetch the set. The caller holds mu and has asked due.
func (s *keySet) refresh(now time.Time) chan struct{} {
	flight := make(chan struct{})
	s.flight, s.tried = flight, now
	jwks, age := s.jwks, now.Sub(s.jwksFrom)
	if age > discoveryAge || age > discoveryRetry && s.failed != nil || age < 0 {
		jwks = ""
	}
	s.running.Go(func() {
		defer close(flight)
		from, keys, err := s.fetch(jwks)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight = nil
		if from != s.jwks || jwks == "" && from != "" {
			s.jwks, s.jwksFrom = from, now
		}
		s.tell(err)
		if s.failed = err; err == nil {
			s.keys, s.got = keys, now
		}
	})
	return flight
}

// tell logs when an issuer goes away and when it is back, not each time between.
func (s *keySet) tell(err error) {
	switch {
	case err != nil && s.failed == nil:
		s.log.Warn("oauth: keys of issuer not fetched", "issuer", s.issuer.URL, "error", err)
	case err == nil && s.failed != nil:
		s.log.Info("oauth: keys of issuer fetched again", "issuer", s.issuer.URL)
	}
}

// fetch reads the key set, asking the discovery document first where it is if
// that is not known. It returns where it was, if that is known now.
func (s *keySet) fetch(jwks string) (from string, keys []jose.JSONWebKey, err error) {
	if s.issuer.JWKSURL != "" {
		jwks = s.issuer.JWKSURL
	}
	if jwks == "" {
		if jwks, err = s.discover(); err != nil {
			return "", nil, err
		}
	}
	b, err := s.client.get(s.ctx, jwks)
	if err != nil {
		return jwks, nil, err
	}
	keys, err = parseKeys(b)
	return jwks, keys, err
}

// discover reads the issuer's configuration (OpenID Connect Discovery §4).
func (s *keySet) discover() (string, error) {
	b, err := s.client.get(s.ctx, strings.TrimSuffix(s.issuer.URL, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	switch err := json.Unmarshal(b, &doc); {
	case err != nil:
		return "", errors.New("the discovery document is not what it should be")
	case doc.Issuer != s.issuer.URL: // §4.3: otherwise one issuer could speak for another
		return "", errors.New("the discovery document is another issuer's")
	case doc.JWKS == "":
		return "", errors.New("the discovery document does not say where the keys are")
	}
	return doc.JWKS, nil
}

// parseKeys reads a JWK Set (RFC 7517 §5). Keys of kinds that are not understood,
// not for signatures, or not public are left out (§5, last paragraph).
func parseKeys(b []byte) ([]jose.JSONWebKey, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, errors.New("the key set is not what it should be")
	}
	if len(doc.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range doc.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" || len(k.KeyID) > maxKid {
			continue
		}
		k.Certificates, k.CertificatesURL = nil, nil
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no key that can be used")
	}
	return keys, nil
}

package oauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// goodFor and badFor are how long an answer is believed: a token that its issuer
	// took back works no longer than that.
	goodFor = 30 * time.Second
	badFor  = 10 * time.Second
	// maxAnswers bounds what is remembered, of good and bad tokens together.
	maxAnswers = 2048
	// maxAsking is how many questions may be under way at once.
	maxAsking = 4
	// Questions about tokens that were never good: askBurst at once, then one every
	// askEvery. Guessing cannot make more of them.
	askBurst = 20
	askEvery = 200 * time.Millisecond
)

// introspector asks an issuer about opaque tokens (RFC 7662). It remembers the
// answers by the tokens' hashes.
type introspector struct {
	issuer *issuer
	client *client
	now    func() time.Time
	log    *slog.Logger
	asking chan struct{} // holds one token for each question under way

	mu      sync.Mutex
	answers map[[sha256.Size]byte]answer
	flights map[[sha256.Size]byte]*flight // questions under way
	room    time.Time                     // when the bucket of questions is full again
	failed  bool                          // the last question had no answer
}

// answer is what is known of one token.
type answer struct {
	token Token
	err   error     // ErrToken: it is not good
	until time.Time // when it has to be asked again
}

// flight is one question, shared by all who wait for it. Its answer is set before
// done is closed.
type flight struct {
	done   chan struct{}
	answer answer
}

func newIntrospector(cfg Config, is *issuer, c *client) *introspector {
	return &introspector{
		issuer: is, client: c, now: cfg.Now, log: cfg.Logger, asking: make(chan struct{}, maxAsking),
		answers: map[[sha256.Size]byte]answer{}, flights: map[[sha256.Size]byte]*flight{},
	}
}

// ask says what a token is worth, from memory if it was asked a moment ago.
func (i *introspector) ask(ctx context.Context, text string) (Token, error) {
	name, now := sha256.Sum256([]byte(text)), i.now()
	i.mu.Lock()
	known, ok := i.answers[name]
	if over := known.err == nil && !now.Before(known.token.ExpiresAt); ok && (over || now.Before(known.until)) {
		i.mu.Unlock()
		if over {
			return Token{}, refuse("it is over (exp)")
		}
		return known.token, known.err
	}
	f := i.flights[name]
	if f != nil {
		i.mu.Unlock()
		select {
		case <-f.done:
			return f.answer.token, f.answer.err
		case <-ctx.Done():
			return Token{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
	// Asking again about a token that was good is not guessing.
	if good := ok && known.err == nil; !good && !i.spend(now) {
		i.mu.Unlock()
		return Token{}, fmt.Errorf("%w: too many unknown tokens were tried", ErrUnavailable)
	}
	f = &flight{done: make(chan struct{})}
	i.flights[name] = f
	i.mu.Unlock()

	f.answer = i.question(ctx, text)

	i.mu.Lock()
	delete(i.flights, name)
	if !errors.Is(f.answer.err, ErrUnavailable) {
		i.keep(name, f.answer, now)
	}
	i.mu.Unlock()
	close(f.done)
	return f.answer.token, f.answer.err
}

// spend takes a question out of the bucket. (GCRA: room is the theoretical
// arrival time.)
func (i *introspector) spend(now time.Time) bool {
	const depth = askBurst * askEvery
	room := i.room
	if room.Before(now) || room.Sub(now) > depth { // the clock was set back
		room = now
	}
	if room.Add(askEvery).Sub(now) > depth {
		return false
	}
	i.room = room.Add(askEvery)
	return true
}

// keep remembers an answer. Where there is no room it forgets what is over first.
func (i *introspector) keep(name [sha256.Size]byte, a answer, now time.Time) {
	if _, ok := i.answers[name]; !ok && len(i.answers) >= maxAnswers {
		for n, old := range i.answers {
			if over := !now.Before(old.until) && (old.err != nil || !now.Before(old.token.ExpiresAt)); over {
				delete(i.answers, n)
			}
		}
		for n := range i.answers {
			if len(i.answers) < maxAnswers {
				break
			}
			delete(i.answers, n)
		}
	}
	i.answers[name] = a
}

// question asks the issuer. Who asked may go away meanwhile; others wait for the
// answer too, so it is fetched to its end.
func (i *introspector) question(ctx context.Context, text string) answer {
	select {
	case i.asking <- struct{}{}:
		defer func() { <-i.asking }()
	case <-ctx.Done():
		return answer{err: fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))}
	}
	b, err := i.post(context.WithoutCancel(ctx), text)
	i.tell(err)
	if err != nil {
		return answer{err: fmt.Errorf("%w: %w", ErrUnavailable, err)}
	}
	now := i.now()
	t, err := i.read(b, now)
	if err != nil {
		return answer{err: err, until: now.Add(badFor)}
	}
	return answer{token: t, until: now.Add(goodFor)} // ask looks at the token's own end
}

// post makes the request of RFC 7662 §2.1. The client proves itself by HTTP Basic,
// both parts form-encoded first (RFC 6749 §2.3.1).
func (i *introspector) post(ctx context.Context, text string) ([]byte, error) {
	to := i.issuer.Introspection
	form := url.Values{"token": {text}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(to.ClientID), url.QueryEscape(to.ClientSecret.Reveal()))
	return i.client.do(req)
}

// read judges the answer of RFC 7662 §2.2. An issuer need not say who it is; if it
// does, it must be the one that was asked.
func (i *introspector) read(b []byte, now time.Time) (Token, error) {
	claims, ok := object(b)
	if !ok {
		return Token{}, fmt.Errorf("%w: the answer is not a JSON object", ErrUnavailable)
	}
	if active, _ := claims["active"].(bool); !active {
		return Token{}, refuse("its issuer says that it is not active")
	}
	if iss, there := claims["iss"]; there && iss != i.issuer.URL {
		return Token{}, refuse("its issuer is not the one that was asked")
	}
	if kind, there := claims["token_type"]; there {
		if s, _ := kind.(string); !strings.EqualFold(s, "bearer") && !strings.EqualFold(s, "access_token") {
			return Token{}, refuse("it is not a bearer token (token_type)")
		}
	}
	t, err := judge(claims, now)
	t.Issuer = i.issuer.URL
	if err != nil {
		return Token{}, err
	}
	return t, nil
}

// tell logs when the endpoint goes away and when it is back.
func (i *introspector) tell(err error) {
	i.mu.Lock()
	was := i.failed
	i.failed = err != nil
	i.mu.Unlock()
	switch {
	case err != nil && !was:
		i.log.Warn("oauth: token not introspected", "issuer", i.issuer.URL, "error", err)
	case err == nil && was:
		i.log.Info("oauth: tokens introspected again", "issuer", i.issuer.URL)
	}
}

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/testkit/pgtest"
)

// revokedWithin is what docs/login.md promises.
const revokedWithin = time.Second

// TestRevokedEverywhere revokes keys on one node and measures on another (on
// SQLite the only one) how long after the answer they are dead: new logins, the
// next MAIL of an open session, and the end of data that a session is in. 100
// keys in make soak.
func TestRevokedEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	rounds := 10
	if os.Getenv("POSTERN_SOAK") == "1" {
		rounds = 100
	}
	t.Run("SQLite", func(t *testing.T) {
		r := newNode(t, "", "")
		revokeRounds(t, r, r, rounds)
	})
	t.Run("PostgreSQL, two nodes", func(t *testing.T) {
		url := pgtest.Require(t).Database(t)
		a := newNode(t, url, "")
		revokeRounds(t, a, a.another(t, url), rounds)
	})
}

// death is how a revoked key ended in each way.
type death struct{ login, mail, end ending }

// ending is when a revoked key was first refused and when it was last asked for
// with success, both after the answer to the revocation. The first is measured; the
// second is judged: an answer that a busy machine is slow to give is not late.
type ending struct{ first, good time.Duration }

func revokeRounds(t *testing.T, a, b *ownRelay, rounds int) {
	t.Helper()
	v := &victim{a: a, b: b, conf: clientTLS(t, b), from: &loopbacks{}}
	ways := []struct {
		name string
		of   func(death) ending
	}{
		{"new login", func(d death) ending { return d.login }},
		{"MAIL of an open session", func(d death) ending { return d.mail }},
		{"end of data under way", func(d death) ending { return d.end }},
	}
	took := make([][]time.Duration, len(ways))
	for n := range rounds {
		d, err := v.revoke(t.Context(), fmt.Sprint("victim ", n))
		must(t, err)
		for i, w := range ways {
			r := w.of(d)
			if took[i] = append(took[i], r.first); r.good > revokedWithin {
				t.Errorf("round %d, %s: taken %v after the revocation", n, w.name, r.good)
			}
		}
	}
	for i, w := range ways {
		slices.Sort(took[i])
		ms := func(q float64) float64 { return took[i][int(q*float64(rounds-1))].Seconds() * 1000 }
		t.Logf("| %s | %d | %.1f ms | %.1f ms | %.1f ms |", w.name, rounds, ms(0.5), ms(0.99), ms(1))
	}
}

// victim makes keys on node a, uses them on b, and revokes them on a.
type victim struct {
	a, b *ownRelay
	conf *tls.Config
	from *loopbacks
}

// asks is how long after the revocation each session that is in its data ends it:
// the first refusal of them is the measurement, a refusal after 1 s the promise.
var asks = []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond, 40 * time.Millisecond, 100 * time.Millisecond,
	300 * time.Millisecond, revokedWithin + time.Millisecond}

func (v *victim) revoke(ctx context.Context, name string) (d death, err error) {
	var key madeKey
	// A key in test mode: what it sends is accepted and goes nowhere.
	in := map[string]any{"name": name, "scopes": []string{"mail.send"}, "mode": "test"}
	if err := v.a.v3(ctx, http.MethodPost, "/api_keys", in, &key); err != nil {
		return d, err
	}
	c := credential{"apikey", key.APIKey}
	idle, err := v.login(c, 5*time.Second) // until the node knows the key
	if err != nil {
		return d, err
	}
	defer idle.close()
	var sending []*smtpStranger
	for range asks {
		s, err := v.login(c, 0)
		if err != nil {
			return d, err
		}
		defer s.close()
		if err := s.beginData(); err != nil {
			return d, err
		}
		sending = append(sending, s)
	}
	if err := v.a.v3(ctx, http.MethodDelete, "/api_keys/"+key.ID, nil, nil); err != nil {
		return d, err
	}
	answered := time.Now()
	var wait sync.WaitGroup
	errs := make([]error, 3)
	wait.Go(func() { d.login, errs[0] = v.untilRefused(c, answered) })
	wait.Go(func() { d.mail, errs[1] = idle.untilMailRefused(answered) })
	wait.Go(func() { d.end, errs[2] = untilEndRefused(sending, answered) })
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

// login logs in, and tries again for a while where that is refused.
func (v *victim) login(c credential, patience time.Duration) (*smtpStranger, error) {
	for deadline := time.Now().Add(patience); ; {
		s, err := dialSMTP(v.from.next(), v.b.SMTPTLS, v.conf, c)
		if err != nil {
			return nil, err
		}
		if err = s.say(strings.TrimSpace(string(s.line)), "235"); err == nil {
			return s, nil
		}
		s.close()
		if time.Now().After(deadline) {
			return nil, err
		}
	}
}

// untilRefused logs in again and again; the time is that of the AUTH line that was
// refused, whose answer is held back.
func (v *victim) untilRefused(c credential, from time.Time) (r ending, err error) {
	for {
		s, err := dialSMTP(v.from.next(), v.b.SMTPTLS, v.conf, c)
		if err != nil {
			return r, err
		}
		asked := time.Since(from)
		took, _, err := s.refused()
		s.close()
		if err == nil {
			r.first = asked + took - holdBack
			return r, nil
		}
		if r.good = asked; !strings.Contains(err.Error(), "235 ") || asked > 10*time.Second {
			return r, fmt.Errorf("log in %v after the revocation: %w", asked, err)
		}
	}
}

func (s *smtpStranger) untilMailRefused(from time.Time) (r ending, err error) {
	for pause := time.Millisecond; ; pause += pause / 4 {
		asked := time.Since(from)
		if err := s.say("MAIL FROM:<a@sender.test>", "250"); err != nil {
			r.first = time.Since(from)
			return r, wantEnded(err)
		}
		if r.good = asked; asked > 10*time.Second {
			return r, nil
		}
		if err := s.say("RSET", "250"); err != nil {
			return r, err
		}
		time.Sleep(pause)
	}
}

func untilEndRefused(sessions []*smtpStranger, from time.Time) (r ending, err error) {
	for i, s := range sessions {
		time.Sleep(asks[i] - time.Since(from))
		asked := time.Since(from)
		if err := s.say(".", "250"); err != nil {
			r.first = time.Since(from)
			return r, wantEnded(err)
		}
		r.good = asked
	}
	return r, nil // the last was asked too late
}

// beginData brings a session to the middle of a message.
func (s *smtpStranger) beginData() error {
	for _, step := range [][2]string{{"MAIL FROM:<a@sender.test>", "250"}, {"RCPT TO:<b@rcpt.example>", "250"}, {"DATA", "354"}} {
		if err := s.say(step[0], step[1]); err != nil {
			return err
		}
	}
	_, err := s.conn.Write([]byte("From: a@sender.test\r\nTo: b@rcpt.example\r\nSubject: under way\r\n\r\nx\r\n"))
	return err
}

// wantEnded: a session whose key is dead hears so, and nothing else.
func wantEnded(err error) error {
	if strings.Contains(err.Error(), "454 4.7.0 The key of this session is no longer valid") {
		return nil
	}
	return err
}

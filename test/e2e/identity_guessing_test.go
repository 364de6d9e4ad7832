package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/secret"
)

// banSeen is one ban as `postern access bans --json` lists it.
type banSeen struct {
	Scope, Subject string
	Failures       int64
	Until          time.Time
	Manual         bool
}

func (r *identityRelay) bans(t testing.TB) map[string]banSeen {
	t.Helper()
	var list struct{ Result []banSeen }
	r.read(t, &list, "access", "bans")
	found := map[string]banSeen{}
	for _, b := range list.Result {
		found[b.Scope+" "+b.Subject] = b
	}
	return found
}

// restart stops the relay as an operator does and starts it again.
func (r *identityRelay) restart(t testing.TB) {
	t.Helper()
	if err := r.stop(40 * time.Second); err != nil {
		t.Fatal(err)
	}
	r.serve(t, filepath.Join(r.dir, "postern.toml"))
}

// wrongSecret is a key with the id of another, and a secret of its own.
func wrongSecret(t testing.TB, key string) string {
	t.Helper()
	k, err := secret.ParseKey(key, "SG")
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := secret.NewSecret("SG", k.ID)
	if err != nil {
		t.Fatal(err)
	}
	return wrong.Text().Reveal()
}

// AU-25: guessing from one address ends in its refusal, which a restart does not
// forgive, and which a person can lift. Others are not touched by it.
func TestBansSurviveRestart(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "[auth]\nfailures = 5\n")
	k := r.addKey(t, "guessed at")
	const guesser, banned = "127.0.30.1", "127.0.31.1"
	for n := range 5 {
		s := r.talk(t, guesser, "guesser.example")
		wantReply(t, fmt.Sprintf("guess %d", n+1), s.login("apikey", unknownKey(t)), "535 5.7.8")
		s.conn.Close()
	}
	r.postern(t, "access", "ban", "address", banned, "--for", "10m")
	b := r.bans(t)
	if a := b["address "+guesser]; a.Failures != 5 || time.Until(a.Until) <= 0 || a.Manual {
		t.Fatalf("bans %+v", b)
	}
	until(t, "the ban is told", func() bool {
		for _, a := range r.alerts(t, "ban") {
			if a.Data.Alert.Addr == guesser {
				return true
			}
		}
		return false
	})
	// The right secret does not help where nobody knows the place; others get in.
	wantReply(t, "the right secret from there", r.talk(t, guesser, "guesser.example").login("apikey", k.APIKey), "454 4.7.0")
	r.talk(t, "127.0.30.2", "neighbour.example").in(k.APIKey)
	r.restart(t)
	after := r.bans(t)
	for _, name := range []string{"address " + guesser, "address " + banned} {
		if !after[name].Until.Truncate(time.Second).Equal(b[name].Until.Truncate(time.Second)) || after[name].Manual != b[name].Manual {
			t.Errorf("%s: before %+v, after the restart %+v", name, b[name], after[name])
		}
	}
	a := r.api(t, apiRequest{from: banned, key: k.APIKey, path: "/v3/scopes"})
	wantStatus(t, "HTTP from a banned address", a, 429, "")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.postern(t, "access", "lift", "address", guesser)
	r.postern(t, "access", "lift", "address", banned)
	if left := r.bans(t); len(left) != 0 {
		t.Errorf("after lifting: %+v", left)
	}
	r.talk(t, guesser, "forgiven.example").in(k.APIKey)
	r.talk(t, banned, "forgiven.example").in(k.APIKey)
}

// AU-26: guessing at one key from everywhere closes it to strange places, not to
// those that it is known from.
func TestDistributedGuessing(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "[auth]\nkey_failures = 10\n")
	k := r.addKey(t, "wanted")
	other := r.addKey(t, "not wanted")
	r.talk(t, "127.0.60.1", "home.example").in(k.APIKey)
	var wg sync.WaitGroup
	for n := range 12 {
		s := r.talk(t, fmt.Sprintf("127.1.%d.1", n), "guesser.example")
		wg.Go(func() { wantReply(t, "a guess", s.login("apikey", wrongSecret(t, k.APIKey)), "535 5.7.8") })
	}
	wg.Wait()
	if b := r.bans(t)["key "+k.ID]; b.Failures < 10 {
		t.Fatalf("bans %+v", r.bans(t))
	}
	until(t, "the guessing is told", func() bool {
		a := r.alerts(t, "guessing")
		return len(a) == 1 && a[0].Key == k.ID
	})
	r.talk(t, "127.0.60.1", "home.example").in(k.APIKey)
	r.talk(t, "127.0.62.1", "strange.example").in(other.APIKey)
	if got := r.talk(t, "127.0.61.1", "strange.example").login("apikey", k.APIKey); strings.HasPrefix(got, "235") {
		t.Errorf("a strange place got in while the key is guessed at: %q", got)
	}
}

// AU-33: a person's name and password never work, whether they are right or not,
// and the record says what to use.
func TestPersonsPasswordRefused(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "")
	for n, user := range []string{"operator@sender.test", "operator", "nobody@sender.test"} {
		from := fmt.Sprintf("127.0.%d.1", 70+n)
		for _, password := range []string{"correct horse battery staple", "x"} {
			got := r.talk(t, from, "person.example").login(user, password)
			if want := "535 5.7.8 Authentication failed: Bad username / password"; got != want {
				t.Errorf("%s: %q, want %q", user, got, want)
			}
			wantStatus(t, "HTTP Basic", r.api(t, apiRequest{from: from, basic: [2]string{user, password}, path: "/v3/scopes"}), 401, "")
		}
		var protocols []string
		until(t, "the attempts are on record", func() bool {
			protocols = nil
			for _, l := range lines[loginSeen](t, r, "log", "--addr", from, "--result", "password") {
				if l.Tried != user || !strings.Contains(l.Detail, "programs use an API key") {
					t.Fatalf("record %+v", l)
				}
				for range l.Count {
					protocols = append(protocols, l.Protocol)
				}
			}
			return len(protocols) == 4
		})
		if all := strings.Join(protocols, " "); strings.Count(all, "smtp") != 2 || strings.Count(all, "http") != 2 {
			t.Errorf("records of %s", all)
		}
	}
	// A key sent as a password by HTTP Basic is refused too, with the way out on record.
	wantStatus(t, "a key by HTTP Basic", r.api(t, apiRequest{from: "127.0.79.1", basic: [2]string{"apikey", r.APIKey}, path: "/v3/scopes"}), 401, "")
	if text := r.postern(t, "log", "--json"); strings.Contains(text, r.APIKey) || strings.Contains(text, "correct horse") {
		t.Error("the record holds a secret")
	}
}

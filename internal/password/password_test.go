package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/secret"
)

// cheap makes tests quick; what a hash costs is not what they are about.
var cheap = Params{Memory: 64, Time: 1, Threads: 1}

func TestHashAndVerify(t *testing.T) {
	ctx := context.Background()
	h := New(Config{Params: cheap})
	stored, err := h.Hash(ctx, "four words in a row")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("stored %q", stored)
	}
	again, err := h.Hash(ctx, "four words in a row")
	if err != nil || again == stored {
		t.Errorf("twice the same hash: no salt (%v)", err)
	}
	for _, c := range []struct {
		name, stored string
		given        secret.Redacted
		ok           bool
	}{
		{"right", stored, "four words in a row", true},
		{"wrong", stored, "four words in a roW", false},
		{"empty", stored, "", false},
		{"nobody", "", "four words in a row", false},
		{"too long", stored, secret.Redacted(strings.Repeat("x", MaxLength+1)), false},
	} {
		if ok, stale, err := h.Verify(ctx, c.stored, c.given); ok != c.ok || err != nil || stale {
			t.Errorf("%s: %v, stale %v, %v", c.name, ok, stale, err)
		}
	}
}

// A known answer, so that the stored form never changes unseen. The hash was
// computed by the reference implementation's command line.
func TestKnownHash(t *testing.T) {
	p, err := parsePHC("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{})
	if ok, stale, err := h.Verify(context.Background(), p.String(), "password"); !ok || stale || err != nil {
		t.Errorf("%v, stale %v, %v", ok, stale, err)
	}
}

// SP 800-63B-4 §3.1.1.2: what looks alike is one password.
func TestUnicodeIsNormalised(t *testing.T) {
	ctx := context.Background()
	h := New(Config{Params: cheap})
	stored, err := h.Hash(ctx, "se\u0301same ouvre-toi")
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range []secret.Redacted{"s\u00e9same ouvre-toi", "\uff53\u00e9same ouvre-toi"} {
		if ok, _, err := h.Verify(ctx, stored, given); !ok || err != nil {
			t.Errorf("%x: %v %v", given.Reveal(), ok, err)
		}
	}
	if Normal("\xff\xfe") != "\xff\xfe" {
		t.Error("what is no text was changed")
	}
}

func TestStaleParams(t *testing.T) {
	ctx := context.Background()
	stored, err := New(Config{Params: cheap}).Hash(ctx, "four words in a row")
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{Params: Params{Memory: 128, Time: 1, Threads: 1}})
	if ok, stale, err := h.Verify(ctx, stored, "four words in a row"); !ok || !stale || err != nil {
		t.Errorf("%v, stale %v, %v", ok, stale, err)
	}
}

func TestDamagedHashes(t *testing.T) {
	h := New(Config{Params: cheap})
	good := "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if _, err := parsePHC(good); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"x", "four words in a row", "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=64", "m=4294967295", 1), // all memory
		strings.Replace(good, "m=64", "m=0", 1),
		strings.Replace(good, "t=1", "t=4000000000", 1), // all time
		strings.Replace(good, "t=1", "t=0", 1),
		strings.Replace(good, "p=1", "p=0", 1), // the library panics
		strings.Replace(good, "p=1", "p=255", 1),
		strings.Replace(good, "m=64", "m=+64", 1),
		strings.Replace(good, "m=64", "m=064", 1),
		good + "$", good + "=", good[:len(good)-40], strings.Replace(good, "c29tZXNhbHQ", "", 1), strings.Repeat(good, 10),
	} {
		if _, _, err := h.Verify(context.Background(), bad, "password"); !errors.Is(err, ErrHash) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// AC-01: an attack takes no more memory than the hashes that may run at once.
func TestHashesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Config{Params: cheap, AtOnce: 2, Waiting: 3, Wait: time.Second})
		h.turns <- struct{}{}
		h.turns <- struct{}{} // two hashes that never end
		var mu sync.Mutex
		var errs []error
		begun := time.Now()
		for range 10 {
			go func() {
				_, err := h.Hash(t.Context(), "four words in a row")
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}()
		}
		synctest.Wait()
		mu.Lock()
		if len(errs) != 7 {
			t.Errorf("%d refused at once, want 7: three may wait", len(errs))
		}
		mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(errs) != 10 || time.Since(begun) != time.Second {
			t.Errorf("%d done after %v", len(errs), time.Since(begun))
		}
		for _, err := range errs {
			if !errors.Is(err, ErrBusy) {
				t.Errorf("got %v", err)
			}
		}
		<-h.turns
		if _, err := h.Hash(t.Context(), "four words in a row"); err != nil {
			t.Errorf("with room again: %v", err)
		}
		h.turns <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("gone away: %v", err)
		}
	})
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s || p.Memory > mostMemory || p.Time > mostTime || p.Threads > mostThreads {
			t.Errorf("%q reads as %+v", s, p.Params)
		}
	})
}

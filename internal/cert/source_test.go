package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// made is a directory with what SelfSigned makes.
func made(t testing.TB, names ...string) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{
		Authority: filepath.Join(dir, "ca.crt"), AuthorityKey: filepath.Join(dir, "ca.key"),
		Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"),
	}
	if len(names) == 0 {
		names = []string{"relay.example.test"}
	}
	if err := SelfSigned(f, names, now); err != nil {
		t.Fatal(err)
	}
	return f
}

type recorder struct{ results []error }

func open(t testing.TB, f Files, r *recorder) *Source {
	t.Helper()
	s, err := Open(Config{
		Certificate: f.Certificate, Key: f.Key, Now: func() time.Time { return now },
		OnReload: func(err error) {
			if r != nil {
				r.results = append(r.results, err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func serialOf(s *Source) string { return s.Certificate().Leaf.SerialNumber.String() }

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenWantsAUsablePair(t *testing.T) {
	t.Parallel()
	good, other := made(t), made(t)
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ certificate, key, want string }{
		"missing":     {"/nonexistent/x.crt", good.Key, "no such file"},
		"missing key": {good.Certificate, "/nonexistent/x.key", "no such file"},
		"mismatch":    {good.Certificate, other.Key, "does not match"},
		"garbage":     {garbage, good.Key, "failed to find"},
		"directory":   {t.TempDir(), good.Key, "not a regular file"},
		"device":      {"/dev/zero", good.Key, "not a regular file"},
		"large":       {large, good.Key, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(Config{Certificate: tt.certificate, Key: tt.key})
			if s != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Open = %v, %v; want an error with %q", s, err, tt.want)
			}
		})
	}
}

// TL-17: a certificate that cannot be used leaves the old one in use, whatever
// is wrong with it, and the next good one is taken.
func TestReloadKeepsTheOldOne(t *testing.T) {
	t.Parallel()
	other := made(t)
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, f Files)
		want  string
	}{
		"mismatch":  {func(t *testing.T, f Files) { copyFile(t, other.Key, f.Key) }, "does not match"},
		"removed":   {func(t *testing.T, f Files) { os.Remove(f.Certificate) }, "no such file"},
		"empty":     {func(t *testing.T, f Files) { os.Truncate(f.Certificate, 0) }, "failed to find"},
		"truncated": {func(t *testing.T, f Files) { os.Truncate(f.Key, 40) }, "key"},
		"expired": {func(t *testing.T, f Files) {
			if err := Renew(f, []string{"relay.example.test"}, now.Add(-certificateLife-day)); err != nil {
				t.Fatal(err)
			}
		}, "outside its time of validity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, r := made(t), &recorder{}
			s := open(t, f, r)
			before := serialOf(s)
			tt.spoil(t, f)
			s.poll()
			s.poll() // the same refusal is told once
			if serialOf(s) != before {
				t.Fatal("a bad certificate replaced the good one")
			}
			if len(r.results) != 1 || r.results[0] == nil || !strings.Contains(r.results[0].Error(), tt.want) {
				t.Fatalf("told %v, want one error with %q", r.results, tt.want)
			}
			if err := s.Reload(); err == nil {
				t.Fatal("Reload on demand hides that it failed")
			}
			os.Remove(f.Certificate)
			if err := Renew(f, []string{"relay.example.test"}, now); err != nil {
				t.Fatal(err)
			}
			s.poll()
			if serialOf(s) == before {
				t.Fatal("the good one that followed was not taken")
			}
			if last := r.results[len(r.results)-1]; last != nil {
				t.Fatalf("last told %v, want nil", last)
			}
		})
	}
}

func TestPollTakesOnlyChanges(t *testing.T) {
	t.Parallel()
	f, r := made(t), &recorder{}
	s := open(t, f, r)
	s.poll()
	if len(r.results) != 0 {
		t.Fatalf("an unchanged file was reloaded: %v", r.results)
	}
	// Same size and same time, another file: as `mv new old` within one tick.
	info, err := os.Stat(f.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	before := serialOf(s)
	for { // until the new one has the same length
		if err := Renew(f, []string{"relay.example.test"}, now); err != nil {
			t.Fatal(err)
		}
		again, err := os.Stat(f.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if again.Size() == info.Size() {
			break
		}
	}
	if err := os.Chtimes(f.Certificate, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	s.poll()
	if serialOf(s) == before {
		t.Fatal("a replaced file of the same size and time was not noticed")
	}
}

func TestPollFollowsSwappedSymlink(t *testing.T) {
	t.Parallel()
	first, second := made(t), made(t)
	dir := t.TempDir()
	live := filepath.Join(dir, "live") // as certbot does it: live -> archive
	if err := os.Symlink(filepath.Dir(first.Certificate), live); err != nil {
		t.Fatal(err)
	}
	s := open(t, Files{Certificate: filepath.Join(live, "tls.crt"), Key: filepath.Join(live, "tls.key")}, nil)
	before := serialOf(s)
	next := filepath.Join(dir, "next")
	if err := os.Symlink(filepath.Dir(second.Certificate), next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, live); err != nil {
		t.Fatal(err)
	}
	s.poll()
	if serialOf(s) == before {
		t.Fatal("a swapped symlink was not noticed")
	}
}

const day = 24 * time.Hour

func TestRenewIfDue(t *testing.T) {
	t.Parallel()
	f := made(t)
	names := []string{"relay.example.test"}
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {certificateLife - renewBefore - day, false}, {certificateLife - renewBefore + day, true}} {
		done, err := RenewIfDue(f, names, now.Add(tt.after))
		if err != nil || done != tt.want {
			t.Errorf("RenewIfDue after %v = %v, %v; want %v", tt.after, done, err, tt.want)
		}
	}
	if _, err := RenewIfDue(Files{Certificate: "/nonexistent", Key: "/nonexistent"}, names, now); err == nil {
		t.Error("RenewIfDue without files says nothing")
	}
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	f := made(t, "Relay.Example.test", "127.0.0.1")
	for path, want := range map[string]os.FileMode{f.Authority: 0o644, f.AuthorityKey: 0o600, f.Certificate: 0o644, f.Key: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if err := SelfSigned(f, []string{"relay.example.test"}, now); !errors.Is(err, os.ErrExist) {
		t.Errorf("SelfSigned over existing files: %v", err)
	}
	pem, err := os.ReadFile(f.Authority)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("authority is no PEM certificate")
	}
	leaf := open(t, f, nil).Certificate().Leaf
	for name, ok := range map[string]bool{"relay.example.test": true, "127.0.0.1": true, "other.example.test": false, "127.0.0.2": false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
		if (err == nil) != ok {
			t.Errorf("verify for %s: %v", name, err)
		}
	}
	// A certificate for anyone else under this authority is worth nothing.
	if err := Renew(f, []string{"bank.example"}, now); err != nil {
		t.Fatal(err)
	}
	leaf = open(t, f, nil).Certificate().Leaf
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "bank.example", CurrentTime: now}); err == nil {
		t.Error("the authority can vouch for names that are not its own")
	}
}

func TestSelfSignedNeedsNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c"), filepath.Join(dir, "d")}
	if err := SelfSigned(f, nil, now); err == nil {
		t.Error("a certificate for nobody")
	}
}

// handshake runs one TLS handshake over loopback and returns both ends' views.
func handshake(t testing.TB, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	failed := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			failed <- err
			return
		}
		defer conn.Close()
		s := tls.Server(conn, server)
		_ = s.SetDeadline(time.Now().Add(time.Minute))
		err = s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // carries the session tickets
		}
		failed <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, client)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	err = c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	state := c.ConnectionState()
	c.Close()
	if serverErr := <-failed; err == nil {
		err = serverErr
	}
	return state, err
}

// A certificate of our own that is near its end is replaced while it is in use,
// at once when Run begins and later by the clock; a failure is not the end.
func TestRunRenews(t *testing.T) {
	t.Parallel()
	f := made(t)
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s, err := Open(Config{
			Certificate: f.Certificate, Key: f.Key, Now: func() time.Time { return now },
			Renew: func() error {
				if asked++; asked == 2 {
					return errors.New("no space left")
				}
				return Renew(f, []string{"relay.example.test"}, now)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		before := serialOf(s)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		if serialOf(s) == before {
			t.Error("the renewed certificate is not in use")
		}
		time.Sleep(renewEvery + time.Second)
		synctest.Wait()
		time.Sleep(renewEvery)
		synctest.Wait()
		if asked != 3 {
			t.Errorf("renewal was asked for %d times, want 3", asked)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

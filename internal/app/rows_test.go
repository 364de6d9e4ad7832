package app_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/app"
	"postern/internal/secret"
	"postern/internal/sink"
	"postern/internal/store"
)

// addDomain gives the first account a domain to send from.
func (x *installation) addDomain() {
	x.t.Helper()
	x.ask("POST", "/v3/whitelabel/domains", map[string]any{"domain": ourDomain, "assert": true, "ed25519": true})
}

// login opens a session with the installation's first key.
func (x *installation) login() *talk {
	x.t.Helper()
	c := x.secure()
	c.say("AUTH PLAIN "+plain("apikey", x.made.APIKey), "235")
	return c
}

// AU-31: when a key ends, sessions that it opened end with it: between messages
// at the next MAIL, within one at the end of data. So they do when its account is
// disabled.
func TestEndedKeyStopsOpenSessions(t *testing.T) {
	t.Parallel()
	x := install(t)
	x.addDomain()
	account, key := "/admin/v1/accounts/"+x.made.Account, "/v3/api_keys/"+x.key().IDText()
	for _, tt := range []struct{ name, method, end, undo string }{
		{"key disabled", "POST", key + "/disable", key + "/enable"},
		{"account disabled", "POST", account + "/disable", account + "/enable"},
		{"key revoked", "DELETE", key, ""},
	} {
		between, inside := x.login(), x.login()
		for _, line := range []string{"MAIL FROM:<" + author + ">", "RCPT TO:<" + waiting + ">"} {
			inside.say(line, "250")
		}
		inside.say("DATA", "354")
		if _, err := io.WriteString(inside.conn, "From: "+author+"\r\n\r\nx\r\n"); err != nil {
			t.Fatal(err)
		}
		between.say("MAIL FROM:<"+author+">", "250")
		between.say("RSET", "250")
		x.ask(tt.method, tt.end, nil)
		x.eventually(tt.name+": MAIL is refused", func() bool {
			code, text := between.try("MAIL FROM:<" + author + ">")
			if code == 250 {
				between.say("RSET", "250")
				return false
			}
			if code != 454 || !strings.HasPrefix(text, "4.7.0") {
				t.Fatalf("%s: %d %s", tt.name, code, text)
			}
			return true
		})
		inside.say(".", "454 4.7.0")
		x.secure().say("AUTH PLAIN "+plain("apikey", x.made.APIKey), "535 5.7.8")
		if tt.undo != "" {
			x.ask("POST", tt.undo, nil)
			x.eventually(tt.name+": undone", func() bool {
				code, _ := x.secure().try("AUTH PLAIN " + plain("apikey", x.made.APIKey))
				return code == 235
			})
		}
	}
	if q := x.ask("GET", "/admin/v1/queue", nil); strings.Contains(q, waiting) {
		t.Errorf("something was taken: %s", q)
	}
}

// OR-02: neither kind of listener takes mail for others from somebody unknown,
// with TLS or without.
func TestNoOpenRelay(t *testing.T) {
	t.Parallel()
	x := install(t)
	for _, name := range []string{"submission", "mx"} {
		for _, encrypt := range []bool{false, true} {
			c := x.dialTo(name)
			if encrypt {
				c.startTLS()
			}
			for _, from := range []string{"", "a@" + relayName, author} {
				code, text := c.try("MAIL FROM:<" + from + ">")
				if name == "submission" {
					if code != 530 || !strings.HasPrefix(text, "5.7.0") {
						t.Errorf("%s, TLS %v: MAIL %d %s", name, encrypt, code, text)
					}
					continue
				}
				for _, to := range []string{reader, "somebody@" + relayName, "abuse@inbox.test", "b-" + strings.Repeat("a", 42) + "@" + relayName, "[127.0.0.1]"} {
					if code, text := c.try("RCPT TO:<" + to + ">"); code/100 != 5 {
						t.Errorf("%s, TLS %v, to %s: RCPT %d %s", name, encrypt, to, code, text)
					}
				}
				c.say("RSET", "250")
			}
			c.say("QUIT", "221")
		}
	}
	if n := x.inbox.Total(); n != 0 {
		t.Errorf("%d messages went through", n)
	}
}

// PF-14: a changed configuration that cannot be used is refused with its reason,
// and the old one stays in use.
func TestReloadKeepsTheOldConfiguration(t *testing.T) {
	t.Parallel()
	x := install(t)
	x.addDomain()
	good := x.read(x.made.Config)
	broken := t.TempDir()
	for name, tt := range map[string]struct{ from, to, want string }{
		"unknown key":     {"[limits]", "[limits]\nerors_per_session = 5", "errors_per_session"},
		"TLS off":         {`tls = "starttls"`, `tls = "none"`, "tls"},
		"no certificate":  {"[tls]", "[tls]\ncertificate = \"" + broken + "/none.crt\"\nkey = \"" + broken + "/none.key\"", "tls.certificate"},
		"needs a restart": {"[tls]", "[tls]\nminimum = \"1.3\"", "tls.minimum"},
		"not TOML":        {"[limits]", "[limits", ""},
	} {
		if !strings.Contains(good, tt.from) {
			t.Fatalf("%s: the configuration has no %q", name, tt.from)
		}
		x.configure(strings.Replace(good, tt.from, tt.to, 1))
		status, answer := x.post("reload")
		if status < 400 || status > 499 || !strings.Contains(answer, "the old configuration stays in use") || !strings.Contains(answer, tt.want) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	x.configure(strings.Replace(good, "[limits]", "[limits]\nrecipients = 100", 1))
	if status, answer := x.post("reload"); status/100 != 2 {
		t.Fatalf("a good one: %d %s", status, answer)
	}
	x.send() // with the certificate and the key of before
	c := x.secure()
	if _, text := c.try("EHLO client.test"); !strings.Contains(text, "RCPTMAX=100 ") {
		t.Errorf("the good one is not in use: %q", text)
	}
}

// PF-16: a relay does not start on files that others can reach or could have put
// there, and says which.
func TestStartRefusesUnsafeFiles(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.log = io.Discard
	for _, tt := range []struct {
		name       string
		want       error
		spoil, fix func() error
	}{
		{"sealing key readable to all", secret.ErrKeyFile,
			func() error { return os.Chmod(x.conf.SealingKeyPath(), 0o644) }, func() error { return os.Chmod(x.conf.SealingKeyPath(), 0o600) }},
		{"sealing key is a link", secret.ErrKeyFile,
			func() error { return swap(x.conf.SealingKeyPath()) }, func() error { return unswap(x.conf.SealingKeyPath()) }},
		{"database readable to all", store.ErrUnsafePath,
			func() error { return os.Chmod(x.conf.DatabasePath(), 0o644) }, func() error { return os.Chmod(x.conf.DatabasePath(), 0o600) }},
		{"database is a link", store.ErrUnsafePath,
			func() error { return swap(x.conf.DatabasePath()) }, func() error { return unswap(x.conf.DatabasePath()) }},
		{"lock file is a link", store.ErrUnsafePath,
			func() error { return swap(x.conf.DatabasePath() + ".lock") }, func() error { return unswap(x.conf.DatabasePath() + ".lock") }},
		{"directory open to all", store.ErrUnsafePath,
			func() error { return os.Chmod(x.dir, 0o777) }, func() error { return os.Chmod(x.dir, 0o700) }},
		{"socket is a file", nil,
			func() error { return os.WriteFile(x.conf.SocketPath(), nil, 0o600) }, func() error { return os.Remove(x.conf.SocketPath()) }},
	} {
		if err := tt.spoil(); err != nil {
			t.Fatal(err)
		}
		a, err := app.New(t.Context(), x.options())
		if err == nil {
			_ = a.Stop(t.Context())
			t.Errorf("%s: it starts", tt.name)
		} else if tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := tt.fix(); err != nil {
			t.Fatal(err)
		}
	}
	x.run() // nothing of this did harm
	for _, name := range []string{"sealing.key", "postern.db", "postern.db.lock", "admin.sock", "tls.key", "ca.key"} {
		info, err := os.Lstat(filepath.Join(x.dir, name))
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, ".key") && name != "sealing.key" {
			continue // named otherwise
		}
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// swap puts a symbolic link in a file's place, as somebody with access to the
// directory could; unswap takes it back.
func swap(path string) error {
	return errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
}

func unswap(path string) error {
	return errors.Join(os.Remove(path), os.Rename(path+".real", path))
}

// fullDisk is a log on a disk without room.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, os.ErrClosed }

// RX-16: a log that cannot be written does not stop mail.
func TestFullLogDiskDoesNotStopMail(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	x.log = fullDisk{}
	x.run()
	x.addDomain()
	c := x.login()
	c.say("MAIL FROM:<"+author+">", "250")
	c.say("RCPT TO:<"+reader+">", "250")
	c.say("DATA", "354")
	c.say("From: "+author+"\r\n\r\nx\r\n.", "250")
	if _, err := x.inbox.Wait(t.Context(), func(m sink.Message) bool { return true }); err != nil {
		t.Error(err)
	}
	if err := slog.New(x.options().Logger.Handler()).Handler().Handle(t.Context(), slog.Record{}); err == nil {
		t.Error("the log could be written: this test shows nothing")
	}
}

// post makes a request over admin.sock that may fail.
func (x *installation) post(path string) (int, string) {
	x.t.Helper()
	resp, err := x.admin.Post("http://postern/admin/v1/"+path, "application/json", nil)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

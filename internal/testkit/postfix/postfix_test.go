package postfix

import (
	"errors"
	"net"
	"net/smtp"
	"os"
	"strings"
	"testing"
	"time"
)

func TestConfiguration(t *testing.T) {
	t.Parallel()
	conf := Config{
		Listen:  []Service{{Addr: "127.0.0.1:2525"}, {Addr: "127.0.0.1:4465", Implicit: true, Main: map[string]string{"smtpd_sasl_auth_enable": "yes"}}},
		Main:    map[string]string{"myhostname": "mx.receiver.test"},
		Files:   map[string]string{"passwd": "x in @DIR@"},
		MaxProc: map[string]int{"smtpd": 300, "qmgr": 1},
	}
	files := conf.files("/d")
	for file, wants := range map[string][]string{
		"main.cf":   {"myhostname = mx.receiver.test\n", "queue_directory = /d/queue\n", "inet_interfaces = 127.0.0.1\n"},
		"master.cf": {"127.0.0.1:2525 inet n - n - 300 smtpd\n", "4465 inet n - n - 300 smtpd\n  -o smtpd_tls_wrappermode=yes\n  -o {smtpd_sasl_auth_enable=yes}\n", "qmgr unix n - n 300 1 qmgr\n"},
		"passwd":    {"x in /d"},
	} {
		for _, want := range wants {
			if !strings.Contains(files[file], want) {
				t.Errorf("no %q in %s:\n%s", want, file, files[file])
			}
		}
	}
	if strings.Contains(files["main.cf"], "postfix.example") {
		t.Error("a setting was not replaced")
	}
}

// A message that is handed in lands in a Maildir, and Stop leaves nothing behind.
func TestInstanceDelivers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	i, err := Start(Config{Listen: []Service{{Addr: addr}}, Main: Mailboxes("receiver.test", "bob")})
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrRoot) {
		if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" && !errors.Is(err, ErrRoot) {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = i.Stop()
		}
	}()
	if err := smtp.SendMail(addr, nil, "a@sender.test", []string{"bob@receiver.test"}, []byte("Subject: hello\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := smtp.SendMail(addr, nil, "a@sender.test", []string{"nobody@receiver.test"}, []byte("x")); err == nil || !strings.HasPrefix(err.Error(), "550") {
		t.Errorf("an unknown user: %v, want 550", err)
	}
	var mails []string
	for deadline := time.Now().Add(time.Minute); len(mails) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if mails, err = i.Mails("bob"); err != nil {
			t.Fatal(err)
		}
	}
	if len(mails) != 1 || !strings.Contains(mails[0], "Subject: hello\n") {
		t.Errorf("mails %q\n%s", mails, i.Log())
	}
	if pid, err := i.PID(); err != nil || pid < 2 {
		t.Errorf("PID %d, %v", pid, err)
	}
	stopped = true
	if err := i.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(i.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there", i.dir)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("somebody still listens")
	}
}

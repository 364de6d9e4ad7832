package browser

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/testkit/postfix"
)

// snippets are the texts that the page shows, by the ids of their parts.
func (b *tab) snippets() map[string]string {
	b.t.Helper()
	return script[map[string]string](b, `Object.fromEntries([...document.querySelectorAll("[id^=snippet-]")].map((e) => [e.id.slice(8), e.textContent]))`)
}

// runSnippets pastes each snippet where it belongs and runs it, as the person does
// who has just made a key: not a letter of it is changed. The one thing that this
// machine adds is where the relay's name leads, and whose certificate to trust.
func (w *world) runSnippets(t *testing.T, b *tab, from, to string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("snippets are run by root only: the relay's name needs a file of hosts, and Postfix is started by nobody else")
		return
	}
	all := b.snippets()
	for _, name := range []string{"swaks", "curl", "go", "node", "python", "php", "postfix"} {
		text := all[name]
		if !strings.Contains(text, from) && name != "postfix" {
			t.Errorf("%s: not with the person's own address:\n%s", name, text)
			continue
		}
		if program := map[string]string{"python": "python3", "postfix": "postmap"}[name]; os.Getenv("POSTERN_TEST_EXTERNAL") == "" {
			if _, err := exec.LookPath(cmp.Or(program, name)); err != nil {
				t.Logf("%s is not run: %v (POSTERN_TEST_EXTERNAL=1 makes that a failure)", name, err)
				continue
			}
		}
		before := w.count(t, to, "It works.")
		if name == "postfix" {
			w.relayhost(t, text, from, to)
		} else {
			w.pasted(t, name, text)
		}
		if got := w.counted(t, to, "It works.", before+1); got != before+1 {
			t.Errorf("%s: %d letters more arrived, want one", name, got-before)
		}
	}
}

// pasted runs a snippet with its program.
func (w *world) pasted(t *testing.T, name, text string) {
	t.Helper()
	dir := t.TempDir()
	cache, err := filepath.Abs("../../.cache")
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("hosts", "127.0.0.1 localhost "+w.Hostname+"\n")
	put("vendor/autoload.php", "<?php require '/usr/share/php/libphp-phpmailer/autoload.php';\n")
	put("pasted", text+"\n")
	put("main.go", text+"\n")
	args := map[string][]string{
		"swaks": {"sh", "pasted"}, "curl": {"sh", "pasted"}, "go": {"go", "run", "main.go"}, "node": {"node", "pasted"}, "python": {"python3", "pasted"},
		"php": {"php", "-d", "openssl.cafile=" + w.CAFile, "pasted"},
	}[name]
	// The relay's name is in no DNS: the program gets a file of hosts that has it.
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", `mount --bind "$1" /etc/hosts && shift && exec "$@"`, "sh", filepath.Join(dir, "hosts")}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+w.CAFile, "NODE_EXTRA_CA_CERTS="+w.CAFile, "NODE_PATH="+filepath.Join(cache, "nodemailer", "node_modules"), "GO111MODULE=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", name, err, text, out)
	}
}

// relayhost runs a Postfix with the settings of the snippet, and hands it a letter.
func (w *world) relayhost(t *testing.T, text, from, to string) {
	t.Helper()
	settings, passwords, ok := strings.Cut(text, "\n\n")
	if !ok {
		t.Errorf("postfix: no two parts in\n%s", text)
		return
	}
	ca, err := os.ReadFile(w.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("["+w.Hostname+"]", "[127.0.0.1]", "/etc/postfix/", "@DIR@/etc/")
	conf := postfix.Config{Main: map[string]string{"smtp_tls_CAfile": "$config_directory/ca.pem", "smtp_tls_secure_cert_match": w.Hostname},
		Files: map[string]string{"ca.pem": string(ca), "sasl_passwd": here.Replace(passwords) + "\n"}}
	for _, line := range regexp.MustCompile(`(?m)^(\w+) = (.*)$`).FindAllStringSubmatch(settings, -1) {
		conf.Main[line[1]] = strings.ReplaceAll(here.Replace(line[2]), "@DIR@/etc", "$config_directory")
	}
	if len(conf.Main) < 7 {
		t.Errorf("postfix: few settings in\n%s", text)
	}
	listen := freeAddr(t)
	conf.Listen = []postfix.Service{{Addr: listen}}
	p, err := postfix.Start(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(p.Log())
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if out, err := p.Run("postmap", "hash:"+p.Path("etc", "sasl_passwd")); err != nil {
		t.Fatalf("postmap: %v\n%s", err, out)
	}
	letter := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: Hello\r\n\r\nIt works.\r\n", from, to)
	if err := smtp.SendMail(listen, nil, from, []string{to}, []byte(letter)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !strings.Contains(p.Log(), "status=sent"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("postfix: the relay has not taken it:\n%s", text)
			return
		}
	}
}

// counted waits until at least n letters to an address with some words have arrived,
// or patience ends, and returns how many.
func (w *world) counted(t testing.TB, to, words string, n int) int {
	t.Helper()
	got := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got = w.count(t, to, words); got >= n {
			break
		}
	}
	return got
}

// count is how many letters to an address with some words have arrived.
func (w *world) count(t testing.TB, to, words string) int {
	t.Helper()
	resp, err := http.Get(w.url() + "/demo/inbox")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []letter
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range all {
		if slices.Contains(l.RcptTo, to) && bytes.Contains(l.Raw, []byte(words)) {
			n++
		}
	}
	return n
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

package browser

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// keyPrinted is a key that a command printed.
var keyPrinted = regexp.MustCompile(`SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}`)

// serve runs an installation of its own. Mail goes nowhere.
func serve(t testing.TB, lines string) *world {
	t.Helper()
	w := install(t, lines)
	w.serve(t)
	return w
}

// install makes an installation as an operator does: init, and a configuration with
// some lines of the test.
func install(t testing.TB, lines string) *world {
	t.Helper()
	shared := theWorld(t) // for its binary
	dir := filepath.Join(t.TempDir(), "data")
	w := &world{bin: shared.bin, DataDir: dir, log: filepath.Join(filepath.Dir(dir), "log")}
	out, err := exec.Command(w.bin, "init", "--dir", dir, "--hostname", "relay.served.test", "--owner", "owner@served.test").CombinedOutput()
	if err != nil {
		t.Fatalf("postern init: %v\n%s", err, out)
	}
	w.APIKey = keyPrinted.FindString(string(out))
	_, port, _ := net.SplitHostPort(unusedAddr(t))
	w.HTTP = "localhost:" + port
	conf := filepath.Join(dir, "postern.toml")
	text := fmt.Sprintf("hostname = \"relay.served.test\"\ndata_dir = \".\"\ncontact = \"owner@served.test\"\n"+
		"[[listener]]\nname = \"submission\"\nrole = \"submission\"\naddresses = [%q]\ntls = \"starttls\"\n"+
		"[http]\nlisten = [%q]\nurl = %q\n[admin]\nlisten = \"\"\n%s", unusedAddr(t), "127.0.0.1:"+port, w.url(), lines)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(w.log)
			t.Logf("the log:\n%s", b)
		}
		w.stop()
	})
	return w
}

// serve starts an installation, and waits until it answers.
func (w *world) serve(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w.cmd, w.end = exec.Command(w.bin, "serve", "--config", filepath.Join(w.DataDir, "postern.toml")), make(chan struct{})
	w.cmd.Stdout, w.cmd.Stderr = log, log
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, end chan struct{}) { _ = cmd.Wait(); close(end) }(w.cmd, w.end)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(w.url() + "/login"); err == nil {
			resp.Body.Close()
			return
		}
	}
	t.Fatal("the program does not answer")
}

// unusedAddr is an address of this machine where nobody listens now.
func unusedAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

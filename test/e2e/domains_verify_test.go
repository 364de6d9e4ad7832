package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"sync"
	"testing"
)

// verifier is a running testdata/domain_verify.py.
type verifier struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

// mailPython is a Python that has dkimpy with Ed25519, pyspf, authres and dnspython.
func mailPython(t testing.TB) string {
	t.Helper()
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import authres, dkim, dns.resolver, nacl.signing, spf").Run() == nil {
			return p
		}
	}
	return external(t, "a Python with dkimpy, PyNaCl, pyspf, authres and dnspython")
}

// newVerifier runs one until the test ends; it asks this DNS server.
func newVerifier(t testing.TB, dnsServer string) *verifier {
	t.Helper()
	cmd := exec.Command(mailPython(t), "testdata/domain_verify.py", dnsServer)
	in, err := cmd.StdinPipe()
	ensure(t, err)
	out, err := cmd.StdoutPipe()
	ensure(t, err)
	var said bytes.Buffer
	cmd.Stderr = &said
	ensure(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("verifier: %v\n%s", err, said.String())
		}
	})
	return &verifier{in: in, out: bufio.NewReader(out)}
}

// ask is one request and its answer.
func (v *verifier) ask(t testing.TB, request map[string]string, answer any) {
	t.Helper()
	b, err := json.Marshal(request)
	ensure(t, err)
	v.mu.Lock()
	defer v.mu.Unlock()
	_, err = v.in.Write(append(b, '\n'))
	ensure(t, err)
	line, err := v.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, answer)
	}
	ensure(t, err)
}

// signatureSeen is what dkimpy says of one signature.
type signatureSeen struct {
	D, S, A string
	Pass    bool
	Why     string
}

// signatures verifies those of a message in a file.
func (v *verifier) signatures(t testing.TB, path string) []signatureSeen {
	t.Helper()
	var answer struct{ Signatures []signatureSeen }
	v.ask(t, map[string]string{"mail": path}, &answer)
	return answer.Signatures
}

// spf is pyspf's word on a client and a return path.
func (v *verifier) spf(t testing.TB, ip, mailFrom, helo string) (result, why string) {
	t.Helper()
	var answer struct{ SPF, Why string }
	v.ask(t, map[string]string{"ip": ip, "mail_from": mailFrom, "helo": helo}, &answer)
	return answer.SPF, answer.Why
}

// methodSeen is one method of an Authentication-Results field.
type methodSeen struct {
	Method, Result string
	Properties     map[string]string
}

// results reads an Authentication-Results field as authres does.
func (v *verifier) results(t testing.TB, field string) []methodSeen {
	t.Helper()
	var answer struct{ Results []methodSeen }
	v.ask(t, map[string]string{"results": field}, &answer)
	return answer.Results
}

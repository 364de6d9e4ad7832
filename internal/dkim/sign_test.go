package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// testKeys are made once: RSA keys are slow to make.
var testKeys = sync.OnceValue(func() []Key {
	var out []Key
	for _, a := range []Algorithm{RSA, Ed25519} {
		der, err := GenerateKey(a)
		if err != nil {
			panic(err)
		}
		s, _, _, err := LoadSigner(der)
		if err != nil {
			panic(err)
		}
		sel := map[Algorithm]string{RSA: "s1", Ed25519: "s1e"}[a]
		out = append(out, Key{Domain: "example.test", Selector: sel, Algorithm: a, Signer: s})
	}
	return out
})

// records answers like the DNS would for the keys.
func records(tb testing.TB, keys []Key) func(string) ([]string, error) {
	tb.Helper()
	zone := map[string]string{}
	for _, k := range keys {
		r, err := Record(k.Signer.Public())
		if err != nil {
			tb.Fatal(err)
		}
		zone[k.Name()] = r
	}
	return func(name string) ([]string, error) {
		if r, ok := zone[name]; ok {
			return []string{r}, nil
		}
		return nil, fmt.Errorf("no record at %s", name)
	}
}

// signMessage signs a whole message as the relay does.
func signMessage(tb testing.TB, msg string, keys []Key, o Options) string {
	tb.Helper()
	head, body, ok := strings.Cut(msg, "\r\n\r\n")
	if !ok {
		tb.Fatalf("no empty line in %q", msg)
	}
	h := NewBodyHash()
	io.WriteString(h, body)
	sig, err := Sign([]byte(head+"\r\n\r\n"), h.Sum(), keys, o)
	if err != nil {
		tb.Fatalf("Sign: %v", err)
	}
	return string(sig) + msg
}

// verify checks with go-msgauth that every signature holds.
func verify(tb testing.TB, msg string, keys []Key) error {
	tb.Helper()
	vs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{LookupTXT: records(tb, keys)})
	if err != nil {
		return err
	}
	if len(vs) != len(keys) {
		return fmt.Errorf("%d signatures, want %d", len(vs), len(keys))
	}
	for _, v := range vs {
		if v.Err != nil {
			return v.Err
		}
	}
	return nil
}

// corpus holds messages that canonicalisers get wrong.
var corpus = map[string]string{
	"plain":                   "From: a@example.test\r\nTo: b@x.test\r\nSubject: hi\r\n\r\nhello\r\n",
	"empty body":              "From: a@example.test\r\n\r\n",
	"only line ends":          "From: a@example.test\r\n\r\n\r\n\r\n\r\n",
	"only white space":        "From: a@example.test\r\n\r\n \t\r\n  \r\n",
	"blank lines at the end":  "From: a@example.test\r\n\r\ntext\r\n\r\n\r\n",
	"blank lines at the top":  "From: a@example.test\r\n\r\n\r\n\r\ntext\r\n",
	"no final CRLF":           "From: a@example.test\r\n\r\ntext",
	"white space at line end": "From: a@example.test\r\n\r\na \r\nb\t\r\n c  d\t e \t \r\n",
	"white space and no CRLF": "From: a@example.test\r\n\r\ntext  ",
	"leading white space":     "From: a@example.test\r\n\r\n  indented\r\n\tand\r\n",
	"8-bit":                   "From: a@example.test\r\nSubject: \xe4\r\n\r\nM\xfcnchen\r\n\xff\xfe\r\n",
	"dots":                    "From: a@example.test\r\n\r\n.\r\n..\r\n",
	"long line":               "From: a@example.test\r\n\r\n" + strings.Repeat("x ", 5000) + "\r\n",
	"folded header":           "From:\r\n\t\"A\"  <a@example.test>\r\nSubject: a\r\n b\r\n\tc  \r\nTo:b@x.test\r\n\r\nx\r\n",
	"empty fields":            "From: a@example.test\r\nSubject:\r\nTo: \r\n\r\nx\r\n",
	"white-space fields":      "From: a@example.test\r\nSubject: \t \r\n\r\nx\r\n",
	"duplicate fields":        "Received: 1\r\nFrom: a@example.test\r\nTo: 1@x.test\r\nTo: 2@x.test\r\nList-Unsubscribe: <1>\r\nlist-unsubscribe: <2>\r\nTo: 3@x.test\r\n\r\nx\r\n",
	"odd case":                "fROM: a@example.test\r\nSUBJECT: x\r\nmessage-id: <1@x>\r\n\r\nx\r\n",
	"multipart":               "From: a@example.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx  y\r\n--b--\r\n",
	"large":                   "From: a@example.test\r\n\r\n" + strings.Repeat("0123456789 abcdefghi\r\n", 20000) + strings.Repeat("\r\n", 9000) + "  end\r\n",
}

func TestSignaturesVerify(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	for name, msg := range corpus {
		out := signMessage(t, msg, keys, Options{Time: time.Now(), Expire: time.Hour})
		if err := verify(t, out, keys); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, l := range strings.Split(strings.TrimSuffix(out[:len(out)-len(msg)], "\r\n"), "\r\n") {
			if len(l) > 78 {
				t.Errorf("%s: line of %d: %q", name, len(l), l)
			}
		}
	}
}

// TestForeignSignatureStays: ID-22. A signature that the sender brought is
// neither trusted nor in the way.
func TestForeignSignatureStays(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	foreign := "DKIM-Signature: v=1; a=rsa-sha256; d=other.test; s=x; h=From; bh=x; b=x\r\n"
	out := signMessage(t, foreign+corpus["plain"], keys, Options{})
	vs, err := msgauth.VerifyWithOptions(strings.NewReader(out), &msgauth.VerifyOptions{LookupTXT: records(t, keys)})
	if err != nil || len(vs) != 3 {
		t.Fatalf("%d verifications, %v", len(vs), err)
	}
	if vs[0].Err != nil || vs[1].Err != nil || vs[2].Err == nil {
		t.Errorf("%v, %v, %v", vs[0].Err, vs[1].Err, vs[2].Err)
	}
}

// TestChangesAreNoticed: each of these is what somebody on the way could do.
func TestChangesAreNoticed(t *testing.T) {
	t.Parallel()
	keys := testKeys()
	msg := "From: a@example.test\r\nTo: b@x.test\r\nSubject: hi\r\n\r\nhello world\r\n"
	out := signMessage(t, msg, keys, Options{Time: time.Now()})
	if err := verify(t, out, keys); err != nil {
		t.Fatal(err)
	}
	for name, changed := range map[string]string{
		"body":           strings.Replace(out, "hello", "hellO", 1),
		"body appended":  out + "more\r\n",
		"body joined":    strings.Replace(out, "hello world", "helloworld", 1),
		"subject":        strings.Replace(out, "Subject: hi", "Subject: ho", 1),
		"from":           strings.Replace(out, "From: a@", "From: b@", 1),
		"domain":         strings.Replace(out, "v=1;", "v=1; i=@example.test;", 1),
		"second From":    "From: evil@example.test\r\n" + out,
		"From below":     strings.Replace(out, "\r\n\r\n", "\r\nFrom: evil@example.test\r\n\r\n", 1),
		"To removed":     strings.Replace(out, "To: b@x.test\r\n", "", 1),
		"Cc added":       "Cc: c@x.test\r\n" + out,
		"Reply-To added": "Reply-To: c@x.test\r\n" + out,
		"type added":     "Content-Type: text/html\r\n" + out,
		"second Subject": "Subject: other\r\n" + out,
	} {
		if err := verify(t, changed, keys); err == nil {
			t.Errorf("%s: still verifies", name)
		}
	}
	// What relaxed form and unsigned fields allow must go on working.
	for name, changed := range map[string]string{
		"Received on top": "Received: x\r\n" + out,
		"name's case":     strings.Replace(out, "\r\nSubject: hi", "\r\nSUBJECT: hi", 1),
		"refolded":        strings.Replace(out, "Subject: hi", "Subject:\r\n  hi ", 1),
		"spaces in body":  strings.Replace(out, "hello world", "hello \t world \t", 1),
		"blank lines":     out + "\r\n\r\n",
	} {
		if err := verify(t, changed, keys); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignatureTags(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 999)
	out := signMessage(t, corpus["plain"], testKeys(), Options{Time: at, Expire: time.Hour})
	sigs := strings.SplitAfter(out, "b=")
	for _, want := range []string{"v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.test; s=s1;", "a=ed25519-sha256;", "t=1700000000; x=1700003600;"} {
		if !strings.Contains(strings.ReplaceAll(out, "\r\n", ""), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	flat := strings.NewReplacer("\r\n", "", " ", "").Replace(strings.Join(sigs, ""))
	if !strings.Contains(flat, "h=From:From:To:To:Cc:Subject:Subject:Date:") {
		t.Errorf("h= does not oversign: %s", flat)
	}
	for _, bad := range []string{"l=", "z=", "c=simple"} {
		if strings.Contains(flat, ";"+bad) {
			t.Errorf("tag %s in %s", bad, flat)
		}
	}
	if out := signMessage(t, corpus["plain"], testKeys(), Options{Expire: time.Hour}); strings.Contains(out, " t=") || strings.Contains(out, " x=") {
		t.Errorf("times without a time:\n%s", out)
	}
}

// brokenSigner fails, or lies.
type brokenSigner struct {
	crypto.Signer
	sig []byte
	err error
}

func (b brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return b.sig, b.err }

func TestSignIsAllOrNothing(t *testing.T) {
	t.Parallel()
	good := testKeys()
	errDown := errors.New("key store is down")
	small, err := rsa.GenerateKey(nil, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small.N.Rsh(small.N, 24)
	with := func(k Key) []Key { return append(append([]Key(nil), good...), k) }
	head := []byte("From: a@example.test\r\n\r\n")
	for name, c := range map[string]struct {
		head []byte
		keys []Key
		want error
	}{
		"no keys":        {head, nil, ErrNoKeys},
		"no From":        {[]byte("To: a@example.test\r\n\r\n"), good, ErrNoFrom},
		"signer fails":   {head, with(Key{"example.test", "x", RSA, brokenSigner{good[0].Signer, nil, errDown}}), errDown},
		"empty result":   {head, with(Key{"example.test", "x", RSA, brokenSigner{good[0].Signer, nil, nil}}), nil},
		"no signer":      {head, with(Key{"example.test", "x", RSA, nil}), ErrKey},
		"wrong type":     {head, with(Key{"example.test", "x", Ed25519, good[0].Signer}), ErrKey},
		"wrong type too": {head, with(Key{"example.test", "x", RSA, good[1].Signer}), ErrKey},
		"no algorithm":   {head, with(Key{"example.test", "x", "", good[0].Signer}), ErrKey},
		"short key":      {head, with(Key{"example.test", "x", RSA, small}), ErrKey},
		"bad domain":     {head, with(Key{"example.test; l=0", "x", RSA, good[0].Signer}), ErrKey},
		"bad selector":   {head, with(Key{"example.test", "x\r\nBcc: y", RSA, good[0].Signer}), ErrKey},
		"bad header":     {[]byte("From: a@example.test\r\nnonsense\r\n\r\n"), good, nil},
	} {
		out, err := Sign(c.head, [32]byte{}, c.keys, Options{})
		if err == nil || out != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// TestRFC8463Key signs with the key of RFC 8463 appendix A.2, whose record is
// printed there.
func TestRFC8463Key(t *testing.T) {
	t.Parallel()
	k := Key{Domain: "football.example.com", Selector: "brisbane", Algorithm: Ed25519, Signer: ed25519.NewKeyFromSeed(rfc8463Seed(t))}
	record, err := Record(k.Signer.Public())
	if err != nil || record != "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" {
		t.Errorf("record %q, %v", record, err)
	}
	out := signMessage(t, rfc8463Message, []Key{k}, Options{})
	if err := verify(t, out, []Key{k}); err != nil {
		t.Error(err)
	}
	if !bytes.Contains([]byte(out), []byte("bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=")) {
		t.Errorf("bh differs from the RFC's:\n%s", out)
	}
}

package dkim

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// rfc6376Key is the private key of RFC 6376 appendix C (PKCS #1); rfc6376Public is
// its public half as the record of appendix C has it.
const (
	rfc6376Key = "MIICXwIBAAKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gb" +
		"to/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQABAoGBALmn+XwWk7akvkUlqb+dOxyLB9i5VBVfje89Teolwc9YJT36BGN/l4e0l6QX" +
		"/1//6DWUTB3KI6wFcm7TWJcxbS0tcKZX7FsJvUz1SbQnkS54DJck1EZO/BLa5ckJgAYIaqlA9C0ZwM6i58lLlPadX/rtHb7pWzeNcZHjKrjM461ZAkEA+itss2nRlmyO" +
		"n1/5yDyCluST4dQfO8kAB3toSEVc7DeFeDhnC1mZdjASZNvdHS4gbLIA1hUGEF9m3hKsGUMMPwJBAPW5v/U+AWTADFCS22t72NUurgzeAbzb1HWMqO4y4+9Hpjk5wvL/" +
		"eVYizyuce3/fGke7aRYw/ADKygMJdW8H/OcCQQDz5OQb4j2QDpPZc0Nc4QlbvMsj7p7otWRO5xRa6SzXqqV3+F0VpqvDmshEBkoCydaYwc2o6WQ5EBmExeV8124XAkEA" +
		"qZzGsIxVP+sEVRWZmW6KNFSdVUpk3qzK0Tz/WjQMe5z0UunY9Ax9/4PVhp/j61bfeAYXunajbBSOLlx4D+TunwJBANkPI5S9iylsbLs6NkaMHV6k5ioHBBmgCak95JGX" +
		"GMot/L2x0IYyMLAz6oLWh2hm7zwtb0CgOrPo1ke44hFYnfc="
	rfc6376Public = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od" +
		"+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"
)

// rfc6376Tags is the signature field of RFC 6376 appendix A.2 up to its b=, and
// rfc6376Sum what stands there.
const (
	rfc6376Tags = "DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n" +
		"      h=Received : From : To : Subject : Date : Message-ID;\r\n      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n      b="
	rfc6376Sum  = "AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHutKVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV4bmp/YzhwvcubU4="
	rfc6376Head = "Received: from client1.football.example.com  [192.0.2.1]\r\n      by submitserver.example.com with SUBMISSION;\r\n      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n" +
		"From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\n" +
		"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
	rfc6376Body = "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n"
)

func rfc6376Signer(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	k, err := x509.ParsePKCS1PrivateKey(decode(tb, rfc6376Key))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// TestRFC6376AppendixA: with the key of appendix C, our signing makes the very
// signature of appendix A.2 (PKCS #1 v1.5 is deterministic), in the standard
// library and in libcrypto. Its simple form of fields is the octets themselves; the
// body is the same in both forms.
func TestRFC6376AppendixA(t *testing.T) {
	t.Parallel()
	if got := bodyHash(rfc6376Body); got != "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=" {
		t.Errorf("bh=%s", got)
	}
	digest := sha256.Sum256([]byte(rfc6376Head + rfc6376Tags + ";"))
	key := rfc6376Signer(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	fast, backend, _, err := LoadSigner(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]Key{"crypto": {Algorithm: RSA, Signer: key}, string(backend) + " of this machine": {Algorithm: RSA, Signer: fast}} {
		sig, err := k.signDigest(digest)
		if got := base64.StdEncoding.EncodeToString(sig); err != nil || got != rfc6376Sum {
			t.Errorf("%s: b=%s, %v", name, got, err)
		}
	}
}

// TestRFC6376Record: the record of that key is what appendix C publishes, with the
// version and the key type that it leaves to their defaults; the message of
// appendix A verifies against it at a verifier that is not ours.
func TestRFC6376Record(t *testing.T) {
	t.Parallel()
	record, err := Record(rfc6376Signer(t).Public())
	if err != nil || record != "v=DKIM1; k=rsa; p="+rfc6376Public {
		t.Fatalf("%q, %v", record, err)
	}
	msg := rfc6376Tags + rfc6376Sum + ";\r\n" + rfc6376Head + "\r\n" + rfc6376Body
	vs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if name != "brisbane._domainkey.example.com" {
			t.Errorf("asked for %s", name)
		}
		return []string{record}, nil
	}})
	if err != nil || len(vs) != 1 || vs[0].Err != nil {
		t.Errorf("%+v, %v", vs, err)
	}
}

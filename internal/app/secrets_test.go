package app_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postern/internal/dkim"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sink"
	"postern/internal/store"
)

const (
	password = "correct-horse-battery-staple" // of a client that does not know what a key is
	marker   = "the-content-of-the-message-itself"
	attempts = 13
)

// TestNoSecretIsWrittenDown: no key, no AUTH line, no private key and no content
// stands in a log, a record, an answer or, in clear, in a file of the data
// directory, whatever a client does with its key. (P3; AU-35, AU-36.)
func TestNoSecretIsWrittenDown(t *testing.T) {
	t.Parallel()
	x := install(t)
	x.addDomain()
	x.send()
	x.clumsyLogins()
	said := x.answers()
	x.stop()
	said[x.logFile] = x.read(x.logFile)

	files := x.files()
	hidden := x.secrets()
	for where, text := range said {
		for what, s := range hidden {
			if form := shows(text, s); form != "" {
				t.Errorf("%s shows %s %s", where, what, form)
			}
		}
	}
	for name, text := range files {
		for what, s := range hidden {
			if allowed(name, what) {
				continue
			}
			if form := shows(text, s); form != "" {
				t.Errorf("the file %s holds %s %s", name, what, form)
			}
		}
	}
	x.searchWorks(said, files)
}

// allowed are the places that a secret is meant to be in.
func allowed(file, what string) bool {
	switch what {
	case "the sealing key":
		return file == "sealing.key"
	case "the certificate's key":
		return strings.HasSuffix(file, ".key")
	}
	return false
}

// searchWorks proves that what was searched is what was meant: what may be read
// is found in it.
func (x *installation) searchWorks(said, files map[string]string) {
	x.t.Helper()
	log := said[x.logFile]
	if strings.Count(log, `"smtp session"`) < attempts || !strings.Contains(log, `"level":"DEBUG"`) {
		x.t.Errorf("the log does not tell of the sessions:\n%s", log)
	}
	id := x.key().IDText()
	for where, want := range map[string]string{"logins": id, "/v3/api_keys": id, "events": reader, "/v3/changes": ourDomain, "queue": waiting} {
		if !strings.Contains(said[where], want) {
			x.t.Errorf("%s does not name %q:\n%s", where, want, said[where])
		}
	}
	var database strings.Builder
	for name, text := range files {
		if strings.HasPrefix(name, filepath.Base(x.conf.DatabasePath())) {
			database.WriteString(text)
		}
	}
	if !strings.Contains(database.String(), reader) || !strings.Contains(database.String(), "v=DKIM1") {
		x.t.Error("the database is not readable as a file: nothing was searched")
	}
	if shows(files["sealing.key"], x.secrets()["the sealing key"]) == "" {
		x.t.Error("the sealing key is not found where it is")
	}
}

// key is the installation's first key.
func (x *installation) key() secret.Key {
	x.t.Helper()
	k, err := secret.ParseKey(x.made.APIKey, x.conf.Keys.Prefix)
	if err != nil {
		x.t.Fatal(err)
	}
	return k
}

// send hands in one message, and waits until it was signed and delivered to one of
// its recipients. For the other one it stays in the queue.
func (x *installation) send() {
	x.t.Helper()
	c := x.secure()
	c.say("AUTH PLAIN "+plain("apikey", x.made.APIKey), "235 2.7.0")
	c.say("MAIL FROM:<"+author+">", "250")
	c.say("RCPT TO:<"+reader+">", "250")
	c.say("RCPT TO:<"+waiting+">", "250")
	c.say("DATA", "354")
	c.say("From: "+author+"\r\nTo: "+reader+"\r\nSubject: hello\r\n\r\n"+strings.Repeat(marker+"\r\n", 20)+".", "250")
	m, err := x.inbox.Wait(x.t.Context(), func(sink.Message) bool { return true })
	if err != nil || bytes.Count(m.Raw, []byte("DKIM-Signature:")) != 2 || !bytes.Contains(m.Raw, []byte(marker)) {
		x.t.Fatalf("delivered %q, %v", m.Raw, err)
	}
	c.say("QUIT", "221")
}

// clumsyLogins are the ways in which clients show what they should not. Each has
// a session of its own, because the third failure ends one.
func (x *installation) clumsyLogins() {
	x.t.Helper()
	key := x.made.APIKey
	other, err := secret.GenerateKey(x.conf.Keys.Prefix)
	if err != nil {
		x.t.Fatal(err)
	}
	say := func(c *talk, lines ...string) { // line, reply, line, reply, …
		for i := 0; i < len(lines); i += 2 {
			c.say(lines[i], lines[i+1])
		}
		c.say("QUIT", "221")
	}
	say(x.secure(), "AUTH PLAIN", "334", plain("apikey", key), "235")
	say(x.secure(), "AUTH LOGIN", "334", b64("apikey"), "334", b64(key), "235")
	say(x.secure(), "AUTH PLAIN "+plain("apikey", password), "535", "AUTH LOGIN "+b64("apikey"), "334", b64(password), "535")
	say(x.secure(), "AUTH PLAIN "+plain("apikey", other.Text().Reveal()), "535")    // no such key
	say(x.secure(), "AUTH PLAIN "+plain("apikey", key[:len(key)-1]), "535")         // cut off
	say(x.secure(), "AUTH PLAIN "+plain("apikey", key+" "), "535")                  // pasted with a space
	say(x.secure(), "AUTH PLAIN "+plain(key, "apikey"), "535")                      // the fields swapped
	say(x.secure(), "AUTH LOGIN", "334", b64(key), "334", b64("x"), "535")          // the same, in LOGIN
	say(x.secure(), "AUTH PLAIN "+plain("XX"+key[2:], key), "535")                  // another installation's prefix
	say(x.secure(), "AUTH PLAIN "+plain("user "+key+"\u00a0", password), "535")     // in the middle of a name
	say(x.secure(), "AUTH PLAIN "+plain(password, password), "535")                 // the password as the name too
	say(x.secure(), "AUTH PLAIN "+b64(key+"\x00apikey\x00"+key), "535")             // as authorization identity
	say(x.secure(), "AUTH "+key, "504", "AUTH "+b64(key), "504", b64(key), "500")   // as mechanism, as command
	say(x.dial(), "AUTH PLAIN "+plain("apikey", key), "538")                        // in the clear
	say(x.dial(), "AUTH LOGIN", "538", b64("apikey"), "500", b64(key), "500")       // in the clear, not waiting
	say(x.secure(), "AUTH LOGIN", "334", b64("apikey"), "334", "*", "501 5.7.0")    // given up
	say(x.secure(), "AUTH PLAIN "+plain("apikey", key)+"!", "501 5.5.2", key, "50") // broken base64
}

// answers is all that the relay tells people, once everything is on record.
func (x *installation) answers() map[string]string {
	x.t.Helper()
	said := map[string]string{}
	wanted := []relay.LoginResult{relay.LoginOK, relay.LoginUnknown, relay.LoginMalformed, relay.LoginCleartext, relay.LoginAborted}
	x.eventually("logins of every kind are on record", func() bool {
		said["logins"] = x.ask("GET", "/v3/logins?limit=1000", nil)
		return !slices.ContainsFunc(wanted, func(r relay.LoginResult) bool { return !strings.Contains(said["logins"], `"`+string(r)+`"`) })
	})
	x.eventually("both results are on record", func() bool {
		said["events"] = x.ask("GET", "/admin/v1/events", nil)
		return strings.Contains(said["events"], `"delivered"`) && strings.Contains(said["events"], `"deferred"`)
	})
	for _, path := range []string{"status", "accounts", "pools", "queue"} {
		said[path] = x.ask("GET", "/admin/v1/"+path, nil)
	}
	for _, path := range []string{"/v3/subusers", "/v3/api_keys", "/v3/whitelabel/domains", "/v3/changes", "/v3/access_settings/activity", "/v3/logins/export?format=csv"} {
		said[path] = x.ask("GET", path, nil)
	}
	for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/goroutine?debug=2"} {
		said[path] = x.operator(path)
	}
	return said
}

// files reads every file of the data directory, by its path inside.
func (x *installation) files() map[string]string {
	x.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(x.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(x.dir, path)
		all[name] = x.read(path)
		return err
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return all
}

// secrets is what must not be found, as octets.
func (x *installation) secrets() map[string][]byte {
	x.t.Helper()
	text := x.made.APIKey[strings.LastIndexByte(x.made.APIKey, '.')+1:]
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		x.t.Fatal(err)
	}
	word := strings.Fields(x.read(x.conf.SealingKeyPath()))
	root, err := hex.DecodeString(word[len(word)-1])
	if err != nil {
		x.t.Fatal(err)
	}
	_, path := x.conf.CertificatePaths()
	block, _ := pem.Decode([]byte(x.read(path)))
	if block == nil {
		x.t.Fatal("the certificate's key is not PEM")
	}
	all := map[string][]byte{
		"the key's secret":    []byte(text[:38]), // without its checksum: enough to guess it
		"the secret's octets": raw[:28], "a password that was tried": []byte(password),
		"the sealing key": root, "the certificate's key": block.Bytes[len(block.Bytes)/4:][:32],
		"the content": []byte(marker),
	}
	x.privateKeys(all)
	return all
}

// privateKeys adds the DKIM keys of both domains.
func (x *installation) privateKeys(all map[string][]byte) {
	x.t.Helper()
	sealer, err := secret.OpenSealer(x.conf.SealingKeyPath())
	if err != nil {
		x.t.Fatal(err)
	}
	st, _, err := store.Open(x.t.Context(), store.Config{Path: x.conf.DatabasePath(), Sealer: sealer})
	if err != nil {
		x.t.Fatal(err)
	}
	defer st.Close()
	keys, err := st.DKIMKeys(x.t.Context(), relay.DomainID{})
	if err != nil || len(keys) != 4 {
		x.t.Fatalf("%d DKIM keys, %v", len(keys), err)
	}
	for _, k := range keys {
		der, err := sealer.Open(k.Sealed, []byte("dkim_keys/"+k.Domain.String()+"/"+k.Selector+"/private"))
		if err != nil {
			x.t.Fatal(err)
		}
		signer, _, err := dkim.ParseKey(der)
		if err != nil {
			x.t.Fatal(err)
		}
		name := "a DKIM key, " + k.Selector + " of " + k.Domain.String()
		all[name] = der[len(der)-32:]
		if private, ok := signer.(*rsa.PrivateKey); ok {
			all[name+" (d)"], all[name+" (p)"] = private.D.Bytes()[8:40], private.Primes[0].Bytes()[8:40]
		}
	}
}

// shows reports in which form a text holds a secret; "" if it does not. Base64 is
// found wherever in a longer text the secret began.
func shows(text string, s []byte) string {
	if strings.Contains(text, string(s)) {
		return "as it is"
	}
	h := hex.EncodeToString(s)
	if strings.Contains(text, h) || strings.Contains(text, strings.ToUpper(h)) {
		return "in hexadecimal"
	}
	if quoted, err := json.Marshal(string(s)); err == nil && strings.Contains(text, strings.Trim(string(quoted), `"`)) {
		return "in JSON"
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for before := range 3 {
			// The characters at both ends also hold bits of the neighbours.
			whole := enc.EncodeToString(append(make([]byte, before), s...))
			first, last := (before*8+5)/6, (before+len(s))*8/6
			if strings.Contains(text, whole[first:last]) {
				return "in base64"
			}
		}
	}
	return ""
}

// TestShows: the search finds a secret in every form and place.
func TestShows(t *testing.T) {
	t.Parallel()
	s := []byte("s3cret\xff\xfe-of-a-key?>")
	for i := range 6 {
		around := strings.Repeat("x", i)
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			if got := shows(enc.EncodeToString([]byte(around+string(s)+around)), s); got != "in base64" {
				t.Errorf("%d octets before: %q", i, got)
			}
		}
		if shows(around+string(s), s) == "" || shows(around+strings.ToUpper(hex.EncodeToString(s)), s) == "" {
			t.Errorf("%d octets before: not found", i)
		}
	}
	if got := shows("s3cret \xff\xfe-of-a-key "+b64("s3cret\xff\xfe-of-a-key"), s); got != "" {
		t.Errorf("found %s in what is not it", got)
	}
}

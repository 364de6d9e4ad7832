package auth

import (
	"encoding/base64"
	"strings"
	"testing"

	"postern/internal/relay"
	"postern/internal/secret"
)

// AU-34: the user name has one spelling, everything in it is data, and a record
// shows it cut and clean. AU-35: where it holds a secret, the record does not.
func TestUserNames(t *testing.T) {
	f := newFixture(t, nil)
	key, id := f.key.Text().Reveal(), f.key.IDText()
	part := key[len(key)-43:]
	for _, tt := range []struct{ name, user, shown string }{
		{"AU-34 other case", "ApiKey", "ApiKey"},
		{"AU-34 trailing dot", "apikey.", "apikey."},
		{"AU-34 trailing space", "apikey ", "apikey "},
		{"AU-34 encoded at", "apikey%40acme.test", "apikey%40acme.test"},
		{"AU-34 with a domain", "apikey@acme.test", "apikey@acme.test"},
		{"AU-34 LDAP", "*)(uid=*))(|(uid=*", "*)(uid=*))(|(uid=*"},
		{"AU-34 SQL", "' OR 1=1; --", "' OR 1=1; --"},
		{"AU-34 path", "../../apikey", "../../apikey"},
		{"AU-34 full width", "\uff41pikey", "???pikey"},
		{"AU-34 5 KB", strings.Repeat("ab ", 1700), strings.Repeat("ab ", 22)[:64]},
		{"AU-34 id with a space", id + " ", id + " "},
		{"AU-34 id in other case", strings.ToLower(id) + "x", "[hidden]"}, // as long as a secret may be
		{"AU-35 the key as the name", key, "SG." + id + ".[hidden]"},
		{"AU-35 the key in a name", "me " + key + "@acme.test", "me SG." + id + ".[hidden]@acme.test"},
		{"AU-35 an app password", "abcde-fghij-klmno-pq234", "[hidden]"},
		{"AU-35 an app password in one", "pw: ABCDEfghijklmnopq234", "pw: [hidden]"},
		{"AU-35 its secret", part, "[hidden]"},
		{"AU-35 its secret, late", strings.Repeat("a.", 30) + part, strings.Repeat("a.", 30) + "[hid"},
		{"AU-35 base64", base64.StdEncoding.EncodeToString([]byte("\x00apikey\x00" + key)), "[hidden]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.dir.asked = 0
			// With the right key nobody gets in under another name, or is looked up.
			for _, pass := range []secret.Redacted{secret.Redacted(key), "not a key"} {
				if got, err := f.login(tt.user, pass); got != relay.LoginMalformed || err != ReplyMalformed || f.dir.asked > 0 {
					t.Errorf("%v, %v, %d look-ups", got, err, f.dir.asked)
				}
			}
			if l := f.rec.logins[len(f.rec.logins)-1]; l.Tried != tt.shown {
				t.Errorf("recorded as %q, want %q", l.Tried, tt.shown)
			}
		})
	}
}

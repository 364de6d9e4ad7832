package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/mail"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is on record of logins and changes, and how it is proven.
func TestRecords(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "")
	t.Run("logins", r.testLoginRecord)
	t.Run("exports", r.testExports)
	t.Run("prune leaves a checkpoint", r.testPrune)
	t.Run("alteration is found", r.testAlteredRecord)
}

// A record has all that was seen of an attempt, on each protocol, and identical
// refusals are one record.
func (r *identityRelay) testLoginRecord(t *testing.T) {
	k := r.addKey(t, "recorded", "--scope", "user.username.read,mail.send")
	r.talk(t, "127.0.80.1", "client.example").in(k.APIKey)
	r.api(t, apiRequest{from: "127.0.80.2", key: k.APIKey, path: "/v3/user/username"})
	want := []loginSeen{
		{
			Protocol: "smtp", Listener: "submissions", Mechanism: "PLAIN", Tried: k.ID, Key: k.ID, Addr: "127.0.80.1", Network: "127.0.80.0/24",
			Helo: "client.example", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256", Result: "ok", Count: 1,
		},
		{
			Protocol: "http", Listener: "http", Mechanism: "BEARER", Tried: k.ID, Key: k.ID, Addr: "127.0.80.2", Network: "127.0.80.0/24",
			Helo: "Go-http-client/1.1", Result: "ok", Count: 1, // the User-Agent
		},
	}
	var got []loginSeen
	until(t, "both are on record", func() bool { got = lines[loginSeen](t, r, "log", "--key", k.ID); return len(got) == 2 })
	for n := range want {
		if got[n] != want[n] {
			t.Errorf("record %+v\nwant   %+v", got[n], want[n])
		}
	}
	unknown := unknownKey(t)
	for range 3 {
		s := r.talk(t, "127.0.81.1", "again.example")
		wantReply(t, "refused", s.login("apikey", unknown), "535 5.7.8")
		s.conn.Close()
	}
	var records, count int64
	until(t, "refusals are on record", func() bool {
		records, count = 0, 0
		for _, l := range lines[loginSeen](t, r, "log", "--addr", "127.0.81.1") {
			if l.Result != "unknown" || l.Helo != "again.example" {
				t.Fatalf("record %+v", l)
			}
			records, count = records+1, count+l.Count
		}
		return count == 3
	})
	if records > 2 { // two where the minute has turned
		t.Errorf("%d records of three identical refusals", records)
	}
}

// AP-20: exports hold everything, as JSON and as CSV in which no cell is a formula.
func (r *identityRelay) testExports(t *testing.T) {
	s := r.talk(t, "127.0.82.1", "x.example")
	wantReply(t, "refused", s.login("=cmd()", "x"), "535 ")
	r.addKey(t, "=HYPERLINK(1)")
	var byJSON struct{ Result []map[string]any }
	text := ""
	until(t, "the attempt is exported", func() bool {
		text = r.postern(t, "audit", "export", "logins")
		return strings.Contains(text, `"127.0.82.1"`)
	})
	if err := json.Unmarshal([]byte(text), &byJSON); err != nil || len(byJSON.Result) < 3 {
		t.Fatalf("%d records, %v", len(byJSON.Result), err)
	}
	for _, what := range []string{"logins", "changes"} {
		rows, err := csv.NewReader(strings.NewReader(r.postern(t, "audit", "export", what, "--format", "csv"))).ReadAll()
		if err != nil || len(rows) < 3 {
			t.Fatalf("%s: %d rows, %v", what, len(rows), err)
		}
		for _, row := range rows {
			if len(row) != len(rows[0]) {
				t.Errorf("%s: %d cells, want %d", what, len(row), len(rows[0]))
			}
			for _, cell := range row {
				if cell != "" && strings.ContainsRune("=+@\t", rune(cell[0])) {
					t.Errorf("%s: a spreadsheet would run %q", what, cell)
				}
			}
		}
	}
	if text := r.postern(t, "audit", "export", "changes", "--format", "csv"); !strings.Contains(text, "uid ") || !strings.Contains(text, "key.create") {
		t.Errorf("no change with who made it:\n%s", text)
	}
}

// Pruning removes old records; what is left verifies, from a signed checkpoint on.
func (r *identityRelay) testPrune(t *testing.T) {
	if text := r.postern(t, "audit", "verify"); !strings.Contains(text, "sound") {
		t.Fatalf("before: %s", text)
	}
	changes := func() int { return strings.Count(r.postern(t, "log", "--changes", "--limit", "1000", "--json"), "\n") }
	before := changes()
	time.Sleep(time.Second) // the time is given in whole seconds
	var checkpoint struct {
		Seq       int64
		Signature []byte
	}
	r.read(t, &checkpoint, "audit", "prune", "--account", "main", "--before", time.Now().UTC().Format(time.RFC3339))
	if checkpoint.Seq == 0 || len(checkpoint.Signature) == 0 {
		t.Errorf("checkpoint %+v", checkpoint)
	}
	if after := changes(); after >= before {
		t.Errorf("%d changes before, %d after", before, after)
	}
	var proof struct {
		Result []struct {
			Username    string
			Valid       bool
			From, To    int64
			Checkpoints []json.RawMessage
		}
	}
	r.read(t, &proof, "audit", "verify")
	for _, p := range proof.Result {
		if !p.Valid || p.Username == "main" && (len(p.Checkpoints) == 0 || p.From < 2) {
			t.Errorf("after: %+v", p)
		}
	}
	if !strings.Contains(r.postern(t, "log", "--changes", "--json"), "prune") {
		t.Error("the pruning is not on record itself")
	}
}

// A row that is altered in the file, while nobody looks, is found.
func (r *identityRelay) testAlteredRecord(t *testing.T) {
	python := external(t, "python3")
	r.addKey(t, "before the thief")
	if err := r.stop(40 * time.Second); err != nil {
		t.Fatal(err)
	}
	res := command{args: []string{python, "-c", `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
n = db.execute("UPDATE changes SET who = 'uid 4711 on admin.sock' WHERE id = (SELECT max(id) FROM changes WHERE action = 'key.create')").rowcount
db.commit()
print(n)
`, filepath.Join(r.dir, "postern.db")}}.run(t)
	if strings.TrimSpace(res.out) != "1" {
		t.Fatalf("altered: %s", res.out)
	}
	r.serve(t, filepath.Join(r.dir, "postern.toml"))
	if res := r.tries(t, "audit", "verify"); res.code == 0 || !strings.Contains(res.out, "records were altered or removed") {
		t.Errorf("verify: exit code %d\n%s", res.code, res.out)
	}
}

// AP-13: a request that is repeated with its Idempotency-Key gets the answer of
// the first, although the process was killed in between, and nothing is done twice.
func TestIdempotencyOverAKill(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "")
	admin := r.addKey(t, "admin", "--scope", "mail.send,api_keys.create,api_keys.read").APIKey
	tok := token("once")
	send := apiRequest{
		key: admin, method: http.MethodPost, path: "/v3/mail/send", body: mailSend(tok, r.From, r.To),
		header: map[string]string{"Idempotency-Key": "order-4711"},
	}
	make1 := apiRequest{
		key: admin, method: http.MethodPost, path: "/v3/api_keys", body: map[string]any{"name": "once", "scopes": []string{"mail.send"}},
		header: map[string]string{"Idempotency-Key": "key-4711"},
	}
	sent, made := r.api(t, send), r.api(t, make1)
	wantStatus(t, "send", sent, 202, "")
	wantStatus(t, "make a key", made, 201, `"api_key"`)
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.done
	r.serve(t, filepath.Join(r.dir, "postern.toml"))
	for range 2 {
		again := r.api(t, send)
		wantStatus(t, "send again", again, 202, "")
		if id := again.header.Get("X-Message-Id"); id == "" || id != sent.header.Get("X-Message-Id") {
			t.Errorf("X-Message-Id %q, first %q", id, sent.header.Get("X-Message-Id"))
		}
	}
	again := r.api(t, make1)
	if again.status != 201 || keyPattern.MatchString(again.body) {
		t.Errorf("a stored answer: %d %s", again.status, again.body)
	}
	if n := strings.Count(r.api(t, apiRequest{key: admin, path: "/v3/api_keys"}).body, `"once"`); n != 1 {
		t.Errorf("%d keys were made", n)
	}
	other := send
	other.body = mailSend(tok+"-other", r.From, r.To)
	wantStatus(t, "the same key for another request", r.api(t, other), 422, "")
	r.arrives(t, tok)
	after := token("after")
	wantStatus(t, "send another", r.post(t, admin, after, r.From, r.To), 202, "")
	r.arrives(t, after)
	// One that was handed over in the moment of the kill is delivered again: the same.
	ids := map[string]bool{}
	for _, m := range r.inbox.List() {
		if bytes.Contains(m.Raw, []byte(tok)) {
			parsed, err := mail.ReadMessage(bytes.NewReader(m.Raw))
			must(t, err)
			ids[parsed.Header.Get("Message-Id")] = true
		}
	}
	if len(ids) != 1 || ids[""] {
		t.Errorf("%d messages: %v", len(ids), ids)
	}
}

package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver, to put rows into a stopped installation

	"postern/internal/relay"
	"postern/internal/secret"
)

// crowd is a large installation: keys as their holders know them.
type crowd struct {
	keys      []secret.Key // of programs
	federated []string     // the claim "sub" of the keys without a secret, one in a hundred
	issuer    string
}

// fillCrowd puts subusers and keys into a stopped installation on SQLite: copies
// of rows that postern itself made (plain; narrowed by networks and senders; with
// an end and a limit), in turns, with ids and secrets of their own. Commands would
// need minutes, most of it for deriving SCRAM keys; here those are random.
func fillCrowd(t testing.TB, dir string, subusers, keys int, issuer string) *crowd {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "postern.db"))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	tx, err := db.Begin()
	must(t, err)
	sub := readRows(t, tx, "subusers", "name = 'template'")[0]
	owners := make([][]byte, subusers)
	insert := sub.inserter(t, tx, "subusers")
	for i := range owners {
		owners[i] = random(16)
		insert(map[string]any{"id": owners[i], "number": int64(1000 + i), "name": fmt.Sprintf("customer-%06d", i), "email": fmt.Sprintf("mail@customer-%06d.test", i)})
	}
	c := &crowd{issuer: issuer}
	templates := readRows(t, tx, "keys", "name LIKE 'template%'")
	if len(templates) != 3 {
		t.Fatalf("%d templates", len(templates))
	}
	inserts := make([]func(map[string]any), len(templates))
	for i, row := range templates {
		inserts[i] = row.inserter(t, tx, "keys")
	}
	for i := range keys {
		row := map[string]any{"subuser_id": owners[i%subusers], "name": fmt.Sprintf("key %d", i)}
		if i%100 == 99 {
			c.federate(t, row, i)
		} else {
			c.keep(t, row)
		}
		inserts[i%len(inserts)](row)
	}
	must(t, tx.Commit())
	return c
}

// keep gives a row an id and a secret.
func (c *crowd) keep(t testing.TB, row map[string]any) {
	t.Helper()
	k, err := secret.GenerateKey("SG")
	must(t, err)
	sum := k.SHA256()
	client := scramClientKey(k)
	stored := sha256.Sum256(client[:])
	row["id"], row["sha256"], row["scram_salt"], row["scram_stored_key"], row["scram_server_key"] = k.ID[:], sum[:], random(16), stored[:], random(32)
	c.keys = append(c.keys, k)
}

// scramClientKey is ClientKey (RFC 5802 §3) of a key of the crowd.
func scramClientKey(k secret.Key) [32]byte {
	sum := k.SHA256()
	return sha256.Sum256(append([]byte("client key"), sum[:]...))
}

// federate makes a row a key of an outside issuer's tokens.
func (c *crowd) federate(t testing.TB, row map[string]any, i int) {
	t.Helper()
	subject := fmt.Sprintf("repo:customer/%d", i)
	match, err := json.Marshal(relay.KeyMatch{Issuer: c.issuer, Audience: "postern", Claims: map[string]string{"sub": subject}})
	must(t, err)
	none := []byte{}
	row["id"], row["kind"], row["matching"], row["sha256"] = random(16), string(relay.KeyFederated), string(match), make([]byte, 32)
	row["scram_salt"], row["scram_stored_key"], row["scram_server_key"], row["scram_iterations"] = none, none, none, int64(0)
	c.federated = append(c.federated, subject)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// tableRow is one row with the names of its columns.
type tableRow struct {
	columns []string
	values  []any
}

func readRows(t testing.TB, tx *sql.Tx, table, where string) (out []tableRow) {
	t.Helper()
	rows, err := tx.Query("SELECT * FROM " + table + " WHERE " + where)
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		var r tableRow
		r.columns, err = rows.Columns()
		must(t, err)
		r.values = make([]any, len(r.columns))
		into := make([]any, len(r.columns))
		for i := range into {
			into[i] = &r.values[i]
		}
		must(t, rows.Scan(into...))
		for i, v := range r.values {
			if b, blob := v.([]byte); v == nil || blob && b == nil { // no column may be NULL: an empty blob as the driver has it
				r.values[i] = []byte{}
			}
		}
		out = append(out, r)
	}
	must(t, rows.Err())
	return out
}

// inserter copies the row with other values for some columns.
func (r tableRow) inserter(t testing.TB, tx *sql.Tx, table string) func(map[string]any) {
	t.Helper()
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(r.columns)), ", ")
	stmt, err := tx.Prepare("INSERT INTO " + table + " (" + strings.Join(r.columns, ", ") + ") VALUES (" + marks + ")")
	must(t, err)
	return func(with map[string]any) {
		args := make([]any, len(r.values))
		for i, name := range r.columns {
			args[i] = r.values[i]
			if v, ok := with[name]; ok {
				args[i] = v
			}
		}
		_, err := stmt.Exec(args...)
		must(t, err)
	}
}

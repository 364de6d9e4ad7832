package e2e

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// manyDomains are the proven domains of a large installation, and a key of each
// subuser that some of them belong to: domain i is the subuser i modulo their number's.
type manyDomains struct {
	names  []string
	tokens []string
	keys   []secret.Key
}

func (m *manyDomains) key(i int) credential {
	return credential{"apikey", m.keys[i%len(m.keys)].Text().Reveal()}
}

// templateDomain is a domain that postern made, for the others to be copies of. It
// is made of aliases into the relay's zone, and has an RSA and an Ed25519 key.
const templateDomain = "template.test"

// domainTemplates makes the rows that the domains and their keys are copies of.
// Keys are in test mode where what they send is to go nowhere.
func (r *ownRelay) domainTemplates(t testing.TB, mode string) {
	t.Helper()
	r.postern(t, "subuser", "add", "template")
	must(t, r.v3(t.Context(), "POST", "/whitelabel/domains", map[string]any{"domain": templateDomain, "automatic_security": true}, nil))
	must(t, r.v3(t.Context(), "POST", "/api_keys", map[string]any{"name": "template", "scopes": []string{"mail.send"}, "mode": mode}, nil))
}

// fillDomains puts proven domains into a stopped installation on SQLite, as copies
// of the template: each with a token, aliases and sealed keys of its own, though
// all of one private key, and due to be looked at at the time that due gives.
func (r *ownRelay) fillDomains(t testing.TB, n, subusers int, due func(i int) time.Time) *manyDomains {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(r.dir, "postern.db"))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	tx, err := db.Begin()
	must(t, err)
	m := &manyDomains{}
	owners := m.fillOwners(t, tx, subusers)
	sealer, err := secret.OpenSealer(filepath.Join(r.dir, "sealing.key"))
	must(t, err)
	template := readRows(t, tx, "domains", "name = '"+templateDomain+"'")[0]
	from := relay.DomainID{ID: relay.ID(template.get("id").([]byte))}
	domain, check := template.inserter(t, tx, "domains"), readRows(t, tx, "domain_checks", "true")[0].inserter(t, tx, "domain_checks")
	var keys []func(id relay.DomainID)
	for _, row := range readRows(t, tx, "dkim_keys", fmt.Sprintf("domain_id = x'%x'", from.ID[:])) {
		selector := row.get("selector").(string)
		der, err := sealer.Open(row.get("sealed").([]byte), sealedPlace(from, selector))
		must(t, err)
		insert := row.inserter(t, tx, "dkim_keys")
		keys = append(keys, func(id relay.DomainID) {
			sealed, err := sealer.Seal(der, sealedPlace(id, selector))
			must(t, err)
			at := time.Now().Add(-time.Hour).UnixMicro()
			insert(map[string]any{"domain_id": id.ID[:], "sealed": sealed, "active": int64(1), "activated_at": at, "seen_at": at})
		})
	}
	at := time.Now().UnixMicro()
	for i := range n {
		id, number := relay.DomainID{ID: relay.NewID(time.Now())}, int64(1000+i)
		name, token := fmt.Sprintf("c%06d.test", i), strings.ToLower(rand.Text())
		label := fmt.Sprint("em", number)
		domain(map[string]any{"id": id.ID[:], "number": number, "name": name, "token": token, "state": string(relay.DomainVerified), "verified_at": at,
			"label": label, "return_path": label + "." + name, "subuser_id": owners[i%subusers]})
		for _, insert := range keys {
			insert(id)
		}
		check(map[string]any{"domain_id": id.ID[:], "at": at, "next_at": due(i).UnixMicro()})
		m.names, m.tokens = append(m.names, name), append(m.tokens, token)
	}
	_, err = tx.Exec("UPDATE settings SET value = $1 WHERE name = 'last_domain'", fmt.Sprint(1000+n))
	must(t, err)
	must(t, tx.Commit())
	return m
}

// fillOwners makes the subusers, each with a key.
func (m *manyDomains) fillOwners(t testing.TB, tx *sql.Tx, subusers int) (owners [][]byte) {
	t.Helper()
	c := &crowd{}
	sub, key := readRows(t, tx, "subusers", "name = 'template'")[0].inserter(t, tx, "subusers"), readRows(t, tx, "keys", "name = 'template'")[0].inserter(t, tx, "keys")
	for i := range subusers {
		id := random(16)
		sub(map[string]any{"id": id, "number": int64(1000 + i), "name": fmt.Sprintf("customer-%06d", i), "email": fmt.Sprintf("mail@customer-%06d.test", i)})
		row := map[string]any{"subuser_id": id, "name": fmt.Sprintf("key %d", i)}
		c.keep(t, row)
		key(row)
		owners = append(owners, id)
	}
	m.keys = c.keys
	return owners
}

// sealedPlace is what a private key is bound to; internal/sender has it, too.
func sealedPlace(id relay.DomainID, selector string) []byte {
	return []byte("dkim_keys/" + id.String() + "/" + selector + "/private")
}

// get is the value of a column.
func (r tableRow) get(column string) any {
	for i, c := range r.columns {
		if c == column {
			return r.values[i]
		}
	}
	return nil
}

// later is when no test looks at a domain.
func later(int) time.Time { return time.Now().AddDate(0, 1, 0) }

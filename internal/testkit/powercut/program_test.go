package powercut

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "modernc.org/sqlite"
)

// The program under test is this test binary, run again with these variables:
// a tiny server that stores what it is told and answers 250, rightly or wrongly.
const (
	envKind = "POWERCUT_TEST_KIND"
	envDir  = "POWERCUT_TEST_DIR"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(envKind); kind != "" {
		if err := serveKind(kind, os.Getenv(envDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// keeper stores one item. When put returns nil the server says 250.
type keeper interface {
	put(id string, body []byte) error
	close() error
}

// serveKind listens, writes its address to the directory's parent, and serves
// connections until one says QUIT.
func serveKind(kind, dir string) error {
	k, err := newKeeper(kind, dir)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+".addr.new", []byte(ln.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(dir+".addr.new", dir+".addr"); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer conn.Close()
			for scan := bufio.NewScanner(conn); scan.Scan(); {
				if scan.Text() == "QUIT" {
					ln.Close()
					return
				}
				mu.Lock()
				reply(kind, k, conn, scan.Text())
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return k.close()
}

func reply(kind string, k keeper, conn net.Conn, id string) {
	body := []byte(strings.Repeat("body of "+id+" ", 800))
	if kind == "wal-ack-first" {
		fmt.Fprintf(conn, "250 %s\n", id)
		k.put(id, body)
		return
	}
	if err := k.put(id, body); err != nil {
		fmt.Fprintf(conn, "451 %s %v\n", id, err)
		return
	}
	fmt.Fprintf(conn, "250 %s\n", id)
}

func newKeeper(kind, dir string) (keeper, error) {
	if strings.HasPrefix(kind, "file") {
		return fileKeeper{kind, dir}, nil
	}
	synchronous := map[string]string{"wal": "FULL", "wal-ack-first": "FULL", "wal-normal": "NORMAL", "wal-off": "OFF"}[kind]
	db, err := openSQLite(dir, synchronous)
	if err != nil {
		return nil, err
	}
	return &sqlKeeper{db: db}, nil
}

// openSQLite opens a database the way a careful product does.
func openSQLite(dir, synchronous string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "a.db")+
		"?_pragma=page_size(8192)&_pragma=journal_mode(WAL)&_pragma=synchronous("+synchronous+")&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(context.Background(), "create table if not exists items (id text primary key, body blob) without rowid")
	return db, err
}

type sqlKeeper struct {
	db *sql.DB
	n  int
}

func (k *sqlKeeper) put(id string, body []byte) error {
	if _, err := k.db.ExecContext(context.Background(), "insert into items values ($1, $2)", id, body); err != nil {
		return err
	}
	if k.n++; k.n%7 == 0 { // so that the record has checkpoints in it
		_, err := k.db.ExecContext(context.Background(), "pragma wal_checkpoint(restart)")
		return err
	}
	return nil
}

func (k *sqlKeeper) close() error { return k.db.Close() }

// fileKeeper writes one file per item: to a temporary name, synced, renamed, and
// the directory synced; its broken kinds leave one of the syncs out.
type fileKeeper struct{ kind, dir string }

func (k fileKeeper) put(id string, body []byte) error {
	name := filepath.Join(k.dir, id)
	f, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if k.kind != "file-no-sync" {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close(), os.Rename(name+".tmp", name)); err != nil || k.kind == "file-no-dir-sync" {
		return err
	}
	d, err := os.Open(k.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (k fileKeeper) close() error { return nil }

// stored opens an image and says which items are in it, whole.
func stored(kind, dir string) (map[string]bool, error) {
	got := map[string]bool{}
	if strings.HasPrefix(kind, "file") {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err == nil && string(b) == strings.Repeat("body of "+e.Name()+" ", 800) {
				got[e.Name()] = true
			}
		}
		return got, err
	}
	db, err := openSQLite(dir, "FULL")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), "select id, body from items")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var body []byte
		if err := rows.Scan(&id, &body); err != nil {
			return nil, err
		}
		if string(body) != strings.Repeat("body of "+id+" ", 800) {
			return nil, fmt.Errorf("item %s has another body", id)
		}
		got[id] = true
	}
	return got, rows.Err()
}

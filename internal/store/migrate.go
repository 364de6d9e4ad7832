package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrationFiles embed.FS

// migrate brings the schema up to date: forward only, each file in its own
// transaction, so that a kill at any moment leaves whole steps. It refuses a
// database whose applied files are not those of this program, and one that a
// later version has marked as unreadable for it.
func migrate(ctx context.Context, db *sql.DB, d dialect) error {
	dir := "migrations/sqlite"
	if d == dPostgres {
		dir = "migrations/postgres"
	}
	files, err := fs.Sub(migrationFiles, dir)
	if err != nil {
		return err
	}
	return migrateFiles(ctx, db, d, files)
}

// migrateFiles is migrate for a program that knows these files.
func migrateFiles(ctx context.Context, db *sql.DB, d dialect, files fs.FS) error {
	gd := goose.DialectSQLite3
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler))}
	if d == dPostgres {
		gd = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker() // several nodes may start at once
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	known, err := migrationHashes(files)
	if err != nil {
		return err
	}
	if err := checkCompatible(ctx, db, d, known); err != nil {
		return err
	}
	p, err := goose.NewProvider(gd, db, files, opts...)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return recordHashes(ctx, db, known)
}

// migrationHashes maps version to the hash of its file.
func migrationHashes(files fs.FS) (map[int64]string, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	known := map[int64]string{}
	for _, n := range names {
		b, err := fs.ReadFile(files, n)
		if err != nil {
			return nil, err
		}
		num, _, _ := strings.Cut(path.Base(n), "_")
		v, err := strconv.ParseInt(num, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", n, err)
		}
		known[v] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return known, nil
}

// checkCompatible looks at the schema before it is touched.
func checkCompatible(ctx context.Context, db *sql.DB, d dialect, known map[int64]string) error {
	query := `SELECT count(*) FROM sqlite_master WHERE name = 'schema_hashes'`
	if d == dPostgres {
		query = `SELECT count(*) FROM pg_class WHERE relname = 'schema_hashes' AND relkind = 'r' AND pg_table_is_visible(oid)`
	}
	var n int
	if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil {
		return fmt.Errorf("look for schema: %w", err)
	}
	if n == 0 {
		return nil // a new database
	}
	var from int64
	if err := db.QueryRowContext(ctx, `SELECT CAST(value AS BIGINT) FROM settings WHERE name = 'compatible_from'`).Scan(&from); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read schema version: %w", err)
	}
	if last := int64(len(known)); from > last {
		return fmt.Errorf("%w: it needs version %d, this program has %d: use the newer program", ErrSchema, from, last)
	}
	rows, err := db.QueryContext(ctx, `SELECT version, sha256 FROM schema_hashes`)
	if err != nil {
		return fmt.Errorf("read schema hashes: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var v int64
		var sum string
		if err := rows.Scan(&v, &sum); err != nil {
			return err
		}
		if want, ok := known[v]; ok && want != sum {
			return fmt.Errorf("%w: migration %d was applied with other content", ErrSchema, v)
		}
	}
	return rows.Err()
}

// recordHashes notes what was applied. A crash before it leaves an applied
// migration without a hash; the next start records it.
func recordHashes(ctx context.Context, db *sql.DB, known map[int64]string) error {
	for v, sum := range known {
		if _, err := db.ExecContext(ctx, `INSERT INTO schema_hashes (version, sha256) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING`, v, sum); err != nil {
			return fmt.Errorf("record migration %d: %w", v, err)
		}
	}
	return nil
}

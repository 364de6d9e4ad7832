// Package store keeps everything durable of postern in one SQL database:
// SQLite by default, PostgreSQL when one machine is not enough. It is the only
// importer of database/sql.
//
// Its one invariant: when a method that changes something returns nil, the
// change is committed and synced; when it returns an error, the change did not
// happen, or the error says that it is unknown. See DESIGN.md beside this file.
package store

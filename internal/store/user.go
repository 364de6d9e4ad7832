package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postern/internal/relay"
)

const (
	userColumns = `u.id, u.account_id, u.subuser_id, u.username, u.email, u.first_name, u.last_name, u.role, u.scopes, u.restricted, u.subusers,
		u.password, u.password_at, u.totp, u.totp_step, u.totp_at, u.created_at, u.invited_by, u.disabled_at, u.disabled_rank, u.deleted_at, u.seen_at, u.seen_from,
		(SELECT count(*) FROM passkeys p WHERE p.user_id = u.id), (SELECT count(*) FROM recovery_codes c WHERE c.user_id = u.id)`
	selectUsers = `SELECT ` + userColumns + ` FROM users u`
	insertUser  = `INSERT INTO users (id, account_id, subuser_id, username, email, first_name, last_name, role, scopes, restricted, subusers,
		password, password_at, totp, totp_step, totp_at, created_at, invited_by, disabled_at, deleted_at, seen_at, seen_from)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`
	insertName  = `INSERT INTO user_names (name, user_id) VALUES ($1, $2)`
	lockAccount = `SELECT id FROM accounts WHERE id = $1`
	lockUser    = `SELECT id FROM users WHERE id = $1 FOR UPDATE`
	// maxUserName bounds a user name and an e-mail address, in octets: a path of RFC
	// 5321 §4.5.3.1.3 is shorter.
	maxUserName = 320
)

// userRow receives the columns of a person.
type userRow struct {
	id, acct, sub, totp                                              []byte
	role, scopes, subusers, seenFrom                                 string
	restricted, passwordAt, totpAt, created, disabled, deleted, seen int64
	u                                                                relay.User
}

func (r *userRow) into() []any {
	u := &r.u
	return []any{&r.id, &r.acct, &r.sub, &u.Username, &u.Email, &u.FirstName, &u.LastName, &r.role, &r.scopes, &r.restricted, &r.subusers,
		&u.Password, &r.passwordAt, &r.totp, &u.TOTPStep, &r.totpAt, &r.created, &u.InvitedBy, &r.disabled, &u.DisabledRank, &r.deleted, &r.seen, &r.seenFrom,
		&u.Passkeys, &u.RecoveryCodes}
}

func (r *userRow) user() (relay.User, error) {
	u := r.u
	u.ID.ID, u.Account.ID, u.Subuser.ID, u.Role, u.Restricted = idOf(r.id), idOf(r.acct), idOf(r.sub), relay.Role(r.role), r.restricted != 0
	u.TOTP = some(r.totp)
	u.PasswordAt, u.TOTPAt, u.CreatedAt = timeOf(r.passwordAt), timeOf(r.totpAt), timeOf(r.created)
	u.DisabledAt, u.DeletedAt, u.SeenAt, u.SeenFrom = timeOf(r.disabled), timeOf(r.deleted), timeOf(r.seen), addrOf(r.seenFrom)
	return u, errors.Join(unpackJSON(r.scopes, &u.Scopes, "users.scopes"), unpackJSON(r.subusers, &u.Subusers, "users.subusers"))
}

func scanUser(r scanner) (relay.User, error) {
	var row userRow
	if err := r.Scan(row.into()...); err != nil {
		return relay.User{}, err
	}
	return row.user()
}

// addrOf reads an address as addrText stores it.
func addrOf(s string) netip.Addr {
	a, _ := netip.ParseAddr(s) // "" and damage: from nowhere
	return a
}

// errPlain: what is stored as a password is a hash.
var errPlain = errors.New("the password is not an Argon2id hash")

func checkPasswordHash(hash string) error {
	if hash != "" && !strings.HasPrefix(hash, "$argon2id$") {
		return fmt.Errorf("store password: %w", errPlain)
	}
	return nil
}

// prepareUser checks what a person may be, and puts it into the form that is
// stored.
func prepareUser(u *relay.User) error {
	for _, n := range []struct{ field, value string }{{"username", u.Username}, {"email", u.Email}} {
		if n.value == "" || len(n.value) > maxUserName {
			return &relay.Error{Kind: relay.Invalid, Field: n.field, Public: fmt.Sprintf("A person's %s has 1 to %d octets.", n.field, maxUserName)}
		}
	}
	if !slices.Contains(relay.Roles, u.Role) {
		return &relay.Error{Kind: relay.Invalid, Field: "role", Public: "There is no such role."}
	}
	if u.Restricted && !u.Subuser.IsZero() {
		return &relay.Error{Kind: relay.Invalid, Field: "restricted", Public: "A person of a subuser sees that subuser only."}
	}
	u.Username, u.Email, u.FirstName, u.LastName = text(u.Username), text(u.Email), text(u.FirstName), text(u.LastName)
	u.Scopes, u.Subusers = slices.Compact(slices.Sorted(slices.Values(u.Scopes))), slices.Clone(u.Subusers)
	if u.Role != relay.RoleCustom {
		u.Scopes = nil
	}
	if !u.Restricted {
		u.Subusers = nil
	}
	return nil
}

// CreateUser adds a person, with the password and authenticator app that it
// brings; passkeys and recovery codes are added on their own. relay.Conflict: the
// id is taken, or (Field "username" or "email") another person's user name or
// e-mail address is the same; relay.Invalid: a name is missing, or the role is
// not known; relay.NotFound: there is no such account or subuser.
func (s *Store) CreateUser(ctx context.Context, by By, u relay.User) error {
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		if err := s.liveSubuserOf(ctx, tx, u.Account, u.Subuser); err != nil {
			return note{}, err
		}
		return s.addUser(ctx, tx, u)
	})
}

// addUser stores a new person. The subuser is locked.
func (s *Store) addUser(ctx context.Context, tx *sql.Tx, u relay.User) (note, error) {
	if err := errors.Join(prepareUser(&u), checkPasswordHash(u.Password)); err != nil {
		return note{}, err
	}
	for _, sub := range u.Subusers {
		if err := s.liveSubuserOf(ctx, tx, u.Account, sub); err != nil {
			return note{}, err
		}
	}
	scopes, scopesErr := packJSON(u.Scopes, len(u.Scopes) == 0)
	subusers, subusersErr := packJSON(u.Subusers, len(u.Subusers) == 0)
	if err := errors.Join(scopesErr, subusersErr); err != nil {
		return note{}, err
	}
	if _, err := tx.ExecContext(ctx, insertUser, blob(u.ID.ID), blob(u.Account.ID), blob(u.Subuser.ID), u.Username, u.Email, u.FirstName, u.LastName,
		string(u.Role), text(scopes), flag(u.Restricted), subusers, u.Password, micros(u.PasswordAt), filled(u.TOTP), u.TOTPStep, micros(u.TOTPAt),
		micros(u.CreatedAt), text(u.InvitedBy), micros(u.DisabledAt), int64(0), int64(0), ""); err != nil {
		return note{}, err
	}
	if err := nameUser(ctx, tx, &u); err != nil {
		return note{}, err
	}
	made, err := one(ctx, tx, "person", scanUser, selectUsers+` WHERE u.id = $1`, blob(u.ID.ID))
	return note{account: u.Account, action: "user.create", subject: userSubject(&made), after: made}, err
}

// nameUser takes the names by which a person is found.
func nameUser(ctx context.Context, tx *sql.Tx, u *relay.User) error {
	names := []struct{ field, name, public string }{
		{"username", lowerName(u.Username), "Another person has that user name."},
		{"email", lowerName(u.Email), "Another person has that e-mail address."},
	}
	if names[0].name == names[1].name {
		names = names[1:]
	}
	for _, n := range names {
		_, err := tx.ExecContext(ctx, insertName, n.name, blob(u.ID.ID))
		if isUnique(err) {
			return &relay.Error{Kind: relay.Conflict, Field: n.field, Public: n.public}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func userSubject(u *relay.User) string { return "user " + u.ID.String() + " " + u.Username }

// User returns one person, deleted or not, or relay.NotFound.
func (s *Store) User(ctx context.Context, id relay.UserID) (relay.User, error) {
	v, err := one(ctx, s.db, "person", scanUser, selectUsers+` WHERE u.id = $1`, blob(id.ID))
	return read(s, "person", v, err)
}

// UserNamed returns the person with a user name or e-mail address, in any case,
// who is not deleted, or relay.NotFound.
func (s *Store) UserNamed(ctx context.Context, name string) (relay.User, error) {
	v, err := one(ctx, s.db, "person", scanUser, selectUsers+` JOIN user_names n ON n.user_id = u.id WHERE n.name = $1`, lowerName(text(name)))
	return read(s, "person", v, err)
}

// Users lists the people of an account and of its subusers by user name, without
// deleted ones; the zero account: all.
func (s *Store) Users(ctx context.Context, account relay.AccountID) ([]relay.User, error) {
	w := &where{}
	if !account.IsZero() {
		w.and("u.account_id = ?", blob(account.ID))
	}
	w.and("u.deleted_at = 0")
	v, err := list(ctx, s.db, scanUser, selectUsers+w.String()+` ORDER BY u.username, u.id`, w.args...)
	return read(s, "people", v, err)
}

// changePerson is change for what no node holds in memory: it raises no revision.
// Where fn returns errUnchanged nothing is stored or recorded; a note without an
// action is not recorded.
//
// Rows are locked in the order account, subuser, user, then what is the user's.
// Whoever adds or ends several rows of a user has locked the user, so that no
// session outlives what ends them all.
func (s *Store) changePerson(ctx context.Context, by By, fn func(ctx context.Context, tx *sql.Tx) (note, error)) error {
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := fn(ctx, tx)
		if err != nil || n.action == "" {
			return err
		}
		return s.record(ctx, tx, by, n)
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return changeError(err)
}

// holdAccount locks an account until the commit, or relay.NotFound. Others may add
// rows that refer to it meanwhile: they have locked a user first.
func (s *Store) holdAccount(ctx context.Context, tx *sql.Tx, id relay.AccountID) error {
	_, err := one(ctx, tx, "account", func(r scanner) (b []byte, err error) { return b, r.Scan(&b) }, lockAccount+s.forEdit(), blob(id.ID))
	return err
}

// liveUser locks and reads a person who is not deleted, or relay.NotFound. It locks
// first: a statement that waits for a lock counts passkeys and codes as they were
// before it waited (PostgreSQL, READ COMMITTED).
func (s *Store) liveUser(ctx context.Context, tx *sql.Tx, id relay.UserID) (relay.User, error) {
	if s.eng.dialect() == dPostgres {
		if _, err := one(ctx, tx, "person", func(r scanner) (b []byte, err error) { return b, r.Scan(&b) }, lockUser, blob(id.ID)); err != nil {
			return relay.User{}, err
		}
	}
	return one(ctx, tx, "person", scanUser, selectUsers+` WHERE u.id = $1 AND u.deleted_at = 0`, blob(id.ID))
}

// userBy is liveUser for a change that by makes, whose session goes on. What ends a
// session has locked its person, so who changes themselves does it before that, or not
// at all: a password that was checked for a thief is not set after its owner has set
// another one.
func (s *Store) userBy(ctx context.Context, tx *sql.Tx, by By, id relay.UserID) (relay.User, error) {
	u, err := s.liveUser(ctx, tx, id)
	if err != nil {
		return u, err
	}
	return u, goesOn(ctx, tx, by)
}

// changeUser changes a person who is not deleted, and records how they were before
// and after. fn may run more than once, and may return errUnchanged.
func (s *Store) changeUser(ctx context.Context, by By, id relay.UserID, action string, fn func(ctx context.Context, tx *sql.Tx, old *relay.User) error) error {
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		old, err := s.userBy(ctx, tx, by, id)
		if err != nil {
			return note{}, err
		}
		return s.changeHeldUser(ctx, tx, old, action, fn)
	})
}

// changeHeldUser is changeUser for a person who is locked.
func (s *Store) changeHeldUser(ctx context.Context, tx *sql.Tx, old relay.User, action string, fn func(ctx context.Context, tx *sql.Tx, old *relay.User) error) (note, error) {
	if err := fn(ctx, tx, &old); err != nil {
		return note{}, err
	}
	after, err := one(ctx, tx, "person", scanUser, selectUsers+` WHERE u.id = $1`, blob(old.ID.ID))
	return note{account: old.Account, action: action, subject: userSubject(&after), before: old, after: after}, err
}

// lowerName is the form in which user names and addresses are compared: not by
// folding, which makes more letters equal than people expect.
func lowerName(s string) string { return strings.ToLower(s) }

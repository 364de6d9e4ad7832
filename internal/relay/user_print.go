package relay

import (
	"fmt"
	"log/slog"
)

// hidden stands where something is that nobody may read.
const hidden = "[redacted]"

// hide keeps only whether there is anything.
func hide(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return []byte(hidden)
}

// printAs prints what is left of a value, by the verb it was to be printed by.
// The type of v has no Format of its own, or this would never end.
func printAs(f fmt.State, verb rune, v any) { _, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), v) }

// Format implements fmt.Formatter: no verb shows the password's hash or the
// sealed secret of the authenticator app.
func (u User) Format(f fmt.State, verb rune) {
	type printed User
	if u.Password != "" {
		u.Password = hidden
	}
	u.TOTP = hide(u.TOTP)
	printAs(f, verb, printed(u))
}

// LogValue implements slog.LogValuer: who it is.
func (u User) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", u.ID.String()), slog.String("username", u.Username), slog.String("role", string(u.Role)))
}

// Format implements fmt.Formatter: no verb shows what an enrolment remembers.
func (s Session) Format(f fmt.State, verb rune) {
	type printed Session
	s.Pending = hide(s.Pending)
	printAs(f, verb, printed(s))
}

// LogValue implements slog.LogValuer: which it is, and whose.
func (s Session) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", s.ID.String()), slog.String("user", s.User.String()), slog.String("level", string(s.Level)), slog.String("method", s.Method))
}

// Format implements fmt.Formatter: no verb shows the credential's record.
func (p Passkey) Format(f fmt.State, verb rune) {
	type printed Passkey
	p.Credential = hide(p.Credential)
	printAs(f, verb, printed(p))
}

// LogValue implements slog.LogValuer: what it is called, and whose it is.
func (p Passkey) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", p.Name), slog.String("user", p.User.String()))
}

// Format implements fmt.Formatter: no verb shows the hash of the link's token.
func (l Link) Format(f fmt.State, verb rune) {
	type printed Link
	l.Hash = [32]byte{}
	printAs(f, verb, printed(l))
}

// LogValue implements slog.LogValuer: what it is for, and whom.
func (l Link) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kind", string(l.Kind)), slog.String("account", l.Account.String()), slog.String("email", l.Email))
}

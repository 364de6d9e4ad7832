package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span as written in the file: "30s", "1h30m", "3d". A
// number without a unit is an error.
type Duration struct{ time.Duration }

const (
	day = 24 * time.Hour
	// The bounds of one wait between attempts.
	minInterval = time.Second
	maxInterval = 7 * day
)

// ParseDuration reads what String writes; "d" is 24 hours and comes first.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q is not a duration: write it as \"30s\", \"10m\", \"2h\" or \"3d\"", s)
	rest, total := s, time.Duration(0)
	if head, tail, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(head, 10, 31)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return Duration{}, bad
		}
		total, rest = time.Duration(n)*day, tail
		if rest == "" {
			return Duration{total}, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || total+d < total || rest == "0" {
		return Duration{}, bad
	}
	return Duration{total + d}, nil
}

// String is the shortest spelling: "3d", "1h30m", "0s".
func (d Duration) String() string {
	days := d.Duration / day
	rest := d.Duration % day
	var b strings.Builder
	if days > 0 {
		fmt.Fprintf(&b, "%dd", days)
	}
	if rest != 0 || days == 0 {
		s := rest.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		b.WriteString(s)
	}
	return b.String()
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Size is a number of octets, written as a number or as "64KiB", "30MiB",
// "2GiB", "1TiB".
type Size int64

var sizeUnits = []struct {
	name  string
	shift uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}

// ParseSize reads what String writes.
func ParseSize(s string) (Size, error) {
	bad := fmt.Errorf("%q is not a size: write it as \"64KiB\", \"30MiB\", \"2GiB\" or a number of octets", s)
	number, shift := s, uint(0)
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			number, shift = n, u.shift
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n > uint64(math.MaxInt64)>>shift {
		return 0, bad
	}
	return Size(n << shift), nil
}

// String is the shortest exact spelling.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s > 0 && s&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(int64(s>>u.shift), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := ParseSize(string(b))
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// Secret is a URL that may hold a password. Whatever prints it shows the URL
// without the password; Reveal is the only way to the whole.
type Secret string

// Reveal returns the URL with its password.
func (s Secret) Reveal() string { return string(s) }

// String hides the password.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(string(s))
	if err != nil || u.Host == "" || u.Opaque != "" {
		return "(hidden)"
	}
	if u.RawQuery != "" { // libpq takes the password as a parameter too
		u.RawQuery = "(hidden)"
	}
	return u.Redacted()
}

// Format hides the password in every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

package audit

import (
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// The names of components.
const (
	ComponentSelf      = "postern"
	ComponentGo        = "Go"
	ComponentSQLite    = "SQLite"
	ComponentPostgres  = "PostgreSQL"
	ComponentLibcrypto = "libcrypto"
)

// BuildComponents are this program and its Go, from what the linker wrote down.
// Without a revision the program's age is not known.
func BuildComponents(version string, info *debug.BuildInfo) []Component {
	if info == nil {
		return []Component{{Name: ComponentSelf, Version: version}}
	}
	self := Component{Name: ComponentSelf, Version: version}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			self.Released, _ = time.Parse(time.RFC3339, s.Value)
		}
	}
	return []Component{self, GoComponent(info.GoVersion)}
}

var goVersion = regexp.MustCompile(`^go1\.(\d{1,3})`)

// GoComponent knows how long a Go release is supported: two come a year, in
// February and August, and each is mended until the second one after it. Go 1.22
// was that of February 2024.
func GoComponent(version string) Component {
	c := Component{Name: ComponentGo, Version: version}
	m := goVersion.FindStringSubmatch(version)
	if m == nil {
		return c
	}
	n, _ := strconv.Atoi(m[1])
	c.Released = time.Date(2024, time.February, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 6*(n-22), 0)
	// A new release comes in the course of its month.
	c.SupportedUntil = c.Released.AddDate(0, 13, 0)
	return c
}

// opensslEnds is when branches of OpenSSL 3 are mended no more, by its makers'
// release strategy. A distribution may mend its own for longer.
var opensslEnds = map[string]time.Time{
	"3.0": time.Date(2026, time.September, 7, 0, 0, 0, 0, time.UTC),
	"3.1": time.Date(2025, time.March, 14, 0, 0, 0, 0, time.UTC),
	"3.2": time.Date(2025, time.November, 23, 0, 0, 0, 0, time.UTC),
	"3.3": time.Date(2026, time.April, 9, 0, 0, 0, 0, time.UTC),
	"3.4": time.Date(2026, time.October, 22, 0, 0, 0, 0, time.UTC),
	"3.5": time.Date(2030, time.April, 8, 0, 0, 0, 0, time.UTC),
	"3.6": time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC),
}

var opensslVersion = regexp.MustCompile(`^OpenSSL (\d+\.\d+)\.\d+\S* (\d{1,2} [A-Z][a-z]{2} \d{4})`)

// LibcryptoComponent reads what the library says of itself, "OpenSSL 3.5.1 1 Jul
// 2025". What it cannot read has no age.
func LibcryptoComponent(says string) Component {
	c := Component{Name: ComponentLibcrypto, Version: says}
	m := opensslVersion.FindStringSubmatch(says)
	if m == nil {
		return c
	}
	c.Released, _ = time.Parse("2 Jan 2006", m[2])
	c.SupportedUntil = opensslEnds[m[1]]
	return c
}

// SQLiteComponent reads sqlite_version() and sqlite_source_id(), which begins
// with a date.
func SQLiteComponent(version, source string) Component {
	c := Component{Name: ComponentSQLite, Version: version}
	if len(source) >= len(time.DateOnly) {
		c.Released, _ = time.Parse(time.DateOnly, source[:len(time.DateOnly)])
	}
	return c
}

// PostgresComponent reads server_version, "17.4 (Debian …)". A major version
// comes each autumn and is mended for five years: 13 came in September 2020.
func PostgresComponent(version string) Component {
	c := Component{Name: ComponentPostgres, Version: version}
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if err != nil || n < 10 || n > 99 {
		return c
	}
	c.Released = time.Date(2007+n, time.September, 15, 0, 0, 0, 0, time.UTC)
	c.SupportedUntil = time.Date(2012+n, time.November, 15, 0, 0, 0, 0, time.UTC)
	return c
}

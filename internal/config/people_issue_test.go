package config

import (
	"os"
	"strings"
	"testing"
	"time"
)

// AC-07, AC-12: what people get who set nothing. Passwords have no rules about
// characters and no age unless the operator switches them on.
func TestPeopleByDefault(t *testing.T) {
	t.Parallel()
	p := Default().People
	if p.SessionIdle.Duration != 30*time.Minute || p.SessionLife.Duration != 12*time.Hour || p.Fresh.Duration != 5*time.Minute {
		t.Errorf("idle %s, life %s, fresh %s", p.SessionIdle, p.SessionLife, p.Fresh)
	}
	if p.PasswordClasses || p.PasswordMaxAge.Duration != 0 || p.BreachedPasswords != "" || len(p.BlockedWords) > 0 {
		t.Errorf("passwords: %+v", p)
	}
}

// docs/audit.md names each setting that the report can find weak, with its bound.
func TestWeakSettingsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, settings, _ := strings.Cut(string(text), "\n## Settings\n")
	settings, _, _ = strings.Cut(settings, "\n## ")
	settings = strings.Join(strings.Fields(settings), " ")
	for _, says := range []string{
		"`store.keep_logins` under 90 days", "CRAM-MD5 among a listener's `mechanisms`", "`auth.app_passwords` on", "`auth.failures` over 100", "`auth.key_failures` over 500",
		"`dns.answers_per_second` 0 with a zone", "`domains.rotate_every` 0 or over a year", "`domains.keep_reports` under 30 days", "`people.session_idle` over an hour",
		"`people.session_life` over a day", "`people.fresh` over 15 minutes", "`people.password_classes` on", "`people.password_max_age` set",
	} {
		if !strings.Contains(settings, says) {
			t.Errorf("it does not say %q", says)
		}
	}
	c := Default()
	c.Store.KeepLogins, c.Auth.AppPasswords, c.Auth.Failures, c.Auth.KeyFailures = Duration{}, true, 1000, 1000
	c.DNS.Zone, c.DNS.AnswersPerSecond, c.Domains.RotateEvery, c.Domains.KeepReports = "mail.example.org", 0, Duration{}, Duration{}
	c.People = People{SessionIdle: Duration{24 * time.Hour}, SessionLife: Duration{720 * time.Hour}, Fresh: Duration{time.Hour}, PasswordClasses: true, PasswordMaxAge: Duration{time.Hour}}
	all := c.Weak()
	if len(all) != 12 { // all but the listener's
		t.Errorf("%d settings are weak: a new one is to be documented and to stand here", len(all))
	}
	for _, w := range all {
		if !strings.Contains(settings, "`"+w.Setting+"`") {
			t.Errorf("it does not name %s", w.Setting)
		}
	}
}

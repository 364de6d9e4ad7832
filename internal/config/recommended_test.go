package config

import (
	"slices"
	"testing"
	"time"
)

// The defaults are what is recommended; each weaker setting is named by itself.
func TestWeak(t *testing.T) {
	t.Parallel()
	if w := Default().Weak(); len(w) != 0 {
		t.Errorf("the defaults are weak: %+v", w)
	}
	for setting, weaken := range map[string]func(c *Config){
		"store.keep_logins":              func(c *Config) { c.Store.KeepLogins = Duration{89 * day} },
		"listener.submission.mechanisms": func(c *Config) { c.Listen[0].Mechanisms = append(slices.Clone(c.Listen[0].Mechanisms), "CRAM-MD5") },
		"auth.app_passwords":             func(c *Config) { c.Auth.AppPasswords = true },
		"auth.failures":                  func(c *Config) { c.Auth.Failures = 101 },
		"auth.key_failures":              func(c *Config) { c.Auth.KeyFailures = 501 },
		"dns.answers_per_second":         func(c *Config) { c.DNS.Zone, c.DNS.AnswersPerSecond = "mail.example.org", 0 },
		"domains.rotate_every":           func(c *Config) { c.Domains.RotateEvery = Duration{} },
		"domains.keep_reports":           func(c *Config) { c.Domains.KeepReports = Duration{29 * day} },
		"people.session_idle":            func(c *Config) { c.People.SessionIdle = Duration{61 * time.Minute} },
		"people.session_life":            func(c *Config) { c.People.SessionLife = Duration{25 * time.Hour} },
		"people.fresh":                   func(c *Config) { c.People.Fresh = Duration{16 * time.Minute} },
		"people.password_classes":        func(c *Config) { c.People.PasswordClasses = true },
		"people.password_max_age":        func(c *Config) { c.People.PasswordMaxAge = Duration{90 * day} },
	} {
		c := Default()
		weaken(c)
		w := c.Weak()
		if len(w) != 1 || w[0].Setting != setting || w[0].Value == "" || w[0].Recommended == "" || w[0].Why == "" || len(w[0].Standards) == 0 {
			t.Errorf("%s: %+v", setting, w)
		}
	}
}

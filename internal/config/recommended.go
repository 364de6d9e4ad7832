package config

import (
	"slices"
	"strconv"
	"time"
)

// Weakness is a setting that is weaker than recommended.
type Weakness struct {
	Setting     string // as in the file: people.password_classes
	Value       string
	Recommended string
	Why         string // a sentence
	Standards   []string
}

// The bounds of what is recommended.
const (
	leastKeepLogins  = 90 * day       // CIS Controls v8 8.10
	mostSessionIdle  = time.Hour      // NIST SP 800-63B-4 §2.2.3
	mostSessionLife  = 24 * time.Hour // the same
	mostFailures     = 100            // five times the default
	mostKeyFailures  = 500            // ten times the default
	mostFresh        = 15 * time.Minute
	leastKeepReports = 30 * day  // less shows no trend of DMARC
	mostRotateEvery  = 365 * day // of DKIM keys
)

// Weak lists the settings that are weaker than recommended, in the order of the
// file: none with the defaults.
func (c *Config) Weak() []Weakness {
	var out []Weakness
	add := func(weak bool, w Weakness) {
		if weak {
			out = append(out, w)
		}
	}
	add(c.Store.KeepLogins.Duration < leastKeepLogins, Weakness{"store.keep_logins", c.Store.KeepLogins.String(), "90d or more",
		"Break-ins are found months later, and then there is nothing left to read.", []string{"CIS Controls v8 8.10"}})
	for _, l := range c.Listen {
		add(slices.Contains(l.Mechanisms, "CRAM-MD5"), Weakness{"listener." + l.Name + ".mechanisms", "CRAM-MD5 among them", "without CRAM-MD5",
			"It is built on MD5, and the secrets of its keys have to be kept.", []string{"NIST SP 800-131A Rev. 2 §9", "NIST SP 800-63B-4 §3.1.1.2"}})
	}
	add(c.Auth.AppPasswords, Weakness{"auth.app_passwords", "true", "false",
		"App passwords are shorter than keys; switch them on for as long as a device needs one.", []string{"CIS Controls v8 5.2"}})
	add(c.Auth.Failures > mostFailures, Weakness{"auth.failures", strconv.Itoa(c.Auth.Failures), "20",
		"So many guesses from one address are free.", []string{"NIST SP 800-63B-4 §3.2.2"}})
	add(c.Auth.KeyFailures > mostKeyFailures, Weakness{"auth.key_failures", strconv.Itoa(c.Auth.KeyFailures), "50",
		"So many guesses at one key are free.", []string{"NIST SP 800-63B-4 §3.2.2"}})
	add(c.DNS.Zone != "" && c.DNS.AnswersPerSecond == 0, Weakness{"dns.answers_per_second", "0", "100",
		"Without a limit the name server can be made to flood somebody else.", []string{"BCP 140", "CIS Controls v8 4.1"}})
	add(c.Domains.RotateEvery.Duration == 0 || c.Domains.RotateEvery.Duration > mostRotateEvery, Weakness{"domains.rotate_every", c.Domains.RotateEvery.String(), "180d",
		"DKIM keys that never change are worth stealing.", []string{"M3AAWG DKIM Key Rotation Best Common Practices"}})
	add(c.Domains.KeepReports.Duration < leastKeepReports, Weakness{"domains.keep_reports", c.Domains.KeepReports.String(), "400d",
		"Reports of a few days do not tell when a stricter DMARC policy is safe.", []string{"CIS Controls v8 9.5"}})
	add(c.People.SessionIdle.Duration > mostSessionIdle, Weakness{"people.session_idle", c.People.SessionIdle.String(), "30m",
		"Who walks away from a screen leaves the door open for so long.", []string{"NIST SP 800-63B-4 §2.2.3", "CIS Controls v8 4.3"}})
	add(c.People.SessionLife.Duration > mostSessionLife, Weakness{"people.session_life", c.People.SessionLife.String(), "12h",
		"A stolen session works for so long.", []string{"NIST SP 800-63B-4 §2.2.3"}})
	add(c.People.Fresh.Duration > mostFresh, Weakness{"people.fresh", c.People.Fresh.String(), "5m",
		"For so long a stolen session can change passwords and keys without being asked who it is.", []string{"NIST SP 800-63B-4 §2.2.3"}})
	add(c.People.PasswordClasses, Weakness{"people.password_classes", "true", "false",
		"Rules about characters make people choose the same few patterns; NIST says that they shall not be imposed.", []string{"NIST SP 800-63B-4 §3.1.1.2"}})
	add(c.People.PasswordMaxAge.Duration > 0, Weakness{"people.password_max_age", c.People.PasswordMaxAge.String(), "0s",
		"Who has to change a good password takes a worse one; NIST says to ask only after a theft.", []string{"NIST SP 800-63B-4 §3.1.1.2"}})
	return out
}

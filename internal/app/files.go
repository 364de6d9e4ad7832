package app

import (
	"fmt"
	"os"
	"path/filepath"

	"postern/internal/config"
	"postern/internal/password"
	"postern/internal/watch"
)

// unitLogs is made by the service manager at each start (LogsDirectory).
const unitLogs = "/var/log/postern"

// CheckFiles says what is wrong with files that a configuration names and a start
// reads: those of secrets and keys, of lists, and where the log goes. Certificates
// of listeners and of deliveries are for the caller.
func CheckFiles(c *config.Config) []config.Problem {
	var out []config.Problem
	note := func(err error, key string, i ...any) {
		if err != nil {
			out = append(out, config.Problem{Key: fmt.Sprintf(key, i...), Text: err.Error()})
		}
	}
	note(isThere(c.Store.SealingKey), "store.sealing_key")
	for i := range c.Issuers {
		_, err := outsideIssuers(c.Issuers[i : i+1])
		note(err, "issuer[%d]", i)
	}
	if c.People.BreachedPasswords != "" {
		known, err := password.OpenBreached(c.People.BreachedPasswords)
		if note(err, "people.breached_passwords"); err == nil {
			_ = known.Close() // read only
		}
	}
	for i := range c.SSO {
		_, err := signOnIssuers(c.SSO[i : i+1])
		note(err, "sso[%d]", i)
	}
	_, err := watch.OpenPlaces(c.Watch.Places, "")
	note(err, "watch.places")
	_, err = watch.OpenPlaces("", c.Watch.Networks)
	note(err, "watch.networks")
	a := &App{opt: Options{Config: c}}
	for i := range c.Exports {
		_, err := a.exportTarget(&c.Exports[i])
		note(err, "export[%d]", i)
	}
	// The file itself is made, and not here: it would be root's. So is the unit's directory.
	if dir := filepath.Dir(c.Log.File); c.Log.File != "" && dir != unitLogs {
		note(isThere(dir), "log.file")
	}
	return out
}

func isThere(name string) error {
	if name == "" {
		return nil
	}
	_, err := os.Stat(name)
	return err
}

package submit

import (
	"strings"
	"testing"
)

// A report by mail tells commands that mend what it found, and has tables: commands
// were broken into lines that no shell takes, and wide tables lost their columns.
func TestWrappedLeavesCommandsAndTables(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"      $ postern policy --max-key-life 2160h --account AaIEoIOmdTi7XzcEbM1GkQ --subuser another",
		"$ postern key update vZvgZU3djabOdvnEcIQJNQ --network 192.0.2.0/24,2001:db8::/32,198.51.100.0/24",
		"KEY                     NAME        KIND     MAY SEND AS                 FROM       LAST USED   FINDINGS",
		"vZvgZU3djabOdvnEcIQJNQ  everything  api_key  anybody of the account      anywhere   2026-11-22  4",
	} {
		if got := wrapped(line + "\n"); got != line+"\n" {
			t.Errorf("%q became %q", line, got)
		}
	}
	price := "It costs $ 5 a month for each key that is more than ninety days old, or two for one that is not."
	if got := wrapped(price); strings.Count(got, "\n") != 2 {
		t.Errorf("a sentence is not broken: %q", got)
	}
}

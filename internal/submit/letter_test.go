package submit

import (
	"strings"
	"testing"
)

// What a letter tells people to copy stands in it as it is: a DKIM record was
// broken into lines that no zone file takes.
func TestWrapped(t *testing.T) {
	t.Parallel()
	long := "The old secret of key \"checkout\" ends at 2026-11-24T07:11:41Z and was last used at noon."
	record := "s1._domainkey.a.test. 3600 IN TXT \"v=DKIM1; k=rsa; p=" + strings.Repeat("Ab3+", 57) + "\" \"" + strings.Repeat("Ab3+", 41) + "\""
	value := "    Value: v=DKIM1; k=rsa; p=" + strings.Repeat("Ab3+", 98)
	for in, want := range map[string]string{
		"":             "",
		"one\n\ntwo\n": "one\n\ntwo\n",
		long:           "The old secret of key \"checkout\" ends at 2026-11-24T07:11:41Z and was\nlast used at noon.\n",
		"    " + long:  "    The old secret of key \"checkout\" ends at 2026-11-24T07:11:41Z and\n    was last used at noon.\n",
		record:         record + "\n",
		"; " + long:    "; " + long + "\n",
		value:          value + "\n",
	} {
		if got := wrapped(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

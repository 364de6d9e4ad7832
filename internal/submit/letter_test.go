package submit

import "testing"

func TestWrapped(t *testing.T) {
	t.Parallel()
	long := "The old secret of key \"checkout\" ends at 2026-11-24T07:11:41Z and was last used at noon."
	for in, want := range map[string]string{
		"":             "",
		"one\n\ntwo\n": "one\n\ntwo\n",
		long:           "The old secret of key \"checkout\" ends at 2026-11-24T07:11:41Z and was\nlast used at noon.\n",
	} {
		if got := wrapped(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

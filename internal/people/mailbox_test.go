package people

import (
	"strings"
	"testing"

	"postern/internal/relay"
)

// AC-13: however the mailbox of somebody is written, it is one person's: letters of
// another case, of a domain in Unicode, its A-labels or what IDNA takes for the same,
// and composed in another way.
func TestMailboxHasOneForm(t *testing.T) {
	t.Parallel()
	for want, spellings := range map[string][]string{
		"ann@example.test":                 {"Ann@Example.TEST", " ann@example.test "},
		"ann@staging.test":                 {"ANN@STAGING.test"},
		"ann@kilo.test":                    {"ann@\u212ailo.test"},
		"ann@xn--bcher-kva.test":           {"ann@b\u00fccher.test", "ann@bu\u0308cher.test", "ann@B\u00dcCHER.test", "ann@XN--BCHER-KVA.test"},
		"jos\u00e9@xn--bcher-kva.test":     {"jose\u0301@b\u00fccher.test", "JOS\u00c9@b\u00fccher.test"},
		"a.b+c@xn--bcher-kva.example.test": {"a.b+c@b\u00fccher.example.test"},
	} {
		for _, s := range append(spellings, want) {
			got, err := mailbox(s)
			if err != nil || strings.ToLower(got) != want {
				t.Errorf("%+q: %+q, %v, want %+q", s, got, err, want)
			}
		}
	}
	for _, s := range []string{"ann@\uff45xample.test", "ann@exampl\u24d4.test", "ann@example\u3002test", "ann@\u017ftaging.test", // what other software may map
		"", "ann", "@example.test", "ann@localhost", "ann@[192.0.2.1]", `"ann"@example.test`, `"a b"@example.test`, "ann@exa mple.test",
		"ann@example.test\r\nBcc: x@example.test", "ann@example.test,eve@example.test", "ann@\xff.test", "<ann@example.test>", strings.Repeat("a", 65) + "@example.test"} {
		if got, err := mailbox(s); relay.KindOf(err) != relay.Invalid {
			t.Errorf("%+q: %q, %v", s, got, err)
		}
	}
}

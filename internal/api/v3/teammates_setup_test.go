package v3

import (
	"testing"
	"time"

	"postern/internal/relay"
)

// The operator makes a link for an owner, for one account at a time, and the link
// is no invitation that the account's people could see or send on.
func TestSetupLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	op := w.operator("acme")
	var made setupLink
	op.want("POST", "/v3/teammates/setup", `{"email":"first@people.example"}`, 201, &made)
	if made.URL != "https://relay.example/setup/the-secret" || !made.ExpiresAt.Equal(w.now.Add(24*time.Hour)) {
		t.Errorf("made %+v", made)
	}
	links, err := peopleOf(w).Links(t.Context(), w.acme.Account, relay.LinkSetup)
	if err != nil || len(links) != 1 || links[0].Role != relay.RoleOwner || links[0].CreatedBy == "" {
		t.Errorf("links %+v, %v", links, err)
	}
	var pending pendingList
	op.want("GET", "/v3/teammates/pending", "", 200, &pending)
	if len(pending.Result) != 0 {
		t.Errorf("pending %+v", pending.Result)
	}
	for _, body := range []string{`{}`, `{"email":""}`, `{"email":"nobody"}`, `{"email":"a@b.example\r\nBcc: c@d.example"}`, `{"email":7}`} {
		op.want("POST", "/v3/teammates/setup", body, 400, nil)
	}
	op.with("on-behalf-of", "staging").want("POST", "/v3/teammates/setup", `{"email":"first@people.example"}`, 403, nil)
}

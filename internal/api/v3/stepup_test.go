package v3

import "testing"

// AC-07: what a stolen session must not do, route by route: give somebody a way in,
// or more than they had; take a lock off; have reports or alerts sent elsewhere.
func TestRoutesThatNeedBothFactors(t *testing.T) {
	t.Parallel()
	need := map[string]bool{}
	for _, name := range []string{
		"POST /v3/api_keys", "PUT /v3/api_keys/{api_key_id}", "PATCH /v3/api_keys/{api_key_id}", "POST /v3/api_keys/{api_key_id}/rotate", "POST /v3/api_keys/{api_key_id}/enable",
		"POST /v3/teammates", "PATCH /v3/teammates/{username}", "DELETE /v3/teammates/{username}", "POST /v3/teammates/pending/{token}/resend",
		"DELETE /v3/teammates/pending/{token}", "POST /v3/teammates/{username}/enable", "POST /v3/teammates/{username}/disable",
		"POST /v3/teammates/{username}/reset_factors", "POST /v3/teammates/{username}/reset_password", "POST /v3/teammates/{username}/end_sessions",
		"DELETE /v3/teammates/{username}/sessions/{id}", "POST /v3/sso/teammates", "PATCH /v3/sso/teammates/{username}",
		"POST /v3/access_settings/whitelist", "DELETE /v3/access_settings/whitelist", "DELETE /v3/access_settings/whitelist/{rule_id}",
		"PATCH /v3/access_settings/mode", "POST /v3/access_settings/revert", "PATCH /v3/user/policy", "PUT /v3/user/email",
		"PATCH /v3/user/settings/enforced_tls", "PATCH /v3/watch/settings", "PATCH /v3/audit/schedule",
		"POST /v3/whitelabel/domains/{domain_id}/keys", "POST /v3/whitelabel/domains/{domain_id}/rotate",
		// Who may log in, and who may send as whom.
		"PATCH /v3/subusers/{subuser_name}", "PATCH /v3/subusers/{subuser_name}/website_access",
		"POST /v3/whitelabel/domains/{domain_id}/subuser", "POST /v3/whitelabel/domains/{domain_id}/subuser:add",
	} {
		need[name] = true
	}
	for _, r := range Routes() {
		name := r.Method + " " + r.Pattern
		if need[name] && !r.StepUp {
			t.Errorf("%s can be called by a person who has not shown both factors", name)
		}
		delete(need, name)
	}
	for name := range need {
		t.Errorf("there is no route %s", name)
	}
}

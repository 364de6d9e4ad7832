package v3

import "postern/internal/relay"

func init() {
	key := func(suffix, body string) func(w *world, of relay.Tenant) ask {
		return func(w *world, of relay.Tenant) ask {
			// Nothing that the caller does not have, so that only the tenant decides.
			k, _ := w.addKey(of)
			return ask{Path: "/v3/api_keys/" + k.ID.String() + suffix, Body: body}
		}
	}
	of := func(status int, suffix, body string) fixture {
		return fixture{Status: status, Make: key(suffix, body), Absent: ask{Path: "/v3/api_keys/" + absentID + suffix, Body: body}}
	}
	addFixtures(map[string]fixture{
		"GET /v3/openapi.json": plain(200, "/v3/openapi.json", ""),
		"GET /v3/scopes":       plain(200, "/v3/scopes", ""),
		"GET /v3/api_keys":     plain(200, "/v3/api_keys", ""),
		// A key can give no more than it has, and this one has no scope but its own.
		"POST /v3/api_keys":                      plain(201, "/v3/api_keys", `{"name":"new","scopes":["api_keys.create"]}`),
		"GET /v3/api_keys/{api_key_id}":          of(200, "", ""),
		"PUT /v3/api_keys/{api_key_id}":          of(200, "", `{"name":"renamed"}`),
		"PATCH /v3/api_keys/{api_key_id}":        of(200, "", `{"name":"renamed"}`),
		"DELETE /v3/api_keys/{api_key_id}":       of(204, "", ""),
		"POST /v3/api_keys/{api_key_id}/rotate":  of(200, "/rotate", `{"overlap_seconds":60}`),
		"POST /v3/api_keys/{api_key_id}/disable": of(200, "/disable", ""),
		"POST /v3/api_keys/{api_key_id}/enable":  of(200, "/enable", ""),
		"GET /v3/api_keys/{api_key_id}/users":    of(200, "/users", ""),
		"GET /v3/user/account":                   plain(200, "/v3/user/account", ""),
		"GET /v3/user/email":                     plain(200, "/v3/user/email", ""),
		"PUT /v3/user/email":                     plain(200, "/v3/user/email", `{"email":"new@example.test"}`),
		"GET /v3/user/username":                  plain(200, "/v3/user/username", ""),
		"PUT /v3/user/username":                  plain(200, "/v3/user/username", `{"username":"fresh"}`),
		"GET /v3/user/profile":                   plain(200, "/v3/user/profile", ""),
		"PATCH /v3/user/profile":                 plain(200, "/v3/user/profile", `{"city":"Oslo"}`),
		"GET /v3/user/settings/enforced_tls":     plain(200, "/v3/user/settings/enforced_tls", ""),
		"PATCH /v3/user/settings/enforced_tls":   plain(200, "/v3/user/settings/enforced_tls", `{"require_tls":true}`),
		"GET /v3/user/timezone":                  plain(200, "/v3/user/timezone", ""),
		"PATCH /v3/user/timezone":                plain(200, "/v3/user/timezone", `{"timezone":"Europe/Oslo"}`),
		"GET /v3/user/policy":                    plain(200, "/v3/user/policy", ""),
		"PATCH /v3/user/policy":                  plain(200, "/v3/user/policy", `{"require_networks":true}`),
		"GET /v3/user/credits":                   plain(200, "/v3/user/credits", ""),
		"GET /v3/user/plan":                      plain(200, "/v3/user/plan", ""),
		"PATCH /v3/user/plan":                    plain(200, "/v3/user/plan", `{"day":1000}`),
		"GET /v3/user/usage":                     plain(200, "/v3/user/usage", ""),
	})
}

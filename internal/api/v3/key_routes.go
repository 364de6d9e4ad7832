package v3

import "slices"

const keyPath = "/v3/api_keys/{api_key_id}"

var keyRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/api_keys", Scope: "api_keys.read", Summary: "List the keys, oldest first",
		Query: slices.Concat(paging, []Param{
			{Name: "name", Type: "string", Doc: "only those with this in their name, in any case"},
			{Name: "revoked", Type: "boolean", Doc: "revoked keys too"},
			{Name: "subusers", Type: "boolean", Doc: "those of all subusers too; needs the scope subusers.read"},
			{Name: "created_by", Type: "string", Doc: "only those whose created_by is this, such as user and a username behind it"},
		}),
		Answers: map[int]any{200: keyList{}}, Handler: (*API).listKeys,
	},
	{
		Method: "POST", Pattern: "/v3/api_keys", Scope: "api_keys.create", StepUp: true, Summary: "Make a key; its secret is in this answer and nowhere else",
		Body: newKey{}, Answers: map[int]any{201: keyMade{}}, Handler: (*API).createKey,
	},
	{
		Method: "GET", Pattern: keyPath, Scope: "api_keys.read", Summary: "Show a key",
		Query:   []Param{{Name: "revoked", Type: "boolean", Doc: "even if it is revoked"}},
		Answers: map[int]any{200: keyView{}}, Handler: (*API).showKey,
	},
	{
		Method: "PUT", Pattern: keyPath, Scope: "api_keys.update", StepUp: true, Summary: "Set a key's name, and its scopes and restrictions where they are given",
		Body: keyPut{}, Answers: map[int]any{200: keyView{}}, Handler: (*API).putKey,
	},
	{
		Method: "PATCH", Pattern: keyPath, Scope: "api_keys.update", StepUp: true, Summary: "Change what is given of a key",
		Body: keyPatch{}, Answers: map[int]any{200: keyView{}}, Handler: (*API).patchKey,
	},
	{
		Method: "DELETE", Pattern: keyPath, Scope: "api_keys.delete", Summary: "Revoke a key, for ever; with dry_run tell who would be cut off",
		Query: []Param{
			{Name: "dry_run", Type: "boolean", Doc: "only report who used it; nothing is revoked"},
			{Name: "days", Type: "integer", Doc: "how far dry_run looks back: 1 to 400, 30 if not given"},
		},
		Answers: map[int]any{204: nil, 200: keyUsers{}}, Handler: (*API).deleteKey,
	},
	{
		Method: "POST", Pattern: keyPath + "/rotate", Scope: "api_keys.update", StepUp: true, Summary: "Give a key a new secret; the old one stays valid for a while",
		Body: keyRotation{}, Answers: map[int]any{200: keyRotated{}}, Handler: (*API).rotateKey,
	},
	{
		Method: "POST", Pattern: keyPath + "/disable", Scope: "api_keys.update", Summary: "Switch a key off",
		Answers: map[int]any{200: keyView{}}, Handler: (*API).disableKey,
	},
	{
		Method: "POST", Pattern: keyPath + "/enable", Scope: "api_keys.update", StepUp: true, Summary: "Switch a key on again",
		Answers: map[int]any{200: keyView{}}, Handler: (*API).enableKey,
	},
	{
		Method: "GET", Pattern: keyPath + "/users", Scope: "api_keys.read", Summary: "Who used a key lately, and from where",
		Query: []Param{
			{Name: "days", Type: "integer", Doc: "how far to look back: 1 to 400, 30 if not given"},
			{Name: "revoked", Type: "boolean", Doc: "even if it is revoked"},
		},
		Answers: map[int]any{200: keyUsers{}}, Handler: (*API).showKeyUsers,
	},
}

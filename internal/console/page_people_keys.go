package console

import (
	"net/url"
	"strconv"
)

// keysAtOnce is how many keys are asked for at once.
const keysAtOnce = 500

// keysMadeBy lists the keys that somebody made, which go on without them: whoever looks
// after an account decides about each when somebody leaves. It has no rows for who may
// not read keys. The account's own page has those that they made for its subusers too.
func (v *desk) keysMadeBy(x *personView) (table, error) {
	t := table{ID: "keys-made", Caption: "Keys that they made", Head: []string{"Name", "Subuser", "Last use", "State"}}
	if !v.May("GET", apiKeys) {
		return t, nil
	}
	path := query(apiKeys, "created_by", "user "+x.Username, "limit", strconv.Itoa(keysAtOnce))
	if v.Tenant.Subuser.IsZero() && v.Principal.Allows("subusers.read") {
		path += "&subusers=true"
	}
	for offset := 0; ; offset += keysAtOnce {
		list, err := ask[struct{ Result []apiKeyView }](v, query(path, "offset", strconv.Itoa(offset)))
		if err != nil {
			return t, err
		}
		for _, k := range list.Result {
			name := to(k.Name, v.path("/keys", k.ID))
			if k.Username != "" {
				name.Href = subuserPath(k.Username, "/keys/"+url.PathEscape(k.ID))
			}
			name.Note = orNone(keyKinds[k.Kind], k.Kind)
			t.Rows = append(t.Rows, row{Cells: []cell{name, words(k.Username), k.lastUse(v.Now), {Badges: []badge{k.state(v.Now)}}}})
		}
		if len(list.Result) < keysAtOnce {
			t.slim()
			return t, nil
		}
	}
}

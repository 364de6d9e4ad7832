package console

import "net/http"

const apiProfile = "/v3/user/profile"

// tenantProfile is who is behind an account or subuser, by the names of the API.
type tenantProfile map[string]string

// profileInputs are the members of a profile, in the order in which people write them.
var profileInputs = []struct{ name, label, auto string }{
	{"first_name", "First name", "given-name"}, {"last_name", "Last name", "family-name"}, {"company", "Company", "organization"},
	{"address", "Street and number", "address-line1"}, {"address2", "Second line of the address", "address-line2"}, {"zip", "Postal code", "postal-code"},
	{"city", "City", "address-level2"}, {"state", "State or region", "address-level1"}, {"country", "Country", "country-name"},
	{"phone", "Phone", "tel"}, {"website", "Website", "url"},
}

// behind shows who is behind the tenant: whom the operator asks where its mail makes
// trouble.
func (v *desk) behind() facts {
	f := facts{Title: "Who is behind it"}
	x := askIf[tenantProfile](v, apiProfile, apiProfile)
	for _, in := range profileInputs {
		f.add(in.label, words(x[in.name]))
	}
	if len(f.List) == 0 && v.May("GET", apiProfile) {
		f.add("So far", words("nobody has said"))
	}
	return f
}

func profileForm(v *desk, x tenantProfile) form {
	f := form{Name: "profile", Action: v.path("/settings/profile"), Cancel: v.path("/settings"),
		Lead: "Whom the operator of this relay asks where the mail of the account makes trouble. It stands in no mail. Your own name is in your profile."}
	for _, in := range profileInputs {
		f.Fields = append(f.Fields, field{Name: in.name, Label: in.label, Value: x[in.name], Auto: in.auto})
	}
	return v.offer(f, "PATCH", apiProfile)
}

func showProfileEdit(v *desk) error {
	x := askIf[tenantProfile](v, apiProfile, apiProfile)
	return v.Render(http.StatusOK, "page_form", "Who is behind it", formPage{profileForm(v, x)})
}

func setProfile(v *desk) error {
	body := tenantProfile{}
	for _, in := range profileInputs {
		if _, there := v.values[in.name]; there { // what was not asked for stays as it is
			body[in.name] = v.sent(in.name)
		}
	}
	err := v.Call("PATCH", apiProfile, body, nil)
	if err == nil {
		return v.Redirect(v.path("/settings"), "It was saved.")
	}
	return v.again(err, profileForm(v, body), "Who is behind it")
}

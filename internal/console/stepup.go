package console

import "net/http"

// stepUp leads to the page that asks for both factors again.
func (v *visit) stepUp() error {
	http.Redirect(v.W, v.R, "/confirm?next="+queryEscape(v.here()), http.StatusSeeOther)
	return nil
}

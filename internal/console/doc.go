// Package console is the web console: pages for people, at "/". It renders on
// the server, and every page but charts and passkeys works without scripts.
//
// It is a client of the API inside the process. What a page shows of mail, keys,
// domains and people, and what its forms change, goes through the routes of v3
// with the person's principal: one authorisation, one validation, one record.
// Logging in, second factors, sessions and links go to People directly. It knows
// no store.
//
// Its one invariant: a GET changes nothing but the visitor's own cookies, and
// whatever else comes is answered only when the visitor's browser says that a page
// of ours sent it (origin.go).
//
// A page is a row of a table (page.go), a struct that embeds frame, a template of
// the same name and a handler:
//
//	var keyPages = []page{{Method: "GET", Pattern: "/keys", Title: "Keys", Needs: []string{"GET /v3/api_keys"},
//		Group: "Sending", Nav: "Keys", Handler: (*Console).keys}}
//
//	type keysPage struct {
//		frame
//		Keys []keyRow
//	}
//
//	func (c *Console) keys(v *visit) error {
//		var p keysPage
//		if err := v.get("/v3/api_keys", &p); err != nil {
//			return err
//		}
//		return v.render("page_keys", &p)
//	}
package console

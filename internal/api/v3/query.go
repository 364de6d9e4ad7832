package v3

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"postern/internal/relay"
)

// readQuery reads the parameters that the route has. Others are passed over, as
// SendGrid does; one that is there twice or cannot be read is an error that names
// it.
func (c *Call) readQuery() error {
	values, err := url.ParseQuery(c.R.URL.RawQuery)
	if err != nil {
		return relay.E(relay.Invalid, "The query string cannot be read.")
	}
	c.query = map[string]string{}
	for _, p := range c.route.Query {
		v := values[p.Name]
		switch {
		case len(v) > 1:
			return invalid(p.Name, "This parameter is there twice.")
		case len(v) == 0 || v[0] == "":
			if p.Required {
				return invalid(p.Name, "This parameter is required.")
			}
			continue
		}
		switch p.Type {
		case "integer":
			if _, err := strconv.ParseInt(v[0], 10, 64); err != nil {
				return invalid(p.Name, "Not a whole number.")
			}
		case "boolean":
			if v[0] != "true" && v[0] != "false" {
				return invalid(p.Name, "Write true or false.")
			}
		}
		c.query[p.Name] = v[0]
	}
	return nil
}

// Text is a parameter of the route; "" if it is not there.
func (c *Call) Text(name string) string { return c.query[name] }

// Flag is a boolean parameter.
func (c *Call) Flag(name string) bool { return c.query[name] == "true" }

// Int is an integer parameter from least to most, or fallback if it is not there.
// AP-21: what is outside is an error and not cut to fit.
func (c *Call) Int(name string, fallback, least, most int64) (int64, error) {
	text, ok := c.query[name]
	if !ok {
		return fallback, nil
	}
	n, _ := strconv.ParseInt(text, 10, 64) // readQuery has seen it
	if n < least || n > most {
		return 0, invalid(name, "Not a number from %d to %d.", least, most)
	}
	return n, nil
}

// isIn reports whether the parameter name is in one of these texts, in any case; "" is in
// all.
func (c *Call) isIn(texts ...string) bool {
	part := strings.ToLower(c.Text("name"))
	return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), part) })
}

// Page reads limit and offset: at most `most` items, and `usual` if the client
// does not say.
func (c *Call) Page(usual, most int64) (limit, offset int, err error) {
	l, err := c.Int("limit", usual, 1, most)
	if err != nil {
		return 0, 0, err
	}
	o, err := c.Int("offset", 0, 0, 1<<31-1)
	return int(l), int(o), err
}

// paging are the parameters that Page reads.
var paging = []Param{
	{Name: "limit", Type: "integer", Doc: "the most items to answer with"},
	{Name: "offset", Type: "integer", Doc: "how many items to pass over first"},
}

// page cuts a slice to what Page said.
func page[T any](all []T, limit, offset int) []T {
	if offset >= len(all) {
		return []T{}
	}
	return all[offset:min(len(all), offset+limit)]
}

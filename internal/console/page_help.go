package console

import (
	"iter"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// ask reads something of the API.
func ask[T any](v *desk, path string) (out T, err error) {
	err = v.Call("GET", path, nil, &out)
	return out, err
}

// askIf reads what the person may see; otherwise, and where the API does not have
// it now, the zero value: the page stands without it.
func askIf[T any](v *desk, pattern, path string) (out T) {
	if v.May("GET", pattern) {
		if err := v.Call("GET", path, nil, &out); err != nil {
			var none T
			return none
		}
	}
	return out
}

// query appends parameters that are not empty to a path: name, value, name, value…
func query(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Add(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	if strings.Contains(path, "?") {
		return path + "&" + q.Encode()
	}
	return path + "?" + q.Encode()
}

// pathOf joins parts that others have named to a path: no part can become two.
func pathOf(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// under is pathOf below a fixed path.
func under(base string, parts ...string) string { return base + pathOf(parts...) }

// at is a cell of a time.
func (v *desk) at(t time.Time) cell { return cell{Time: momentOf(v.Now, t)} }

// sent is the value of a form or query, without spaces around it.
func (v *desk) sent(name string) string { return strings.TrimSpace(v.values.Get(name)) }

// on reports whether a check box was set.
func (v *desk) on(name string) bool { return v.values.Get(name) != "" }

// sentList is a text area with one entry a line, or entries between commas.
func (v *desk) sentList(name string) []string {
	return strings.FieldsFunc(v.values.Get(name), func(r rune) bool { return strings.ContainsRune(",; \t\r\n", r) })
}

// sentLines is a text area with one entry a line, whose entries may have spaces and commas.
func (v *desk) sentLines(name string) []string {
	out := []string{}
	for line := range strings.Lines(v.values.Get(name)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// sentNumber is a number; "" is 0, and what is none is an error of its field.
func (v *desk) sentNumber(name string) (int64, error) {
	s := v.sent(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, &relay.Error{Kind: relay.Invalid, Field: name, Public: "Write a whole number."}
	}
	return n, nil
}

// sentTexts are the values of fields with one name.
func (v *desk) sentTexts(name string) []string { return v.values[name] }

// id is a part of the path.
func (v *desk) id(name string) string { return v.R.PathValue(name) }

// do makes a button that the person may press; zero if not.
func (v *desk) do(b button, method, pattern string) []button {
	if !v.May(method, pattern) {
		return nil
	}
	return []button{b}
}

// offer is a form, if the person may use its route; otherwise none is shown.
func (v *desk) offer(f form, method, pattern string) form {
	if !v.May(method, pattern) {
		return form{}
	}
	if f.Do == "" {
		f.Do = "Save"
	}
	return f
}

// linkIf is a link to a page of the console, if the person may use the API's
// route behind it.
func (v *desk) linkIf(words, path, method, pattern string) []link {
	return v.linkAt(words, v.path(path), method, pattern)
}

// linkAt is linkIf with an address that has its prefix already.
func (v *desk) linkAt(words, address, method, pattern string) []link {
	if !v.May(method, pattern) {
		return nil
	}
	return []link{{words, address}}
}

// refusalOf is what the API says to the person who filled a form in; ok is false
// for what is no fault of the form: it is the frame's to show.
func refusalOf(err error) (items []httpx.ErrorItem, ok bool) {
	if err == nil || isReauth(err) {
		return nil, false
	}
	status, body := httpx.Answer(err, "")
	if status >= http.StatusInternalServerError || status == http.StatusUnauthorized || status == http.StatusNotFound {
		return nil, false
	}
	for i := range body.Errors {
		body.Errors[i].Message = sentence(body.Errors[i].Message)
	}
	return body.Errors, len(body.Errors) > 0
}

// refused puts what the API says of a form beside its fields, and what was sent
// into them again. ok is false for an error that is not the form's.
func (v *desk) refused(f form, err error) (form, bool) {
	items, ok := refusalOf(err)
	if !ok {
		return f, false
	}
	f = f.with(func(name string) []string { return v.values[name] })
	f.Folded = f.Folded && len(items) == 0
	for _, item := range items {
		i := -1
		if item.Field != nil {
			i = slices.IndexFunc(f.Fields, func(x field) bool {
				return x.Kind != "hidden" && (*item.Field == x.Name || strings.HasPrefix(*item.Field, x.Name+".") ||
					x.Also != "" && strings.HasPrefix(*item.Field+".", x.Also+"."))
			})
		}
		if i >= 0 && f.Fields[i].Error == "" {
			f.Fields[i].Error = item.Message
			continue
		}
		f.Errors = append(f.Errors, item.Message)
	}
	return f, true
}

// refusedText is what the API says, as one text.
func refusedText(err error) (string, bool) {
	items, ok := refusalOf(err)
	var texts []string
	for _, i := range items {
		texts = append(texts, i.Message)
	}
	return strings.Join(texts, " "), ok
}

// change runs a change that has no form of its own: done leads back with a word,
// and so does a refusal.
func (v *desk) change(method, path string, body any, back, done string) error {
	err := v.Call(method, path, body, nil)
	if said, ok := refusedText(err); ok {
		return v.Refuse(back, said)
	}
	if err != nil {
		return err
	}
	return v.Redirect(back, done)
}

// pick marks the option with a value.
func pick(value string, options ...option) []option {
	out := slices.Clone(options)
	for i := range out {
		out[i].On = out[i].Value == value
	}
	return out
}

// lines is a list as a text area has it.
func lines(list []string) string { return strings.Join(list, "\n") }

// orNone is a text, or a word where there is none.
func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// ok, or status of a form that was refused.
func formStatus(refused bool) int {
	if refused {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// nextPage is this page's address with its offset further on.
func (v *desk) nextPage(by int) string {
	q := v.R.URL.Query()
	n, err := strconv.Atoi(q.Get("offset"))
	if err != nil || n < 0 {
		n = 0
	}
	q.Set("offset", strconv.Itoa(n+by))
	return v.R.URL.Path + "?" + q.Encode()
}

// dateEnd is the last second of a day that was chosen, in UTC, as the API wants
// it; "" stays so. What is no day is an error of its field.
func (v *desk) dateEnd(name string) (string, error) {
	s := v.sent(name)
	if s == "" {
		return "", nil
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return "", &relay.Error{Kind: relay.Invalid, Field: name, Public: "Write a day such as 2027-03-31."}
	}
	return day.Add(24*time.Hour - time.Second).Format(time.RFC3339), nil
}

// dateOf is a time as a date input has it.
func dateOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// numberOf is a number as an input has it; 0 is empty.
func numberOf(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// list is sentList, never nil: the API is told of an empty list, too.
func (v *desk) list(name string) []string { return append([]string{}, v.sentList(name)...) }

// isNetwork reports whether a text is an address or a network and no host name.
func isNetwork(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return strings.ContainsAny(s, "/*:") || strings.Trim(s, "0123456789.") == ""
}

// fromOf is an address to write as, of what a key may: an address, or a domain.
func fromOf(sender string) string {
	if strings.Contains(sender, "@") && !strings.HasPrefix(sender, "@") {
		return sender
	}
	return "you@" + strings.TrimPrefix(strings.TrimPrefix(sender, "@"), "*.")
}

// mapKeys are the keys of a map, in no order.
func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

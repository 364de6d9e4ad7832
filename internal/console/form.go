package console

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

// maxText is the longest value of a form field that does not say, in octets.
const maxText = 2000

// form reads a form into the struct that v points to: one field per input, with
// the tag form:"name" and, where it matters, max:"10000" in octets. A string is
// trimmed and has one line unless it is tagged lines:"yes"; secret.Redacted is
// taken as it comes; bool is a checkbox; int; []string is an input that may be
// there several times. What the struct does not have, and what is there twice, is
// refused: no member reaches the API that the page did not offer.
func (v *visit) form(to any) error {
	values, err := v.values()
	if err != nil {
		return err
	}
	v.posted = url.Values{}
	for name, all := range values {
		v.posted[name] = all
	}
	eachInput(reflect.ValueOf(to).Elem(), func(name string, _ reflect.StructField, value reflect.Value) {
		if value.Type() == reflect.TypeFor[secret.Redacted]() {
			v.posted.Del(name)
		}
	})
	return parseForm(values, to)
}

func (v *visit) values() (url.Values, error) {
	media, _, err := mime.ParseMediaType(v.R.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, httpx.Refuse(http.StatusUnsupportedMediaType, "This page takes forms only.")
	}
	b, err := httpx.ReadBody(v.R.Body)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, relay.E(relay.Invalid, "The form cannot be read.")
	}
	return values, nil
}

// query reads the parameters of a GET like form. Parameters that the struct does
// not have are passed over, because links grow them on their way through mail.
func (v *visit) query(to any) error {
	values := v.R.URL.Query()
	known := map[string]bool{}
	eachInput(reflect.ValueOf(to).Elem(), func(name string, _ reflect.StructField, _ reflect.Value) { known[name] = true })
	for name := range values {
		if !known[name] {
			delete(values, name)
		}
	}
	return parseForm(values, to)
}

func eachInput(s reflect.Value, do func(name string, f reflect.StructField, value reflect.Value)) {
	for i := range s.NumField() {
		f := s.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			eachInput(s.Field(i), do)
		} else if name := f.Tag.Get("form"); name != "" {
			do(name, f, s.Field(i))
		}
	}
}

func parseForm(values url.Values, to any) error {
	left := len(values)
	var first error
	eachInput(reflect.ValueOf(to).Elem(), func(name string, f reflect.StructField, value reflect.Value) {
		all, ok := values[name]
		if !ok {
			return
		}
		left--
		if err := setInput(f, value, all); err != nil && first == nil {
			first = &relay.Error{Kind: relay.Invalid, Field: name, Public: err.Error()}
		}
	})
	if first == nil && left > 0 {
		return relay.E(relay.Invalid, "The form has a field that this page does not know. Open the page again.")
	}
	return first
}

// setInput sets one field. Its errors are shown.
func setInput(f reflect.StructField, value reflect.Value, all []string) error {
	if list, ok := value.Addr().Interface().(*[]string); ok {
		for _, s := range all {
			text, err := cleanText(f, s)
			if err != nil {
				return err
			}
			if text != "" {
				*list = append(*list, text)
			}
		}
		return nil
	}
	if len(all) != 1 {
		return wrong("This is there twice.")
	}
	switch p := value.Addr().Interface().(type) {
	case *secret.Redacted:
		if len(all[0]) > maxText || !utf8.ValidString(all[0]) {
			return wrong("This is too long.")
		}
		*p = secret.Redacted(all[0])
		return nil
	case *bool:
		*p = all[0] == "on" || all[0] == "true" || all[0] == "1"
		return nil
	case *int:
		text := strings.TrimSpace(all[0])
		if text == "" {
			return nil
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return wrong("This is not a whole number.")
		}
		*p = n
		return nil
	}
	text, err := cleanText(f, all[0])
	if err != nil {
		return err
	}
	value.SetString(text)
	return nil
}

// wrong is what is wrong with a field, said to the person who filled it in.
type wrong string

func (w wrong) Error() string { return string(w) }

// cleanText trims a text and refuses what no person types.
func cleanText(f reflect.StructField, s string) (string, error) {
	limit := maxText
	if n, err := strconv.Atoi(f.Tag.Get("max")); err == nil {
		limit = n
	}
	if len(s) > limit {
		return "", wrong(fmt.Sprintf("This is too long: at most %d characters.", limit))
	}
	if !utf8.ValidString(s) {
		return "", wrong("This is not text in UTF-8.")
	}
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
	lines := f.Tag.Get("lines") != ""
	for _, r := range s {
		if unicode.IsControl(r) && !(lines && (r == '\n' || r == '\t')) {
			return "", wrong("This holds characters that cannot be typed.")
		}
	}
	return s, nil
}

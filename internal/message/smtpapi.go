package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// SMTPAPI is what the X-SMTPAPI field asked for.
type SMTPAPI struct {
	Categories []string          // at most 10 of at most 255 characters, without repeats
	UniqueArgs map[string]string // at most 10,000 octets of JSON
	IPPool     string            // at most 64 characters
	// Other lists the keys that postern does not honour, in their order,
	// reduced to printable ASCII.
	Other []string
}

const smtpapiField = "X-SMTPAPI"

// The limits of X-SMTPAPI, those that clients in the field know.
const (
	maxCategories   = 10
	maxCategory     = 255
	maxUniqueArgs   = 10000
	maxIPPool       = 64
	maxSMTPAPIKeys  = 100
	maxSMTPAPIDepth = 32
)

// TakeSMTPAPI removes every X-SMTPAPI field and reads the first: the others
// are never honoured. found reports that there was one. On an error, which is
// an *Error with BadSMTPAPI naming the key, the fields are gone all the same
// and the result is what could be read.
func (h *Header) TakeSMTPAPI() (api SMTPAPI, found bool, err error) {
	f, ok := h.First(smtpapiField)
	if !ok {
		return SMTPAPI{}, false, nil
	}
	value := []byte(f.Unfolded())
	h.Remove(smtpapiField)
	api, err = parseSMTPAPI(value)
	return api, true, err
}

func badSMTPAPI(format string, args ...any) error {
	return &Error{Reason: BadSMTPAPI, Field: smtpapiField, Detail: fmt.Sprintf(format, args...)}
}

// parseSMTPAPI walks the object key by key, because encoding/json alone would
// let the last of two equal keys win.
func parseSMTPAPI(b []byte) (SMTPAPI, error) {
	var api SMTPAPI
	if !json.Valid(b) || !utf8.Valid(b) || jsonDepth(b) > maxSMTPAPIDepth {
		return api, badSMTPAPI("not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return api, badSMTPAPI("not a JSON object")
	}
	seen := map[string]bool{}
	var first error
	for dec.More() {
		key, raw, err := member(dec)
		if err != nil {
			return api, badSMTPAPI("not valid JSON")
		}
		if seen[key] {
			return api, badSMTPAPI("key %q stands twice", printable(key))
		}
		if seen[key] = true; len(seen) > maxSMTPAPIKeys {
			return api, badSMTPAPI("more than %d keys", maxSMTPAPIKeys)
		}
		if err := api.set(key, raw); err != nil && first == nil {
			first = err
		}
	}
	return api, first
}

// member reads one key and its value.
func member(dec *json.Decoder) (string, json.RawMessage, error) {
	t, err := dec.Token()
	if err != nil {
		return "", nil, err
	}
	key, ok := t.(string)
	if !ok {
		return "", nil, errors.New("key is no string")
	}
	var raw json.RawMessage
	err = dec.Decode(&raw)
	return key, raw, err
}

func (a *SMTPAPI) set(key string, raw json.RawMessage) (err error) {
	switch key {
	case "category":
		a.Categories, err = categories(raw)
	case "unique_args":
		a.UniqueArgs, err = uniqueArgs(raw)
	case "ip_pool":
		if json.Unmarshal(raw, &a.IPPool) != nil || raw[0] != '"' || a.IPPool == "" || hasControl(a.IPPool) || utf8.RuneCountInString(a.IPPool) > maxIPPool {
			a.IPPool = ""
			return badSMTPAPI("ip_pool must be a string of 1 to %d characters", maxIPPool)
		}
	default:
		a.Other = append(a.Other, printable(key))
	}
	return err
}

// categories reads one string or a list of them.
func categories(raw json.RawMessage) ([]string, error) {
	var list []*string
	if raw[0] == '"' {
		raw = append(append(json.RawMessage{'['}, raw...), ']')
	}
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, badSMTPAPI("category must be a string or a list of strings")
	}
	var out []string
	seen := map[string]bool{}
	for _, c := range list {
		if c == nil || *c == "" || hasControl(*c) || utf8.RuneCountInString(*c) > maxCategory {
			return nil, badSMTPAPI("a category must be a string of 1 to %d characters", maxCategory)
		}
		if !seen[*c] {
			seen[*c] = true
			out = append(out, *c)
		}
		if len(out) > maxCategories {
			return nil, badSMTPAPI("more than %d categories", maxCategories)
		}
	}
	return out, nil
}

// uniqueArgs reads an object of strings. Numbers and booleans, which clients
// in the field send too, are kept as their JSON text.
func uniqueArgs(raw json.RawMessage) (map[string]string, error) {
	if len(raw) > maxUniqueArgs {
		return nil, badSMTPAPI("unique_args is over %d bytes", maxUniqueArgs)
	}
	if raw[0] != '{' {
		return nil, badSMTPAPI("unique_args must be an object")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, badSMTPAPI("unique_args must be an object")
	}
	out := map[string]string{}
	for dec.More() {
		key, v, err := member(dec)
		if err != nil {
			return nil, badSMTPAPI("unique_args must be an object")
		}
		if _, twice := out[key]; twice {
			return nil, badSMTPAPI("unique_args: key %q stands twice", printable(key))
		}
		s := string(v)
		switch v[0] {
		case '{', '[', 'n':
			return nil, badSMTPAPI("unique_args: the value of %q must be a string", printable(key))
		case '"':
			if json.Unmarshal(v, &s) != nil {
				return nil, badSMTPAPI("unique_args: the value of %q must be a string", printable(key))
			}
		}
		if strings.ContainsRune(key+s, 0) {
			// Not every store can keep it.
			return nil, badSMTPAPI("unique_args: a NUL in %q", printable(key))
		}
		out[key] = s
	}
	return out, nil
}

// printable makes a key safe to repeat in a reply: printable ASCII, at most 64
// octets, never empty.
func printable(s string) string {
	b := make([]byte, 0, 64)
	for i := 0; i < len(s) && len(b) < 64; i++ {
		if s[i] > ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
			b = append(b, s[i])
		} else {
			b = append(b, '?')
		}
	}
	return string(b)
}

// jsonDepth is how deep valid JSON nests.
func jsonDepth(b []byte) int {
	dec := json.NewDecoder(bytes.NewReader(b))
	depth, deepest := 0, 0
	for {
		t, err := dec.Token()
		if err != nil { // io.EOF, since b is valid
			return deepest
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

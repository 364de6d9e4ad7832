package httpx

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"postern/internal/relay"
)

// maxDepth is how deep arrays and objects may be nested.
const maxDepth = 32

// DecodeJSON reads a request's body into v, a pointer to a struct. It takes one
// JSON object in UTF-8 and nothing behind it; a member that v does not have, one
// that is there twice, another letter case of a name, or a number that does not
// fit exactly is an error that names it.
func DecodeJSON(r *http.Request, v any) error {
	if err := WantJSON(r); err != nil {
		return err
	}
	text, err := ReadBody(r.Body)
	if err != nil {
		return err
	}
	return ParseJSON(text, v)
}

// ReadBody reads a body to its end.
func ReadBody(body io.Reader) ([]byte, error) {
	text, err := io.ReadAll(body)
	if err == nil {
		return text, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, err
	}
	return nil, &relay.Error{Kind: relay.Invalid, Public: "The request body did not arrive in full.", Err: err}
}

// WantJSON is an error unless a request says that its body is JSON in UTF-8.
func WantJSON(r *http.Request) error {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || media != "application/json" || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return Refuse(http.StatusUnsupportedMediaType, "Content-Type should be application/json.")
	}
	return nil
}

// ParseJSON is DecodeJSON for a body that was read before.
func ParseJSON(text []byte, v any) error { return decodeText(text, v, false) }

// ParseJSONLenient is ParseJSON that passes over members which v does not have.
// One that differs from a member of v in letter case only is still an error: it
// is taken for the other by some parsers and not by others.
func ParseJSONLenient(text []byte, v any) error { return decodeText(text, v, true) }

func decodeText(text []byte, v any, lenient bool) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return relay.E(relay.Invalid, "The request body is empty; a JSON object is expected.")
	}
	if !utf8.Valid(text) {
		return relay.E(relay.Invalid, "Bad Request: the body is not UTF-8.")
	}
	s := &scanner{decoder: json.NewDecoder(bytes.NewReader(text)), lenient: lenient}
	s.decoder.UseNumber()
	if err := s.value(reflect.TypeOf(v).Elem(), "", 0); err != nil {
		return wordSyntax(err)
	}
	if _, err := s.decoder.Token(); err != io.EOF {
		return relay.E(relay.Invalid, "Bad Request: there is something behind the JSON object.")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if !lenient {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(v); err != nil {
		return wordDecode(err, reflect.TypeOf(v))
	}
	return nil
}

// wordSyntax words an error of the scan.
func wordSyntax(err error) error {
	if _, ok := errors.AsType[*relay.Error](err); ok {
		return err
	}
	return &relay.Error{Kind: relay.Invalid, Public: "Bad Request", Err: fmt.Errorf("scan request: %w", err)}
}

// wordDecode words an error of the decoder: wrong types, numbers that do not
// fit, and texts that a type's own parser refuses.
func wordDecode(err error, t reflect.Type) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &relay.Error{
			Kind: relay.Invalid, Field: withoutEmbedded(t, e.Field), Err: err,
			Public: "Invalid type. Expected: " + jsonType(e.Type) + ", given: " + e.Value + ".",
		}
	}
	return &relay.Error{Kind: relay.Invalid, Public: "Bad Request: " + strings.TrimPrefix(err.Error(), "json: "), Err: err}
}

// withoutEmbedded takes the names of embedded structs out of a path: encoding/json
// puts them there, the client knows nothing of them.
func withoutEmbedded(t reflect.Type, path string) string {
	var out []string
	for part := range strings.SplitSeq(path, ".") {
		t = plain(t)
		if t != nil && t.Kind() == reflect.Struct {
			if f, ok := t.FieldByName(part); ok && f.Anonymous {
				t = f.Type
				continue
			}
		}
		out = append(out, part)
		if t != nil {
			t, _ = shapeOf(t).member(part)
		}
		for p := plain(t); p != nil && (p.Kind() == reflect.Slice || p.Kind() == reflect.Array); p = plain(t) {
			t = p.Elem() // the path has no positions
		}
	}
	return strings.Join(out, ".")
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.Float32, reflect.Float64:
		return "number"
	default:
		return "integer"
	}
}

// A scanner walks the text along the type it will be decoded into, and finds
// what encoding/json lets pass.
type scanner struct {
	decoder *json.Decoder
	lenient bool // members that the type does not have are passed over
}

func (s *scanner) value(t reflect.Type, path string, depth int) error {
	token, err := s.decoder.Token()
	if err != nil {
		return err
	}
	if depth == 0 && token != json.Delim('{') {
		return relay.E(relay.Invalid, "Bad Request: the body is not a JSON object.")
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth++; depth > maxDepth {
		return &relay.Error{Kind: relay.Invalid, Public: fmt.Sprintf("Nested deeper than %d levels.", maxDepth), Field: path}
	}
	if delim == '{' {
		return s.object(shapeOf(t), path, depth)
	}
	return s.array(elementOf(t), path, depth)
}

func (s *scanner) object(sh shape, path string, depth int) error {
	seen := map[string]bool{}
	for s.decoder.More() {
		token, err := s.decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string) // in an object, a token before a value is its name
		at := joinPath(path, name)
		if seen[name] {
			return &relay.Error{Kind: relay.Invalid, Public: "This member is there twice.", Field: at}
		}
		seen[name] = true
		t, ok := sh.member(name)
		if !ok && (!s.lenient || sh.resembles(name)) {
			return &relay.Error{Kind: relay.Invalid, Public: "There is no such member, or it cannot be set.", Field: at}
		}
		if err := s.value(t, at, depth); err != nil {
			return err
		}
	}
	_, err := s.decoder.Token() // the closing brace
	return err
}

func (s *scanner) array(t reflect.Type, path string, depth int) error {
	for i := 0; s.decoder.More(); i++ {
		if err := s.value(t, joinPath(path, strconv.Itoa(i)), depth); err != nil {
			return err
		}
	}
	_, err := s.decoder.Token()
	return err
}

func joinPath(path, name string) string {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// shape says which members an object may have, and their types; a nil type is
// one that nothing is known of.
type shape struct {
	members map[string]reflect.Type // of a struct
	element reflect.Type            // of a map
	open    bool                    // any member
}

func (sh shape) member(name string) (reflect.Type, bool) {
	if sh.open {
		return sh.element, true
	}
	t, ok := sh.members[name]
	return t, ok
}

// resembles reports whether a name is a member's in other letters, which
// encoding/json takes for the member.
func (sh shape) resembles(name string) bool {
	for m := range sh.members {
		if strings.EqualFold(m, name) {
			return true
		}
	}
	return false
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// plain follows pointers; nil for types that parse themselves.
func plain(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(jsonUnmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return nil
	}
	return t
}

func shapeOf(t reflect.Type) shape {
	t = plain(t)
	switch {
	case t == nil:
		return shape{open: true}
	case t.Kind() == reflect.Map:
		return shape{open: true, element: t.Elem()}
	case t.Kind() != reflect.Struct:
		return shape{open: true} // the decoder reports the wrong type
	}
	if known, ok := shapes.Load(t); ok {
		return known.(shape)
	}
	members := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if !f.IsExported() || (f.Anonymous && f.Tag.Get("json") == "") {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		members[name] = f.Type
	}
	known, _ := shapes.LoadOrStore(t, shape{members: members})
	return known.(shape)
}

// shapes keeps those of structs by their reflect.Type: a body may have a million
// objects of one type.
var shapes sync.Map

func elementOf(t reflect.Type) reflect.Type {
	if t = plain(t); t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		return t.Elem()
	}
	return nil
}

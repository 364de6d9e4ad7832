package v3

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// schemas makes JSON schemas of Go types, as encoding/json writes them.
type schemas struct {
	components object // by name
	names      map[schemaKey]string
}

// schemaKey tells apart what a type is in a request, where members may be left
// out, and in an answer.
type schemaKey struct {
	t       reflect.Type
	request bool
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	rawType       = reflect.TypeFor[json.RawMessage]()
	bytesType     = reflect.TypeFor[[]byte]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

// of is the schema of a value's type.
func (s *schemas) of(v any, request bool) object { return s.schema(reflect.TypeOf(v), request) }

func (s *schemas) schema(t reflect.Type, request bool) object {
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t == rawType || t.Kind() == reflect.Interface:
		return object{}
	case t.Kind() == reflect.Pointer:
		return nullable(s.schema(t.Elem(), request))
	case t.Implements(textMarshaler) || reflect.PointerTo(t).Implements(textMarshaler):
		return object{"type": "string"}
	case t.Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(jsonMarshaler):
		return object{}
	case t == bytesType:
		return object{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": s.schema(t.Elem(), request)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.schema(t.Elem(), request)}
	case reflect.Struct:
		return s.named(t, request)
	}
	return object{"type": "integer"}
}

// nullable is a schema that null fits too.
func nullable(inner object) object {
	if kind, ok := inner["type"].(string); ok && inner["$ref"] == nil {
		inner["type"] = []any{kind, "null"}
		return inner
	}
	if len(inner) == 0 {
		return inner
	}
	return object{"anyOf": []any{inner, object{"type": "null"}}}
}

// named puts a struct among the components and refers to it.
func (s *schemas) named(t reflect.Type, request bool) object {
	key := schemaKey{t, request}
	name, ok := s.names[key]
	if !ok {
		name = s.free(t, request)
		s.names[key] = name
		s.components[name] = object{} // holds the name while the members are looked at
		s.components[name] = s.object(t, request)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// free makes a name that no other type has: KeyView, NewKeyRequest.
func (s *schemas) free(t reflect.Type, request bool) string {
	word := func(text string) string {
		text = strings.Map(func(r rune) rune {
			if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
				return r
			}
			return -1
		}, text)
		if text == "" {
			return "Object"
		}
		return strings.ToUpper(text[:1]) + text[1:]
	}
	name := word(t.Name())
	if request && !strings.HasSuffix(name, "Request") {
		name += "Request"
	}
	if _, taken := s.components[name]; taken {
		name = word(t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]) + name
	}
	for _, taken := s.components[name]; taken; _, taken = s.components[name] {
		name += "X"
	}
	return name
}

// object lists the members of a struct. In an answer those are required that are
// always written; in a request those that say so.
func (s *schemas) object(t reflect.Type, request bool) object {
	properties, required := object{}, []any{}
	for _, f := range reflect.VisibleFields(t) {
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" || (f.Anonymous && !tagged) || (!f.IsExported() && !f.Anonymous) || hiddenBehindTag(t, f) {
			continue
		}
		if name == "" {
			name = f.Name
		}
		omitted := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		ft := f.Type
		if omitted && ft.Kind() == reflect.Pointer && !request {
			ft = ft.Elem() // there with a value, or not at all
		}
		property := s.schema(ft, request)
		if doc := f.Tag.Get("doc"); doc != "" {
			property["description"] = doc
		}
		properties[name] = property
		if request && f.Tag.Get("v3") == "required" || !request && !omitted {
			required = append(required, name)
		}
	}
	out := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// hiddenBehindTag reports a field of an embedded struct that has a name in JSON:
// the members are in an object of their own then.
func hiddenBehindTag(t reflect.Type, f reflect.StructField) bool {
	for i := 1; i < len(f.Index); i++ {
		if tag := t.FieldByIndex(f.Index[:i]).Tag.Get("json"); tag != "" {
			return true
		}
	}
	return false
}

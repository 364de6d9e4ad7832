package httpx

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

type inner struct {
	Email string `json:"email"`
}

type base struct {
	Shared string `json:"shared"`
}

type sample struct {
	base2
	Name    string            `json:"name"`
	Count   int64             `json:"count"`
	Small   int8              `json:"small"`
	On      *bool             `json:"on"`
	To      []inner           `json:"to"`
	Args    map[string]string `json:"args"`
	Net     netip.Prefix      `json:"net"`
	Raw     json.RawMessage   `json:"raw"`
	Hidden  string            `json:"-"`
	Pointer *inner            `json:"pointer"`
}

type base2 = Base

// Base is embedded.
type Base struct{ base }

func post(contentType, body string) *http.Request {
	r := httptest.NewRequest("POST", "/x", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	text := ` {"name":"ä\u00e4","count":9007199254740993,"on":false,"to":[{"email":"a@example.test"},{}],"args":{"A":"1","a":"2"},"net":"10.0.0.0/8","raw":{"x":{"x":1}},"pointer":{"email":"e"}} `
	var v sample
	if err := DecodeJSON(post("application/json; charset=UTF-8", text), &v); err != nil {
		t.Fatal(err)
	}
	off := false
	want := sample{
		Name: "ää", Count: 9007199254740993, On: &off, To: []inner{{"a@example.test"}, {}}, Args: map[string]string{"A": "1", "a": "2"},
		Net: netip.MustParsePrefix("10.0.0.0/8"), Raw: json.RawMessage(`{"x":{"x":1}}`), Pointer: &inner{"e"},
	}
	if diff := cmp.Diff(want, v, cmp.AllowUnexported(sample{}, Base{}, base{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// AP-04, AP-08: what a lenient decoder lets pass.
func TestDecodeJSONRefuses(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return strings.Repeat(`{"raw":`, 1) + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	for name, tt := range map[string]struct{ text, message, field string }{
		"empty":                 {"", "empty", ""},
		"blanks":                {" \r\n", "empty", ""},
		"not an object":         {`[]`, "not a JSON object", ""},
		"null":                  {`null`, "not a JSON object", ""},
		"half":                  {`{"name":"x"`, "Bad Request", ""},
		"trailing object":       {`{} {}`, "behind", ""},
		"trailing garbage":      {`{}x`, "behind", ""},
		"trailing brace":        {`{}}`, "behind", ""},
		"BOM":                   {"\ufeff{}", "Bad Request", ""},
		"invalid UTF-8":         {"{\"name\":\"\xff\"}", "not UTF-8", ""},
		"UTF-16":                {"{\x00}\x00", "Bad Request", ""},
		"NaN":                   {`{"count":NaN}`, "Bad Request", ""},
		"comment":               {`{/*x*/}`, "Bad Request", ""},
		"trailing comma":        {`{"name":"x",}`, "Bad Request", ""},
		"single quotes":         {`{'name':'x'}`, "Bad Request", ""},
		"unknown member":        {`{"name":"x","role":"admin"}`, "no such member", "role"},
		"read-only member":      {`{"Hidden":"x"}`, "no such member", "Hidden"},
		"nested unknown":        {`{"to":[{"email":"x"},{"email":"x","name":"y"}]}`, "no such member", "to.1.name"},
		"unknown behind ptr":    {`{"pointer":{"x":1}}`, "no such member", "pointer.x"},
		"other case":            {`{"NAME":"x"}`, "no such member", "NAME"},
		"other case by folding": {"{\"\u017fhared\":\"x\"}", "no such member", "\u017fhared"},
		"duplicate":             {`{"name":"a","name":"b"}`, "twice", "name"},
		"duplicate escaped":     {`{"name":"a","n\u0061me":"b"}`, "twice", "name"},
		"nested duplicate":      {`{"to":[{"email":"a","email":"b"}]}`, "twice", "to.0.email"},
		"duplicate in a map":    {`{"args":{"a":"1","a":"2"}}`, "twice", "args.a"},
		"duplicate in raw":      {`{"raw":{"a":1,"a":2}}`, "twice", "raw.a"},
		"deep":                  {deep(32), "deeper than 32", "raw" + strings.Repeat(".0", 31)},
		"very deep":             {deep(100000), "deeper than 32", "raw" + strings.Repeat(".0", 31)},
		"string for number":     {`{"count":"1"}`, "Invalid type. Expected: integer, given: string.", "count"},
		"object for array":      {`{"to":{}}`, "Invalid type. Expected: array, given: object.", "to"},
		"array for string":      {`{"name":[]}`, "Invalid type. Expected: string, given: array.", "name"},
		"number for bool":       {`{"on":1}`, "Invalid type. Expected: boolean, given: number.", "on"},
		"fraction":              {`{"count":1.5}`, "Invalid type", "count"},
		"exponent":              {`{"count":1e3}`, "Invalid type", "count"},
		"huge":                  {`{"count":99999999999999999999}`, "Invalid type", "count"},
		"overflow":              {`{"small":300}`, "Invalid type", "small"},
		"not a network":         {`{"net":"x"}`, "Bad Request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v sample
			err := ParseJSON([]byte(tt.text), &v)
			e, ok := errors.AsType[*relay.Error](err)
			if !ok || e.Kind != relay.Invalid || !strings.Contains(e.Public, tt.message) || e.Field != tt.field {
				t.Errorf("%.80s: %v (field %q); want %q at %q", tt.text, err, fieldOf(e), tt.message, tt.field)
			}
		})
	}
	if err := ParseJSON([]byte(deep(31)), &sample{}); err != nil {
		t.Errorf("32 levels: %v", err)
	}
}

func fieldOf(e *relay.Error) string {
	if e == nil {
		return ""
	}
	return e.Field
}

func TestContentType(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]int{
		"application/json": 0, "application/json;charset=utf-8": 0, "Application/JSON": 0,
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "application/json; charset=utf-16": 415, "application/jsonx": 415, ";": 415,
	} {
		err := DecodeJSON(post(contentType, "{}"), &sample{})
		status := 0
		if err != nil {
			status, _ = render(err, "")
		}
		if status != want {
			t.Errorf("Content-Type %q: %v, want status %d", contentType, err, want)
		}
	}
}

func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	decode := func(_ http.ResponseWriter, r *http.Request) error { return DecodeJSON(r, &sample{}) }
	for name, length := range map[string]int64{"declared": 200, "not declared": -1} {
		r := post("application/json", `{"name":"`+strings.Repeat("x", 189)+`"}`)
		r.ContentLength = length
		w, _ := serve(t, Options{Local: true, MaxBody: 100}, decode, r)
		if w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: answer %d %s", name, w.Code, w.Body)
		}
	}
	r := post("application/json", `{"name":"x"}`)
	if w, _ := serve(t, Options{Local: true, MaxBody: 100}, decode, r); w.Code != 200 {
		t.Errorf("a small body: answer %d %s", w.Code, w.Body)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"name":"a","count":1,"to":[{"email":"x"}]}`, `{"args":{"a":"b"}}`, `{"raw":[[[]]]}`, `{"name":"a","name":"b"}`, "{\"\u017fhared\":1}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v sample
		if err := ParseJSON(text, &v); err != nil {
			if relay.KindOf(err) != relay.Invalid {
				t.Fatalf("unclassed error: %v", err)
			}
			return
		}
		// What was taken is what a second reader sees, too.
		var again sample
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("taken, but encoding/json says %v", err)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out2, _ := json.Marshal(again)
		if string(out) != string(out2) {
			t.Fatalf("two readings: %s and %s", out, out2)
		}
	})
}

// A body of a megabyte that is nothing but objects.
func BenchmarkManyObjects(b *testing.B) {
	type entry struct {
		A, B, C, D string
	}
	text := []byte(`{"entries":[` + strings.Repeat("{},", 340_000) + `{}]}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var v struct {
			Entries []entry `json:"entries"`
		}
		if err := ParseJSON(text, &v); err != nil {
			b.Fatal(err)
		}
	}
}

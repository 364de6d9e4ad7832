package v3

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// document is the OpenAPI document as a foreign reader has it, with one thing
// made stricter: an object has no members that are not listed.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	text, err := describe(Routes())
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	seal(tree)
	if text, err = json.Marshal(tree); err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	return doc, nil
})

// seal closes every object schema of a document.
func seal(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"]; ok && v["type"] == "object" {
			v["additionalProperties"] = false
		}
		for _, x := range v {
			seal(x)
		}
	case []any:
		for _, x := range v {
			seal(x)
		}
	}
}

// TestDocumentIsValid: a foreign validator finds nothing wrong with it, and it
// has every route and nothing else.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	text, err := describe(Routes())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || strings.Contains(string(text), `"nullable"`) {
		t.Errorf("not a document of 3.1: %s", doc.OpenAPI)
	}
	ids := map[string]string{}
	n := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			n++
			if was := ids[op.OperationID]; was != "" {
				t.Errorf("%s %s and %s have one operationId", method, path, was)
			}
			ids[op.OperationID] = method + " " + path
			if op.Summary == "" {
				t.Errorf("%s %s has no summary", method, path)
			}
		}
	}
	if n != len(Routes()) {
		t.Errorf("%d operations for %d routes", n, len(Routes()))
	}
	for _, r := range Routes() {
		op := doc.Paths.Value(r.Pattern).GetOperation(r.Method)
		if op == nil {
			t.Errorf("%s %s is missing", r.Method, r.Pattern)
		} else if len(r.Answers) == 0 {
			t.Errorf("%s %s says nothing of its answer", r.Method, r.Pattern)
		}
	}
}

// TestDocumentOfTheNetwork: what is for the operator only does not exist there.
func TestDocumentOfTheNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		handler  http.Handler
		operator bool
	}{"network": {w.handler, false}, "admin.sock": {w.socket, true}} {
		c := &client{w: w, handler: tt.handler, header: http.Header{}}
		a := c.want("GET", "/v3/openapi.json", "", 200, nil)
		if a.Header.Get("Content-Type") != "application/json" || strings.Contains(a.Body, "x-operator-only") != tt.operator {
			t.Errorf("%s: operations of the operator: %v", name, !tt.operator)
		}
	}
}

// patterns finds the route of a request, as the router does.
var patterns = sync.OnceValue(func() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range Routes() {
		mux.Handle(r.Method+" "+r.Pattern, http.NotFoundHandler())
	}
	return mux
})

var manySlashes = regexp.MustCompile(`//+`)

// checkDocument: the answer is one that the document tells of, and so is the
// request, if it was taken.
func checkDocument(t testing.TB, r *http.Request, body string, a answer) {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	probe := r.Clone(r.Context())
	if len(r.URL.Path) > 1 {
		probe.URL.Path = strings.TrimSuffix(manySlashes.ReplaceAllString(r.URL.Path, "/"), "/")
	}
	_, key := patterns().Handler(probe)
	method, pattern, _ := strings.Cut(key, " ")
	if key == "" || r.Method == http.MethodHead {
		return // no such route
	}
	op := doc.Paths.Value(pattern).GetOperation(method)
	answer := op.Responses.Status(a.Status)
	if answer == nil {
		answer = op.Responses.Value(strconv.Itoa(a.Status/100) + "XX")
	}
	if answer == nil {
		t.Errorf("%s: the document has no answer %d", key, a.Status)
		return
	}
	media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	content := answer.Value.Content.Get(media)
	switch {
	case a.Body == "" && len(answer.Value.Content) == 0:
	case content == nil:
		t.Errorf("%s: the document has no %q in its answer %d, which is %.200s", key, media, a.Status, a.Body)
	case media == mediaJSON:
		fits(t, key+" answer", content.Schema.Value, a.Body)
	}
	if a.Status < 300 && body != "" && op.RequestBody != nil && !strings.Contains(r.Header.Get("Content-Encoding"), "gzip") {
		media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		if content := op.RequestBody.Value.Content.Get(media); content == nil {
			t.Errorf("%s: the document has no request of type %q", key, media)
		} else if media == mediaJSON {
			fits(t, key+" request", content.Schema.Value, body)
		}
	}
}

// judged remembers texts that fit, for the many that are the same.
var judged sync.Map

func fits(t testing.TB, what string, schema *openapi3.Schema, text string) {
	t.Helper()
	if _, ok := judged.LoadOrStore(what+text, true); ok {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%s: %v: %.200s", what, err, text)
		return
	}
	if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()); err != nil {
		t.Errorf("%s does not fit the document: %v\n%.500s", what, err, text)
	}
}

// TestDocumentCheckBites: an answer with a member that the document lacks, one
// that is missing, and one of another type are found.
func TestDocumentCheckBites(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	schema := doc.Paths.Value("/v3/user/username").Get.Responses.Status(200).Value.Content.Get(mediaJSON).Schema.Value
	for text, ok := range map[string]bool{
		`{"username":"a","user_id":1}`: true, `{"username":"a"}`: false, `{"username":"a","user_id":"1"}`: false,
		`{"username":"a","user_id":1,"secret":"x"}`: false, `{"username":null,"user_id":1}`: false, `[]`: false,
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020()); (err == nil) != ok {
			t.Errorf("%s: %v, want fit %v", text, err, ok)
		}
	}
	if names := slices.Sorted(maps.Keys(doc.Components.Schemas)); !slices.Contains(names, "KeyView") || !slices.Contains(names, "NewKeyRequest") {
		t.Errorf("components %q", names)
	}
}

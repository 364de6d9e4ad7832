package v3

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"postern/internal/httpx"
)

var documentRoutes = []Route{{
	Method: "GET", Pattern: "/v3/openapi.json", Open: true, Summary: "This document",
	Answers: map[int]any{200: map[string]any{}}, Handler: (*API).showDocument,
}}

func (a *API) showDocument(c *Call) error {
	text, err := a.document()
	if err != nil {
		return err
	}
	c.W.Header().Set("Content-Type", "application/json")
	_, err = c.W.Write(text)
	return err
}

// object is a JSON object of the document; its members come out in alphabetical
// order, so that the same routes make the same octets.
type object = map[string]any

const mediaJSON = "application/json"

// describe makes the OpenAPI 3.1 document of routes.
func describe(routes []Route) ([]byte, error) {
	s := &schemas{components: object{}, names: map[schemaKey]string{}}
	paths := map[string]object{}
	for i := range routes {
		r := &routes[i]
		if paths[r.Pattern] == nil {
			paths[r.Pattern] = object{}
		}
		paths[r.Pattern][strings.ToLower(r.Method)] = s.operation(r)
	}
	failure := object{"description": "Refused, in words.", "content": object{mediaJSON: object{"schema": s.of(httpx.ErrorBody{}, false)}}}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "postern", "version": "3",
			"description": "The HTTP API of this relay, shaped as SendGrid's v3: clients written for that change their host. Members and routes that SendGrid does not have are additions.",
		},
		"servers":  []any{object{"url": "/"}},
		"security": []any{object{"key": []any{}}},
		"paths":    paths,
		"components": object{
			"schemas":   s.components,
			"responses": object{"Refused": failure},
			"securitySchemes": object{"key": object{
				"type": "http", "scheme": "bearer", "description": "An API key, an access token of /oauth/token, or a token of an issuer that the operator trusts.",
			}},
		},
	})
}

var pathMember = regexp.MustCompile(`\{([a-z_]+)\}`)

func (s *schemas) operation(r *Route) object {
	op := object{"operationId": operationID(r), "summary": r.Summary, "tags": []any{tag(r.Pattern)}, "responses": s.answers(r)}
	params := []any{}
	for _, m := range pathMember.FindAllStringSubmatch(r.Pattern, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range r.Query {
		param := object{"name": p.Name, "in": "query", "schema": object{"type": p.Type}}
		if p.Required {
			param["required"] = true
		}
		if p.Doc != "" {
			param["description"] = p.Doc
		}
		params = append(params, param)
	}
	if !r.Open && !r.ParentOnly {
		params = append(params, header("on-behalf-of", "Name of a subuser: act for it, with a key of its account that has "+scopeBehalf+", too."))
	}
	if r.Method == http.MethodPost && !r.Open {
		params = append(params, header(headerIdempotency, "A repeated request with the same key gets the first one's answer, without secrets, for a day."))
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if r.Body != nil {
		media := r.BodyType
		if media == "" {
			media = mediaJSON
		}
		op["requestBody"] = object{"required": true, "content": object{media: object{"schema": s.of(r.Body, true)}}}
	}
	if r.Open {
		op["security"] = []any{}
	}
	if r.Scope != "" {
		op["x-scope"] = r.Scope
	}
	if r.OperatorOnly {
		op["x-operator-only"] = true
	}
	return op
}

func header(name, doc string) object {
	return object{"name": name, "in": "header", "description": doc, "schema": object{"type": "string"}}
}

func (s *schemas) answers(r *Route) object {
	out := object{"4XX": object{"$ref": "#/components/responses/Refused"}, "5XX": object{"$ref": "#/components/responses/Refused"}}
	for _, status := range slices.Sorted(maps.Keys(r.Answers)) {
		answer := object{"description": http.StatusText(status)}
		if v := r.Answers[status]; v != nil {
			content := object{mediaJSON: object{"schema": s.of(v, false)}}
			for _, media := range r.Also {
				content[media] = object{"schema": object{"type": "string"}}
			}
			answer["content"] = content
		}
		out[strconv.Itoa(status)] = answer
	}
	return out
}

// operationID is the method and the words of the path: postApiKeysRotate.
func operationID(r *Route) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(r.Method))
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Pattern, "/v3"), "/") {
		if strings.HasPrefix(part, "{") {
			b.WriteString("By")
		}
		for word := range strings.FieldsFuncSeq(part, func(c rune) bool { return strings.ContainsRune("{}_.-:", c) }) {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// tag is the first word of the path behind the version.
func tag(pattern string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(pattern, "/v3"), "/"), "/")
	return first
}

package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTakeSMTPAPI(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]SMTPAPI{
		`{}`:               {},
		`{"category":"a"}`: {Categories: []string{"a"}},
		`{"category":["a","b","a"],"ip_pool":"fast"}`:                    {Categories: []string{"a", "b"}, IPPool: "fast"},
		"{\"category\":\r\n\t[\"a\",\r\n \"b c\"]}":                      {Categories: []string{"a", "b c"}},
		`{"unique_args":{"id":"7","n":12,"ok":true,"u":"\u00e9"}}`:       {UniqueArgs: map[string]string{"id": "7", "n": "12", "ok": "true", "u": "é"}},
		`{"to":["x@y.test"],"sub":{"a":["b"]},"Category":"x"}`:           {Other: []string{"to", "sub", "Category"}},
		`{"evil\r\nkey\u0000é":1,"` + strings.Repeat("k", 100) + `":[]}`: {Other: []string{"evil??key???", strings.Repeat("k", 64)}},
	} {
		h := mustHeader(t, "From: a@x.test\r\nX-SMTPAPI: "+in+"\r\nx-smtpapi: {\"category\":\"second\"}\r\n\r\n")
		got, found, err := h.TakeSMTPAPI()
		if err != nil || !found {
			t.Errorf("%s: %v %v", in, found, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
		if s := string(h.Bytes()); s != "From: a@x.test\r\n\r\n" {
			t.Errorf("%s: left %q", in, s)
		}
	}
	h := mustHeader(t, "From: a@x.test\r\n\r\n")
	if _, found, err := h.TakeSMTPAPI(); found || err != nil {
		t.Errorf("without the field: %v %v", found, err)
	}
}

func TestTakeSMTPAPIRefuses(t *testing.T) {
	t.Parallel()
	eleven := `["1","2","3","4","5","6","7","8","9","10","11"]`
	for in, names := range map[string]string{
		``:             "not valid JSON",
		`{`:            "not valid JSON",
		`{} {}`:        "not valid JSON",
		`{"a":1,}`:     "not valid JSON",
		"{\"a\":\xff}": "not valid JSON",
		`[]`:           "not a JSON object",
		`"x"`:          "not a JSON object",
		`null`:         "not a JSON object",
		`{"category":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`: "not valid JSON",
		`{"category":"a","category":"b"}`:                                        `"category" stands twice`,
		`{"category":1}`:                                                         "category",
		`{"category":null}`:                                                      "category",
		`{"category":[1]}`:                                                       "category",
		`{"category":[null]}`:                                                    "category",
		`{"category":""}`:                                                        "category",
		`{"category":"a\nb"}`:                                                    "category",
		`{"category":"` + strings.Repeat("ä", 256) + `"}`:                        "category",
		`{"category":` + eleven + `}`:                                            "categories",
		`{"unique_args":[]}`:                                                     "unique_args",
		`{"unique_args":null}`:                                                   "unique_args",
		`{"unique_args":{"a":{}}}`:                                               `"a"`,
		`{"unique_args":{"a":null}}`:                                             `"a"`,
		`{"unique_args":{"a":"1","a":"2"}}`:                                      `"a"`,
		`{"unique_args":{"a":"\u0000"}}`:                                         `"a"`,
		`{"unique_args":{"a":"` + strings.Repeat("x", 10000) + `"}}`:             "10000",
		`{"ip_pool":1}`:                                                          "ip_pool",
		`{"ip_pool":null}`:                                                       "ip_pool",
		`{"ip_pool":""}`:                                                         "ip_pool",
		`{"ip_pool":"` + strings.Repeat("p", 65) + `"}`:                          "ip_pool",
		`{"a":1` + manyKeys() + `}`:                                              "100 keys",
	} {
		h := mustHeader(t, "X-SMTPAPI: "+in+"\r\n\r\n")
		_, found, err := h.TakeSMTPAPI()
		if !found || ReasonOf(err) != BadSMTPAPI || !strings.Contains(err.Error(), names) {
			t.Errorf("%.60s: %v %v, want it to name %q", in, found, err, names)
		}
		if h.Count("X-SMTPAPI") != 0 {
			t.Errorf("%.60s: field still there", in)
		}
	}
	ok := `{"category":"` + strings.Repeat("ä", 255) + `","ip_pool":"` + strings.Repeat("p", 64) + `"}`
	if _, err := parseSMTPAPI([]byte(ok)); err != nil {
		t.Errorf("at the limits: %v", err)
	}
}

func manyKeys() string {
	var b strings.Builder
	for i := range 100 {
		b.WriteString(`,"k` + strings.Repeat("x", i) + `":0`)
	}
	return b.String()
}

// TestBadKeyDoesNotHideTheOthers: with the setting "ignore and record" the
// caller still wants what could be read.
func TestBadKeyDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	got, err := parseSMTPAPI([]byte(`{"ip_pool":7,"category":"a","to":[]}`))
	if ReasonOf(err) != BadSMTPAPI {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(SMTPAPI{Categories: []string{"a"}, Other: []string{"to"}}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzSMTPAPI(f *testing.F) {
	f.Add(`{"category":["a","b"],"unique_args":{"a":"1"},"ip_pool":"x","to":["y"]}`)
	f.Add(`{"unique_args":{"a":1e400,"b":false}}`)
	f.Add(`[[[[`)
	f.Fuzz(func(t *testing.T, s string) {
		api, err := parseSMTPAPI([]byte(s))
		if err != nil && ReasonOf(err) != BadSMTPAPI {
			t.Fatalf("untyped error %v", err)
		}
		if len(api.Categories) > maxCategories || len(api.UniqueArgs) > maxUniqueArgs {
			t.Fatalf("over the limits: %+v", api)
		}
		for _, k := range api.Other {
			if hasControl(k) || len(k) > 64 || !isASCII([]byte(k)) {
				t.Fatalf("key %q not safe to repeat", k)
			}
		}
	})
}

package mailsend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is refused beyond the documented errors: at which field.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ edit, field, words string }{
		"null recipient list":      {block(`"cc":null`), "personalizations.0.cc", "The cc array"},
		"null name":                {block(`"to":[{"email":"a@x.test","name":null}]`), "personalizations.0.to.0.name", "Expected: string, given: null"},
		"number as email":          {block(`"to":[{"email":5}]`), "personalizations.0.to.0.email", "Expected: string, given: integer"},
		"comma in a name":          {block(`"to":[{"email":"a@x.test","name":"Doe, J"}]`), "personalizations.0.to.0.name", "';' or ','"},
		"semicolon in a name":      {block(`"bcc":[{"email":"a@x.test","name":"a;b"}]`), "personalizations.0.bcc.0.name", "';' or ','"},
		"half a quoted name":       {block(`"to":[{"email":"a@x.test","name":"\"a,b"}]`), "personalizations.0.to.0.name", "';' or ','"},
		"address in angles":        {block(`"to":[{"email":"A <a@x.test>"}]`), "personalizations.0.to.0.email", "valid address"},
		"two addresses":            {block(`"to":[{"email":"a@x.test,b@x.test"}]`), "personalizations.0.to.0.email", "valid address"},
		"comment":                  {block(`"to":[{"email":"a@x.test (x)"}]`), "personalizations.0.to.0.email", "valid address"},
		"white space":              {block(`"to":[{"email":" a@x.test"}]`), "personalizations.0.to.0.email", "valid address"},
		"space in a local part":    {block(`"to":[{"email":"\"a b\"@x.test"}]`), "personalizations.0.to.0.email", "valid address"},
		"literal":                  {block(`"to":[{"email":"a@[127.0.0.1]"}]`), "personalizations.0.to.0.email", "valid address"},
		"encoded-word":             {block(`"to":[{"email":"=?utf-8?q?a?=@x.test"}]`), "personalizations.0.to.0.email", "valid address"}, // ID-07
		"full-width":               {block(`"to":[{"email":"a@ｘ.test"}]`), "personalizations.0.to.0.email", "valid address"},             // ID-12
		"personalization's from":   {block(`"from":{"email":"nobody"}`), "personalizations.0.from.email", "from email"},
		"personalization no map":   {`{"personalizations":[5]}`, "personalizations.0", "Expected: object, given: integer"},
		"personalizations no list": {`{"personalizations":{}}`, "personalizations", "Expected: array, given: object"},
		"dynamic data":             {block(`"dynamic_template_data":{"a":1}`), "personalizations.0.dynamic_template_data", "no templates"},
		"substitution too large":   {block(`"substitutions":{"a":"` + strings.Repeat("x", 10000) + `"}`), "personalizations.0.substitutions", "10,000 bytes"},
		"substitution empty tag":   {block(`"substitutions":{"":"x"}`), "personalizations.0.substitutions", "key/value pairs"},
		"substitution long tag":    {block(`"substitutions":{"` + strings.Repeat("t", 129) + `":"x"}`), "personalizations.0.substitutions", "128 bytes"},
		"substitutions no map":     {block(`"substitutions":[]`), "personalizations.0.substitutions", "key/value pairs"},
		"section long tag":         {`{"sections":{"` + strings.Repeat("t", 129) + `":"x"}}`, "sections", "128 bytes"},
		"sections no map":          {`{"sections":[]}`, "sections", "Expected: object, given: array"},
		"reply_to and list":        {`{"reply_to":{"email":"a@x.test"},"reply_to_list":[{"email":"a@x.test"}]}`, "reply_to_list", "together"},
		"reply_to bad":             {`{"reply_to":{"email":"nobody"}}`, "reply_to", "valid email address"},
		"reply_to_list bad":        {`{"reply_to_list":[{"email":"a@x.test"},{"email":"x"}]}`, "reply_to_list.1", "valid email address"},
		"reply_to_list no list":    {`{"reply_to_list":{}}`, "reply_to_list", "Expected: array, given: object"},
		"reply_to_list long":       {`{"reply_to_list":[` + many(1001, `{"email":"a#@x.test"}`) + `]}`, "reply_to_list", "1000"},
		"content no map":           {`{"content":["x"]}`, "content.0", "Expected: object, given: string"},
		"content no media type":    {`{"content":[{"type":"plain","value":"v"}]}`, "content.0.type", "media type"},
		"content multipart":        {`{"content":[{"type":"multipart/mixed","value":"v"}]}`, "content.0.type", "media type"},
		"content order":            {`{"content":[{"type":"text/calendar","value":"v"},{"type":"TEXT/HTML","value":"v"}]}`, "content.1.value", "RFC 1341"},
		"attachments no list":      {`{"attachments":{}}`, "attachments", "Expected: array, given: object"},
		"attachment no map":        {`{"attachments":[1]}`, "attachments.0", "Expected: object, given: integer"},
		"base64 with line breaks":  {attached(`"content":"YWFh\r\nYWFh"`), "attachments.0.content", "base64"}, // AP-11
		"base64 line break at end": {attached(`"content":"YWE\n"`), "attachments.0.content", "base64"},
		"base64 unpadded":          {attached(`"content":"YQ"`), "attachments.0.content", "base64"},
		"base64 trailing bits":     {attached(`"content":"YR=="`), "attachments.0.content", "base64"},
		"base64 of URLs":           {attached(`"content":"__8="`), "attachments.0.content", "base64"},
		"base64 padding inside":    {attached(`"content":"YQ==YQ=="`), "attachments.0.content", "base64"},
		"URL to fetch":             {attached(`"content":"https://x.test/a"`), "attachments.0.content", "base64"}, // AP-11
		"attachment no content":    {`{"attachments":[{"filename":"a"}]}`, "attachments.0.content", "at least one character"},
		"file name a directory":    {attached(`"filename":"../"`), "attachments.0.filename", "required"}, // AP-11
		"file name long":           {attached(`"filename":"` + strings.Repeat("n", 1001) + `"`), "attachments.0.filename", "1,000 bytes"},
		"content id with angles":   {attached(`"content_id":"a><b"`), "attachments.0.content_id", "angle"},
		"content id not ASCII":     {attached(`"content_id":"ä"`), "attachments.0.content_id", "ASCII"},
		"disposition no string":    {attached(`"disposition":true`), "attachments.0.disposition", "[true]"},
		"headers no map":           {`{"headers":["X-A"]}`, "headers", "Expected: object, given: array"},
		"header with colon":        {`{"headers":{"X:A":"1"}}`, "headers", "Header keys"},
		"header long word":         {`{"headers":{"X-A":"` + strings.Repeat("x", 1000) + `"}}`, "headers.X-A", "too long"},
		"categories no list":       {`{"categories":"a"}`, "categories", "array of strings"},
		"category empty":           {`{"categories":[""]}`, "categories", "array of strings"},
		"custom_args no map":       {`{"custom_args":"a"}`, "custom_args", "Expected: object, given: string"},
		"custom_args value":        {`{"custom_args":{"a":{}}}`, "custom_args", "must be strings"},
		"custom_args NUL":          {`{"custom_args":{"a":"\u0000"}}`, "custom_args", "must be strings"},
		"custom_args size":         {`{"custom_args":{"a":"` + strings.Repeat("x", 10000) + `"}}`, "custom_args", "10,000 bytes"},
		"custom_args merged":       {`{"custom_args":{"a":"` + strings.Repeat("x", 6000) + `"},"personalizations":[{"to":[{"email":"a@x.test"}],"custom_args":{"b":"` + strings.Repeat("x", 4000) + `"}}]}`, "personalizations.0.custom_args", "10,000 bytes"},
		"send_at huge":             {`{"send_at":99999999999999999999999}`, "send_at", "Unix timestamp"}, // AP-08: huge ints
		"send_at exponent":         {`{"send_at":1e9}`, "send_at", "Unix timestamp"},
		"batch unknown":            {`{"batch_id":"other"}`, "batch_id", "invalid batch id"},
		"batch later":              {`{"batch_id":"known","send_at":` + itoa(int(now.Unix())+60) + `}`, "batch_id", "paused or cancelled"},
		"asm no map":               {`{"asm":5}`, "asm", "Expected: object, given: integer"},
		"settings no map":          {`{"mail_settings":[]}`, "mail_settings", "Expected: object, given: array"},
		"setting no map":           {setting(`"footer":true`), "mail_settings.footer", "Expected: object, given: boolean"},
		"bcc setting":              {setting(`"bcc":{"enable":true,"email":"a@x.test"}`), "mail_settings.bcc", "not available"},
		"spam check":               {setting(`"spam_check":{"enable":true,"threshold":1,"post_to_url":"https://x.test"}`), "mail_settings.spam_check", "not available"},
		"two bypasses":             {setting(`"bypass_list_management":{"enable":true},"bypass_spam_management":{"enable":true}`), "mail_settings.bypass_spam_management", "combined"},
		"click tracking":           {tracking(`"click_tracking":{"enable":true}`), "tracking_settings.click_tracking.enable", "not available"},
		"open tracking":            {tracking(`"open_tracking":{"enable":true}`), "tracking_settings.open_tracking.enable", "not available"},
		"subscription tracking":    {tracking(`"subscription_tracking":{"enable":true}`), "tracking_settings.subscription_tracking.enable", "not available"},
		"analytics":                {tracking(`"ganalytics":{"enable":true}`), "tracking_settings.ganalytics.enable", "not available"},
	} {
		r := refusal(t, edited(t, c.edit))
		if r.Status != http.StatusBadRequest || r.Faults[0].Field != c.field || !strings.Contains(r.Faults[0].Message, c.words) {
			t.Errorf("%s: %d %+v", name, r.Status, r.Faults[0])
		}
	}
}

// AP-09: no text that ends in a header may hold a line end, a NUL or another
// control character. Each is refused at its field.
func TestHeaderInjection(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{`\r\nBcc: e@x.test`, `\n`, `\r`, `\u0000`, `\u001b`, `\u007f`, `\u0085`, `\u2028`} {
		for field, edit := range map[string]string{
			"subject":                       `{"subject":"a%"}`,
			"from.name":                     `{"from":{"email":"from@a.test","name":"a%"}}`,
			"from.email":                    `{"from":{"email":"from%@a.test"}}`,
			"reply_to.name":                 `{"reply_to":{"email":"r@a.test","name":"a%"}}`,
			"reply_to":                      `{"reply_to":{"email":"r%@a.test"}}`,
			"personalizations.0.subject":    block(`"subject":"a%"`),
			"personalizations.0.to.0.name":  block(`"to":[{"email":"a@x.test","name":"a%"}]`),
			"personalizations.0.to.0.email": block(`"to":[{"email":"a@x.test%"}]`),
			"headers.X-A":                   `{"headers":{"X-A":"a%"}}`,
			"headers":                       `{"headers":{"X-A%":"a"}}`,
			"attachments.0.filename":        attached(`"filename":"a%"`),
			"attachments.0.type":            attached(`"type":"text/plain%"`),
			"attachments.0.content_id":      attached(`"content_id":"a%"`),
			"content.0.type":                `{"content":[{"type":"text/plain%","value":"v"}]}`,
			"categories":                    `{"categories":["a%"]}`,
		} {
			r := refusal(t, edited(t, strings.Replace(edit, "%", bad, 1)))
			if r.Status != http.StatusBadRequest || r.Faults[0].Field != field {
				t.Errorf("%s with %s: %+v", field, bad, r.Faults)
			}
		}
	}
}

// ID-21, ID-24: there is one source of each identity, and what postern says of a
// message cannot be said by a client.
func TestReservedHeaders(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"x-sg-id", "X-SG-EID", "Received", "DKIM-Signature", "content-type", "Content-Transfer-Encoding", "TO", "From", "Subject", "Reply-To", "Cc", "Bcc",
		"Content-Disposition", "Content-ID", "Return-Path", "Resent-Bcc", "X-SMTPAPI", "X-Postern-Tenant", "Authentication-Results", "ARC-Seal", "MIME-Version",
	} {
		for _, edit := range []string{`{"headers":{"` + name + `":"x"}}`, block(`"headers":{"` + name + `":"x"}`)} {
			if r := refusal(t, edited(t, edit)); !strings.Contains(r.Faults[0].Message, "reserved keys") {
				t.Errorf("%s: %+v", name, r.Faults)
			}
		}
	}
}

func TestSeveralErrors(t *testing.T) {
	t.Parallel()
	r := refusal(t, []byte(`{"personalizations":[{"to":[{"email":"x"}]},{"cc":[]}],"template_id":"d-1"}`))
	var fields []string
	for _, f := range r.Faults {
		fields = append(fields, f.Field)
	}
	want := []string{"from", "personalizations.0.to.0.email", "personalizations.1.to", "personalizations.1.cc", "subject", "template_id", "content"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	r = refusal(t, edited(t, block(`"to":[`+many(1000, `{"email":"x"}`)+`]`)))
	if len(r.Faults) != 100 {
		t.Errorf("%d faults", len(r.Faults))
	}
}

// AP-11 and others: numbers of things that only an attack has.
func TestTooMany(t *testing.T) {
	t.Parallel()
	file := `{"content":"YQ==","filename":"a"}`
	for name, edit := range map[string]string{
		"attachments": `{"attachments":[` + many(1001, file) + `]}`,
		"contents":    `{"content":[` + many(101, `{"type":"text/plain","value":"v"}`) + `]}`,
		"headers":     `{"headers":{` + many(10001, `"X-#":"v"`) + `}}`,
		"sections":    `{"sections":{` + many(10001, `"#":"v"`) + `}}`,
		"custom_args": `{"custom_args":{` + many(900, `"#":"v"`) + `},"personalizations":[` + many(200, `{"to":[{"email":"a@x.test"}],"custom_args":{"a":"b"}}`) + `]}`,
	} {
		want := &Refusal{Status: http.StatusRequestEntityTooLarge, Faults: []Fault{{Message: "content too large"}}}
		if diff := cmp.Diff(want, refusal(t, edited(t, edit))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Also where nobody looks.
	if r := refusal(t, []byte(`{"unknown":{`+many(20001, `"#":0`)+`}}`)); r.Faults[0].Field != "unknown.20000" {
		t.Errorf("%+v", r)
	}
}

// What is accepted, and what is made of it.
func TestAccepted(t *testing.T) {
	t.Parallel()
	later := now.Add(72 * time.Hour)
	body := edited(t, `{
		"unknown":{"a":[1,{}]}, "ip_pool_name":"mine", "batch_id":"known", "categories":["a","b"], "custom_args":{"g":"1","o":"1"},
		"asm":null, "template_id":null, "send_at":1, "sections":{},
		"personalizations":[
			{"to":[{"email":"A@x.test","name":"\"Doe, \\\"J\\\"; x\"","x":1}],"custom_args":{"o":"2"},"dynamic_template_data":{},"substitutions":{}},
			{"to":[{"email":"a@x.test"},{"email":"A@x.test"}]}],
		"attachments":[{"content":"YQ==","filename":"a","name":"x"}],
		"mail_settings":{"bypass_list_management":{"enable":true},"sandbox_mode":{"enable":true},"bcc":{"enable":false},"spam_check":{"enable":false},"footer":{"enable":false,"text":"no"}},
		"tracking_settings":{"click_tracking":{"enable":false,"enable_text":false},"open_tracking":{"enable":false},"ganalytics":{"enable":false,"utm_name":1},"subscription_tracking":{"enable":false}}}`)
	r, err := Parse(body, Options{Now: now, Pool: func(n string) bool { return n == "mine" }, Batch: func(id string) bool { return id == "known" }})
	if err != nil {
		t.Fatalf("%+v", err.(*Refusal))
	}
	if !r.Sandbox || r.Pool != "mine" || r.BatchID != "known" || len(r.Categories) != 2 || r.Len() != 2 || r.footer != (footer{}) {
		t.Errorf("%+v", r)
	}
	m := r.Message(0)
	if diff := cmp.Diff(map[string]string{"g": "1", "o": "2"}, m.CustomArgs); diff != "" || m.To[0].Name != `Doe, "J"; x` || !m.SendAt.IsZero() {
		t.Errorf("%+v: %s", m, diff)
	}
	if diff := cmp.Diff(map[string]string{"g": "1", "o": "1"}, r.Message(1).CustomArgs); diff != "" {
		t.Error(diff)
	}
	r = parsed(t, edited(t, `{"send_at":`+itoa(int(later.Unix()))+`,"personalizations":[{"to":[{"email":"a@x.test"}]},{"to":[{"email":"a@x.test"}],"send_at":5}]}`))
	if !r.Message(0).SendAt.Equal(later.Truncate(time.Second)) || !r.Message(1).SendAt.IsZero() {
		t.Errorf("%v, %v", r.Message(0).SendAt, r.Message(1).SendAt)
	}
}

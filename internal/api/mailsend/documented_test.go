package mailsend

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// now is the time of every test.
var now = time.Date(2026, 11, 5, 7, 8, 9, 0, time.UTC)

const good = `{"personalizations":[{"to":[{"email":"to@x.test"}]}],"from":{"email":"from@a.test"},"subject":"s","content":[{"type":"text/plain","value":"v"}]}`

// edited is good with members replaced; null takes one out.
func edited(tb testing.TB, edit string) []byte {
	tb.Helper()
	var all, some map[string]json.RawMessage
	if err := json.Unmarshal([]byte(good), &all); err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal([]byte(edit), &some); err != nil {
		tb.Fatalf("%v: %.200s", err, edit)
	}
	for k, v := range some {
		if all[k] = v; string(v) == "null" {
			delete(all, k)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// block is an edit of the one personalization; its to can be taken out.
func block(members string) string {
	if !strings.Contains(members, `"to":`) {
		members = `"to":[{"email":"to@x.test"}],` + members
	}
	return `{"personalizations":[{` + strings.TrimSuffix(members, ",") + `}]}`
}

func refusal(tb testing.TB, body []byte) *Refusal {
	tb.Helper()
	_, err := Parse(body, Options{Now: now, Pool: func(n string) bool { return n == "mine" }, Batch: func(id string) bool { return id == "known" }})
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		tb.Fatalf("accepted, or %v: %.300s", err, body)
	}
	return r
}

// many is n comma-separated copies of s, each # in it replaced by its number.
func many(n int, s string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.ReplaceAll(s, "#", itoa(i)))
	}
	return b.String()
}

func itoa(i int) string { b, _ := json.Marshal(i); return string(b) }

var long = strings.Repeat("l", 320) + "@x.test"

type documentedRow struct {
	edit, field, anchor, message string
}

const exampleBox = "e.g. `{\"email\": \"example@example.com\"}` or `{\"email\": \"example@example.com\", \"name\": \"Example Recipient\"}`"

const liveTwice = "Each email address in the personalization block should be unique between to, cc, and bcc. We found the first duplicate instance of [to@x.test] in the personalizations.0."

// documented are the documented errors in their order, at the paths of the wire.
// Where the wording that is seen on the wire differs from the documentation, it is
// the one that stands here.
var documented = []documentedRow{
	{`{"personalizations":[` + many(1001, `{}`) + `]}`, "personalizations", "message.personalizations", "The personalization block is limited to 1000 personalizations per API request. You have provided 1001 personalizations. Please consider splitting this into multiple requests and resending your request."},
	{`{"personalizations":null}`, "personalizations", "-Personalizations-Errors", "The personalizations field is required and must have at least one personalization."}, // live
	{block(`"to":[` + many(1001, `{"email":"a#@x.test"}`) + `]`), "personalizations", "message.personalizations", "There is a limit of 1000 total recipients (to + cc + bcc) per request."},
	{block(`"to":["a@x.test"]`), "personalizations.0.to.0", "message.personalizations.to", `Each "to" object must at least have an email address and may also contain a name. ` + exampleBox},
	{block(`"to":[{"email":"to@x.test"},{"email":"to@x.test"}]`), "personalizations.0", "message.recipient-errors", liveTwice + "to field."},                                                                                                          // live
	{`{"personalizations":[{"cc":[{"email":"c@x.test"}]}]}`, "personalizations.0.to", "message.personalizations.to", "The to array is required for all personalization objects, and must have at least one email object with a valid email address."}, // live

	{block(`"bcc":{"email":"b@x.test"}`), "personalizations.0.bcc", "message.personalizations.bcc", "The bcc array, when used, must at least have an `email` parameter with a valid email address and it may also contain a `name` parameter. " + exampleBox},
	{block(`"bcc":["b@x.test"]`), "personalizations.0.bcc.0", "message.personalizations.bcc", "Each recipient object must at least have an email address and may also contain a name. " + exampleBox},
	{block(`"bcc":[{"email":"to@x.test"}]`), "personalizations.0", "message.recipient-errors", liveTwice + "bcc field."}, // live
	{block(`"bcc":[{"email":"` + long + `"}]`), "personalizations.0.bcc.0.email", "message.personalizations.bcc", "The BCC email exceeds the maximum total length of 320 characters"},
	{block(`"cc":[]`), "personalizations.0.cc", "message.personalizations.cc", "The cc array, when used, must at least have an `email` parameter with a valid email address and it may also contain a `name` parameter. " + exampleBox},
	{block(`"cc":[1]`), "personalizations.0.cc.0", "message.personalizations.cc", "Each recipient object must at least have an email address and may also contain a name. " + exampleBox},
	{block(`"cc":[{"email":"to@x.test"}]`), "personalizations.0", "message.recipient-errors", liveTwice + "cc field."}, // live
	{block(`"cc":[{"email":"` + long + `"}]`), "personalizations.0.cc.0.email", "message.personalizations.cc", "The CC email exceeds the maximum total length of 320 characters"},
	{block(`"custom_args":{"a":1}`), "personalizations.0.custom_args", "message.personalizations.custom_args", "All values of custom arguments object must be strings"},
	{block(`"custom_args":{}`), "personalizations.0.custom_args", "message.personalizations.custom_args", "`custom_args` cannot be empty."},
	{block(`"custom_args":{"a":"` + strings.Repeat("x", 10000) + `"}`), "personalizations.0.custom_args", "message.personalizations.custom_args", "The combined size of both global and personalization custom arguments may not exceed 10,000 bytes per personalization."},
	{block(`"headers":{"X-A":1}`), "personalizations.0.headers", "message.personalizations.headers", "All values of the headers object must be strings."},
	{block(`"headers":{"X-A":"1","x-a":"2"}`), "personalizations.0.headers", "message.personalizations.headers", "The headers cannot contain duplicate keys."},
	{block(`"headers":{"X Ä":"1"}`), "personalizations.0.headers", "message.personalizations.headers", "Header keys cannot contain non-ASCII characters or empty spaces."},
	{block(`"headers":{"subject":"1"}`), "personalizations.0.headers", "message.personalizations.headers", "Header cannot be one of the reserved keys."},
	{block(`"send_at":"soon"`), "personalizations.0.send_at", "message.personalizations.send_at", "The `send_at` parameter is expecting a Unix timestamp as an integer. We will send immediately if you include a `send_at` timestamp that is in the past."},
	{block(`"send_at":` + itoa(int(now.Unix())+72*3600+1)), "personalizations.0.send_at", "message.personalizations.send_at", "Scheduling more than 72 hours in advance is forbidden."},
	{block(`"subject":""`), "personalizations.0.subject", "message.personalizations.subject", "The subject of your email must be a string at least one character in length."},
	{`{"subject":null,"personalizations":[{"to":[{"email":"a@x.test"}],"subject":"s"},{"to":[{"email":"a@x.test"}]}]}`, "personalizations.1.subject", "message.personalizations.subject", "The subject is required. You can get around this requirement if you use a template with a subject defined."},
	{block(`"substitutions":{"-a-":1}`), "personalizations.0.substitutions", "message.personalizations.substitutions", "The substitution values must be an object of key/value pairs, where the values are all strings."},
	{block(`"substitutions":{` + many(10001, `"#":""`) + `}`), "personalizations.0.substitutions", "message.personalizations.substitutions", "You are limited to 10,000 substitutions."},
	{block(`"to":{"email":"a@x.test"}`), "personalizations.0.to", "message.personalizations.to", "The to array must at least have an `email` parameter with a valid email address and it may also contain a `name` parameter. " + exampleBox},
	{block(`"to":[{"email":"` + long + `"}]`), "personalizations.0.to.0.email", "message.personalizations.to", "The To email exceeds the maximum total length of 320 characters"},

	{`{"asm":{"group_id":"1"}}`, "asm.group_id", "message.asm.group_id", "The ASM group ID must be an integer."},
	{`{"asm":{"group_id":7}}`, "asm.group_id", "message.asm.group_id", "The ASM group ID must be a valid Group ID on your account. You provided [7]."},
	{`{"asm":{"group_id":7,"groups_to_display":["1"]}}`, "asm.groups_to_display", "message.asm.groups_to_display", "The ASM Group IDs to display must be an array of integers."},
	{`{"asm":{"group_id":7,"groups_to_display":[4,5]}}`, "asm.groups_to_display", "message.asm.groups_to_display", "All ASM groups to display must be valid ASM groups IDs on your account. You provided {4, 5}."},
	{`{"asm":{"group_id":7,"groups_to_display":[` + many(26, "#") + `]}}`, "asm.groups_to_display", "message.asm.groups_to_display", "There is a limit of 25 unsubscribe groups that can be displayed to a user at a time."},

	{attached(`"content":"no base64!"`), "attachments.0.content", "message.attachments.content", "The attachment content must be base64 encoded."},
	{attached(`"content":""`), "attachments.0.content", "message.attachments.content", "The attachment content must be a string at least one character in length."},
	{attached(`"content_id":5`), "attachments.0.content_id", "message.attachments.content_id", "The content ID of your attachment must be a string. You provided [5]."},
	{attached(`"content_id":"a\r\nb"`), "attachments.0.content_id", "message.attachments.content_id", "The content ID of your attachment cannot contain CRLF characters."},
	{attached(`"disposition":"hidden"`), "attachments.0.disposition", "message.attachments.disposition", `The disposition of your attachment can be either "inline" or "attachment". You provided [hidden].`},
	{attached(`"filename":5`), "attachments.0.filename", "message.attachments.filename", "The filename of your attachment must be a string."},
	{attached(`"filename":"a\r\nBcc: x"`), "attachments.0.filename", "message.attachments.filename", "The filename of your attachment cannot contain CRLF characters."},
	{`{"attachments":[{"content":"YQ=="}]}`, "attachments.0.filename", "message.attachments.filename", "filename is required."},
	{attached(`"type":""`), "attachments.0.type", "message.attachments.type", "The attachment type must be a string and at least one character in length."},
	{attached(`"type":"text/plain; name=x"`), "attachments.0.type", "message.attachments.type", "The type cannot contain ';', or CRLF characters."},

	{`{"batch_id":5}`, "batch_id", "message.batch_id", "The batch_id must be a string."},
	{`{"categories":[` + many(11, `"c#"`) + `]}`, "categories", "message.categories", "There is a limit of 10 categories for each email that is sent. You provided 11 categories."},
	{`{"categories":[1]}`, "categories", "message.categories", "Categories must be an array of strings."},
	{`{"categories":["` + strings.Repeat("c", 256) + `"]}`, "categories", "message.categories", "Each category must not be longer than 255 characters. [" + strings.Repeat("c", 256) + "] exceeds this limit"},
	{`{"categories":["a","a"]}`, "categories", "message.categories", "The categories must be a unique list, and you have included [a] more than once."},
	{`{"categories":["ä"]}`, "categories", "message.categories", "Categories can not contain non-ASCII characters."},

	{`{"content":null}`, "content", "message.content", "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block. We typically suggest both text/plain and text/html blocks are included, but only one block is required."}, // live
	{`{"content":[]}`, "content", "message.content", "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block. We typically suggest both text/plain and text/html blocks are included, but only one block is required."},   // live
	{`{"content":[{"value":"v"}]}`, "content.0.type", "message.content.type", "A content type is required, this tells email clients how to display the email."},
	{`{"content":[{"type":"text/plain","value":5}]}`, "content.0.value", "message.content.value", "The content value must be a string at least one character in length."}, // documented under type, too
	{`{"content":[{"type":"","value":"v"}]}`, "content.0.type", "message.content.type", "Your content type must be a string with length of at least one character."},
	{`{"content":[{"type":"text/plain;charset=x","value":"v"}]}`, "content.0.type", "message.content.type", "Cannot contain ';', or CRLF characters."},
	{`{"content":[{"type":"text/plain"}]}`, "content.0.value", "message.content.value", "A content value is required, this is the content of the email you are sending."},
	{`{"content":[{"type":"text/plain","value":""}]}`, "content.0.value", "message.content.value", "The content value must be a string at least one character in length."}, // live
	{`{"content":[{"type":"text/html","value":"h"},{"type":"text/plain","value":"v"}]}`, "content.1.value", "message.content.value", "Following RFC 1341, section 7.2, if either text/html or text/plain are to be sent in your email: text/plain needs to be first, followed by text/html, followed by any other content."},

	{`{"from":"a@x.test"}`, "from", "message.from", "The from object must at least have an `email` parameter with a valid email address and may also contain a `name` parameter. e.g. `{\"email\": \"example@example.com\"}` or `{\"email\": \"example@example.com\", \"name\": \"Example Recipient\"}"},
	{`{"from":null}`, "from", "message.from", "The `from` object must be provided for every email send. It is an object that requires the `email` parameter, but may also contain a `name` parameter. " + exampleBox},
	{`{"from":{"email":"` + long + `"}}`, "from.email", "message.from", "The From email exceeds the maximum total length of 320 characters"},
	{`{"headers":{"X-A":1}}`, "headers", "message.headers", "The header values must be strings."},
	{`{"headers":{"X-A":"1","x-a":"2"}}`, "headers", "message.headers", "The headers cannot contain duplicate keys."},
	{`{"headers":{"X A":"1"}}`, "headers", "message.headers", "Header keys cannot contain non-ASCII characters and empty spaces."},
	{`{"headers":{"BCC":"a@x.test"}}`, "headers", "message.headers", "Header can not be one of the reserved keys."},
	{`{"ip_pool_name":5}`, "ip_pool_name", "message.ip_pool_name", "The name of your IP pool must be a string."},
	{`{"ip_pool_name":"other"}`, "ip_pool_name", "message.ip_pool_name", "The IP Pool name must be a valid pool name for your account. You provided [other]."},
	{`{"reply_to":{"name":"x"}}`, "reply_to", "message.reply_to", "The `reply_to` object, when used, must at least have an `email` parameter with a valid email address and it may also contain a `name` parameter. " + exampleBox},
	{`{"reply_to":{"email":"` + long + `"}}`, "reply_to.email", "message.reply_to", "The Reply-To email exceeds the maximum total length of 320 characters"},
	{`{"sections":{"-s-":1}}`, "sections", "message.sections", "The section values must be strings."},
	{`{"send_at":1.5}`, "send_at", "message.send_at", "The `send_at` parameter is expecting a Unix timestamp as an integer. We will send immediately if you include a `send_at` timestamp that is in the past."},
	{`{"send_at":` + itoa(int(now.Unix())+72*3600+1) + `}`, "send_at", "message.send_at", "Scheduling more than 72 hours in advance is forbidden."},
	{`{"subject":5}`, "subject", "message.subject", "The subject of your email must be a string at least one character in length."},
	{`{"subject":null}`, "subject", "message.subject", "The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined."},
	{`{"template_id":5}`, "template_id", "message.template_id", "The template ID must be a string, you provided [5]."},
	{`{"template_id":"d-1"}`, "template_id", "message.template_id", "The Template ID must be a valid template id for your account. You provided [d-1]."},
	{`{"template_id":""}`, "template_id", "message.template_id", "Must be a valid template."},

	{setting(`"bcc":{"enable":true,"email":"nobody"}`), "mail_settings.bcc.email", "message.mail_settings.bcc.email", "The bcc email recipient object must at least have an email address and may also contain a name. " + exampleBox},
	{setting(`"bcc":{"enable":true}`), "mail_settings.bcc.email", "message.mail_settings.bcc.email", "You must include a recipient object when using the bcc mail setting."},
	{setting(`"bcc":{"enable":1}`), "mail_settings.bcc.enable", "message.mail_settings.bcc.enable", "The bcc enable param should be a boolean value."},
	{setting(`"bypass_list_management":{"enable":1}`), "mail_settings.bypass_list_management.enable", "message.mail_settings.bypass_list_management.enable", "The bypass list management enable param should be a boolean value."},
	{setting(`"footer":{"enable":"true"}`), "mail_settings.footer.enable", "message.mail_settings.footer.enable", "The footer enable param should be a boolean value."},
	{setting(`"footer":{"html":1}`), "mail_settings.footer.html", "message.mail_settings.footer.html", "The text/html version of your footer should be a string."},
	{setting(`"footer":{"text":1}`), "mail_settings.footer.text", "message.mail_settings.footer.text", "The text/plain version of your footer should be a string."},
	{setting(`"sandbox_mode":{"enable":"true"}`), "mail_settings.sandbox_mode.enable", "message.mail_settings.sandbox_mode.enable", "The sandbox mode enable param should be a boolean value."},
	{setting(`"spam_check":{"enable":1}`), "mail_settings.spam_check.enable", "message.mail_settings.spam_check.enable", "The spam check enable param should be a boolean value."},
	{setting(`"spam_check":{"post_to_url":1}`), "mail_settings.spam_check.post_to_url", "message.mail_settings.spam_check.post_to_url", "The spam check url must be a string."},
	{setting(`"spam_check":{"enable":true,"threshold":1}`), "mail_settings.spam_check.post_to_url", "message.mail_settings.spam_check.post_to_url", "You must include the url to post to when using the spam check mail setting."},
	{setting(`"spam_check":{"post_to_url":"ftp://x.test"}`), "mail_settings.spam_check.post_to_url", "message.mail_settings.spam_check.post_to_url", "The `post_to_url` parameter must start with `http://` or `https://`."},
	{setting(`"spam_check":{"threshold":11}`), "mail_settings.spam_check.threshold", "message.mail_settings.spam_check.threshold", "The spam check threshold is between 1 and 10, with the lower numbers being the most strict filtering."},
	{setting(`"spam_check":{"enable":true,"post_to_url":"https://x.test"}`), "mail_settings.spam_check.threshold", "message.mail_settings.spam_check.threshold", "You must include the spam check threshold  when using the spam check mail setting."},

	{tracking(`"click_tracking":{"enable":1}`), "tracking_settings.click_tracking.enable", "message.tracking_settings.click_tracking.enable", "The click tracking enable param should be a boolean value."},
	{tracking(`"click_tracking":{"enable_text":1}`), "tracking_settings.click_tracking.enable_text", "message.tracking_settings.click_tracking.enable_text", "The click tracking enable text must be a boolean value."},
	{tracking(`"ganalytics":{"enable":1}`), "tracking_settings.ganalytics.enable", "message.tracking_settings.ganalytics.enable", "The Google Analytics enable param must be a boolean value."},
	{tracking(`"ganalytics":{"utm_campaign":1}`), "tracking_settings.ganalytics.utm_campaign", "message.tracking_settings.ganalytics.utm_campaign", "The Google Analytics utm_campaign must be a string value."},
	{tracking(`"ganalytics":{"utm_content":1}`), "tracking_settings.ganalytics.utm_content", "message.tracking_settings.ganalytics.utm_content", "The Google Analytics utm_content must be a string value."},
	{tracking(`"ganalytics":{"utm_medium":1}`), "tracking_settings.ganalytics.utm_medium", "message.tracking_settings.ganalytics.utm_medium", "The Google Analytics utm_medium must be a string value."},
	{tracking(`"ganalytics":{"utm_source":1}`), "tracking_settings.ganalytics.utm_source", "message.tracking_settings.ganalytics.utm_source", "The Google Analytics utm_source must be a string value."},
	{tracking(`"ganalytics":{"utm_term":1}`), "tracking_settings.ganalytics.utm_term", "message.tracking_settings.ganalytics.utm_term", "The Google Analytics utm_term must be a string value."},
	{tracking(`"open_tracking":{"enable":1}`), "tracking_settings.open_tracking.enable", "message.tracking_settings.open_tracking.enable", "The open tracking enable param should be a boolean value."},
	{tracking(`"open_tracking":{"substitution_tag":1}`), "tracking_settings.open_tracking.substitution_tag", "message.tracking_settings.open_tracking.substitution_tag", "The open tracking substitution tag must be a string."},
	{tracking(`"subscription_tracking":{"enable":1}`), "tracking_settings.subscription_tracking.enable", "message.tracking_settings.subscription_tracking.enable", "The subscription tracking enable param should be a boolean value."},
	{tracking(`"subscription_tracking":{"html":1}`), "tracking_settings.subscription_tracking.html", "message.tracking_settings.subscription_tracking.html", "The subscription tracking unsubscribe content for text/html messages must be a string."},
	{tracking(`"subscription_tracking":{"substitution_tag":1}`), "tracking_settings.subscription_tracking.substitution_tag", "message.tracking_settings.subscription_tracking.substitution_tag", "The subscription tracking substitution tag must be a string value."},
	{tracking(`"subscription_tracking":{"text":1}`), "tracking_settings.subscription_tracking.text", "message.tracking_settings.subscription_tracking.text", "The subscription tracking unsubscribe content for text/plain messages must be a string."},

	// Seen on the wire and not documented.
	{block(`"to":[{"email":"nobody"}]`), "personalizations.0.to.0.email", "message.personalizations.to", "Does not contain a valid address."},
	{block(`"to":[{"name":"x"}]`), "personalizations.0.to.0.email", "message.personalizations.to", "The to email parameter is required."},
	{block(`"cc":[{"name":"x"}]`), "personalizations.0.cc.0.email", "message.personalizations.cc", "The cc email parameter is required."},
	{block(`"to":[{"email":["a@x.test"]}]`), "personalizations.0.to.0.email", "message.personalizations.to", "Invalid type. Expected: string, given: array."},
	{`{"from":{"email":"nobody"}}`, "from.email", "message.from", "The from email does not contain a valid address."},
	{`{"content":{"type":"text/plain","value":"v"}}`, "content", "message.content", "Invalid type. Expected: array, given: object."},
}

func attached(members string) string {
	for _, d := range []string{`"content":"YQ=="`, `"filename":"a"`} {
		name, _, _ := strings.Cut(d, ":")
		if !strings.Contains(members, name+":") {
			members = d + "," + members
		}
	}
	return `{"attachments":[{` + members + `}]}`
}

func setting(member string) string  { return `{"mail_settings":{` + member + `}}` }
func tracking(member string) string { return `{"tracking_settings":{` + member + `}}` }

func TestDocumentedErrors(t *testing.T) {
	t.Parallel()
	if n := len(documented); n < 107 {
		t.Errorf("only %d rows", n)
	}
	for _, row := range documented {
		r := refusal(t, edited(t, row.edit))
		want := Fault{Message: row.message, Field: row.field, Help: "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#" + row.anchor}
		found := false
		for _, f := range r.Faults {
			found = found || f == want
		}
		if r.Status != http.StatusBadRequest || !found {
			t.Errorf("%.120s: %d\n%s", row.edit, r.Status, cmp.Diff([]Fault{want}, r.Faults))
		}
		// What is wrong in one place is said once, and nothing else is made up. Groups
		// do not exist at all, and of a to that is none there is none.
		if len(r.Faults) > 1 && !strings.HasPrefix(row.field, "asm.groups") {
			t.Errorf("%.120s: also %v", row.edit, r.Faults)
		}
	}
}

// What is wrong with the request as a whole.
func TestNotARequest(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]Refusal{
		"":                              {400, []Fault{{Message: "Bad Request"}}},
		"{":                             {400, []Fault{{Message: "Bad Request"}}},
		"[]":                            {400, []Fault{{Message: "Bad Request"}}},
		good + "{}":                     {400, []Fault{{Message: "Bad Request"}}},
		"\ufeff" + good:                 {400, []Fault{{Message: "Bad Request"}}}, // AP-08: BOM
		`{"send_at":NaN}`:               {400, []Fault{{Message: "Bad Request"}}}, // AP-08: NaN
		`{"subject":"` + "\xff\"}":      {415, []Fault{{Message: "Invalid UTF8 in request", Field: "Encoding"}}},
		`{"subject":"a","subject":"b"}`: {400, []Fault{{Message: "This member is there twice.", Field: "subject"}}}, // AP-08
		`{"a":[{},{"x":1,"\u0078":2}]}`: {400, []Fault{{Message: "This member is there twice.", Field: "a.1.x"}}},   // AP-08: one spelled with an escape
		`{"headers":{"A":"1","A":"2"}}`: {400, []Fault{{"The headers cannot contain duplicate keys.", "headers", helpURL + "message.headers"}}},
		`{"personalizations":[{"headers":{"A":"1","A":"2"}}]}`:      {400, []Fault{{"The headers cannot contain duplicate keys.", "personalizations.0.headers", helpURL + "message.personalizations.headers"}}},
		strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33): {400, []Fault{{Message: "Nested deeper than 32 levels.", Field: strings.TrimSuffix(strings.Repeat("a.", 32), ".")}}}, // AP-08
	} {
		r := refusal(t, []byte(body))
		if diff := cmp.Diff(want, *r); diff != "" {
			t.Errorf("%.60q: %s", body, diff)
		}
	}
}

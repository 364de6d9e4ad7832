package v3

import "testing"

// withoutBoth are the changes that a person makes without showing both factors
// again, each with why a stolen session may. Every other one needs them: a new route
// is in this table, or has StepUp.
var withoutBoth = map[string]string{
	"DELETE /v3/api_keys/{api_key_id}":       "a key in a thief's hands is stopped at once, by whoever sees it",
	"POST /v3/api_keys/{api_key_id}/disable": "the same, and it can be undone",

	"POST /v3/api_keys/{api_key_id}/test": "one small letter of fixed words",

	"POST /v3/subusers":                            "without a key or a person it may nothing; both need both factors",
	"PUT /v3/user/username":                        "a name: what anybody may do stays",
	"PATCH /v3/user/profile":                       "words",
	"POST /v3/audit/reports":                       "keeps what may be read anyway",
	"POST /v3/watch/findings/{finding_id}/confirm": "takes nothing off: what was found stays answered",
	"POST /v3/watch/replay":                        "computes, and keeps nothing",

	"POST /v3/whitelabel/domains/{domain_id}/validate": "looks at the DNS, as is done each day",
	"POST /v3/whitelabel/dns/email":                    "mails what is public once it is published",
	"POST /v3/verified_senders/resend/{id}":            "mails the link to the same address again",

	"POST /v3/ips/warmup":                "how fast mail leaves, not whose",
	"DELETE /v3/ips/warmup/{ip_address}": "the same",

	"POST /v3/mail/send":                 "what the scope is for",
	"POST /v3/mail/batch":                "a number",
	"POST /v3/messages/{msg_id}/retry":   "mail that was accepted, sooner",
	"POST /v3/messages/{msg_id}/hold":    "mail that was accepted, later",
	"POST /v3/messages/{msg_id}/release": "mail that was accepted; who may send stays as it is",
	"POST /v3/messages/{msg_id}/cancel":  "mail that was accepted",
	"POST /v3/messages/retry":            "the same, of many: how many is no matter of who may send",
	"POST /v3/messages/hold":             "the same, of many",
	"POST /v3/messages/release":          "the same, of many",
	"POST /v3/messages/cancel":           "the same, of many",
}

// AC-07: what a stolen session must not do: change who may send, as whom, from where
// and how much, who may log in, what is recorded, and where reports and alerts go.
func TestRoutesThatNeedBothFactors(t *testing.T) {
	t.Parallel()
	stale := map[string]bool{}
	for name := range withoutBoth {
		stale[name] = true
	}
	for _, r := range Routes() {
		name := r.Method + " " + r.Pattern
		why, free := withoutBoth[name]
		delete(stale, name)
		switch {
		case r.OperatorOnly, r.Open: // no person comes there with a session
			if free {
				t.Errorf("%s is in the table, and no person can call it", name)
			}
		case r.StepUp && free:
			t.Errorf("%s needs both factors, and the table says why not: %s", name, why)
		case !r.StepUp && !free && r.Method != "GET":
			t.Errorf("%s can be called by a person who has not shown both factors, and nothing says why", name)
		}
	}
	for name := range stale {
		t.Errorf("there is no route %s", name)
	}
}

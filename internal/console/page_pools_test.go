package console

import (
	"fmt"
	"strings"
	"testing"
)

const warmPools = `{"result":[
	{"name":"bulk","shared":false,"waiting":7,"backing_off":[],"addresses":[
		{"address":"203.0.113.7","helo":"<b>out7</b>.example.com","state":"warming","warmup":{"day":12,"days":41,"per_hour":1134,"held_days":1,"until":"2026-04-04T00:00:00Z"}},
		{"address":"203.0.113.8","helo":"out8.example.com","state":"active"},
		{"address":"203.0.113.9","helo":"out9.example.com","state":"disabled","disabled":true},
		{"address":"2001:db8::8","helo":"out8.example.com","state":"active"}]},
	{"name":"common","shared":true,"waiting":0,"backing_off":[],"addresses":[{"address":"192.0.2.25","helo":"mail.example.com","state":"active"}]}]}`

func init() {
	samples["POST /v3/ips/warmup"] = `[{"ip":"203.0.113.8","start_date":1772600000}]`
	samples["DELETE /v3/ips/warmup/203.0.113.7"] = `{}`
}

func TestPoolWarmup(t *testing.T) {
	t.Parallel()
	answers := sampleAnswers()
	answers["GET /v3/pools"] = warmPools
	w := newPages(t, answers)
	r := w.get("/pools").want(200).says("warming up", "day 12 of 41, 1 134 an hour to each destination; it did not grow on 1 day", "in use", "switched off", "<b>out7</b>.example.com", "postern pool warmup start")
	r.shows("a[href=/pools/203.0.113.7/warm]", "End the warm-up of 203.0.113.7").shows("a[href=/pools/203.0.113.8/warm-up]", "Warm 203.0.113.8 up")
	if meters := r.all("meter"); len(meters) != 1 || attribute(meters[0], "value") != "29" {
		t.Errorf("%d bars", len(meters))
	}
	for _, no := range []string{"203.0.113.9/warm", "192.0.2.25/warm"} { // one is off, the other is not the account's
		if strings.Contains(r.body, no) {
			t.Errorf("there is %s", no)
		}
	}
	// The last warm address of its family is warmed up with a warning only.
	w.get("/pools/203.0.113.8/warm-up").want(200).says("No other warm address is left in bulk")
	w.get("/pools/2001:db8::8/warm-up").want(200).says("No other warm address is left in bulk")
	w.get("/pools/203.0.113.7/warm-up").want(200).says("leaves from the other addresses")
	w.get("/pools/203.0.113.7/warm").want(200).says("without a limit of its own").shows("form button.danger", "End it")
	for _, odd := range []string{"/pools/198.51.100.1/warm-up", "/pools/x/warm-up", "/pools/%3Cscript%3E/warm"} {
		w.get(odd).want(404)
	}
	w.post("/pools/203.0.113.8/warm-up").want(303)
	if calls := w.api.made("POST /v3/ips/warmup"); len(calls) != 1 || !strings.Contains(fmt.Sprint(calls[0].Body), "203.0.113.8") {
		t.Errorf("%+v", calls)
	}
	w.post("/pools/203.0.113.7/warm").want(303)
	if calls := w.api.made("DELETE /v3/ips/warmup/203.0.113.7"); len(calls) != 1 {
		t.Errorf("%+v", calls)
	}
}

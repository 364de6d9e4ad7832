package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// smtplibResult is what testdata/smtplib_client.py prints.
type smtplibResult struct {
	Refused []string `json:"refused"`
	Codes   []int    `json:"codes"`
	Good    []string `json:"good"`
	Code    int      `json:"code"`
	Text    string   `json:"text"`
}

// smtplib runs one scenario.
func (d *demo) smtplib(t testing.TB, scenario, subject string, implicit bool, change func(conf map[string]any)) smtplibResult {
	t.Helper()
	b, err := json.Marshal(d.ready)
	if err != nil {
		t.Fatal(err)
	}
	conf := map[string]any{}
	if err := json.Unmarshal(b, &conf); err != nil {
		t.Fatal(err)
	}
	conf["scenario"], conf["subject"], conf["implicit"] = scenario, subject, implicit
	if change != nil {
		change(conf)
	}
	if b, err = json.Marshal(conf); err != nil {
		t.Fatal(err)
	}
	r := command{args: []string{external(t, "python3"), "testdata/smtplib_client.py"}, stdin: string(b)}.run(t)
	if r.code != 0 {
		t.Fatalf("%s:\n%s", scenario, r.out)
	}
	var res smtplibResult
	if err := json.Unmarshal([]byte(r.out), &res); err != nil {
		t.Fatalf("%v in %q", err, r.out)
	}
	return res
}

func TestPythonSmtplib(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	_, domain, _ := strings.Cut(d.To, "@")
	t.Run("STARTTLS", func(t *testing.T) {
		tok := token("smtplib")
		d.smtplib(t, "plain", tok, false, nil)
		if got := d.one(t, tok).body(); got != "plain\r\n" {
			t.Errorf("body %q", got)
		}
	})
	t.Run("implicit TLS, ten messages in one session", func(t *testing.T) {
		tok := token("smtplib")
		d.smtplib(t, "several", tok, true, nil)
		d.arrived(t, tok, 10)
	})
	t.Run("8BITMIME", func(t *testing.T) {
		tok := token("smtplib-8bit")
		d.smtplib(t, "eight_bit", tok, false, nil)
		if got := d.one(t, tok).body(); got != "caf\u00e9 \u2603\r\n" {
			t.Errorf("body %q: its octets changed", got)
		}
	})
	t.Run("SMTPUTF8", func(t *testing.T) {
		tok := token("smtplib-utf8")
		to := "jos\u00e9@" + domain
		d.smtplib(t, "smtputf8", tok, false, func(conf map[string]any) { conf["utf8_to"] = to })
		got := d.one(t, tok)
		if !slices.Equal(got.RcptTo, []string{to}) {
			t.Errorf("recipients %q, want %q", got.RcptTo, to)
		}
		if town := got.field("X-Town"); !slices.Equal(town, []string{"Z\u00fcrich"}) {
			t.Errorf("X-Town %q: its octets changed", town)
		}
	})
	t.Run("100 recipients, three refused", func(t *testing.T) {
		tok := token("smtplib-many")
		res := d.smtplib(t, "many", tok, true, nil)
		if len(res.Refused) != 3 || len(res.Codes) == 0 || res.Codes[0] < 500 {
			t.Errorf("refused %q with %v, want the three bad ones with 5yz", res.Refused, res.Codes)
		}
		var got []string
		for _, r := range d.atLeast(t, tok, res.Good) {
			got = append(got, r.RcptTo...)
		}
		slices.Sort(got)
		if !slices.Equal(got, res.Good) {
			t.Errorf("%d deliveries, want each of %d recipients once:\n%q", len(got), len(res.Good), got)
		}
	})
	t.Run("forged From", func(t *testing.T) {
		res := d.smtplib(t, "forged", token("smtplib-forged"), false, nil)
		if res.Code != 550 || !strings.HasPrefix(res.Text, strings.TrimPrefix(replyForged, "550 ")) {
			t.Errorf("%d %s", res.Code, res.Text)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		res := d.smtplib(t, "wrong_key", "", true, func(conf map[string]any) { conf["api_key"] = d.wrongKey() })
		if res.Code != 535 || !strings.HasPrefix(res.Text, strings.TrimPrefix(replyWrongKey, "535 ")) {
			t.Errorf("%d %s", res.Code, res.Text)
		}
	})
}

package export

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"postern/internal/relay"
	"postern/internal/secret"
)

// What is sent is read by the definitions of OpenTelemetry itself.
func TestOTLPIsOTLP(t *testing.T) {
	t.Parallel()
	var got logs.LogsData
	var path, key string
	answer, status := `{}`, http.StatusOK
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, key = r.URL.Path, r.Header.Get("Api-Key")
		body, _ := io.ReadAll(r.Body)
		got.Reset()
		if err := protojson.Unmarshal(body, &got); err != nil { // a member that is not there is an error
			t.Errorf("%v in %s", err, body)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer web.Close()
	o := NewOTLP(OTLPConfig{URL: web.URL, Headers: map[string]secret.Redacted{"api-key": "s3cret"}, Hostname: "relay.example.test", Version: "1.2", Client: web.Client()})
	at := time.Date(2026, 11, 22, 10, 11, 12, 13, time.UTC)
	records := some(2, at)
	records[1].Severity, records[1].Account = Alert, relay.AccountID{ID: relay.NewID(at)}
	if _, err := o.Send(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if path != "/v1/logs" || key != "s3cret" {
		t.Errorf("path %q, key %q", path, key)
	}
	rs := got.GetResourceLogs()
	if len(rs) != 1 || len(rs[0].GetScopeLogs()) != 1 || len(rs[0].GetScopeLogs()[0].GetLogRecords()) != 2 {
		t.Fatalf("%+v", &got)
	}
	if a := rs[0].GetResource().GetAttributes()[0]; a.GetKey() != "service.name" || a.GetValue().GetStringValue() != "postern" {
		t.Errorf("%v", a)
	}
	one, two := rs[0].GetScopeLogs()[0].GetLogRecords()[0], rs[0].GetScopeLogs()[0].GetLogRecords()[1]
	if one.GetTimeUnixNano() != uint64(at.UnixNano()) || one.GetBody().GetStringValue() != "who\nwhere <b>" || one.GetEventName() != "login.ok" {
		t.Errorf("%v", one)
	}
	if one.GetSeverityNumber() != logs.SeverityNumber_SEVERITY_NUMBER_INFO || two.GetSeverityNumber() != logs.SeverityNumber_SEVERITY_NUMBER_ERROR {
		t.Errorf("severities %v, %v", one.GetSeverityNumber(), two.GetSeverityNumber())
	}
	if len(two.GetAttributes()) != 4 || one.GetAttributes()[0].GetValue().GetStringValue() != "login-a" {
		t.Errorf("%v", two.GetAttributes())
	}

	for name, c := range map[string]struct {
		status int
		answer string
		fails  bool
	}{
		"part of it":             {200, `{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}`, true},
		"none rejected":          {200, `{"partialSuccess":{"rejectedLogRecords":"0"}}`, false},
		"a warning":              {200, `{"partialSuccess":{"errorMessage":"be nice"}}`, false},
		"nothing to say":         {204, ``, false},
		"no room":                {503, ``, true},
		"somewhere else":         {302, ``, true},
		"accepted, says a proxy": {202, ``, true},
	} {
		status, answer = c.status, c.answer
		if _, err := o.Send(t.Context(), records); (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

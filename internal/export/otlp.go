package export

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postern/internal/secret"
	"postern/internal/webhook"
)

// OTLPConfig says where records go as OpenTelemetry logs (OTLP/HTTP with JSON,
// OTLP 1.x: POST <url>/v1/logs).
type OTLPConfig struct {
	URL      string
	Headers  map[string]secret.Redacted // of authentication
	Hostname string                     // of this relay
	Version  string                     // of postern
	Client   *http.Client
}

// OTLP sends records to a collector.
type OTLP struct{ cfg OTLPConfig }

// NewOTLP makes a target. A URL without a path gets that of the specification.
func NewOTLP(c OTLPConfig) *OTLP {
	if rest := strings.TrimSuffix(c.URL, "/"); strings.Count(rest, "/") == 2 {
		c.URL = rest + "/v1/logs"
	}
	return &OTLP{c}
}

// The JSON encoding of opentelemetry.proto.collector.logs.v1: 64-bit integers are
// texts.
type (
	otlpLogs struct {
		ResourceLogs []otlpResourceLogs `json:"resourceLogs"`
	}
	otlpResourceLogs struct {
		Resource  otlpResource    `json:"resource"`
		ScopeLogs []otlpScopeLogs `json:"scopeLogs"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeLogs struct {
		Scope      otlpScope    `json:"scope"`
		LogRecords []otlpRecord `json:"logRecords"`
	}
	otlpScope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	otlpRecord struct {
		TimeUnixNano   string          `json:"timeUnixNano"`
		SeverityNumber int             `json:"severityNumber"`
		SeverityText   string          `json:"severityText"`
		EventName      string          `json:"eventName"`
		Body           otlpValue       `json:"body"`
		Attributes     []otlpAttribute `json:"attributes"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String string `json:"stringValue"`
	}
)

func attr(key, value string) otlpAttribute { return otlpAttribute{key, otlpValue{value}} }

// otlpSeverities are the numbers and names of the log data model.
var otlpSeverities = map[Severity]struct {
	number int
	text   string
}{Alert: {17, "ERROR"}, Warning: {13, "WARN"}, Notice: {10, "INFO2"}, Info: {9, "INFO"}}

func (t *OTLP) encode(records []Record) ([]byte, error) {
	out := make([]otlpRecord, len(records))
	for i := range records {
		r := &records[i]
		s := otlpSeverities[r.Severity]
		out[i] = otlpRecord{
			TimeUnixNano: strconv.FormatInt(r.At.UnixNano(), 10), SeverityNumber: s.number, SeverityText: s.text, EventName: r.Name, Body: otlpValue{r.Text},
			Attributes: []otlpAttribute{attr("log.record.uid", r.ID), attr("postern.stream", string(r.Stream))},
		}
		if len(r.Body) > 0 { // one that was too large goes without it
			out[i].Attributes = append(out[i].Attributes, attr("postern.record", string(r.Body)))
		}
		if !r.Account.IsZero() {
			out[i].Attributes = append(out[i].Attributes, attr("postern.account.id", r.Account.String()))
		}
	}
	return json.Marshal(otlpLogs{[]otlpResourceLogs{{
		Resource:  otlpResource{[]otlpAttribute{attr("service.name", "postern"), attr("service.version", t.cfg.Version), attr("host.name", t.cfg.Hostname)}},
		ScopeLogs: []otlpScopeLogs{{Scope: otlpScope{"postern/export", t.cfg.Version}, LogRecords: out}},
	}}})
}

// otlpBytes is how much of records goes into one request, but for one that a single
// record makes larger: collectors take 20 MiB unless they are told otherwise, and
// JSON in a text is longer than by itself.
const otlpBytes = 2 << 20

// Send implements Target.
func (t *OTLP) Send(ctx context.Context, records []Record) (taken int, err error) {
	for taken < len(records) {
		n := taken + 1
		for size := octets(&records[taken]); n < len(records); n++ {
			if size += octets(&records[n]); size > otlpBytes {
				break
			}
		}
		if err := t.post(ctx, records[taken:n]); err != nil {
			return taken, err
		}
		taken = n
	}
	return taken, nil
}

func octets(r *Record) int { return len(r.Body) + len(r.Text) }

// post makes one request. A collector that takes only a part says how many records it
// rejects, not which.
// deviation: OTLP 1.x, "Partial Success": such a request must not be sent again. It is,
// in parts, so that the rejected records can be named; receivers know the others by
// their log.record.uid.
func (t *OTLP) post(ctx context.Context, records []Record) error {
	body, err := t.encode(records)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range t.cfg.Headers {
		req.Header.Set(name, value.Reveal())
	}
	answer, err := t.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return err
	}
	if err := otlpFailure(answer, len(records)); err != nil {
		return err
	}
	var partial struct {
		PartialSuccess struct {
			Rejected json.RawMessage `json:"rejectedLogRecords"`
		} `json:"partialSuccess"`
	}
	if len(text) > 0 && json.Unmarshal(text, &partial) == nil {
		if n := strings.Trim(string(partial.PartialSuccess.Rejected), `"`); n != "" && n != "0" && n != "null" {
			return &Refusal{Records: len(records), Status: answer.StatusCode, Judged: true}
		}
	}
	return nil
}

// otlpFailure is what the status of an answer to a request of n records says: no
// failure, a refusal for good, or that all is to be sent again (OTLP 1.x,
// "Failures": 429, 502, 503 and 504, and nothing else of 4xx and 5xx). Those that are
// about the address, the credentials or the protocol refuse no record.
func otlpFailure(answer *http.Response, n int) error {
	err := fmt.Errorf("the collector answered %d", answer.StatusCode)
	switch s := answer.StatusCode; s {
	case http.StatusOK, http.StatusNoContent:
		// The specification has 200; receivers that have nothing to say say 204. 202 is
		// somebody's in between, who does not have it yet.
		return nil
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusGone,
		http.StatusUnsupportedMediaType, http.StatusMisdirectedRequest, http.StatusUpgradeRequired, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported,
		http.StatusNetworkAuthenticationRequired:
		return fmt.Errorf("%w: are its address and the credentials for it right?", err)
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &Later{After: webhook.RetryAfter(answer.Header, time.Now()), Err: err}
	default:
		if s < 400 {
			return err
		}
		return &Refusal{Records: n, Status: s, Judged: judged(s)}
	}
}

// Close implements Target.
func (t *OTLP) Close() error {
	t.cfg.Client.CloseIdleConnections()
	return nil
}

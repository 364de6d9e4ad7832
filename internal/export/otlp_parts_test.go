package export

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// A batch is sent in requests that collectors take, all of it, in order.
func TestOTLPSendsParts(t *testing.T) {
	t.Parallel()
	var ids []string
	var sizes []int
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var got logs.LogsData
		if err := protojson.Unmarshal(body, &got); err != nil {
			t.Error(err)
			return
		}
		sizes = append(sizes, len(body))
		for _, l := range got.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords() {
			ids = append(ids, l.GetAttributes()[0].GetValue().GetStringValue())
		}
	}))
	defer web.Close()
	o := NewOTLP(OTLPConfig{URL: web.URL, Client: web.Client()})
	var records []Record
	var want []string
	for i, size := range []int{1, otlpBytes - 2, 1, 1, 3 * otlpBytes, 1, otlpBytes / 2, otlpBytes / 2, otlpBytes / 2} {
		want = append(want, "event-1-"+strconv.Itoa(i))
		records = append(records, Record{Stream: Events, ID: want[i], At: time.Now(), Body: []byte(strings.Repeat("x", size))})
	}
	if _, err := o.Send(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	// 0 to 2, 3, 4 alone, 5 and 6, 7 and 8
	if !slices.Equal(ids, want) || len(sizes) != 5 {
		t.Errorf("%q in requests of %d octets", ids, sizes)
	}
	for i, n := range sizes {
		if n > otlpBytes+otlpBytes/4 && i != 2 {
			t.Errorf("request %d has %d octets", i, n)
		}
	}
	if _, err := o.Send(t.Context(), nil); err != nil || len(sizes) != 5 {
		t.Errorf("nothing to send: %v, %d requests", err, len(sizes))
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

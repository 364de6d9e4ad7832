package demo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"postern/internal/httpx"
)

func TestPublishRecords(t *testing.T) {
	t.Parallel()
	zone, err := newZone("test")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{zone: zone}
	for name, c := range map[string]struct {
		kind, body string
		status     int // 0: it is published
	}{
		"record":        {"application/json", `{"name":"em1.shop.test","type":"CNAME","values":["u1.mail.postern.test"]}`, 0},
		"no JSON":       {"application/json", `name=x`, http.StatusBadRequest},
		"a page's form": {"text/plain", `{"name":"em2.shop.test","type":"CNAME","values":["x.test"]}`, http.StatusUnsupportedMediaType},
		"other zone":    {"application/json", `{"name":"shop.example","type":"A","values":["192.0.2.1"]}`, http.StatusBadRequest},
		"too large":     {"application/json", `{"name":"` + strings.Repeat("x", maxPublication) + `"}`, http.StatusRequestEntityTooLarge},
	} {
		r := httptest.NewRequest(http.MethodPost, "/demo/dns", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		err := w.publishRecords(httptest.NewRecorder(), r)
		if refusal := httpx.Refused(err); c.status == 0 && err != nil || c.status != 0 && (refusal == nil || refusal.Status != c.status) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text := zone.String(); !strings.Contains(text, "em1.shop") || strings.Contains(text, "em2.shop") {
		t.Errorf("zone:\n%s", text)
	}
}

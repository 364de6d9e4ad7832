package demo

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"

	"postern/internal/httpx"
)

// publication is what POST /demo/dns takes: the records of one name and type. No
// values remove them.
type publication struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Values []string `json:"values"`
}

// maxPublication bounds a request to publish, in octets.
const maxPublication = 64 << 10

// publishRecords does what one does at one's DNS host: for those who try the demo with
// a domain of their own below .test. Only JSON is taken, which no page of another
// origin can send unasked.
func (w *world) publishRecords(rw http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return httpx.Refuse(http.StatusUnsupportedMediaType, "send JSON")
	}
	b, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxPublication))
	if err != nil {
		return httpx.Refuse(http.StatusRequestEntityTooLarge, "too large")
	}
	var p publication
	if err := json.Unmarshal(b, &p); err != nil {
		return httpx.Refuse(http.StatusBadRequest, "not a publication: name, type, values")
	}
	if err := w.zone.Set(p.Name, p.Type, recordTTL, p.Values...); err != nil {
		return httpx.Refuse(http.StatusBadRequest, err.Error())
	}
	rw.WriteHeader(http.StatusNoContent)
	return nil
}

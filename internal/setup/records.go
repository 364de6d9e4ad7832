package setup

import "postern/internal/relay"

// Record is one DNS record to publish.
type Record struct {
	Name     string `json:"name"` // whole, without the last dot
	Type     string `json:"type"`
	Value    string `json:"value"` // the whole text of a TXT record, without quotes
	For      string `json:"for"`
	Required bool   `json:"required"`
}

func records(rs []relay.DNSRecord) []Record {
	out := make([]Record, len(rs))
	for i, r := range rs {
		out[i] = Record{Name: r.Host, Type: r.Type, Value: r.Data, For: r.For, Required: r.Required}
	}
	return out
}

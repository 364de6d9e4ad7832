package demo

import (
	"encoding/json"
	"fmt"

	"postern/internal/secret"
)

// Ready is what the ready file says, for scripts. SMTP and DNS are
// "127.0.0.1:port", HTTP is "localhost:port".
type Ready struct {
	SMTPStartTLS   string `json:"smtp_starttls"`
	SMTPTLS        string `json:"smtp_tls"`
	SMTPMX         string `json:"smtp_mx"` // where bounces come back
	HTTP           string `json:"http"`
	Admin          string `json:"admin"` // metrics and readiness
	Sink           string `json:"sink"`
	DNS            string `json:"dns"`
	Hostname       string `json:"hostname"`
	CAFile         string `json:"ca_file"`
	Username       string `json:"username"`
	APIKey         string `json:"api_key"`
	From           string `json:"from"`            // the key may send as it
	UnverifiedFrom string `json:"unverified_from"` // another tenant's
	To             string `json:"to"`              // delivered to the sink
	DataDir        string `json:"data_dir"`
}

// write puts the file in place atomically, closed to others: it holds a key.
func (r Ready) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := secret.WriteFileAtomic(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}

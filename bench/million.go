package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// million is what bench/million measured: a relay with a long queue.
type million struct {
	Messages     int     `json:"messages"`
	BodyOctets   int     `json:"body_octets"`
	DatabaseMiB  int64   `json:"database_mib"`
	ReadySeconds float64 `json:"restart_to_ready_seconds"`
	RSSMiB       int64   `json:"rss_mib"`
	PeakMiB      int64   `json:"rss_peak_mib"`
}

// readMillion reads what bench/million printed.
func readMillion(file string) (*million, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var m million
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if m.Messages == 0 {
		return nil, fmt.Errorf("%s: no measurement", file)
	}
	return &m, nil
}

// The budgets for a million queued messages of 1 KB.
const (
	maxQueueMiB     = 300
	maxReadySeconds = 5
)

// write adds the section to the page.
func (m *million) write(b *strings.Builder) {
	word := func(met bool) string {
		if met {
			return "met"
		}
		return "**not met**"
	}
	fmt.Fprintf(b, "\n## a queue of %d messages, bodies of %d octets\n\n", m.Messages, m.BodyOctets)
	fmt.Fprintf(b, "%d MiB of data base. Memory is that of the process after the start, and the most it had since.\n\n", m.DatabaseMiB)
	b.WriteString("| budget | measured | |\n|---|---|---|\n")
	fmt.Fprintf(b, "| memory ≤ %d MiB | %d MiB, %d at most | %s |\n", maxQueueMiB, m.RSSMiB, m.PeakMiB, word(m.PeakMiB <= maxQueueMiB))
	fmt.Fprintf(b, "| restart to ready ≤ %d s | %.1f s | %s |\n", maxReadySeconds, m.ReadySeconds, word(m.ReadySeconds <= maxReadySeconds))
}

package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Report is what a run found. Durations are in the units of their names.
type Report struct {
	Addr             string    `json:"addr"`
	TLS              TLSMode   `json:"tls"`
	Connections      int       `json:"connections"`
	Messages         int       `json:"messages_per_connection"`
	Size             int       `json:"size"`
	OnePerConnection bool      `json:"one_per_connection"`
	CPUs             int       `json:"cpus"`
	StartedAt        time.Time `json:"started_at"`

	Seconds           float64 `json:"seconds"` // until the last answer
	Accepted          int64   `json:"accepted"`
	Failed            int64   `json:"failed"` // refused, or never sent because no connection was to be had
	AcceptedPerSecond float64 `json:"accepted_per_second"`

	Setup  Summary `json:"setup"`  // connect, TLS, AUTH
	Accept Summary `json:"accept"` // end of data to 250

	Generator Spent   `json:"generator"`
	Server    *Server `json:"server,omitempty"`

	Errors []ErrorCount `json:"errors,omitempty"`

	accept *Histogram
}

// Spent is CPU time.
type Spent struct {
	CPU           float64 `json:"cpu_seconds"`
	CPUPerMessage float64 `json:"cpu_us_per_message"`
}

// per fills in the share of each message.
func (s Spent) per(messages int64) Spent {
	if messages > 0 {
		s.CPUPerMessage = s.CPU * 1e6 / float64(messages)
	}
	return s
}

// Server is what the server's process, with its children, spent and took.
type Server struct {
	Spent
	RSSBefore int64 `json:"rss_before"` // octets
	RSSPeak   int64 `json:"rss_peak"`   // largest of those seen twice a second
	RSSAfter  int64 `json:"rss_after"`
	// RSSIdle is the memory with all connections idle, at the end of Hold; RSSPerIdle
	// the growth since before the run for each of them.
	RSSIdle    int64 `json:"rss_idle,omitempty"`
	RSSPerIdle int64 `json:"rss_per_idle_connection,omitempty"`
}

func serverSpent(before, after, idle Usage, peak int64, connections int, messages int64) *Server {
	s := &Server{
		Spent:     Spent{CPU: (after.CPU - before.CPU).Seconds()}.per(messages),
		RSSBefore: before.RSS, RSSPeak: max(peak, after.RSS), RSSAfter: after.RSS,
	}
	if idle.RSS > 0 {
		s.RSSIdle = idle.RSS
		s.RSSPerIdle = (idle.RSS - before.RSS) / int64(connections)
	}
	return s
}

// ErrorCount is one kind of failure.
type ErrorCount struct {
	Text  string `json:"text"`
	Count int64  `json:"count"`
}

// maxErrors is how many kinds of failure are kept; the rest is counted as one.
const maxErrors = 10

// errorCounts counts failures by their words.
type errorCounts struct {
	mu    sync.Mutex
	kinds map[string]int64
}

func (e *errorCounts) add(err error) {
	text := err.Error()
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kinds == nil {
		e.kinds = map[string]int64{}
	}
	if _, known := e.kinds[text]; !known && len(e.kinds) >= maxErrors {
		text = "others"
	}
	e.kinds[text]++
}

func (e *errorCounts) list() []ErrorCount {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []ErrorCount
	for text, n := range e.kinds {
		all = append(all, ErrorCount{text, n})
	}
	slices.SortFunc(all, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	return all
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	per := fmt.Sprintf("%d messages each", r.Messages)
	if r.OnePerConnection {
		per += ", a connection for every message"
	}
	fmt.Fprintf(&b, "%s (%s): %d connections, %s, %d octets\n\n", r.Addr, r.TLS, r.Connections, per, r.Size)
	fmt.Fprintf(&b, "accepted   %d in %.2f s: %.0f/s\n", r.Accepted, r.Seconds, r.AcceptedPerSecond)
	if r.Failed > 0 {
		fmt.Fprintf(&b, "failed     %d\n", r.Failed)
	}
	line := func(name string, s Summary) {
		fmt.Fprintf(&b, "%-10s p50 %s, p90 %s, p99 %s, max %s (%d)\n", name, us(s.P50), us(s.P90), us(s.P99), us(s.Max), s.Count)
	}
	line("set-up", r.Setup)
	line("250 after", r.Accept)
	fmt.Fprintf(&b, "generator  %.2f s CPU, %.0f µs a message\n", r.Generator.CPU, r.Generator.CPUPerMessage)
	if s := r.Server; s != nil {
		fmt.Fprintf(&b, "server     %.2f s CPU, %.0f µs a message; memory %s before, %s at most, %s after\n",
			s.CPU, s.CPUPerMessage, mib(s.RSSBefore), mib(s.RSSPeak), mib(s.RSSAfter))
		if s.RSSIdle > 0 {
			fmt.Fprintf(&b, "idle       %s with all connections idle: %.1f KiB each\n", mib(s.RSSIdle), float64(s.RSSPerIdle)/1024)
		}
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "error      %d × %s\n", e.Count, strings.ReplaceAll(e.Text, "\n", " / "))
	}
	if r.accept != nil && r.accept.n > 0 {
		b.WriteString("\nend of data to 250:\n")
		writeChart(&b, r.accept.rows())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// chartWidth is the length of the longest bar.
const chartWidth = 50

func writeChart(b *strings.Builder, rows []row) {
	var most int64 = 1
	for _, r := range rows {
		most = max(most, r.count)
	}
	for _, r := range rows {
		bar := strings.Repeat("█", int(r.count*chartWidth/most))
		if bar == "" && r.count > 0 {
			bar = "▏"
		}
		fmt.Fprintf(b, "  ≤ %9s %8d %s\n", us(r.to.Microseconds()), r.count, bar)
	}
}

// us writes microseconds with a unit that suits them.
func us(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d µs", n)
	case n < 100_000:
		return fmt.Sprintf("%.1f ms", float64(n)/1000)
	case n < 1_000_000:
		return fmt.Sprintf("%d ms", n/1000)
	}
	return fmt.Sprintf("%.1f s", float64(n)/1e6)
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

package app

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"postern/internal/relay"
	"postern/internal/smtpserver"
	"postern/internal/store"
)

// metrics is what /metrics shows. Every label comes from a closed set.
type metrics struct {
	registry *prometheus.Registry

	connections *prometheus.CounterVec // listener
	open        *prometheus.GaugeVec   // listener
	refused     *prometheus.CounterVec // listener, why
	handshakes  *prometheus.CounterVec // listener, version
	replies     *prometheus.CounterVec // listener, class
	messages    *prometheus.CounterVec // listener, class
	octets      *prometheus.CounterVec // listener
	panics      *prometheus.CounterVec // listener
	accepts     *prometheus.CounterVec // listener
	logins      *prometheus.CounterVec // protocol, result
	alerts      *prometheus.CounterVec // kind
	attempts    *prometheus.CounterVec // outcome
	duration    *prometheus.HistogramVec
	ready       prometheus.Gauge
	active      prometheus.Gauge
	batchOps    prometheus.Histogram
	batchTime   prometheus.Histogram
	waiting     prometheus.Gauge
	certReloads *prometheus.CounterVec // result
	requests    *prometheus.CounterVec // route, status
	checks      *prometheus.CounterVec // result
	findings    *prometheus.CounterVec // rule, severity
	behind      *prometheus.GaugeVec   // consumer, stream
	behindFor   *prometheus.GaugeVec   // consumer, stream
	leftOut     *prometheus.CounterVec // consumer, stream
}

func newMetrics(a *App) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	gauge := func(name, help string) prometheus.Gauge {
		v := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		v := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		m.registry.MustRegister(v)
		return v
	}
	m.connections = counter("postern_smtpserver_connections_total", "SMTP connections admitted.", "listener")
	m.open = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "postern_smtpserver_connections_open", Help: "SMTP connections open now."}, []string{"listener"})
	m.registry.MustRegister(m.open)
	m.refused = counter("postern_smtpserver_refused_total", "SMTP connections not admitted.", "listener", "why")
	m.handshakes = counter("postern_smtpserver_handshakes_total", "TLS handshakes, by version; failed ones as \"failed\".", "listener", "version")
	m.replies = counter("postern_smtpserver_replies_total", "SMTP replies by class.", "listener", "class")
	m.messages = counter("postern_smtpserver_messages_total", "Message contents answered, by class of the reply.", "listener", "class")
	m.octets = counter("postern_smtpserver_message_octets_total", "Octets of message content received.", "listener")
	m.panics = counter("postern_smtpserver_panics_total", "Sessions that died of a fault of the program.", "listener")
	m.accepts = counter("postern_smtpserver_accept_errors_total", "Failures to accept a connection.", "listener")
	m.alerts = counter("postern_app_alerts_total", "Things that a person should look at, by kind.", "kind")
	m.findings = counter("postern_watch_findings_total", "New findings of the watch.", "rule", "severity")
	m.logins = counter("postern_auth_logins_total", "Attempts to log in, by result.", "protocol", "result")
	m.attempts = counter("postern_queue_attempts_total", "Outcomes of delivery attempts, one per recipient.", "outcome")
	m.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "postern_queue_attempt_seconds", Help: "How long attempts took.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}, []string{"outcome"})
	m.registry.MustRegister(m.duration)
	m.ready = gauge("postern_queue_ready_jobs", "Jobs in memory that wait for their turn.")
	m.active = gauge("postern_queue_active_attempts", "Delivery attempts under way.")
	m.batchOps = histogram("postern_store_batch_operations", "Operations in a commit.", prometheus.ExponentialBuckets(1, 2, 10))
	m.batchTime = histogram("postern_store_batch_seconds", "Time of a commit, sync included.", prometheus.ExponentialBuckets(0.0005, 2, 14))
	m.waiting = gauge("postern_store_waiting_operations", "Operations that wait for the next commit.")
	m.certReloads = counter("postern_cert_reloads_total", "Attempts to take a changed certificate into use.", "result")
	m.requests = counter("postern_api_requests_total", "HTTP requests by route and status.", "route", "status")
	m.checks = counter("postern_sender_checks_total", "Checks of sending domains: valid, invalid, unknown (the DNS does not answer), error.", "result")
	for _, result := range []string{"valid", "invalid", "unknown", "error"} {
		m.checks.WithLabelValues(result)
	}
	m.behind = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "postern_event_lag_records", Help: "Records of a log that a consumer has not read yet."}, []string{"consumer", "stream"})
	m.behindFor = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "postern_event_lag_seconds", Help: "For how long the oldest of them has waited."}, []string{"consumer", "stream"})
	m.registry.MustRegister(m.behind, m.behindFor)
	m.leftOut = counter("postern_export_left_out_records_total", "Records that a target of exports refuses for good, and does not get.", "consumer", "stream")
	m.registry.MustRegister(&domainCollector{app: a})
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_queue_memory_octets", Help: "Octets of message content held for first attempts."},
		func() float64 {
			if a.queue == nil {
				return 0
			}
			_, _, b := a.queue.Depth()
			return float64(b)
		}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func class(code int) string { return strconv.Itoa(code/100) + "xx" }

// smtpHooks counts for one listener.
func (m *metrics) smtpHooks(listener string) smtpserver.Hooks {
	var classes [6]prometheus.Counter
	for i := range classes {
		classes[i] = m.replies.WithLabelValues(listener, class(i*100))
	}
	connections, open, octets := m.connections.WithLabelValues(listener), m.open.WithLabelValues(listener), m.octets.WithLabelValues(listener)
	return smtpserver.Hooks{
		Opened:  func() { connections.Inc(); open.Inc() },
		Closed:  func(time.Duration) { open.Dec() },
		Refused: func(why string) { m.refused.WithLabelValues(listener, why).Inc() },
		Handshake: func(t *smtpserver.TLS, err error) {
			version := "failed"
			if err == nil && t != nil {
				version, _, _ = strings.Cut(t.String(), " ")
			}
			m.handshakes.WithLabelValues(listener, version).Inc()
		},
		Replied: func(code int) { classes[code/100%6].Inc() },
		Message: func(size int64, _ int, code int) {
			m.messages.WithLabelValues(listener, class(code)).Inc()
			octets.Add(float64(max(size, 0)))
		},
		Panicked: func() { m.panics.WithLabelValues(listener).Inc() },
		Accept:   func(error) { m.accepts.WithLabelValues(listener).Inc() },
	}
}

func (m *metrics) alert(kind relay.AlertKind) { m.alerts.WithLabelValues(string(kind)).Inc() }

func (m *metrics) finding(rule relay.WatchRule, severity relay.WatchSeverity) {
	m.findings.WithLabelValues(string(rule), string(severity)).Inc()
}

// lag is how far a consumer of a log is behind. Consumers are ours, and the exports
// of the configuration.
func (m *metrics) lag(consumer, stream string, records int64, age time.Duration) {
	m.behind.WithLabelValues(consumer, stream).Set(float64(records))
	m.behindFor.WithLabelValues(consumer, stream).Set(age.Seconds())
}

func (m *metrics) login(protocol string, r relay.LoginResult) {
	m.logins.WithLabelValues(protocol, string(r)).Inc()
}

// Attempted implements queue.Observer.
func (m *metrics) Attempted(outcome string, d time.Duration) {
	m.attempts.WithLabelValues(outcome).Inc()
	m.duration.WithLabelValues(outcome).Observe(d.Seconds())
}

// Depth implements queue.Observer.
func (m *metrics) Depth(ready, active int) {
	m.ready.Set(float64(ready))
	m.active.Set(float64(active))
}

func (m *metrics) batch(b store.BatchStats) {
	m.batchOps.Observe(float64(b.Ops))
	m.batchTime.Observe(b.Took.Seconds())
	m.waiting.Set(float64(b.Waiting))
}

func (m *metrics) certificate(err error) {
	result := "ok"
	if err != nil {
		result = "refused"
	}
	m.certReloads.WithLabelValues(result).Inc()
}

func (m *metrics) domainCheck(result string) { m.checks.WithLabelValues(result).Inc() }

func (m *metrics) request(route string, status int, _ time.Duration) {
	m.requests.WithLabelValues(route, class(status)).Inc()
}

package app

import "github.com/prometheus/client_golang/prometheus"

// domainCollector counts domains when it is asked, and says how the zone is.
type domainCollector struct{ app *App }

var (
	descDomains = prometheus.NewDesc("postern_sender_domains", "Sending domains by state.", []string{"state"}, nil)
	descZone    = prometheus.NewDesc("postern_dns_zone_healthy", "1: the zone that is served is delegated and at least two name servers answer for it.", nil, nil)
)

// Describe implements prometheus.Collector.
func (*domainCollector) Describe(out chan<- *prometheus.Desc) {
	out <- descDomains
	out <- descZone
}

// Collect implements prometheus.Collector.
func (c *domainCollector) Collect(out chan<- prometheus.Metric) {
	counts := c.app.countDomains()
	for _, s := range domainStates {
		out <- prometheus.MustNewConstMetric(descDomains, prometheus.GaugeValue, float64(counts[s]), s)
	}
	if h := c.app.senders.health.Load(); h != nil {
		well := 0.0
		if h.well() {
			well = 1
		}
		out <- prometheus.MustNewConstMetric(descZone, prometheus.GaugeValue, well)
	}
}

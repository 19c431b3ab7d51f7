package metrics

import "github.com/prometheus/client_golang/prometheus"

var descUpgraded = prometheus.NewDesc("usher_upgraded_connections",
	"Client connections that have changed to another protocol, such as WebSocket.", []string{"service"}, nil)

// TunnelOpened counts a connection to the service that has changed its protocol, until
// TunnelClosed. It may be called from any goroutine.
func (d *Downstream) TunnelOpened(service string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tunnels[service]++
}

// TunnelClosed counts the end of one that TunnelOpened counted.
func (d *Downstream) TunnelClosed(service string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tunnels[service]--
}

// Upgraded returns the number of connections to the service that have changed their
// protocol.
func (d *Downstream) Upgraded(service string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tunnels[service]
}

// collectTunnels shows the gauge of each service that has tunnels, or had some when it
// was shown last.
func (d *Downstream) collectTunnels(ch chan<- prometheus.Metric) {
	d.mu.Lock()
	now := make(map[string]int64, len(d.tunnels))
	for service, n := range d.tunnels {
		now[service] = n
		if n == 0 {
			delete(d.tunnels, service)
		}
	}
	d.mu.Unlock()
	for service, n := range now {
		ch <- prometheus.MustNewConstMetric(descUpgraded, prometheus.GaugeValue, float64(n), service)
	}
}

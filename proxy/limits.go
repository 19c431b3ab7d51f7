package proxy

import (
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"usher/config"
	"usher/proxy/core"
)

// Limit puts the limits of the process in force for connections to come.
func (p *Proxy) Limit(c config.Limits) { p.limits.SetMax(maxConnections(c)) }

// maxConnections is the bound on all client connections. Where none is given they may
// have three quarters of the descriptors that are left: the others are for endpoints,
// registries and files.
func maxConnections(c config.Limits) int {
	if c.MaxConnections > 0 {
		return c.MaxConnections
	}
	return max(1, descriptors()*3/4)
}

// descriptors is how many the process may still open. The runtime has raised the soft
// limit to the hard one before main began.
func descriptors() int {
	const plenty = 1 << 24 // for no limit, and for one that cannot be read
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > plenty {
		return plenty
	}
	open, _ := os.ReadDir("/proc/self/fd") // without /proc none are taken off
	return int(limit.Cur) - len(open)
}

var descRefused = prometheus.NewDesc("usher_connections_refused_total",
	"Client connections closed before they were served, by the limit they were beyond, or for their PROXY header.",
	[]string{"listener", "reason"}, nil)

// Describe implements prometheus.Collector.
func (p *Proxy) Describe(ch chan<- *prometheus.Desc) { ch <- descRefused }

// Collect implements prometheus.Collector: it shows the connections that were refused.
func (p *Proxy) Collect(ch chan<- prometheus.Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.listeners {
		for _, r := range core.Refusals() {
			n := float64(l.gate.Refused(r))
			ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, n, l.config.Name, r.String())
		}
	}
}

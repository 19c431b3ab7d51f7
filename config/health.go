package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Health is how usher judges for itself whether an endpoint is fit for requests, beside
// the registry's word.
type Health struct {
	// HealthCheck asks each endpoint now and then.
	HealthCheck HealthCheck `yaml:"health_check"`
	// Outlier ejects endpoints by what requests meet there.
	Outlier Outlier `yaml:"outlier"`
	// SlowStart is how long an endpoint that is new, or back, takes to grow from a tenth
	// of its weight to all of it. 0: it has all at once.
	SlowStart time.Duration `yaml:"slow_start"`
	// PanicThreshold is the healthy share of those the registry lets in below which all
	// of these are tried. 0: only when none is healthy.
	PanicThreshold float64 `yaml:"panic_threshold"`
	// PanicIncludesCritical tries the critical ones too, when the registry lets nobody in.
	PanicIncludesCritical bool `yaml:"panic_includes_critical"`
	// DrainHeader is the response field by which an endpoint asks for no new requests.
	// Empty: none.
	DrainHeader string `yaml:"drain_header"`
}

// HealthCheck is how an endpoint is asked whether it is well.
type HealthCheck struct {
	// Type is http, tcp, grpc or none. Empty: http where there is a Path, none else.
	Type string `yaml:"type"`
	// Path and Method are those of the http request; Method is GET where it is empty.
	Path   string `yaml:"path"`
	Method string `yaml:"method"`
	// Host is the Host of the request, or the authority of a gRPC call. Empty: the
	// endpoint's address.
	Host string `yaml:"host"`
	// Headers are more fields of the http request.
	Headers map[string]string `yaml:"headers"`
	// Service is the name that gRPC's health service is asked about. Empty: the server.
	Service string `yaml:"service"`
	// Port is asked instead of the endpoint's own. 0: its own.
	Port int `yaml:"port"`
	// Interval is the time from one probe to the next, to which Jitter, a share of it,
	// is added at most. While the last answer speaks against what is believed, and
	// after a request has failed, the next one comes after a fifth of it.
	Interval time.Duration `yaml:"interval"`
	Jitter   float64       `yaml:"jitter"`
	// Timeout bounds a probe, from the connecting to the end of the answer.
	Timeout time.Duration `yaml:"timeout"`
	// Rise and Fall are the probes in a row that change what is believed. The first one
	// ever decides alone.
	Rise int `yaml:"rise"`
	Fall int `yaml:"fall"`
	// ExpectedStatus are the statuses that are well, such as "200-299,404".
	ExpectedStatus string `yaml:"expected_status"`
	// ExpectedBody must be found in the first 64 KiB of the body. Empty: nothing must.
	ExpectedBody string `yaml:"expected_body"`
}

// Kind is the type of the check: http, tcp, grpc or none.
func (h *HealthCheck) Kind() string {
	switch {
	case h.Type != "":
		return h.Type
	case h.Path != "":
		return "http"
	default:
		return "none"
	}
}

// Outlier says when what requests meet at an endpoint ejects it. A count of 0 is never
// reached.
type Outlier struct {
	// Enabled is whether anything ejects.
	Enabled bool `yaml:"enabled"`
	// ConnectFailures are the failed connects in a row, Consecutive5xx the answers of 500
	// and above, ConsecutiveGatewayErrors those of 502, 503 and 504 and the requests
	// without a whole response head, Timeouts the answers that did not come in time.
	ConnectFailures          int `yaml:"connect_failures"`
	Consecutive5xx           int `yaml:"consecutive_5xx"`
	ConsecutiveGatewayErrors int `yaml:"consecutive_gateway_errors"`
	Timeouts                 int `yaml:"timeouts"`
	// StallTimeout is the silence of an endpoint with requests waiting, while its peers
	// answer, that ejects it; it is longer where the peers' answers take longer. 0: none
	// does.
	StallTimeout time.Duration `yaml:"stall_timeout"`
	SuccessRate  SuccessRate   `yaml:"success_rate"`
	Latency      Latency       `yaml:"latency"`
	// BaseTime times the number of ejections is how long one lasts, up to MaxTime.
	BaseTime time.Duration `yaml:"base_time"`
	MaxTime  time.Duration `yaml:"max_time"`
	// MaxEjectedShare bounds the share of a service's endpoints that are out at once; one
	// of two or more always may be. Those that take no connections don't count as
	// a choice.
	MaxEjectedShare float64 `yaml:"max_ejected_share"`
}

// SuccessRate ejects the endpoints whose share of good answers is far below that of their
// peers.
type SuccessRate struct {
	// Enabled is whether success rates are compared.
	Enabled bool `yaml:"enabled"`
	// MinHosts are the endpoints that must have had MinRequests in the Interval for their
	// rates to be compared.
	MinHosts    int           `yaml:"min_hosts"`
	MinRequests int           `yaml:"min_requests"`
	Interval    time.Duration `yaml:"interval"`
	// StdevFactor is how many standard deviations below the mean are too far; five in a
	// hundred are always near enough.
	StdevFactor float64 `yaml:"stdev_factor"`
}

// Latency ejects the endpoints whose answers take far longer than those of their peers.
// It compares when the success rates are compared.
type Latency struct {
	// Enabled is whether the times of answers are compared.
	Enabled bool `yaml:"enabled"`
	// Factor is how many times the median of the peers' mean times is too long.
	Factor float64 `yaml:"factor"`
	// MinHosts are the endpoints that must have had MinRequests for their times to be
	// compared.
	MinHosts    int `yaml:"min_hosts"`
	MinRequests int `yaml:"min_requests"`
}

// DefaultHealth are the settings where nothing else is said.
func DefaultHealth() Health {
	return Health{
		HealthCheck: HealthCheck{
			Interval: 5 * time.Second, Jitter: 0.1, Timeout: time.Second, Rise: 2, Fall: 3,
			ExpectedStatus: "200-399",
		},
		Outlier: Outlier{
			Enabled: true, ConnectFailures: 1, Consecutive5xx: 5, ConsecutiveGatewayErrors: 5, Timeouts: 2,
			StallTimeout: time.Second,
			SuccessRate: SuccessRate{
				Enabled: true, MinHosts: 5, MinRequests: 100, StdevFactor: 1.9, Interval: 10 * time.Second,
			},
			Latency:  Latency{Factor: 4, MinHosts: 3, MinRequests: 50},
			BaseTime: time.Second, MaxTime: 30 * time.Second, MaxEjectedShare: 0.5,
		},
		SlowStart: 10 * time.Second, PanicThreshold: 0.5,
	}
}

// Statuses are ranges of HTTP statuses, both ends included.
type Statuses [][2]int

// Has says whether a status is in one of the ranges.
func (s Statuses) Has(code int) bool {
	for _, r := range s {
		if r[0] <= code && code <= r[1] {
			return true
		}
	}
	return false
}

// ParseStatuses reads statuses and ranges of them, separated by commas: 200-299,404.
func ParseStatuses(text string) (Statuses, error) {
	var out Statuses
	for part := range strings.SplitSeq(text, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			high = low
		}
		a, b := parseStatus(low), parseStatus(high)
		if a == 0 || b == 0 || a > b {
			return nil, fmt.Errorf("statuses %q are not like 200-299,404", shorten(text))
		}
		out = append(out, [2]int{a, b})
	}
	return out, nil
}

// parseStatus returns 0 for what is no status.
func parseStatus(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 100 || n > 599 {
		return 0
	}
	return n
}

// health checks what is written at a place, as policy does.
func (c *checker) health(h Health, at string) {
	c.healthCheck(h.HealthCheck, child(at, "health_check"))
	c.outlier(h.Outlier, child(at, "outlier"))
	c.between(child(at, "panic_threshold"), "panic_threshold", h.PanicThreshold, 1)
	if path := child(at, "drain_header"); c.where.given(path) && h.DrainHeader != "" && !isToken(h.DrainHeader) {
		c.bad(path, "drain_header %q is not the name of a field", shorten(h.DrainHeader))
	}
}

// between wants a number from 0 to most, where it is written.
func (c *checker) between(path, key string, n, most float64) {
	if c.where.given(path) && !(n >= 0 && n <= most) {
		c.bad(path, "%s must be from 0 to %v, found %v", key, most, n)
	}
}

// least wants a number of at least so much, where it is written.
func (c *checker) least(path, key string, n, least int) {
	if c.where.given(path) {
		c.number(path, key, n, least)
	}
}

func (c *checker) healthCheck(h HealthCheck, at string) {
	if !c.where.given(at) || c.failed[at] {
		return
	}
	if path := child(at, "type"); c.where.given(path) && h.Type != "" {
		c.word(path, "type", h.Type, "http", "tcp", "grpc", "none")
	}
	if path := child(at, "path"); c.where.given(path) && h.Path != "" {
		c.probePath(path, h.Path)
	} else if h.Kind() == "none" && h.Type == "" {
		c.bad(at, "health_check needs a type or a path")
	} else if h.Type == "http" && h.Path == "" {
		c.required(at, "path", "health_check of type http needs a path")
	}
	if path := child(at, "method"); c.where.given(path) && h.Method != "" && !isToken(h.Method) {
		c.bad(path, "method %q is not a token", shorten(h.Method))
	}
	if path := child(at, "host"); c.where.given(path) && (hasSpace(h.Host) || strings.ContainsAny(h.Host, "/@")) {
		c.bad(path, "host %q is not a host", shorten(h.Host))
	}
	c.probeFields(child(at, "headers"), h.Headers)
	if path := child(at, "port"); c.where.given(path) && (h.Port < 0 || h.Port > 65535) {
		c.bad(path, "port must be from 0 to 65535, found %d", h.Port)
	}
	c.probeTimes(h, at)
	if path := child(at, "expected_status"); c.where.given(path) {
		if _, err := ParseStatuses(h.ExpectedStatus); err != nil {
			c.bad(path, "%v", err)
		}
	}
}

// probePath wants what can stand in a request line.
func (c *checker) probePath(path, value string) {
	if !strings.HasPrefix(value, "/") || hasSpace(value) {
		c.bad(path, "path %q is not like /health", shorten(value))
	}
}

func (c *checker) probeFields(path string, fields map[string]string) {
	for name, value := range fields {
		at := child(path, name)
		switch {
		case !c.where.given(at):
		case !isToken(name):
			c.bad(at, "%q is not the name of a field", shorten(name))
		case strings.ContainsAny(value, "\r\n\x00"):
			c.bad(at, "the value of %s contains a control character", name)
		}
	}
}

func (c *checker) probeTimes(h HealthCheck, at string) {
	for _, f := range []struct {
		key string
		d   time.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}} {
		if path := child(at, f.key); c.where.given(path) {
			c.atLeast(path, f.key, f.d, 10*time.Millisecond)
		}
	}
	c.between(child(at, "jitter"), "jitter", h.Jitter, 1)
	c.least(child(at, "rise"), "rise", h.Rise, 1)
	c.least(child(at, "fall"), "fall", h.Fall, 1)
}

func (c *checker) outlier(o Outlier, at string) {
	for _, f := range []struct {
		key   string
		n     int
		least int
	}{
		{"connect_failures", o.ConnectFailures, 0},
		{"consecutive_5xx", o.Consecutive5xx, 0},
		{"consecutive_gateway_errors", o.ConsecutiveGatewayErrors, 0},
		{"timeouts", o.Timeouts, 0},
		{"success_rate.min_hosts", o.SuccessRate.MinHosts, 2},
		{"success_rate.min_requests", o.SuccessRate.MinRequests, 1},
		{"latency.min_hosts", o.Latency.MinHosts, 2},
		{"latency.min_requests", o.Latency.MinRequests, 1},
	} {
		_, last, found := strings.Cut(f.key, ".")
		if !found {
			last = f.key
		}
		c.least(child(at, f.key), last, f.n, f.least)
		if path := child(at, f.key); c.where.given(path) && f.n > maxStreak {
			c.bad(path, "%s must be at most %d, found %d", last, maxStreak, f.n)
		}
	}
	if path := child(at, "base_time"); c.where.given(path) {
		c.positive(path, "base_time", o.BaseTime)
	}
	if path := child(at, "max_time"); c.where.given(path) && o.MaxTime < o.BaseTime {
		c.bad(path, "max_time must be at least base_time, %s", o.BaseTime)
	}
	if path := child(at, "success_rate.interval"); c.where.given(path) {
		c.atLeast(path, "interval", o.SuccessRate.Interval, time.Second)
	}
	c.between(child(at, "max_ejected_share"), "max_ejected_share", o.MaxEjectedShare, 1)
	c.between(child(at, "success_rate.stdev_factor"), "stdev_factor", o.SuccessRate.StdevFactor, 100)
	if path := child(at, "latency.factor"); c.where.given(path) && !(o.Latency.Factor > 1) {
		c.bad(path, "factor must be more than 1, found %v", o.Latency.Factor)
	}
}

// maxStreak is how far the counts go.
const maxStreak = 200
